//! `push-config` and `config set`: sets a layer and follows it to the nodes it
//! changes, at once or in batches.

use std::{collections::BTreeMap, fs, path::PathBuf, str::FromStr, time::Duration};

use aegis_proto::{
    limits::MAX_PAYLOAD_BYTES,
    operator::v1::{
        RolloutPlan, SetConfigRequest, SetConfigResponse, ShowConfigRequest, SubmitCommandResponse,
    },
};
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Global,
    attach::{detached, follow, interrupted},
    parse_duration,
    rollout::follow_rollout,
};
use crate::{
    connection::Connection,
    document::{AppliedConfig, Command, CommandList, ConfigPush, ConfigState, duration},
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    payload, render,
    selector::{SelectorFlags, Target},
};

/// The node reports its config version right after it acknowledged it.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// `push-config SELECTOR FILE`
#[derive(Debug, Args)]
pub struct Arguments {
    /// NODE (unless --all or --tag is given) and FILE: a JSON object, - for standard input
    #[arg(value_name = "NODE FILE", num_args = 0..=2)]
    arguments: Vec<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// Remove the layer in place of setting it
    #[arg(long)]
    remove: bool,
    /// Set it to what it was at this revision; `config history` lists them
    #[arg(long, value_name = "N", conflicts_with = "remove", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
    /// Give it to so many nodes at once, or to so many percent of them: 5 or 10%
    #[arg(long, value_name = "N|N%")]
    batch: Option<Batch>,
    /// Stop when more nodes than these have failed
    #[arg(long, value_name = "COUNT", default_value_t = 0, requires = "batch")]
    max_failures: u32,
    /// What a node may take until it has it, from 1s to 1d [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "batch")]
    node_timeout: Option<Duration>,
    /// Watch each batch for so long before the next one: nodes take back what does not become them
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "batch")]
    pause: Option<Duration>,
    /// Return once it is submitted
    #[arg(short, long)]
    detach: bool,
}

impl Arguments {
    /// Sets the layer: --all is the global one, --tag a tag's, NODE a node's.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (target, rest) = self.selector.split(self.arguments)?;
        let elsewhere = self.remove || self.revision.is_some();
        let document = match (rest.as_slice(), elsewhere) {
            ([file], false) => read(file)?,
            ([], true) => Vec::new(),
            ([], false) => {
                return Err(Failure::usage("no config file is given").next(
                    "It is `aegisctl config set SELECTOR FILE`, or --remove or --revision N in place of the file.",
                ));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "too many arguments: {}",
                    rest.join(" ")
                )));
            }
        };
        let connection = global.connect().await?;
        // A layer may be set before the first node has its tag; a node must be there.
        let target = match target {
            target @ Target::Node(_) => fleet::resolve(&connection, target).await?.0,
            target => target,
        };
        let request = SetConfigRequest {
            selector: Some(target.to_proto()),
            document,
            revision: self.revision.unwrap_or(0),
            rollout: self.batch.map(|batch| RolloutPlan {
                max_failures: self.max_failures,
                node_timeout: self.node_timeout.map(duration),
                pause: self.pause.map(duration),
                ..batch.to_proto()
            }),
        };
        let SetConfigResponse {
            group_id,
            commands,
            rollout_id,
        } = connection
            .call(
                "set the config",
                request,
                |mut client, request| async move { client.set_config(request).await },
            )
            .await?;
        if !rollout_id.is_empty() {
            return rolled_out(global, &connection, rollout_id, self.detach).await;
        }
        let submitted = SubmitCommandResponse { group_id, commands };
        if self.detach && !submitted.commands.is_empty() {
            return detached(global, submitted);
        }
        let list = match follow(global, &connection, &[], submitted).await? {
            Ok(list) => list,
            Err(list) => return Ok(interrupted(&list)),
        };
        let push = applied(&connection, list).await?;
        match global.output {
            Format::Json => output::document(&push)?,
            Format::Table => output::text(&render::pushed(&push))?,
        }
        Ok(if push.nodes.iter().all(|it| it.applied) {
            Exit::Success
        } else {
            Exit::Failed
        })
    }
}

/// Follows the rollout that brings the layer.
async fn rolled_out(
    global: &Global,
    connection: &Connection,
    id: String,
    detach: bool,
) -> Result<Exit, Failure> {
    if !detach {
        return follow_rollout(global, connection, id, false).await;
    }
    match global.output {
        Format::Json => output::document(&json!({ "rollout_id": id }))?,
        Format::Table => {
            // The id alone on standard output: it is what a script wants.
            output::text(&id)?;
            eprintln!(
                "The rollout has begun. Come back with `aegisctl config rollout show {id} --follow`."
            );
        }
    }
    Ok(Exit::Success)
}

/// How many nodes get a config at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    Nodes(u32),
    Percent(u32),
}

impl Batch {
    fn to_proto(self) -> RolloutPlan {
        let mut plan = RolloutPlan::default();
        match self {
            Self::Nodes(nodes) => plan.batch_nodes = nodes,
            Self::Percent(percent) => plan.batch_percent = percent,
        }
        plan
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a number of nodes nor from 1% to 100%");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => match text.parse() {
                Ok(nodes @ 1..) => Ok(Self::Nodes(nodes)),
                _ => Err(wrong()),
            },
        }
    }
}

/// The file's content, once it is a JSON object that may be sent.
fn read(file: &str) -> Result<Vec<u8>, Failure> {
    let (name, text) = match file {
        "-" => (
            "standard input".to_owned(),
            std::io::read_to_string(std::io::stdin().lock()),
        ),
        file => (
            PathBuf::from(file).display().to_string(),
            fs::read_to_string(file),
        ),
    };
    let text = text
        .map_err(|error| Failure::usage(format!("can't read the config from {name}: {error}")))?;
    let value = payload::parse(&name, &text)?;
    if !value.is_object() {
        return Err(Failure::usage(format!("{name} is not a JSON object"))
            .next(r#"A config layer looks like {"worker": {"log_level": "debug"}, "plugins": {"hello": {}}}."#));
    }
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(Failure::usage(format!(
            "{name} has {} bytes; a config layer may have {MAX_PAYLOAD_BYTES} at the most",
            text.len()
        )));
    }
    Ok(text.into_bytes())
}

/// What each node says of its config, once it has had the time to say it.
async fn applied(connection: &Connection, list: CommandList) -> Result<ConfigPush, Failure> {
    let by = Instant::now() + REPORTED_WITHIN;
    let mut reports: BTreeMap<String, ConfigState> = BTreeMap::new();
    for command in &list.commands {
        reports.insert(
            command.command_id.clone(),
            report(connection, command, by).await?,
        );
    }
    let nodes = list.commands.into_iter().map(|command| {
        let config = reports.remove(&command.command_id).unwrap_or_default();
        AppliedConfig {
            node_id: command.node_id.clone(),
            applied: command.succeeded() && is_in_force(&config, &command),
            config,
            command,
        }
    });
    Ok(ConfigPush {
        group_id: list.group_id,
        nodes: nodes.collect(),
    })
}

async fn report(
    connection: &Connection,
    command: &Command,
    by: Instant,
) -> Result<ConfigState, Failure> {
    loop {
        let target = Target::Node(command.node_id.clone());
        let request = ShowConfigRequest {
            selector: Some(target.to_proto()),
        };
        let shown = connection
            .call(
                "show the config",
                request,
                |mut client, request| async move { client.show_config(request).await },
            )
            .await?;
        let config = ConfigState::new(shown.status, shown.merged_version);
        let settled = !command.succeeded() || is_in_force(&config, command);
        if settled || Instant::now() >= by {
            return Ok(config);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Whether the version that the command brought, or a later one, is the one
/// the node has.
fn is_in_force(config: &ConfigState, command: &Command) -> bool {
    let brought = command
        .payload
        .as_ref()
        .and_then(|it| it.get("configVersion")?.as_str());
    let active = config.active_version.as_deref();
    active.is_some() && (active == brought || active == config.wanted_version.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(active: &str, wanted: &str) -> ConfigState {
        ConfigState {
            active_version: Some(active.into()),
            wanted_version: Some(wanted.into()),
            ..Default::default()
        }
    }

    #[test]
    fn a_config_is_in_force_when_the_node_says_so() {
        let mut command = Command::from(aegis_proto::operator::v1::CommandView::default());
        command.payload = Some(json!({"configVersion": "v2"}));
        assert!(is_in_force(&config("v2", "v2"), &command));
        assert!(is_in_force(&config("v3", "v3"), &command));
        assert!(!is_in_force(&config("v1", "v2"), &command));
        assert!(!is_in_force(&ConfigState::default(), &command));
    }

    #[test]
    fn a_batch_is_a_number_or_a_share_of_the_nodes() {
        assert_eq!("5".parse(), Ok(Batch::Nodes(5)));
        assert_eq!("10%".parse(), Ok(Batch::Percent(10)));
        for bad in ["0", "0%", "101%", "-1", "", "%", "many"] {
            assert!(bad.parse::<Batch>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_json_object_is_a_layer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        for (text, good) in [
            ("{}", true),
            (r#"{"worker": {}}"#, true),
            ("[]", false),
            ("", false),
            ("a = 1", false),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(read(&path).is_ok(), good, "{text}");
        }
        assert!(read("/no/such/file").is_err());
    }
}
