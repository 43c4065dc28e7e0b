//! `aegis-worker plugins new NAME`: a plugin that builds, tests and loads as it
//! stands.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::printing::put;
use crate::exit::Usage;

/// The plugin API as this worker was built with it: names and contents.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where it goes in a new crate.
const SDK_FOLDER: &str = "aegis-plugin-api";

/// What a new crate has besides.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("new/template/Cargo.toml.in")),
    ("README.md", include_str!("new/template/README.md.in")),
    (".gitignore", include_str!("new/template/gitignore.in")),
    ("src/lib.rs", include_str!("new/template/lib.rs.in")),
    (
        "tests/handler.rs",
        include_str!("new/template/handler.rs.in"),
    ),
];

/// Names that Cargo, the compiler or a worker has for something else.
const TAKEN: &[&str] = &[
    "aegis-plugin-api",
    "alloc",
    "core",
    "drain",
    "exec",
    "proc-macro",
    "push-config",
    "shutdown",
    "std",
    "test",
];

/// No crate can be called like a keyword.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Of a plugin's and a command's name.
const MAX_NAME_BYTES: usize = 64;

pub fn plugins_new(name: &str, path: Option<&Path>, sdk: Option<&Path>) -> anyhow::Result<()> {
    if let Err(reason) = check_name(name) {
        bail!(Usage(format!(
            "{name:?} cannot be the name of a plugin: {reason}"
        )));
    }
    let folder = path.map_or_else(|| PathBuf::from(name), Path::to_owned);
    let sdk_path = match sdk {
        None => SDK_FOLDER.to_owned(),
        Some(sdk) => existing_sdk(sdk)?,
    };
    claim(&folder)?;
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{type}}", &type_name(name))
            .replace("{{sdk}}", &toml_string(&sdk_path))
    };
    for (file, text) in TEMPLATE {
        write(&folder.join(file), &fill(text))?;
    }
    if sdk.is_none() {
        for (file, text) in SDK {
            write(&folder.join(SDK_FOLDER).join(file), text)?;
        }
    }
    put(&format!(
        "wrote the plugin {name} to {folder}\n\n  \
         cd {folder}\n  \
         cargo test                      # its handler, in every way a worker runs it\n  \
         cargo build --release\n  \
         aegis-worker plugins inspect target/release/lib{file}{suffix}\n\n\
         README.md there says how it gets onto a node.\n",
        folder = folder.display(),
        file = name.replace('-', "_"),
        suffix = std::env::consts::DLL_SUFFIX,
    ))
}

/// A crate's name that is a plugin's and a command's name too.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("it has 1 to {MAX_NAME_BYTES} characters"));
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(legal) {
        return Err("it begins with a letter and has only a-z, 0-9 and -".to_owned());
    }
    if name.ends_with('-') || name.contains("--") {
        return Err("a - stands between two words".to_owned());
    }
    if TAKEN.contains(&name) {
        return Err("the name is taken".to_owned());
    }
    if KEYWORDS.contains(&name) {
        return Err("it is a keyword of Rust".to_owned());
    }
    Ok(())
}

/// `disk-usage` is `DiskUsage`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    name.split('-').map(capital).collect()
}

/// A text between quotes in TOML.
fn toml_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted
}

/// The absolute path of a checkout's plugin API.
fn existing_sdk(sdk: &Path) -> anyhow::Result<String> {
    let named = |path: &Path| {
        let manifest = fs::read_to_string(path.join("Cargo.toml")).ok()?;
        manifest.contains("\"aegis-plugin-api\"").then_some(())
    };
    if named(sdk).is_none() {
        bail!(Usage(format!(
            "--sdk {}: there is no crate aegis-plugin-api; give the folder plugin-api of a \
             checkout, or leave it out to have the sources written beside the plugin",
            sdk.display()
        )));
    }
    let path = fs::canonicalize(sdk).with_context(|| format!("cannot find {}", sdk.display()))?;
    let text = path.to_str().context("the path of --sdk is not UTF-8")?;
    Ok(text.to_owned())
}

/// Makes the folder, or takes one that is empty. Nothing is ever overwritten.
fn claim(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!(Usage(format!(
                    "{} is not empty; name another folder with --path",
                    folder.display()
                )));
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot use {}", folder.display())),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_crate_a_plugin_and_a_command() {
        for good in ["hello", "disk-usage", "a1", "x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "", "Hello", "1a", "a_b", "a.b", "-a", "a-", "a--b", "match", "drain", "core", "../x",
            "ä", &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_type_is_called_as_rust_calls_types() {
        assert_eq!(type_name("disk-usage"), "DiskUsage");
        assert_eq!(type_name("x"), "X");
    }

    #[test]
    fn the_bundle_is_the_plugin_api_by_itself() {
        let manifest = SDK.iter().find(|(name, _)| *name == "Cargo.toml");
        let (_, manifest) = manifest.expect("it has a manifest");
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(
            manifest.contains("name = \"aegis-plugin-api\""),
            "{manifest}"
        );
        for needed in [
            "build.rs",
            "src/lib.rs",
            "src/ffi.rs",
            "include/aegis_plugin.h",
        ] {
            assert!(SDK.iter().any(|(name, _)| *name == needed), "{needed}");
        }
    }

    #[test]
    fn a_path_stays_one_between_quotes() {
        assert_eq!(toml_string(r#"/a "b"\c"#), r#"/a \"b\"\\c"#);
    }
}
