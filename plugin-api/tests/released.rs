//! What was released of the ABI stays: the header is compared with a record that
//! only grows.
//!
//! `released-abi.txt` has one line for each constant, table, field, interface and
//! function type, with the ABI under which it came. Its first line names the
//! ABI of the newest release.

use std::{collections::BTreeMap, env, fs, path::Path};

use aegis_plugin_api::abi::{AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR};

/// These are passed by value or inside of others and have no `struct_size`.
const FIXED: [&str; 4] = [
    "AegisBytes",
    "AegisBuffer",
    "AegisInstance",
    "AegisCompletion",
];

/// What an item is called in the record, and what it is.
type Items = BTreeMap<String, String>;

/// The record: what was released, and since which minor.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    released: u16,
    items: BTreeMap<String, (u16, String)>,
}

/// Reads the header. A test beside this one keeps it equal to `abi.rs`.
fn items(header: &str) -> Items {
    let mut items = Items::new();
    // What comes before are macros for the compiler's sake.
    let start = header
        .find("#define AEGIS_PLUGIN_MAGIC")
        .expect("the first constant");
    let (mut said, mut statement) = (String::new(), String::new());
    for line in header[start..].lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("//") {
            // Within a table these are of its fields.
            if statement.is_empty() {
                said.push_str(comment);
            }
            continue;
        }
        if let Some(constant) = line.strip_prefix("#define ") {
            let (name, value) = constant.split_once(' ').expect("a constant has a value");
            items.insert(format!("constant {name}"), value.trim().to_owned());
        } else if line.starts_with("typedef") || !statement.is_empty() {
            statement.push_str(line);
            statement.push(' ');
            let open = statement.matches('{').count() > statement.matches('}').count();
            if open || !line.ends_with(';') {
                continue;
            }
            declare(&statement, &said, &mut items);
            statement.clear();
        }
        said.clear();
    }
    // It says how far the rest has grown, and does not stay.
    items.remove("constant AEGIS_ABI_MINOR");
    items
}

fn declare(statement: &str, said: &str, items: &mut Items) {
    let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(table) = statement.strip_prefix("typedef struct ") else {
        let function = statement.strip_prefix("typedef ").expect("a type");
        let name = function
            .split_once("(*")
            .and_then(|(_, rest)| rest.split_once(')'))
            .expect("a function type has a name");
        items.insert(format!("function {}", name.0), function.to_owned());
        return;
    };
    let (name, fields) = table.split_once(" { ").expect("a table has fields");
    let (fields, _) = fields.rsplit_once("; }").expect("a table is closed");
    for (place, field) in fields.split("; ").enumerate() {
        items.insert(format!("field {name}.{place:02}"), field.to_owned());
    }
    let interface = said
        .split_once("Interface `")
        .and_then(|(_, rest)| rest.split_once("` of a "))
        .and_then(|(id, side)| Some((id, side.split([' ', ':', '.']).next()?)));
    if let Some((id, side)) = interface {
        items.insert(format!("interface {id}"), format!("{name} of a {side}"));
    }
}

impl Record {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let released = lines
            .next()
            .and_then(|line| line.strip_prefix(&format!("released {AEGIS_ABI_MAJOR}.")))
            .and_then(|minor| minor.parse().ok())
            .expect("the record begins with the newest release");
        let items = lines
            .map(|line| {
                let (since, rest) = line.split_once(' ').expect("since");
                let (name, is) = rest.split_once(" = ").expect("name = what it is");
                let minor = since
                    .split_once('.')
                    .and_then(|(_, minor)| minor.parse().ok());
                (name.to_owned(), (minor.expect("a minor"), is.to_owned()))
            })
            .collect();
        Self { released, items }
    }

    fn text(&self) -> String {
        let mut text = format!("released {AEGIS_ABI_MAJOR}.{}\n", self.released);
        for (name, (minor, is)) in &self.items {
            text.push_str(&format!("{AEGIS_ABI_MAJOR}.{minor} {name} = {is}\n"));
        }
        text
    }

    /// The record with what is new, or every rule that was broken.
    fn grown(&self, current: &Items, minor: u16) -> Result<Self, Vec<String>> {
        let mut broken = Vec::new();
        for (name, (_, was)) in &self.items {
            match current.get(name) {
                None => broken.push(format!(
                    "{name} ({was}) is gone: what was released is never removed"
                )),
                Some(is) if is != was => broken.push(format!(
                    "{name} was `{was}` and is `{is}`: what was released never changes its place, \
                     type or meaning; append a field, or make an interface with a new id"
                )),
                Some(_) => {}
            }
        }
        let mut grown = self.clone();
        for (name, is) in current {
            if self.items.contains_key(name) {
                continue;
            }
            let table = name
                .strip_prefix("field ")
                .and_then(|field| field.split_once('.'));
            if let Some((table, _)) = table
                && self.items.contains_key(&format!("field {table}.00"))
            {
                if FIXED.contains(&table) {
                    broken.push(format!("{name} ({is}): {table} never grows"));
                } else if minor <= self.released {
                    broken.push(format!(
                        "{name} ({is}) is appended, and AEGIS_ABI_MINOR is still {minor}: raise it \
                         above the released {}",
                        self.released
                    ));
                }
            }
            grown.items.insert(name.clone(), (minor, is.clone()));
        }
        if broken.is_empty() {
            Ok(grown)
        } else {
            Err(broken)
        }
    }
}

fn current() -> Items {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    items(&fs::read_to_string(root.join("include/aegis_plugin.h")).expect("the header"))
}

#[test]
fn the_abi_only_grows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released-abi.txt");
    let record = Record::parse(&fs::read_to_string(&path).expect("the record"));
    let grown = record
        .grown(&current(), AEGIS_ABI_MINOR)
        .unwrap_or_else(|broken| panic!("the ABI broke its promise:\n{}", broken.join("\n")));
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::write(&path, grown.text()).expect("the record can be written");
        return;
    }
    assert!(
        grown == record,
        "the ABI has grown. If it is meant to, write it down: `AEGIS_BLESS=1 cargo test -p \
         aegis-plugin-api --test released`, and look at the change"
    );
}

#[test]
fn the_header_is_read_whole() {
    let items = current();
    let has = |name: &str, is: &str| assert_eq!(items.get(name).map(String::as_str), Some(is));
    has("constant AEGIS_UNKNOWN_CALL", "3");
    has("field AegisCall.02", "uint64_t call_id");
    has(
        "interface aegis.checkpoint/1",
        "AegisCheckpointV1 of a host",
    );
    has("interface aegis.schema/1", "AegisSchemaV1 of a descriptor");
    has(
        "field AegisInstanceVtable.03",
        "void (*cancel)(void *ctx, uint64_t call_id, uint32_t reason)",
    );
    has("field AegisConfigV1.07", "AegisJsonFn reject");
    assert!(items.contains_key("function AegisJsonFn"));
}

#[test]
fn every_breach_is_named() {
    let record = Record::parse(
        "released 1.3\n1.0 constant AEGIS_OK = 0\n1.0 field AegisBytes.00 = size_t len\n\
         1.0 field AegisCall.00 = uint32_t struct_size\n1.2 field AegisCall.01 = uint32_t handler\n",
    );
    let sound: Items = record
        .items
        .iter()
        .map(|(name, (_, is))| (name.clone(), is.clone()))
        .collect();
    assert_eq!(record.grown(&sound, 3).as_ref(), Ok(&record));
    let with = |name: &str, is: Option<&str>, minor: u16| {
        let mut items = sound.clone();
        match is {
            Some(is) => items.insert(name.to_owned(), is.to_owned()),
            None => items.remove(name),
        };
        record.grown(&items, minor)
    };
    for (name, is, minor, says) in [
        ("constant AEGIS_OK", None, 4, "never removed"),
        ("constant AEGIS_OK", Some("1"), 4, "never changes"),
        ("field AegisCall.01", None, 4, "never removed"),
        (
            "field AegisCall.01",
            Some("uint64_t handler"),
            4,
            "never changes",
        ),
        (
            "field AegisCall.02",
            Some("uint64_t id"),
            3,
            "AEGIS_ABI_MINOR",
        ),
        ("field AegisBytes.01", Some("size_t more"), 4, "never grows"),
    ] {
        let broken = with(name, is, minor).expect_err(says);
        assert!(
            broken[0].contains(says) && broken[0].contains(name),
            "{broken:?}"
        );
    }
    for (name, minor) in [
        ("field AegisCall.02", 4),
        ("interface aegis.new/1", 3),
        ("field AegisNewV1.00", 3),
    ] {
        let grown = with(name, Some("uint64_t id"), minor).expect("it may grow");
        assert_eq!(grown.items[name].0, minor);
        assert_eq!(Record::parse(&grown.text()), grown);
    }
}
