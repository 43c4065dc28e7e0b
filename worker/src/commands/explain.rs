//! `aegis-worker explain`

use std::fmt::{self, Write as _};

use aegis_core::{
    explain::{Explanation, Question, explain as ask, properties},
    pushed_config,
};
use anyhow::bail;
use serde_json::Value;

use super::{
    plugins::scan,
    printing::{print_json, put, table},
};
use crate::{cli::Settings, exit::Usage};

pub fn explain(
    settings: &Settings,
    command: &str,
    issuer: Option<&str>,
    json: bool,
) -> anyhow::Result<()> {
    if !is_name(command) {
        return Err(Usage(format!(
            "{command:?} is no command name: 1 to 64 of a-z 0-9 - . _, beginning with a letter"
        ))
        .into());
    }
    let (config, places) = settings.load_with_places()?;
    let pushed = pushed_config::peek(&config.node.state_dir).unwrap_or_else(|error| {
        // The node's own config says most of it.
        eprintln!("cannot tell what the pushed config says: {error}");
        None
    });
    let explanation = ask(&Question {
        command,
        issuer,
        config: &config,
        places: &places,
        scan: &scan(&config),
        pushed: pushed
            .as_ref()
            .map(|(version, settings)| (version.as_str(), settings)),
    });
    if json {
        print_json(&explanation)?;
    } else {
        put(&render(&explanation)?)?;
    }
    if !explanation.runs {
        bail!("the command {command} would not run on this node");
    }
    Ok(())
}

fn render(explanation: &Explanation) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let command = &explanation.command;
    match &explanation.reason {
        None => writeln!(out, "{command} would run")?,
        Some(reason) => writeln!(out, "{command} would not run: {reason}")?,
    }
    if let Some(nearest) = &explanation.nearest {
        writeln!(out, "did you mean {nearest}?")?;
    }
    let Some(handler) = &explanation.handler else {
        return Ok(out);
    };
    writeln!(out)?;
    if let Some(plugin) = &explanation.plugin {
        write!(out, "plugin    {} {}", plugin.name, plugin.version)?;
        match &plugin.file {
            Some(file) => writeln!(out, ", {}", file.display())?,
            None => writeln!(out, ", linked into the worker")?,
        }
    }
    if !handler.summary.is_empty() {
        writeln!(out, "summary   {}", handler.summary)?;
    }
    if let Some(effect) = &explanation.effect {
        writeln!(out, "effect    {effect}")?;
    }
    if handler.runs_while_draining {
        writeln!(out, "draining  it runs while the node drains")?;
    }
    schema(&mut out, "request", handler.request_schema.as_ref())?;
    schema(&mut out, "response", handler.response_schema.as_ref())?;
    let mut rules = table(["RULE", "VALUE", "DECIDED BY"]);
    for rule in &explanation.rules {
        rules.add_row([&rule.what, &rule.value, &rule.decided_by]);
    }
    writeln!(out, "\n{}", rules.trim_fmt())?;
    for other in &explanation.others {
        writeln!(
            out,
            "\nthat of {} is not it: {}",
            other.plugin, other.reason
        )?;
    }
    Ok(out)
}

fn schema(out: &mut String, what: &str, schema: Option<&Value>) -> fmt::Result {
    let lines = schema.map(properties).unwrap_or_default();
    for (index, line) in lines.iter().enumerate() {
        let what = if index == 0 { what } else { "" };
        writeln!(out, "{what:<8}  {line}")?;
    }
    Ok(())
}

/// As the config and the manifest have it.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aegis_core::{
        catalog::Scan,
        config::Loader,
        plugin::{HandlerInfo, Placement, PluginInfo, PluginState},
        pushed_config::{HandlerSettings, WorkerSettings},
    };
    use serde_json::json;

    use super::*;

    const CONFIG: &str = r#"[plugins]
default_placement = "process"
dirs = ["/usr/lib/aegis"]

[plugins.hello]
user = "aegis-hello"
limits = { memory = "512MiB", cpu_time = "1m" }
paths.read = ["/srv/data"]

[handlers.hello]
timeout = "30s"
issuers = ["ops", "carol"]

[handlers.other]
enabled = false
"#;

    fn handler(name: &str, plugin: &str) -> HandlerInfo {
        HandlerInfo {
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            summary: "Greets whom it is told to.".to_owned(),
            effect: serde_json::from_value(json!("idempotent")).expect("an effect"),
            timeout: Duration::from_secs(30),
            concurrency: 4,
            inline: false,
            runs_while_draining: false,
            request_schema: Some(json!({
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string" },
                    "times": { "type": ["integer", "null"] },
                },
            })),
            response_schema: Some(json!({ "properties": { "text": { "$ref": "#/x" } } })),
            disabled: None,
        }
    }

    fn plugin(name: &str) -> PluginInfo {
        PluginInfo {
            name: name.to_owned(),
            version: "1.2.0".to_owned(),
            placement: Placement::Process,
            placed_by: "[plugins] default_placement".to_owned(),
            sha256: Some([7; 32]),
            file: Some(format!("/usr/lib/aegis/{name}.so").into()),
            state: PluginState::Active,
            trust: "owner".to_owned(),
            trust_reason: "nobody but root and the worker's user can write it".to_owned(),
        }
    }

    fn answer(command: &str, issuer: Option<&str>, pushed: Option<&WorkerSettings>) -> Explanation {
        let (config, places) = Loader::new()
            .text(CONFIG)
            .flag("--enable", "handlers.enable", ["hello"])
            .load_with_places()
            .expect("a good config");
        let disabled = |reason: &str, info| HandlerInfo {
            disabled: Some(reason.to_owned()),
            ..info
        };
        let scan = Scan {
            plugins: vec![plugin("hello"), plugin("greetings")],
            handlers: vec![
                disabled(
                    "[handlers.hello] plugin names another",
                    handler("hello", "greetings"),
                ),
                handler("hello", "hello"),
                disabled(
                    "[handlers.other] enabled = false",
                    handler("other", "greetings"),
                ),
            ],
        };
        ask(&Question {
            command,
            issuer,
            config: &config,
            places: &places,
            scan: &scan,
            pushed: pushed.map(|pushed| ("v7", pushed)),
        })
    }

    #[test]
    fn each_rule_is_told_with_the_line_that_decides_it() {
        let explanation = answer("hello", Some("carol"), None);
        assert!(explanation.runs);
        insta::assert_snapshot!("runs", render(&explanation).expect("text"));
    }

    #[test]
    fn what_does_not_run_is_told_with_what_turns_it_off() {
        let pushed = WorkerSettings {
            handlers: [(
                "hello".to_owned(),
                HandlerSettings {
                    timeout: Some(Duration::from_secs(5)),
                    concurrency: Some(9),
                    issuers: Some(vec!["ops".to_owned()]),
                    ..HandlerSettings::default()
                },
            )]
            .into(),
            ..WorkerSettings::default()
        };
        let all = [
            answer("hello", Some("mallory"), None),
            answer("hello", Some("carol"), Some(&pushed)),
            answer("other", None, None),
            answer("helo", None, None),
            answer("reboot", None, None),
        ];
        assert!(all.iter().all(|explanation| !explanation.runs));
        let texts: Vec<String> = all
            .iter()
            .map(|explanation| render(explanation).expect("text"))
            .collect();
        insta::assert_snapshot!("does_not_run", texts.join("\n----\n\n"));
    }

    #[test]
    fn a_program_reads_the_same() {
        let document = serde_json::to_value(answer("hello", None, None)).expect("JSON");
        assert_eq!(document["runs"], true);
        assert_eq!(document["plugin"]["placement"], "process");
        assert_eq!(document["rules"][2]["what"], "placement");
        assert_eq!(
            document["rules"][2]["decided_by"],
            "[plugins] default_placement, line 2"
        );
        let unknown = serde_json::to_value(answer("helo", None, None)).expect("JSON");
        assert_eq!(
            (&unknown["runs"], &unknown["nearest"]),
            (&json!(false), &json!("hello"))
        );
    }
}
