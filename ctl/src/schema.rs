//! A handler's JSON Schema, as far as a command line needs to read it: which
//! fields there are and what type each takes.

use serde::Serialize;
use serde_json::{Map, Value};

/// `$ref`s that point at `$ref`s; more than a schema has use for.
const MAX_HOPS: usize = 8;

/// The schema of a request or a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    root: Value,
}

/// One property of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The type in words, as "integer", "array of string" or "string or null".
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// What its author says about it.
    pub description: String,
}

impl Schema {
    /// Reads a schema; nothing where the text is empty or no JSON.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|root| Self { root })
    }

    /// The document itself.
    pub fn document(&self) -> &Value {
        &self.root
    }

    /// Its properties, by name.
    pub fn fields(&self) -> Vec<Field> {
        let root = self.follow(&self.root);
        let required = root.get("required").and_then(Value::as_array);
        self.properties()
            .map(|(name, property)| Field {
                kind: self.kind(property),
                required: required.is_some_and(|names| names.iter().any(|it| it == name)),
                description: description(property),
                name: name.clone(),
            })
            .collect()
    }

    /// The JSON types that a field may have; none where the schema does not say.
    pub fn types(&self, field: &str) -> Vec<String> {
        let property = self.properties().find(|(name, _)| *name == field);
        property.map_or_else(Vec::new, |(_, property)| self.types_of(property))
    }

    /// Whether the whole is `null`: a handler that takes nothing.
    pub fn is_null(&self) -> bool {
        self.types_of(&self.root) == ["null"]
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        let properties = self.follow(&self.root).get("properties");
        properties.and_then(Value::as_object).into_iter().flatten()
    }

    fn types_of(&self, schema: &Value) -> Vec<String> {
        let schema = self.follow(schema);
        let mut types = match schema.get("type") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => several
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        for variants in ["anyOf", "oneOf"] {
            for variant in schema
                .get(variants)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                types.extend(
                    self.follow(variant)
                        .get("type")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
            }
        }
        if types.is_empty() {
            types.extend(
                schema
                    .get("enum")
                    .and_then(Value::as_array)
                    .and_then(|values| one_type(values)),
            );
        }
        types.dedup();
        types
    }

    fn kind(&self, schema: &Value) -> String {
        let schema = self.follow(schema);
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            return values.join(" | ");
        }
        let types = self.types_of(schema);
        match types.as_slice() {
            [] => "any".into(),
            [one] if one == "array" => {
                match schema.get("items").map(|items| self.types_of(items)) {
                    Some(items) if !items.is_empty() => format!("array of {}", items.join(" or ")),
                    _ => "array".into(),
                }
            }
            several => several.join(" or "),
        }
    }

    /// Follows `$ref` within the document. It comes from a node, and so it may
    /// point in circles.
    fn follow<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..MAX_HOPS {
            let pointer = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|it| it.strip_prefix('#'));
            match pointer.and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }
}

fn description(property: &Value) -> String {
    let text = property
        .as_object()
        .and_then(|map: &Map<_, _>| map.get("description"));
    // One line each in a table.
    text.and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn one_type(values: &[Value]) -> Option<String> {
    values
        .iter()
        .all(Value::is_string)
        .then(|| "string".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Who is\n greeted."},
            "times": {"type": ["integer", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "mood": {"$ref": "#/$defs/Mood"},
            "where": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
            "loop": {"$ref": "#/$defs/Loop"},
            "anything": true
        },
        "$defs": {
            "Mood": {"enum": ["merry", "sad"]},
            "Place": {"type": "object"},
            "Loop": {"$ref": "#/$defs/Loop"}
        }
    }"##;

    #[test]
    fn fields_have_types_in_words() {
        let fields = Schema::parse(SCHEMA).unwrap().fields();
        let lines: Vec<String> = fields
            .iter()
            .map(|it| {
                format!(
                    "{}: {}{} {}",
                    it.name,
                    it.kind,
                    if it.required { "!" } else { "" },
                    it.description
                )
            })
            .collect();
        insta::assert_snapshot!("fields", lines.join("\n"));
    }

    #[test]
    fn types_are_found_through_references() {
        let schema = Schema::parse(SCHEMA).unwrap();
        assert_eq!(schema.types("times"), ["integer", "null"]);
        assert_eq!(schema.types("where"), ["object", "null"]);
        assert_eq!(schema.types("mood"), ["string"]);
        assert!(schema.types("loop").is_empty());
        assert!(schema.types("absent").is_empty());
    }

    #[test]
    fn a_handler_that_takes_nothing_takes_null() {
        assert!(Schema::parse(r#"{"type":"null"}"#).unwrap().is_null());
        assert!(!Schema::parse(SCHEMA).unwrap().is_null());
        assert!(Schema::parse("").is_none());
    }
}
