//! The worker itself.

use aegis_core::{
    lifecycle::WorkerLifecycle, log_tail::LogTail, notify::ServiceManager,
    plugin::PluginHostProgram,
};
use anyhow::{Context, bail};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    built_ins,
    cli::{PLUGIN_HOST, Settings},
    logging,
};

/// The agent waits most of the time; commands bring their own threads. A
/// second thread keeps heartbeats going while an inline handler runs.
const THREADS: usize = 2;

/// Until the end that was asked for.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let log_tail = LogTail::default();
    let log_level = logging::start(&config.telemetry, log_tail.clone())?;
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        bail!("another TLS provider is installed already");
    }
    let plugin_host = PluginHostProgram::this()
        .context("cannot tell where this program is")?
        .argument(PLUGIN_HOST);
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("aegis-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let signals = Signals::listen()?;
        let mut builder = WorkerLifecycle::builder(config)
            .expect_built_ins(built_ins::EXPECTED)
            .worker_version(env!("CARGO_PKG_VERSION"))
            .service_manager(ServiceManager::from_env())
            .log_tail(log_tail)
            .plugin_host(plugin_host);
        for (plugin, grants) in built_ins::grants() {
            builder = builder.built_in_grants(&plugin, grants);
        }
        let lifecycle = tokio::task::block_in_place(|| builder.build())?;
        let mut pushed = lifecycle.settings();
        let (shutdown, ended) = watch::channel(false);
        tokio::select! {
            result = lifecycle.run(ended) => Ok(result?),
            error = stop_on_signal(signals, shutdown) => Err(error),
            () = async {
                loop {
                    log_level.set(pushed.borrow_and_update().log_level.as_deref());
                    if pushed.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            } => Ok(()),
        }
    });
    // A handler that never returns must not keep the process.
    runtime.shutdown_background();
    done
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The first signal asks for an orderly end, the second one ends it.
async fn stop_on_signal(mut signals: Signals, shutdown: watch::Sender<bool>) -> anyhow::Error {
    let name = signals.next().await;
    tracing::info!("{name}: shutting down; a second one ends the worker at once");
    shutdown.send_replace(true);
    let name = signals.next().await;
    anyhow::anyhow!(
        "{name} cut the shutdown short: what still ran is run again or ends with its outcome \
         unknown when the worker starts again, as `aegis-worker journal list` shows"
    )
}
