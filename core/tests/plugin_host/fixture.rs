//! Builds the C plugin in its variants.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// In the order of the indices in `plugin.c`.
pub const HANDLERS: [&str; 20] = [
    "echo",
    "fail",
    "later",
    "double",
    "early",
    "contrary",
    "garbage",
    "refuse",
    "panic",
    "hold",
    "release",
    "forge",
    "nonsense",
    "report",
    "wild",
    "node-control",
    "config",
    "node",
    "buffers",
    "block",
];

/// A plugin to be built.
#[derive(Clone)]
pub struct Fixture {
    pub manifest: Value,
    defines: Vec<String>,
    /// Written instead of the manifest.
    raw_manifest: Option<String>,
}

impl Fixture {
    /// A sound plugin. Its commands are called `ID.HANDLER`.
    pub fn new(id: &str) -> Self {
        let handlers: Vec<Value> = HANDLERS
            .iter()
            .map(|name| {
                json!({
                    "name": format!("{id}.{name}"), "effect": "read",
                    "timeout_ms": 60_000, "concurrency": 4,
                })
            })
            .collect();
        let manifest = json!({
            "manifest": 1, "id": id, "version": "1.2.3",
            "symbol": format!("aegis_plugin_v1_{}", id.replace(['-', '.'], "_")),
            "abi": { "major": 1, "minor": 0, "min_host_minor": 0 },
            "sdk": "none", "toolchain": "cc",
            "target": format!("{}-linux-gnu", std::env::consts::ARCH),
            "panic": "unwind", "requires": [], "handlers": handlers,
        });
        Self {
            manifest,
            defines: Vec::new(),
            raw_manifest: None,
        }
    }

    /// Compiles with `-DWHAT`.
    pub fn define(mut self, what: &str) -> Self {
        self.defines.push(format!("-D{what}"));
        self
    }

    /// Changes the manifest at a JSON pointer.
    pub fn declare(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self
            .manifest
            .pointer_mut(parent)
            .expect("a place in the manifest");
        match parent {
            Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
            parent => parent[key] = value,
        }
        self
    }

    /// Writes this into the section, whatever it is.
    pub fn raw_manifest(mut self, text: &str) -> Self {
        self.raw_manifest = Some(text.to_owned());
        self
    }

    /// Builds `directory/name`.
    pub fn build(&self, directory: &Path, name: &str) -> PathBuf {
        self.compile(directory, name, &["-shared", "-fPIC"])
    }

    pub fn compile(&self, directory: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let scratch = tempfile::tempdir().expect("a directory");
        let manifest = self
            .raw_manifest
            .clone()
            .unwrap_or_else(|| self.manifest.to_string());
        let header = format!(
            "#define MANIFEST {}\n#define ID {}\n#define SYMBOL {}\n",
            c_literal(&manifest),
            c_literal(self.manifest["id"].as_str().expect("an id")),
            self.manifest["symbol"].as_str().expect("a symbol"),
        );
        fs::write(scratch.path().join("manifest.h"), header).expect("the header");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugin.c");
        let library = directory.join(name);
        let output = Command::new("cc")
            .args([
                "-O1",
                "-std=gnu11",
                "-Wall",
                "-pthread",
                "-Wno-unused-function",
            ])
            .args(arguments)
            .arg("-I")
            .arg(scratch.path())
            .args(&self.defines)
            .arg("-o")
            .arg(&library)
            .arg(source)
            .output()
            .expect("a C compiler");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        chmod(&library, 0o644);
        library
    }
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn c_literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                literal.push('\\');
                literal.push(char::from(byte));
            }
            b' '..=b'~' => literal.push(char::from(byte)),
            other => literal.push_str(&format!("\\{other:03o}")),
        }
    }
    literal.push('"');
    literal
}
