//! Which crate may know which, and what every source file keeps to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const PLUGINS: [&str; 4] = [
    "aegis-plugin-drain",
    "aegis-plugin-exec",
    "aegis-plugin-push-config",
    "aegis-plugin-shutdown",
];
const LINES: usize = 500;

/// Normal and build dependencies within the workspace: `(crate, what it may know)`.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::from([
        ("aegis-proto", vec![]),
        ("aegis-plugin-api", vec![]),
        ("aegis-core", vec!["aegis-proto", "aegis-plugin-api"]),
        ("aegis-controller", vec!["aegis-proto"]),
        ("aegisctl", vec!["aegis-proto"]),
    ]);
    let mut worker = vec!["aegis-core", "aegis-proto", "aegis-plugin-api"];
    for plugin in PLUGINS {
        allowed.insert(plugin, vec!["aegis-plugin-api"]);
        worker.push(plugin);
    }
    allowed.insert("aegis-worker", worker);
    allowed
}

#[test]
fn dependencies_point_one_way() {
    let workspace = Workspace::read();
    let allowed = allowed();
    let mut wrong = Vec::new();
    for package in &workspace.packages {
        let may_know: &[&str] = match allowed.get(package.name.as_str()) {
            Some(names) => names,
            // Examples and tests may know all but one another; what matters is
            // that nothing knows them, which the other entries say.
            None if package.leaf => continue,
            None => {
                wrong.push(format!("{} has no entry in this test", package.name));
                continue;
            }
        };
        for name in package.knows(&workspace, &["normal", "build"]) {
            if !may_know.contains(&name.as_str()) {
                wrong.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_depends_on_tests_or_examples() {
    let workspace = Workspace::read();
    let leaves: BTreeSet<_> = workspace
        .packages
        .iter()
        .filter(|it| it.leaf)
        .map(|it| it.name.clone())
        .collect();
    for package in &workspace.packages {
        let kinds: &[&str] = if package.leaf {
            &["normal", "build"]
        } else {
            &["normal", "build", "dev"]
        };
        for name in package.knows(&workspace, kinds) {
            assert!(
                !leaves.contains(&name),
                "{} depends on {name}",
                package.name
            );
        }
    }
}

#[test]
fn the_test_library_speaks_only_the_wire() {
    let workspace = Workspace::read();
    let tests = workspace.package("aegis-tests");
    let known = tests.knows(&workspace, &["normal", "build"]);
    assert_eq!(known, BTreeSet::from(["aegis-proto".to_owned()]));
}

#[test]
fn there_is_one_crypto_provider_and_nothing_unwanted() {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--offline",
        "--target=all",
        "--prefix=none",
        "--format={p}",
    ]);
    let names: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains("aws-lc-rs"), "the tree is not read right");
    for unwanted in [
        "ring",
        "native-tls",
        "openssl",
        "rsa",
        "abi_stable",
        "backoff",
        "figment",
    ] {
        assert!(
            !names.contains(unwanted),
            "{unwanted} is built: see `cargo tree -i {unwanted}`"
        );
    }
}

#[test]
fn versions_are_chosen_in_one_place() {
    let workspace = Workspace::read();
    for package in &workspace.packages {
        let manifest = fs::read_to_string(package.root.join("Cargo.toml")).expect("a manifest");
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.contains("dependencies");
            } else if in_dependencies && line.contains('=') {
                assert!(
                    line.contains("workspace = true"),
                    "{}: {line}",
                    package.name
                );
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_two_crates() {
    let workspace = Workspace::read();
    let mut wrong = Vec::new();
    for package in &workspace.packages {
        if ["aegis-core", "aegis-plugin-api"].contains(&package.name.as_str()) {
            continue;
        }
        for target in &package.roots {
            let text = fs::read_to_string(target).expect("a crate root");
            if !text.contains("#![forbid(unsafe_code)]") {
                wrong.push(format!(
                    "{} lacks #![forbid(unsafe_code)]",
                    target.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_hold_one_noun_and_leave_nothing_for_later() {
    let workspace = Workspace::read();
    let mut wrong = Vec::new();
    for file in workspace.sources() {
        let name = file
            .strip_prefix(&workspace.root)
            .unwrap_or(&file)
            .display()
            .to_string();
        let text = fs::read_to_string(&file).expect("a source file");
        if name.ends_with("/mod.rs") && !name.contains("/tests/") {
            wrong.push(format!("{name}: foo.rs beside foo/, not foo/mod.rs"));
        }
        for vague in ["utils", "helpers", "common", "types", "manager"] {
            if file.file_stem().is_some_and(|stem| stem == vague) {
                wrong.push(format!("{name}: named after nothing"));
            }
        }
        let lines = code_lines(&text);
        if name.contains("/src/") && !name.ends_with("/tests.rs") && lines > LINES {
            wrong.push(format!("{name}: {lines} lines, more than {LINES}"));
        }
        // Put together here so that this file does not find itself.
        for word in [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
        ] {
            if text.contains(word) {
                wrong.push(format!("{name}: has {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

struct Workspace {
    root: PathBuf,
    packages: Vec<Package>,
}

struct Package {
    name: String,
    root: PathBuf,
    /// Lives under `tests/` or `examples/`: nothing may know it.
    leaf: bool,
    /// The root files of its libraries, programs and examples.
    roots: Vec<PathBuf>,
    /// `(kind, name)`.
    dependencies: Vec<(String, String)>,
}

impl Workspace {
    fn read() -> Self {
        let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
        let packages = metadata["packages"].as_array().expect("packages");
        let root = path(&metadata["workspace_root"]);
        Self {
            packages: packages.iter().map(|it| Package::read(it, &root)).collect(),
            root,
        }
    }

    fn package(&self, name: &str) -> &Package {
        self.packages
            .iter()
            .find(|it| it.name == name)
            .expect("a package of the workspace")
    }

    /// Every `.rs` file of every package but the generated ones.
    fn sources(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for package in &self.packages {
            for folder in ["src", "tests", "benches", "examples"] {
                rust_files(&package.root.join(folder), &mut files);
            }
        }
        assert!(files.len() > self.packages.len(), "no sources found");
        files
    }
}

impl Package {
    fn read(value: &Value, workspace: &Path) -> Self {
        let manifest = path(&value["manifest_path"]);
        let root = manifest.parent().expect("a folder").to_owned();
        let folder = root
            .strip_prefix(workspace)
            .expect("a folder of the workspace");
        let leaf = folder.starts_with("tests") || folder.starts_with("examples");
        let targets = value["targets"].as_array().expect("targets");
        let roots = targets
            .iter()
            .filter(|target| !matches!(target["kind"][0].as_str(), Some("test" | "bench")))
            .map(|target| path(&target["src_path"]))
            .collect();
        let dependencies = value["dependencies"].as_array().expect("dependencies");
        let dependencies = dependencies
            .iter()
            .map(|it| {
                (
                    it["kind"].as_str().unwrap_or("normal").to_owned(),
                    text(&it["name"]),
                )
            })
            .collect();
        Self {
            name: text(&value["name"]),
            root,
            leaf,
            roots,
            dependencies,
        }
    }

    /// The crates of the workspace that it depends on.
    fn knows(&self, workspace: &Workspace, kinds: &[&str]) -> BTreeSet<String> {
        let ours = |name: &String| workspace.packages.iter().any(|it| it.name == *name);
        self.dependencies
            .iter()
            .filter(|(kind, name)| kinds.contains(&kind.as_str()) && ours(name))
            .map(|(_, name)| name.clone())
            .collect()
    }
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Without the tests at a file's end.
fn code_lines(text: &str) -> usize {
    let end = text
        .find("\n#[cfg(test)]\nmod tests {")
        .unwrap_or(text.len());
    text[..end].lines().count()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "gen") {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(text(value))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
