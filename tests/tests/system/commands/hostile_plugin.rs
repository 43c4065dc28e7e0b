use aegis_proto::{error_code, worker::v1::CommandState};
use aegis_tests::{Cluster, PluginDir};

const HOSTILE: &str = include_str!("../../../plugins/hostile.c");

/// It completes twice, late and in others' names, answers with no JSON and
/// codes that mean nothing, and falls silent. Every command has one outcome,
/// and nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_breaks_the_abis_rules_hurts_only_its_own_commands() {
    let folder = PluginDir::with(&["hello_plugin"]);
    folder.compile("libhostile.so", HOSTILE);
    let mut cluster = Cluster::start_in(folder, |worker| worker).await;
    use CommandState::{Failed, Succeeded, Unknown};
    for (name, state, response) in [
        ("double", Succeeded, "\"first\""),
        ("late", Succeeded, "\"done\""),
        ("forged", Succeeded, "\"own\""),
        ("no-json", Failed, ""),
        ("no-status", Failed, ""),
        ("no-start", Failed, ""),
        ("silent", Unknown, ""),
        ("no-error", Failed, ""),
        ("noise", Succeeded, "\"done\""),
        ("empty", Failed, ""),
    ] {
        let outcome = cluster.run(&format!("hostile.{name}"), "{}").await;
        assert_eq!(outcome.state(), state, "{name}: {outcome:#?}");
        assert_eq!(
            String::from_utf8_lossy(&outcome.response),
            response,
            "{name}"
        );
        if state == Failed && name != "no-error" {
            let error = outcome.error.expect("an error");
            assert_eq!(error.code, error_code::PLUGIN_FAULT, "{name}: {error:?}");
        }
        let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
        assert_eq!(outcome.state(), Succeeded, "after {name}: {outcome:#?}");
    }
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
}
