//! From a program's table in the config to the program.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aegis_plugin_api::process::{Confinement, Resource, User};
use tokio::sync::Semaphore;

use super::Program;
use crate::{
    arguments::Arguments,
    config::{Field, LimitsTable, Place, ProgramTable},
    trust,
};

const DEFAULT_GRACE: Duration = Duration::from_secs(3);
/// A worker gives a cancelled command 5 s in all.
const MAX_GRACE: Duration = Duration::from_secs(4);
/// What a worker keeps of a command's output.
const DEFAULT_OUTPUT_LIMIT: u64 = 1 << 20;
const DEFAULT_UMASK: u32 = 0o022;

pub fn read(name: &str, table: ProgramTable, place: &Place<'_>) -> Option<Program> {
    place.refuse(&table.unknown, ProgramTable::KEYS);
    let run = what_runs(name, table.path, table.shell, table.script, place);
    let arguments = Arguments::read(
        &place.take("args", table.args).unwrap_or_default(),
        &place
            .take("parameters", table.parameters)
            .unwrap_or_default(),
        place,
    );
    let mut confinement = Confinement::new()
        .umask(
            place
                .parse("umask", table.umask, umask)
                .unwrap_or(DEFAULT_UMASK),
        )
        .nice(place.parse("nice", table.nice, nice).unwrap_or(0));
    if let Some(user) = place.parse("user", table.user, |name| user(&name)) {
        confinement = confinement.user(user);
    }
    if let Some(limits) = place.take("limits", table.limits) {
        confinement = limited(confinement, limits, &place.child("limits"));
    }
    let concurrency = place.parse("concurrency", table.concurrency, |count| {
        in_range(count, 1..=1024).map(|count| Arc::new(Semaphore::new(count as usize)))
    });
    let success_codes = place.parse("success_codes", table.success_codes, |codes| {
        if codes.is_empty() {
            return Err("name at least one, or leave it out for 0");
        }
        Ok(codes.into_iter().map(i32::from).collect())
    });
    let program = Program {
        name: name.to_owned(),
        arguments,
        takes_stdin: place.take("stdin", table.stdin).unwrap_or(false),
        env: place
            .parse("env", table.env, environment)
            .unwrap_or_default(),
        working_dir: place
            .parse("working_dir", table.working_dir, |path| directory(&path))
            .unwrap_or_else(|| "/".into()),
        confinement,
        timeout: place.parse("timeout", table.timeout, |span| {
            if span.0.is_zero() {
                return Err("with no time at all it would never succeed");
            }
            Ok(span.0)
        }),
        grace: place
            .parse("grace", table.grace, |span| {
                if span.0 > MAX_GRACE {
                    return Err("it is at most 4s: a worker gives a cancelled command 5s in all");
                }
                Ok(span.0)
            })
            .unwrap_or(DEFAULT_GRACE),
        output_limit: place
            .take("output_limit", table.output_limit)
            .map_or(DEFAULT_OUTPUT_LIMIT, |size| size.0),
        slots: concurrency,
        success_codes: success_codes.unwrap_or_else(|| vec![0]),
        issuers: place.take("issuers", table.issuers),
        executable: PathBuf::new(),
        leading: Vec::new(),
    };
    let (executable, leading) = run?;
    Some(Program {
        executable,
        leading,
        ..program
    })
}

/// The file that is started, and what comes before the arguments: with a shell,
/// its script and the `$0` of it.
fn what_runs(
    name: &str,
    path: Field<String>,
    shell: Field<String>,
    script: Field<String>,
    place: &Place<'_>,
) -> Option<(PathBuf, Vec<String>)> {
    match (&path, &shell, &script) {
        (Field::Absent, Field::Absent, Field::Absent) => {
            place.fault("path", "it is missing: give the program's absolute path");
        }
        (Field::Absent, _, Field::Absent) => {
            place.fault("script", "it is missing: say what the shell is to run");
        }
        (Field::Absent, Field::Absent, _) => {
            place.fault(
                "shell",
                "it is missing: say which shell runs the script, as \"/bin/sh\"",
            );
        }
        (Field::Absent, _, _) | (_, Field::Absent, Field::Absent) => {}
        _ => place.fault("path", "give either `path` or `shell` and `script`"),
    }
    let path = place.parse("path", path, |path| executable(&path));
    let shell = place.parse("shell", shell, |path| executable(&path));
    let script = place.parse("script", script, |script| {
        if script.contains('\0') {
            return Err("it has a NUL in it");
        }
        Ok(script)
    });
    match (path, shell, script) {
        (Some(path), _, _) => Some((path, Vec::new())),
        (None, Some(shell), Some(script)) => {
            Some((shell, vec!["-c".to_owned(), script, name.to_owned()]))
        }
        _ => None,
    }
}

fn executable(path: &str) -> Result<PathBuf, String> {
    let path = absolute(path)?;
    trust::check(&path)?;
    Ok(path)
}

fn directory(path: &str) -> Result<PathBuf, String> {
    let path = absolute(path)?;
    if path.is_dir() {
        Ok(path)
    } else {
        Err(format!("{} is no directory", path.display()))
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.contains('\0') {
        return Err("it has a NUL in it".to_owned());
    }
    if !Path::new(path).is_absolute() {
        return Err(format!("{path:?} is not absolute: begin it with /"));
    }
    Ok(path.into())
}

fn umask(text: String) -> Result<u32, String> {
    match u32::from_str_radix(&text, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err(format!(
            "{text:?} is no umask: write three octal digits, as \"027\""
        )),
    }
}

fn nice(nice: u8) -> Result<u8, String> {
    in_range(u32::from(nice), 0..=19).map(|_| nice)
}

fn in_range(value: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!(
            "{value} is not within {} to {}",
            range.start(),
            range.end()
        ))
    }
}

fn user(name: &str) -> Result<User, String> {
    match User::named(name) {
        Err(error) => Err(format!("the system's users cannot be read: {error}")),
        Ok(None) => Err(format!("there is no user {name:?} on this node")),
        Ok(Some(_)) if !User::can_be_assumed() => Err(format!(
            "only a worker that runs as root can run a program as {name:?}"
        )),
        Ok(Some(user)) => Ok(user),
    }
}

fn environment(env: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("{name:?} cannot be a variable of that value"));
        }
    }
    Ok(env)
}

fn limited(mut confinement: Confinement, table: LimitsTable, place: &Place<'_>) -> Confinement {
    place.refuse(&table.unknown, LimitsTable::KEYS);
    let limits = [
        (
            Resource::Memory,
            place.take("memory", table.memory).map(|it| it.0),
        ),
        (
            Resource::CpuTime,
            place.parse("cpu_time", table.cpu_time, |span| match span.0.as_secs() {
                0 => Err("it is at least 1s"),
                seconds => Ok(seconds),
            }),
        ),
        (
            Resource::Processes,
            place.take("processes", table.processes).map(u64::from),
        ),
        (
            Resource::OpenFiles,
            place.take("open_files", table.open_files).map(u64::from),
        ),
        (
            Resource::FileSize,
            place.take("file_size", table.file_size).map(|it| it.0),
        ),
    ];
    for (resource, value) in limits {
        if let Some(value) = value {
            confinement = confinement.limit(resource, value);
        }
    }
    confinement
}
