//! The C header says what `abi.rs` says, and the layouts stay as they are.

use std::{
    env,
    fmt::Write,
    fs,
    mem::{align_of, offset_of, size_of},
    path::{Path, PathBuf},
    process::Command,
};

use aegis_plugin_api::abi::*;

/// A table: its name, size, alignment, and its fields with their offsets.
type Layout = (&'static str, usize, usize, Vec<(&'static str, usize)>);

macro_rules! layouts {
    ($($table:ident { $($field:ident),+ $(,)? })+) => {
        vec![$((
            stringify!($table),
            size_of::<$table>(),
            align_of::<$table>(),
            vec![$((stringify!($field), offset_of!($table, $field))),+],
        )),+]
    };
}

fn layouts() -> Vec<Layout> {
    layouts! {
        AegisBytes { data, len }
        AegisBuffer { data, len, owner, release }
        AegisPluginDescriptor {
            magic, struct_size, abi_major, abi_minor, min_host_minor, reserved, flags,
            id, version, sdk, toolchain, target, manifest, create, get_interface,
        }
        AegisCreateArgs { struct_size, reserved, host, host_ctx, config, node, state_dir }
        AegisInstance { ctx, vtable }
        AegisInstanceVtable {
            struct_size, reserved, start, cancel, reconfigure, quiesce, destroy, get_interface,
        }
        AegisCall {
            struct_size, handler, call_id, deadline_ns, command_id, payload, issuer,
            traceparent, attempt, reserved,
        }
        AegisCompletion { status, reserved, buffer }
        AegisHostVtable {
            struct_size, abi_minor, log_level, complete, progress, output, is_cancelled, log,
            get_interface,
        }
        AegisSchemaV1 { struct_size, reserved, handler, config }
        AegisNodeControlV1 { struct_size, reserved, drain, drain_status, shutdown }
        AegisConfigV1 {
            struct_size, reserved, current, validate, store, apply, acknowledge, reject,
        }
        AegisCheckpointV1 { struct_size, reserved, save, load }
        AegisKeyValueV1 { struct_size, reserved, get, put, remove, list }
        AegisMetricsV1 { struct_size, reserved, declare, record }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with a file that is kept, or writes it where `AEGIS_BLESS` is set.
fn compare(path: &Path, made: &str) {
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::write(path, made).expect("the file can be written");
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is not what abi.rs gives; run `AEGIS_BLESS=1 cargo test -p aegis-plugin-api \
         --test abi` and look at the change",
        path.display()
    );
}

#[test]
fn the_header_is_generated_from_abi_rs() {
    let config =
        cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is right");
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join("src/abi.rs"))
        .with_src(root().join("src/abi/interfaces.rs"))
        .generate()
        .expect("abi.rs can be put into C")
        .write(&mut header);
    // Links of rustdoc are only names in C.
    let header = String::from_utf8(header)
        .expect("a header is UTF-8")
        .replace("[`", "`")
        .replace("`]", "`");
    compare(&root().join("include/aegis_plugin.h"), &header);
}

/// Without alignments at 32 bits, where processors differ in that of a `u64`.
fn snapshot(layouts: &[Layout]) -> String {
    let mut text = String::new();
    for (table, size, align, fields) in layouts {
        let align = match usize::BITS {
            64 => format!(" align {align}"),
            _ => String::new(),
        };
        writeln!(text, "{table} size {size}{align}").expect("a string takes all");
        for (field, offset) in fields {
            writeln!(text, "    {offset:>3} {field}").expect("a string takes all");
        }
    }
    text
}

/// Against the snapshot for machines of this width.
#[test]
fn no_layout_changes() {
    let name = format!("tests/layout-{}.txt", usize::BITS);
    compare(&root().join(name), &snapshot(&layouts()));
}

/// Assertions of what a snapshot says, whatever this machine's own layout.
fn assertions_of(snapshot: &str) -> String {
    let mut table = "";
    let mut text = String::from("#include \"aegis_plugin.h\"\n");
    for line in snapshot.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (what, is) = match words[..] {
            [name, "size", size, ..] => {
                table = name;
                (format!("sizeof(struct {table})"), size)
            }
            [offset, field] => (format!("offsetof(struct {table}, {field})"), offset),
            _ => panic!("{line:?} is no line of a snapshot"),
        };
        writeln!(text, "_Static_assert({what} == {is}, \"{what}\");").expect("a string takes all");
    }
    text
}

/// A source that compiles only if C sees the layouts and constants as Rust does.
fn assertions() -> String {
    let mut text = String::from(
        "#include \"aegis_plugin.h\"\n\
         #ifdef __cplusplus\n#define CHECK static_assert\n#else\n#define CHECK _Static_assert\n#endif\n",
    );
    let mut check = |what: String, is: u64| {
        writeln!(text, "CHECK({what} == UINT64_C({is}), \"{what}\");").expect("a string takes all");
    };
    for (table, size, align, fields) in layouts() {
        check(format!("sizeof(struct {table})"), size as u64);
        check(format!("alignof(struct {table})"), align as u64);
        for (field, offset) in fields {
            check(format!("offsetof(struct {table}, {field})"), offset as u64);
        }
    }
    check("AEGIS_PLUGIN_MAGIC".into(), AEGIS_PLUGIN_MAGIC);
    check("AEGIS_NO_DEADLINE".into(), AEGIS_NO_DEADLINE);
    check(
        "AEGIS_MAX_CHECKPOINT_BYTES".into(),
        AEGIS_MAX_CHECKPOINT_BYTES as u64,
    );
    check("AEGIS_NO_CHECKPOINT".into(), AEGIS_NO_CHECKPOINT.into());
    check("AEGIS_ABI_MAJOR".into(), AEGIS_ABI_MAJOR.into());
    check("AEGIS_STATUS_PANICKED".into(), AEGIS_STATUS_PANICKED.into());
    check("AEGIS_CANCEL_ABANDON".into(), AEGIS_CANCEL_ABANDON.into());
    check(
        "AEGIS_PROGRESS_UNKNOWN".into(),
        AEGIS_PROGRESS_UNKNOWN.into(),
    );
    text.push_str(
        "AEGIS_PLUGIN_MANIFEST(\"{}\");\n\
         AEGIS_PLUGIN_EXPORT const AegisBytes aegis_test = AEGIS_BYTES(aegis_plugin_manifest);\n",
    );
    text
}

fn compile(compiler: &str, source: &Path, arguments: &[&str]) {
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(source)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{compiler} refuses the header:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_there(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok()
}

fn write_source(directory: &Path, name: &str, head: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("{head}{}", assertions())).expect("the directory can be written to");
    path
}

#[test]
fn c_and_cpp_see_the_same_layouts() {
    let directory = tempfile::tempdir().expect("there is room for a file");
    let c = write_source(directory.path(), "check.c", "#include <stdalign.h>\n");
    let cpp = write_source(directory.path(), "check.cpp", "");
    // A machine that builds the workspace has a C compiler; a C++ compiler and
    // clang are tried where they are.
    for (compiler, source, standards) in [
        ("cc", &c, ["-std=c11", "-std=c17"]),
        ("clang", &c, ["-std=c11", "-std=c17"]),
        ("c++", &cpp, ["-std=c++11", "-std=c++17"]),
        ("clang++", &cpp, ["-std=c++11", "-std=c++17"]),
    ] {
        if compiler != "cc" && !is_there(compiler) {
            eprintln!("skipped: there is no {compiler} here");
            continue;
        }
        for standard in standards {
            let pedantic: &[&str] = if source == &c { &["-pedantic"] } else { &[] };
            compile(compiler, source, &[&[standard], pedantic].concat());
        }
    }
}

/// Layouts do not need a machine, only a compiler that knows it. Nothing of a C
/// library is included.
#[test]
fn other_machines_see_the_layouts_of_their_width() {
    let directory = tempfile::tempdir().expect("there is room for a file");
    let source = |width: u32| {
        let snapshot = fs::read_to_string(root().join(format!("tests/layout-{width}.txt")));
        let path = directory.path().join(format!("check-{width}.c"));
        let text = assertions_of(&snapshot.expect("the snapshot"));
        fs::write(&path, text).expect("the directory can be written to");
        path
    };
    let (narrow, wide) = (source(32), source(64));
    let freestanding = ["-std=c11", "-ffreestanding"];
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) && is_there("gcc") {
        compile("gcc", &narrow, &[&["-m32"], &freestanding[..]].concat());
    } else {
        eprintln!("skipped: no gcc for x86 here");
    }
    if !is_there("clang") {
        eprintln!("skipped: there is no clang here");
        return;
    }
    for (target, source) in [
        ("i686-unknown-linux-gnu", &narrow),
        ("armv7-unknown-linux-gnueabihf", &narrow),
        ("x86_64-unknown-linux-musl", &wide),
        ("aarch64-unknown-linux-gnu", &wide),
        ("aarch64-apple-darwin", &wide),
        ("riscv64-unknown-linux-gnu", &wide),
        ("s390x-unknown-linux-gnu", &wide),
    ] {
        let target = format!("--target={target}");
        compile(
            "clang",
            source,
            &[&[target.as_str()], &freestanding[..]].concat(),
        );
    }
}
