//! Bundles the plugin API's sources: `aegis-worker plugins new` writes them
//! beside a new plugin, which then builds wherever Rust does and speaks the ABI
//! of exactly this worker.

#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let worker = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = worker.parent().ok_or("the worker lies in the workspace")?;
    let api = root.join("plugin-api");
    let mut files = vec![
        ("LICENSE-APACHE".to_owned(), root.join("LICENSE-APACHE")),
        ("LICENSE-MIT".to_owned(), root.join("LICENSE-MIT")),
        ("build.rs".to_owned(), api.join("build.rs")),
    ];
    for folder in ["include", "src"] {
        collect(&api, Path::new(folder), &mut files)?;
    }
    files.sort();
    for (_, path) in &files {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    for manifest in [root.join("Cargo.toml"), api.join("Cargo.toml")] {
        println!("cargo:rerun-if-changed={}", manifest.display());
    }
    // A file that is added there has no name yet.
    println!("cargo:rerun-if-changed={}", api.join("src").display());

    let manifest = standalone(
        &table(&api.join("Cargo.toml"))?,
        &table(&root.join("Cargo.toml"))?,
    )?;
    let mut bundle = format!("&[\n(\"Cargo.toml\", {manifest:?}),\n");
    for (name, path) in &files {
        writeln!(bundle, "({name:?}, include_str!({path:?})),")?;
    }
    bundle.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("sdk.rs"), bundle)?;
    Ok(())
}

fn collect(base: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(base.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(base, &name, files)?;
        } else {
            let name = name.to_str().ok_or("sources have names in UTF-8")?;
            files.push((name.to_owned(), entry.path()));
        }
    }
    Ok(())
}

fn table(path: &Path) -> Result<Table> {
    Ok(fs::read_to_string(path)?.parse()?)
}

/// The manifest, without what only this workspace knows or needs.
fn standalone(package: &Table, workspace: &Table) -> Result<String> {
    let workspace = sub(workspace, "workspace")?;
    let mut package = package.clone();
    for part in ["dev-dependencies", "bench", "lib", "lints"] {
        package.remove(part);
    }
    inherit(
        sub_mut(&mut package, "package")?,
        sub(workspace, "package")?,
    )?;
    let shared = sub(workspace, "dependencies")?;
    inherit(sub_mut(&mut package, "dependencies")?, shared)?;
    if let Some(Value::Table(targets)) = package.get_mut("target") {
        for (_, target) in targets {
            let target = target.as_table_mut().ok_or("a target is a table")?;
            inherit(sub_mut(target, "dependencies")?, shared)?;
        }
    }
    Ok(toml::to_string(&package)?)
}

/// Puts the workspace's value in the place of every `workspace = true`.
fn inherit(own: &mut Table, shared: &Table) -> Result<()> {
    for (key, value) in own {
        if value.get("workspace").is_some() {
            let inherited = shared
                .get(key)
                .ok_or_else(|| format!("the workspace has no {key}"))?;
            value.clone_from(inherited);
        }
    }
    Ok(())
}

fn sub<'a>(table: &'a Table, key: &str) -> Result<&'a Table> {
    let found = table.get(key).and_then(Value::as_table);
    Ok(found.ok_or_else(|| format!("no table {key}"))?)
}

fn sub_mut<'a>(table: &'a mut Table, key: &str) -> Result<&'a mut Table> {
    let found = table.get_mut(key).and_then(Value::as_table_mut);
    Ok(found.ok_or_else(|| format!("no table {key}"))?)
}
