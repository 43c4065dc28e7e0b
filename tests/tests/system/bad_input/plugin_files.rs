use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
};

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, Controller, PluginDir, Worker};

/// A file, and what the listing says of it.
const BAD: [(&str, &str); 11] = [
    ("libempty.so", "it is empty"),
    ("libtruncated.so", "cut or damaged"),
    ("libtext.so", "it is a script"),
    ("libelsewhere.so", "it is for the architecture"),
    ("libstranger.so", "it has no section .aegis.plugin"),
    (
        "libfuture.so",
        "it was built for ABI 9, and this worker has ABI 1",
    ),
    ("libopen.so", "it is writable by everyone"),
    ("libgroup.so", "it is writable by its group"),
    ("libdangling.so", "it is a symbolic link to nothing"),
    ("liboutside.so", "leads out of its directory"),
    ("libabort.so", "panic = \"abort\""),
];

fn spoil(folder: &PluginDir, elsewhere: &PluginDir) {
    let good = fs::read(folder.path().join("libhello_plugin.so")).expect("the plugin");
    folder.write("libempty.so", b"");
    folder.write("libtruncated.so", &good[..good.len() / 2]);
    folder.write("libtext.so", b"#!/bin/sh\necho hello\n");
    let mut foreign = good.clone();
    // e_machine of an ELF header: AArch64, or x86-64 on a machine that is one.
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        62
    } else {
        183
    };
    foreign[18..20].copy_from_slice(&machine.to_le_bytes());
    folder.write("libelsewhere.so", &foreign);
    folder.compile("libstranger.so", "int answer(void) { return 42; }\n");
    folder.patch(
        "libfuture.so",
        "hello_plugin",
        r#""major":1"#,
        r#""major":9"#,
    );
    let open = folder.write("libopen.so", &good);
    fs::set_permissions(open, Permissions::from_mode(0o757)).expect("it is ours");
    let group = folder.write("libgroup.so", &good);
    fs::set_permissions(group, Permissions::from_mode(0o775)).expect("it is ours");
    symlink("nowhere.so", folder.path().join("libdangling.so")).expect("a link");
    let outside = elsewhere.add("hello_plugin");
    symlink(outside, folder.path().join("liboutside.so")).expect("a link");
    folder.patch(
        "libabort.so",
        "hello_plugin",
        r#""panic":"unwind""#,
        r#""panic":"abort" "#,
    );
}

/// Each bad file is listed with its reason, and the worker runs on without it.
#[tokio::test(flavor = "multi_thread")]
async fn bad_plugin_files_are_listed_with_their_reasons_and_stop_nothing() {
    let elsewhere = PluginDir::empty();
    let folder = PluginDir::with(&["hello_plugin"]);
    spoil(&folder, &elsewhere);
    let controller = Controller::start().await;
    let operator = controller.operator();
    let worker = Worker::new(&controller.endpoint())
        .token(&controller.enrolment_token().await)
        .plugins(&folder);

    // Without a running worker, from the files alone.
    let listing = worker.run(&["plugins", "list"]).await;
    assert_eq!(listing.code, 0, "{listing:#?}");
    for (file, _) in BAD {
        assert!(
            listing.stdout.contains(file),
            "{file} is not listed: {listing:#?}"
        );
    }

    let mut program = worker.start();
    operator.until_session(worker.node_id()).await;
    let shown = operator.show(worker.node_id()).await;
    for (file, reason) in BAD {
        let plugin = shown.plugins.iter().find(|it| it.file.ends_with(file));
        let plugin = plugin.unwrap_or_else(|| panic!("{file} is not in {shown:#?}"));
        assert_eq!(plugin.state, "refused", "{plugin:#?}");
        assert!(
            plugin.reason.contains(reason),
            "{file}: {:?}",
            plugin.reason
        );
    }
    let outcome = operator
        .run(worker.node_id(), "hello", r#"{"name": "Ada"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert!(program.runs());
}

/// Two plugins with one command: an error, until the config names the winner.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_two_plugins_claim_needs_a_winner() {
    let cluster = Cluster::start().await;
    cluster.plugins.patch(
        "libjello.so",
        "hello_plugin",
        r#""id":"hello-plugin""#,
        r#""id":"jello-plugin""#,
    );
    let listing = cluster.worker.run(&["plugins", "list"]).await;
    assert_eq!(listing.code, 0, "{listing:#?}");
    assert!(listing.stdout.contains("jello-plugin"), "{listing:#?}");

    let other = Worker::new(&cluster.controller.endpoint())
        .token(&cluster.controller.enrolment_token().await)
        .plugins(&cluster.plugins);
    let _program = other.start();
    cluster.operator.until_session(other.node_id()).await;
    let shown = cluster.operator.show(other.node_id()).await;
    for name in ["hello-plugin", "jello-plugin"] {
        let plugin = shown
            .plugins
            .iter()
            .find(|it| it.name == name)
            .expect("it is listed");
        assert_ne!(plugin.state, "active", "{plugin:#?}");
        for word in [
            "\"hello\"",
            "hello-plugin",
            "jello-plugin",
            "[handlers.hello]",
        ] {
            assert!(plugin.reason.contains(word), "{plugin:#?}");
        }
    }
    let outcome = cluster
        .operator
        .run(other.node_id(), "unruly.flood", r#"{"kib": 1}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");

    let decided = Worker::new(&cluster.controller.endpoint())
        .token(&cluster.controller.enrolment_token().await)
        .plugins(&cluster.plugins)
        .config("[handlers.hello]\nplugin = \"hello-plugin\"\n");
    let _program = decided.start();
    cluster.operator.until_session(decided.node_id()).await;
    let outcome = cluster
        .operator
        .run(decided.node_id(), "hello", r#"{"name": "Ada"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// A plugin that the operator cannot do without.
#[tokio::test(flavor = "multi_thread")]
async fn a_required_plugin_that_is_refused_is_fatal() {
    let folder = PluginDir::empty();
    let path = folder.add("hello_plugin");
    fs::set_permissions(path, Permissions::from_mode(0o777)).expect("it is ours");
    let worker = Worker::new("http://127.0.0.1:1")
        .plugins(&folder)
        .config("[plugins.hello-plugin]\nrequired = true\n");
    let answer = worker.run(&[]).await;
    assert!(answer.code == 1 || answer.code == 2, "{answer:#?}");
    assert!(answer.stderr.contains("hello-plugin"), "{answer:#?}");
}

/// `trust = "pinned"` lets in what the config lists by digest, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn under_the_pinned_policy_only_listed_digests_are_loaded() {
    let cluster =
        Cluster::start_with(|worker| worker.config("[plugins]\ntrust = \"pinned\"\n")).await;
    let shown = cluster.operator.show(cluster.node()).await;
    let hello = shown
        .plugins
        .iter()
        .find(|it| it.name == "hello-plugin")
        .expect("it is listed");
    assert_eq!(hello.state, "refused", "{hello:#?}");
    assert!(hello.reason.contains("sha256"), "{hello:#?}");

    let digest: String = hello
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest.len(), 64, "the digest to list is told");
    let other = Worker::new(&cluster.controller.endpoint())
        .token(&cluster.controller.enrolment_token().await)
        .plugins(&cluster.plugins)
        .config(&format!(
            "[plugins]\ntrust = \"pinned\"\n\n[plugins.hello-plugin]\nsha256 = \"{digest}\"\n"
        ));
    let _program = other.start();
    cluster.operator.until_session(other.node_id()).await;
    let outcome = cluster
        .operator
        .run(other.node_id(), "hello", r#"{"name": "Ada"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// `inspect` shows a manifest and runs nothing of the file.
#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_a_manifest_without_running_the_file() {
    let folder = PluginDir::empty();
    let good = folder.add("hello_plugin");
    let answer = Worker::plain(
        &["plugins", "inspect", &good.display().to_string()],
        folder.path(),
    )
    .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(
        answer.stdout.contains("hello-plugin") && answer.stdout.contains("hello"),
        "{answer:#?}"
    );

    // A constructor runs as soon as a library is loaded; this one would tell.
    let trap = folder.compile(
        "libtrap.so",
        r#"#include <stdio.h>
           __attribute__((constructor)) static void run(void) { puts("code of the file ran"); fflush(stdout); }
        "#,
    );
    let answer = Worker::plain(
        &["plugins", "inspect", &trap.display().to_string()],
        folder.path(),
    )
    .await;
    assert_ne!(answer.code, 0, "it has no manifest: {answer:#?}");
    assert!(answer.stderr.contains("manifest"), "{answer:#?}");
    assert!(!answer.stdout.contains("ran"), "{answer:#?}");
}
