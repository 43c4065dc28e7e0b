use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Answer, Cluster, PluginDir, Worker, programs};
use tempfile::TempDir;

/// A file, and what the listing says of it.
const BAD: [(&str, &str); 7] = [
    ("libunsigned.so", "there is no signature file beside it"),
    ("libstranger.so", "which is not in plugins.keys"),
    ("libbytes.so", "is for a file whose SHA-256 is"),
    ("libversion.so", "is for version \"0.1.0\""),
    ("libcut.so", "ends within line 6"),
    ("liblinked.so", "a symbolic link that leads out"),
    (
        "libwritable.so",
        "signature file: it is writable by everyone",
    ),
];

async fn worker(folder: &Path, arguments: &[&str]) -> Answer {
    let answer = Worker::plain(arguments, folder).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    answer
}

/// Makes a key in `folder`, and answers what belongs into the config.
async fn keygen(folder: &Path, name: &str) -> String {
    let answer = worker(folder, &["plugins", "keygen", "--out", name]).await;
    let config = answer.stdout.split_once("[plugins]").expect("a config").1;
    format!("[plugins]{config}")
}

async fn sign(keys: &Path, key: &str, library: &Path) {
    let library = library.display().to_string();
    worker(keys, &["plugins", "sign", "--key", key, &library]).await;
}

fn signature_of(library: &Path) -> std::path::PathBuf {
    library.with_extension("so.sig")
}

async fn spoil(plugins: &PluginDir, keys: &Path) {
    let good = fs::read(plugins.path().join("libhello_plugin.so")).expect("the plugin");
    let signature = signature_of(&plugins.path().join("libhello_plugin.so"));
    let signature = fs::read(signature).expect("signed");
    plugins.write("libunsigned.so", &good);
    let stranger = plugins.write("libstranger.so", &good);
    sign(keys, "stranger.key", &stranger).await;
    plugins.write("libbytes.so", &[good.as_slice(), &[0]].concat());
    plugins.write("libbytes.so.sig", &signature);
    plugins.patch(
        "libversion.so",
        "hello_plugin",
        r#""version":"0.1.0""#,
        r#""version":"0.1.1""#,
    );
    plugins.write("libversion.so.sig", &signature);
    plugins.write("libcut.so", &good);
    plugins.write("libcut.so.sig", &signature[..signature.len() - 20]);
    plugins.write("liblinked.so", &good);
    fs::write(keys.join("elsewhere.sig"), &signature).expect("ours");
    let link = plugins.path().join("liblinked.so.sig");
    symlink(keys.join("elsewhere.sig"), link).expect("a link");
    plugins.write("libwritable.so", &good);
    let open = plugins.write("libwritable.so.sig", &signature);
    fs::set_permissions(open, Permissions::from_mode(0o646)).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_signed_policy_what_a_listed_key_signed_runs_and_nothing_else() {
    let keys = TempDir::new().expect("a temporary directory");
    let config = keygen(keys.path(), "release.key").await;
    keygen(keys.path(), "stranger.key").await;
    let plugins = PluginDir::with(&["hello_plugin"]);
    let library = plugins.path().join("libhello_plugin.so");
    sign(keys.path(), "release.key", &library).await;
    spoil(&plugins, keys.path()).await;

    let cluster = Cluster::start_in(plugins, |worker| worker.config(&config)).await;
    let shown = cluster.operator.show(cluster.node()).await;
    let find = |file: &str| {
        let plugin = shown.plugins.iter().find(|it| it.file.ends_with(file));
        plugin.unwrap_or_else(|| panic!("{file} is not in {shown:#?}"))
    };
    for (file, reason) in BAD {
        let plugin = find(file);
        assert_eq!(plugin.state, "refused", "{plugin:#?}");
        assert!(plugin.reason.contains(reason), "{plugin:#?}");
        let path = cluster.plugins.path().join(file).display().to_string();
        let inspected = cluster.worker.run(&["plugins", "inspect", &path]).await;
        assert_eq!(inspected.code, 1, "{inspected:#?}");
        assert!(inspected.stderr.contains(reason), "{inspected:#?}");
    }
    let hello = find("libhello_plugin.so");
    assert_eq!(hello.trust, "signed", "{hello:#?}");
    assert!(hello.trust_reason.contains("plugins.keys"), "{hello:#?}");
    let listing = cluster.worker.run(&["plugins", "list"]).await;
    let reason = format!("is let in, signed: {}", hello.trust_reason);
    assert!(listing.stdout.contains(&reason), "{listing:#?}");
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// The n-th block of commands of the page.
fn script(number: usize) -> &'static str {
    const PAGE: &str = include_str!("../../../../plugin-api/SIGNING.md");
    let block = PAGE.split("```sh\n").nth(number).expect("a block");
    block.split("```").next().expect("its end")
}

fn run(folder: &Path, script: &str) -> (bool, String) {
    let programs = programs().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = std::process::Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", format!("{programs}:{path}"))
        .output()
        .expect("a shell");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_alone_verifies_and_makes_signatures_as_the_page_says() {
    let plugins = PluginDir::with(&["hello_plugin"]);
    let folder = plugins.path();
    for step in 1..=3 {
        let (done, said) = run(folder, script(step));
        assert!(done, "{said}\n{}", script(step));
    }
    let mut library = fs::read(folder.join("libhello_plugin.so")).expect("there");
    library.push(0);
    plugins.write("libhello_plugin.so", &library);
    assert!(!run(folder, script(3)).0, "other bytes do not verify");
    plugins.add("hello_plugin");

    // What openssl makes, a worker takes.
    let (done, said) = run(folder, script(4));
    assert!(done, "{said}");
    let key = folder.join("other.pub").display().to_string();
    let config = format!("[plugins]\ntrust = \"signed\"\nkeys = [{key:?}]\n");
    let worker = Worker::new("http://127.0.0.1:1")
        .plugins(&plugins)
        .config(&config);
    let library = folder.join("libhello_plugin.so").display().to_string();
    let inspected = worker.run(&["plugins", "inspect", &library]).await;
    assert_eq!(inspected.code, 0, "{inspected:#?}");
    assert!(
        inspected
            .stdout
            .contains("trust      signed: it is signed by"),
        "{inspected:#?}"
    );

    // And a key that openssl made signs with our program.
    let again = "aegis-worker plugins sign --key other.key libhello_plugin.so";
    let (done, said) = run(folder, again);
    assert!(done, "{said}");
    let inspected = worker.run(&["plugins", "inspect", &library]).await;
    assert_eq!(inspected.code, 0, "{inspected:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_in_the_config_of_a_node_is_a_fault_with_its_line() {
    let keys = TempDir::new().expect("a temporary directory");
    keygen(keys.path(), "release.key").await;
    let key = keys.path().join("release.key").display().to_string();
    let worker = Worker::new("http://127.0.0.1:1").config(&format!(
        "[plugins]\ntrust = \"signed\"\nkeys = [{key:?}]\n"
    ));
    let answer = worker.run(&["check-config"]).await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    for part in ["line ", "plugins.keys", "holds a private key", "-pubout"] {
        assert!(answer.stderr.contains(part), "{answer:#?}");
    }

    let again = Worker::plain(&["plugins", "keygen", "--out", "release.key"], keys.path()).await;
    assert_eq!(again.code, 1, "{again:#?}");
    assert!(again.stderr.contains("never overwritten"), "{again:#?}");
}
