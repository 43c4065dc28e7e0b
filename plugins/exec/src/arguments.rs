//! From a command's values to the arguments of a program.

mod parameter;
mod template;

use std::collections::BTreeMap;

use aegis_plugin_api::HandlerError;

pub use parameter::Parameter;
pub use template::Template;

use crate::{config::Place, request::Argument};

/// The arguments of a program: what is fixed, and what a command fills in.
#[derive(Debug)]
pub struct Arguments {
    templates: Vec<Template>,
    parameters: BTreeMap<String, Parameter>,
}

impl Arguments {
    /// Reads them from the config. A parameter without a pattern would take
    /// anything, and one that is not used is a mistake: both are faults.
    pub fn read(
        templates: &[String],
        parameters: &BTreeMap<String, serde_json::Value>,
        place: &Place<'_>,
    ) -> Self {
        let mut read = Vec::new();
        for text in templates {
            match Template::parse(text) {
                Ok(template) => read.push(template),
                Err(error) => place.fault("args", error),
            }
        }
        let named = place.child("parameters");
        for name in read.iter().flat_map(Template::holes) {
            if !parameters.contains_key(name) {
                named.fault(name, "`args` uses it, but it has no pattern");
            }
        }
        for name in parameters.keys() {
            if !read
                .iter()
                .flat_map(Template::holes)
                .any(|hole| hole == name)
            {
                named.fault(name, format!("no argument uses {{{name}}}"));
            }
        }
        let parameters = parameters
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), Parameter::read(name, value, &named)?)))
            .collect();
        Self {
            templates: read,
            parameters,
        }
    }

    /// The arguments with a command's values in them.
    ///
    /// # Errors
    ///
    /// [`HandlerError::INVALID_PAYLOAD`] for values that are missing, that there
    /// are no parameters for, or that their parameters do not take.
    pub fn fill(&self, given: BTreeMap<String, Argument>) -> Result<Vec<String>, HandlerError> {
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(parameter) = self.parameters.get(&name) else {
                let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                return Err(unfit(match known.as_slice() {
                    [] => format!("it takes no arguments, and so no {name:?}"),
                    known => format!("it has no argument {name:?}; it takes {}", known.join(", ")),
                }));
            };
            let value = value.into_text();
            parameter
                .check(&value)
                .map_err(|reason| unfit(format!("{name}: {reason}")))?;
            values.insert(name, value);
        }
        for (name, parameter) in &self.parameters {
            if !values.contains_key(name) {
                let default = parameter.default().ok_or_else(|| {
                    unfit(format!(
                        "it needs the argument {name:?}, which was not given"
                    ))
                })?;
                values.insert(name.clone(), default.to_owned());
            }
        }
        let mut filled = Vec::with_capacity(self.templates.len());
        let mut options_ended = false;
        for template in &self.templates {
            let argument = template.fill(&values);
            if let Some(first) = template.leading_hole()
                && argument.starts_with('-')
                && !options_ended
                && !self
                    .parameters
                    .get(first)
                    .is_some_and(Parameter::may_lead_with_dash)
            {
                return Err(unfit(format!(
                    "{first}: a value that begins with \"-\" could be taken for an option"
                )));
            }
            options_ended |= template.is("--");
            filled.push(argument);
        }
        Ok(filled)
    }
}

fn unfit(message: String) -> HandlerError {
    HandlerError::new(HandlerError::INVALID_PAYLOAD, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Faults;

    fn read(args: &[&str], parameters: Value) -> Result<Arguments, Vec<crate::config::Fault>> {
        let faults = Faults::default();
        let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
        let parameters = serde_json::from_value(parameters).expect("a table");
        let arguments = Arguments::read(&args, &parameters, &Place::root(&faults));
        faults.into_result(arguments)
    }

    fn fill(arguments: &Arguments, values: Value) -> Result<Vec<String>, String> {
        let given = serde_json::from_value(values).expect("values");
        arguments.fill(given).map_err(|error| error.message)
    }

    #[test]
    fn values_take_the_place_of_their_holes_and_of_nothing_else() {
        let arguments = read(
            &["restart", "--at={hour}:{minute}", "{{literal}}", "{unit}"],
            json!({ "hour": "[0-9]{1,2}", "minute": { "pattern": "[0-9]{2}", "default": "00" },
                    "unit": ".*" }),
        )
        .expect("good");
        // What looks like a hole in a value stays what it is.
        let filled = fill(
            &arguments,
            json!({ "hour": 7, "unit": "{hour} $(id) `id` ; é\u{202e}" }),
        );
        assert_eq!(
            filled.expect("it fits"),
            [
                "restart",
                "--at=7:00",
                "{literal}",
                "{hour} $(id) `id` ; é\u{202e}"
            ]
        );
    }

    #[test]
    fn a_pattern_holds_from_end_to_end() {
        let arguments =
            read(&["{unit}"], json!({ "unit": "[a-z-]+\\.service|all" })).expect("good");
        for good in ["nginx.service", "all"] {
            assert_eq!(
                fill(&arguments, json!({ "unit": good })),
                Ok(vec![good.to_owned()])
            );
        }
        for bad in [
            "",
            "nginx.service\n",
            "nginx.service x",
            "xnginx.servicex",
            "all.",
            "NGINX.service",
            "nginx.service\nall",
            "\nall",
            "al\u{0}l",
        ] {
            let error = fill(&arguments, json!({ "unit": bad })).expect_err(bad);
            assert!(error.starts_with("unit: "), "{error}");
        }
    }

    #[test]
    fn control_characters_and_great_lengths_fit_no_pattern() {
        let arguments = read(&["{text}"], json!({ "text": "(?s).*" })).expect("good");
        for bad in [
            "a\nb",
            "a\rb",
            "\u{0}",
            "\u{1b}[2J",
            "\u{85}",
            &"x".repeat(1 << 20),
        ] {
            fill(&arguments, json!({ "text": bad })).expect_err("refused");
        }
        fill(&arguments, json!({ "text": "" })).expect("an empty one fits");
        fill(&arguments, json!({ "text": "x".repeat(4096) })).expect("it is short enough");
    }

    #[test]
    fn a_value_cannot_become_an_option() {
        let parameters = json!({ "file": ".*" });
        for args in [&["{file}"][..], &["-v", "{file}", "--"], &["{file}{file}"]] {
            let arguments = read(args, parameters.clone()).expect("good");
            let error = fill(&arguments, json!({ "file": "--rsh=sh" })).expect_err("refused");
            assert!(error.contains("option"), "{error}");
        }
        for args in [&["--", "{file}"][..], &["--file={file}"], &["./{file}"]] {
            let arguments = read(args, parameters.clone()).expect("good");
            fill(&arguments, json!({ "file": "--rsh=sh" })).expect("it is no option here");
        }
        let number = json!({ "n": { "pattern": "-?[0-9]+", "leading_dash": true } });
        let arguments = read(&["{n}"], number).expect("good");
        assert_eq!(
            fill(&arguments, json!({ "n": -5 })),
            Ok(vec!["-5".to_owned()])
        );
    }

    /// A value could otherwise end the options for those that follow.
    #[test]
    fn only_a_fixed_double_dash_ends_the_options() {
        let arguments = read(
            &["{a}", "{b}"],
            json!({ "a": { "pattern": ".*", "leading_dash": true }, "b": ".*" }),
        )
        .expect("good");
        fill(&arguments, json!({ "a": "--", "b": "--rsh=sh" })).expect_err("refused");
    }

    proptest::proptest! {
        /// Whatever a value is, it changes nothing but its own place.
        #[test]
        fn a_value_never_leaves_its_place(value: String, other in "[ -~]{0,40}") {
            let arguments = read(
                &["fixed", "a={a}", "{b}", "{a}{b}", "--", "{a}"],
                json!({ "a": ".*", "b": ".*" }),
            )
            .expect("good");
            if let Ok(filled) = fill(&arguments, json!({ "a": value, "b": other })) {
                let expected = [
                    "fixed",
                    &format!("a={value}"),
                    &other,
                    &format!("{value}{other}"),
                    "--",
                    &value,
                ];
                proptest::prop_assert_eq!(&filled, &expected);
                proptest::prop_assert!(!filled[..4].iter().any(|it| it.starts_with('-')));
                proptest::prop_assert!(!filled.concat().contains(char::is_control));
            }
        }

        #[test]
        fn any_template_is_read_or_refused(text: String) {
            if let Ok(template) = Template::parse(&text) {
                let holes = template.holes().map(|name| (name.to_owned(), String::new()));
                let values = holes.collect();
                // Braces stand for one of their kind, holes for nothing.
                proptest::prop_assert!(template.fill(&values).len() <= text.len());
            }
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        let arguments = read(&["{unit}"], json!({ "unit": "[a-z]+" })).expect("good");
        let missing = fill(&arguments, json!({})).expect_err("missing");
        assert!(missing.contains("\"unit\""), "{missing}");
        let extra = fill(&arguments, json!({ "unit": "a", "user": "root" })).expect_err("extra");
        assert!(
            extra.contains("\"user\"") && extra.contains("it takes unit"),
            "{extra}"
        );
    }

    #[test]
    fn every_fault_of_a_declaration_is_reported_with_its_key() {
        let faults = read(
            &["{a", "}", "{}", "{A}", "{used}"],
            json!({ "unused": "x", "broken": "[", "odd": 3, "wrong": { "patern": "x" },
                    "default": { "pattern": "[0-9]", "default": "x" } }),
        )
        .expect_err("faults");
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let all = faults.join("\n");
        for expected in [
            "args: \"{a\"",
            "args: \"}\"",
            "args: \"{}\"",
            "args: \"{A}\"",
            "parameters.used: `args` uses it",
            "parameters.unused: no argument",
            "parameters.broken: ",
            "parameters.odd: ",
            "parameters.wrong.patern: ",
            "parameters.wrong.pattern: ",
            "parameters.default.default: ",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
    }
}
