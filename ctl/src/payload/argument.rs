//! `--arg k=v`: the value has the type that the schema gives the field.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::{failure::Failure, schema::Schema};

/// One `k=v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    key: String,
    value: String,
}

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.into(),
                value: value.into(),
            }),
            _ => Err("expected KEY=VALUE".into()),
        }
    }
}

/// The object that the arguments make. All that do not fit are named at once.
pub fn object(arguments: &[Argument], schema: Option<&Schema>) -> Result<Value, Failure> {
    let mut object = Map::new();
    let mut faults = Vec::new();
    for Argument { key, value } in arguments {
        let types = schema.map_or_else(Vec::new, |schema| schema.types(key));
        match typed(value, &types) {
            Some(value) => {
                if object.insert(key.clone(), value).is_some() {
                    faults.push(format!("  {key}: given twice"));
                }
            }
            None => faults.push(format!("  {key}: {value:?} is not {}", article(&types))),
        }
    }
    if faults.is_empty() {
        return Ok(Value::Object(object));
    }
    Err(
        Failure::usage(format!("arguments do not fit:\n{}", faults.join("\n"))).next(
            "Nothing was sent. Arrays and objects are written as JSON: --arg tags='[\"a\",\"b\"]'.",
        ),
    )
}

/// The text as a value of one of the types; a string where a string will do,
/// or where nothing is known.
fn typed(text: &str, types: &[String]) -> Option<Value> {
    let allows = |name: &str| types.iter().any(|it| it == name);
    if types.is_empty() || allows("string") {
        return Some(Value::String(text.into()));
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let fits = match &value {
        Value::Null => allows("null"),
        Value::Bool(_) => allows("boolean"),
        Value::Number(number) => allows("number") || (allows("integer") && !number.is_f64()),
        Value::String(_) => false,
        Value::Array(_) => allows("array"),
        Value::Object(_) => allows("object"),
    };
    fits.then_some(value)
}

fn article(types: &[String]) -> String {
    let words: Vec<String> = types
        .iter()
        .map(|name| match name.as_str() {
            "null" => "null".to_owned(),
            "integer" | "array" | "object" => format!("an {name}"),
            _ => format!("a {name}"),
        })
        .collect();
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::parse(
            r#"{"type": "object", "properties": {
                "name": {"type": "string"},
                "times": {"type": "integer"},
                "ratio": {"type": ["number", "null"]},
                "loud": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "more": {"type": "object"}
            }}"#,
        )
        .unwrap()
    }

    fn arguments(texts: &[&str]) -> Vec<Argument> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_schema_gives_each_value_its_type() {
        let given = arguments(&[
            "name=42",
            "times=3",
            "ratio=0.5",
            "loud=true",
            r#"tags=["a"]"#,
            r#"more={"k":"v=w"}"#,
            "other=true",
        ]);
        let expected = json!({
            "name": "42", "times": 3, "ratio": 0.5, "loud": true, "tags": ["a"], "more": {"k": "v=w"}, "other": "true"
        });
        assert_eq!(object(&given, Some(&schema())).unwrap(), expected);
    }

    #[test]
    fn without_a_schema_values_are_strings() {
        assert_eq!(
            object(&arguments(&["n=1", "empty="]), None).unwrap(),
            json!({"n": "1", "empty": ""})
        );
    }

    #[test]
    fn all_values_that_do_not_fit_are_named_at_once() {
        let given = arguments(&[
            "times=3.5",
            "loud=yes",
            "ratio=x",
            "tags=a,b",
            "name=a",
            "name=b",
        ]);
        insta::assert_snapshot!(
            "misfits",
            object(&given, Some(&schema())).unwrap_err().to_string()
        );
    }

    #[test]
    fn an_argument_has_a_key() {
        assert!("=v".parse::<Argument>().is_err());
        assert!("kv".parse::<Argument>().is_err());
    }
}
