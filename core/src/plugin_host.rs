//! A plugin in a process of its own: the process's side.
//!
//! A loop of messages around the plugin host of the worker itself, which maps
//! the same bytes and calls the same functions. What a handler is given (its
//! sink, the host interfaces, the log) leads through the socket.

mod calls;
mod interfaces;
mod link;
mod log;

use std::{
    ffi::OsString,
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use self::{
    calls::Calls,
    interfaces::Remote,
    link::{Link, Orders},
};
use crate::{
    landlock::PathRules,
    lifecycle::chain,
    loader::{Check, Refusal, Sealed},
    manifest,
    plugin::{
        Descriptor, Hosted, Hosting, PluginInstance, PluginState, Running,
        frame::{
            Begin, Condition, Failed, LIBRARY, Order, PROTOCOL, Paths, Ready, Reconfigure,
            Reconfigured, Report, SOCKET, Schema,
        },
        inherited, map_copy, set_log_number,
    },
};

/// What serves, for whoever only learns that something changed.
static SERVING: OnceLock<(Arc<Link>, Arc<Hosted>)> = OnceLock::new();

/// Serves one plugin to the worker that started this process, until that closes
/// the connection. To be called first of all in a process that was started as a
/// [`PluginHostProgram`](crate::plugin::PluginHostProgram): it takes the
/// descriptors 3 and 4 that it was started with, and must find no other thread.
pub fn serve() -> ExitCode {
    let Some([socket, library]) = inherited([SOCKET, LIBRARY]) else {
        eprintln!(
            "this is how a worker starts the process of a plugin, and only a worker can: set \
             placement = \"process\" in its config"
        );
        return ExitCode::from(2);
    };
    let (link, mut orders) = match link::over(socket) {
        Ok(ends) => ends,
        Err(error) => {
            eprintln!("cannot use the connection to the worker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(Order::Begin(begin)) = orders.next(|| false) else {
        return ExitCode::FAILURE;
    };
    let in_force = match confine(&begin, &library) {
        Ok(in_force) => in_force,
        Err(failed) => return give_up(&link, failed),
    };
    set_log_number(begin.log_level);
    let remote = Arc::new(Remote::new(Arc::clone(&link), &begin.interfaces));
    let calls = Arc::new(Calls::new(Arc::clone(&remote)));
    log::lead_to(Arc::clone(&link), Arc::clone(&calls));
    // An instance may ask for its config while it is made, and the answer is
    // read here.
    let (own, asked) = (Arc::clone(&link), Arc::clone(&remote));
    let host = thread::Builder::new().name("host".to_owned());
    let spawned = host.spawn(move || {
        if let Err(failed) = host_plugin(&own, begin, library.into(), asked, in_force) {
            give_up(&own, failed);
            std::process::exit(1);
        }
    });
    if let Err(error) = spawned.and_then(|_| calls.serve()) {
        let failed = unmapped(
            format!("its process finds no thread: {error}"),
            "see the plugin's limits in the config",
        );
        return give_up(&link, failed);
    }
    obey(&calls, &remote, &mut orders);
    // Not by returning: a plugin may have closed what would be closed then.
    std::process::exit(0)
}

fn give_up(link: &Link, failed: Failed) -> ExitCode {
    // Its texts are short.
    let _ = link.send(Report::Failed(failed));
    ExitCode::FAILURE
}

fn unmapped(reason: String, remedy: &str) -> Failed {
    Failed {
        unmapped: true,
        reason,
        remedy: remedy.to_owned(),
    }
}

/// Denies this process what it is not to reach. Answers with what came of it.
fn confine(begin: &Begin, library: &OwnedFd) -> Result<String, Failed> {
    if begin.protocol != PROTOCOL {
        return Err(unmapped(
            format!(
                "its process speaks version {PROTOCOL}, and the worker {}",
                begin.protocol
            ),
            "let the worker start its own program",
        ));
    }
    let Some(paths) = begin.paths.clone() else {
        return Ok(String::new());
    };
    let in_force = rules(paths).enforce(library.as_fd()).map_err(|error| {
        unmapped(
            format!("its process cannot be confined: {}", chain(&error)),
            "see the paths of the plugin in the config",
        )
    })?;
    Ok(in_force.to_string())
}

/// Maps the library and makes an instance.
fn host_plugin(
    link: &Arc<Link>,
    begin: Begin,
    library: File,
    remote: Arc<Remote>,
    in_force: String,
) -> Result<(), Failed> {
    let refused = |refusal: Refusal| Failed {
        unmapped: refusal.check == Check::Load,
        reason: format!(
            "{} check failed: {}",
            refusal.check.as_str(),
            refusal.reason
        ),
        remedy: refusal.remedy,
    };
    let manifest = manifest::decode(&begin.manifest).map_err(refused)?;
    let descriptor =
        map_copy(Sealed::named(library), &manifest, &begin.manifest).map_err(refused)?;
    let hosted = Hosted::start(Hosting {
        id: begin.id,
        descriptor,
        config: serde_json::from_str(&begin.config).unwrap_or_default(),
        node: begin.node,
        state_dir: begin.state_dir.into(),
        interfaces: remote,
        // The worker checks requests before it sends them.
        request_schemas: Vec::new(),
    })
    .map_err(|error| Failed {
        unmapped: false,
        reason: format!("create check failed: {error}"),
        remedy: error
            .help
            .unwrap_or_else(|| "see the plugin's documentation".to_owned()),
    })?;
    tell_schemas(link, descriptor, &begin.schemas);
    hosted.on_change(tell_condition);
    // Before the worker learns that there is someone to give calls to.
    let _ = SERVING.set((Arc::clone(link), hosted));
    // It is short.
    let _ = link.send(Report::Ready(Ready { paths: in_force }));
    Ok(())
}

fn rules(paths: Paths) -> PathRules {
    let path = |bytes: Vec<u8>| PathBuf::from(OsString::from_vec(bytes));
    PathRules {
        read: paths.read.into_iter().map(path).collect(),
        write: paths.write.into_iter().map(path).collect(),
        withheld: path(paths.withheld),
        state_dir: path(paths.state_dir),
    }
}

fn tell_schemas(link: &Link, descriptor: Descriptor, handlers: &[u32]) {
    for handler in handlers {
        let Some((request, response)) = descriptor.schemas(*handler) else {
            continue;
        };
        let text = |schema: Option<serde_json::Value>| {
            schema
                .map(|schema| schema.to_string())
                .unwrap_or_default()
                .into()
        };
        // One that fits no message is as good as none.
        let _ = link.send(Report::Schema(Schema {
            handler: *handler,
            request: text(request),
            response: text(response),
        }));
    }
}

/// Tells the worker how the plugin fares.
fn tell_condition() {
    let Some((link, hosted)) = SERVING.get() else {
        return;
    };
    let faults = hosted.faults();
    let failure = match hosted.state() {
        PluginState::Failed(reason) => reason,
        _ => String::new(),
    };
    // A long reason is no reason to say nothing, and none is as long as a frame.
    let _ = link.send(Report::Condition(Condition {
        panics: hosted.panics(),
        double: faults.double,
        late: faults.late,
        forged: faults.forged,
        after_quiesce: faults.after_quiesce,
        failure,
    }));
}

/// Does what the worker says, until it says nothing any more. Nothing here waits
/// for the plugin: it may be waiting for what is read next.
fn obey(calls: &Arc<Calls>, remote: &Remote, orders: &mut Orders) {
    while let Some(order) = orders.next(|| calls.are_open()) {
        let order = match order {
            Order::Answer(answer) => {
                remote.answered(answer);
                continue;
            }
            Order::LogLevel(level) => {
                set_log_number(level);
                continue;
            }
            order => order,
        };
        // The worker waits with all others until the plugin is ready.
        let Some((link, hosted)) = SERVING.get() else {
            return;
        };
        match order {
            Order::Start(start) => calls.begin(link, hosted, start),
            Order::Cancel(cancel) => calls.cancel(hosted, &cancel),
            Order::Reconfigure(reconfigure) => {
                apart(link, hosted, move |link, hosted| {
                    take_config(link, hosted, &reconfigure);
                });
            }
            Order::Quiesce(milliseconds) => apart(link, hosted, move |link, hosted| {
                let quiet = hosted.quiesce(Duration::from_millis(milliseconds));
                // It is short.
                let _ = link.send(Report::Quiesced(quiet));
            }),
            Order::Begin(_) | Order::Answer(_) | Order::LogLevel(_) => return,
        }
    }
}

/// Does something that may block on a thread of its own.
fn apart(
    link: &Arc<Link>,
    hosted: &Arc<Hosted>,
    run: impl FnOnce(&Link, &Hosted) + Send + 'static,
) {
    let (link, hosted) = (Arc::clone(link), Arc::clone(hosted));
    let spawned = thread::Builder::new().spawn(move || run(&link, &hosted));
    if let Err(error) = spawned {
        // The worker waits for an answer, and then ends this process.
        tracing::error!(%error, "the plugin's process finds no thread");
    }
}

fn take_config(link: &Link, hosted: &Hosted, reconfigure: &Reconfigure) {
    let config = serde_json::from_str(&reconfigure.config).unwrap_or_default();
    let refused = hosted.reconfigure(&config).err();
    let _ = link.send(Report::Reconfigured(Reconfigured {
        number: reconfigure.number,
        refused: refused.map(|error| error.to_document().into()),
    }));
}
