//! `[controller]`

use super::{
    Origin,
    endpoint::{self, is_loopback, is_plaintext},
    model::{ControllerConfig, EnrolmentTokenSource},
    section::{Section, no_names, non_empty},
    sources::Sources,
};

/// Where a controller on the same machine listens.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50056";

const TOKEN: &str = "enrolment_token";

pub(super) fn read(sources: &Sources) -> ControllerConfig {
    let section = Section::root(sources, "controller");
    let endpoint = section
        .parsed("endpoint", endpoint::parse)
        .map(|found| found.value);
    let config = ControllerConfig {
        endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
        enrolment_token: enrolment_token(sources, &section),
        ca_cert: section.path("ca_cert"),
        client_cert: section.path("client_cert"),
        client_key: section.path("client_key"),
        insecure: insecure(sources, &section),
    };
    check_transport(&section, &config);
    section.finish(no_names);
    config
}

/// It takes a flag or a variable: a file that is copied from node to node is
/// no place to give up on TLS.
fn insecure(sources: &Sources, section: &Section<'_>) -> bool {
    if sources.setting("controller.insecure").is_none() && section.item("insecure").is_some() {
        section.fault(
            "insecure",
            "this cannot be set in the file: start the worker with --insecure",
        );
        return false;
    }
    section.boolean("insecure").unwrap_or(false)
}

fn check_transport(section: &Section<'_>, config: &ControllerConfig) {
    let plaintext = is_plaintext(&config.endpoint);
    if plaintext && !is_loopback(&config.endpoint) && !config.insecure {
        section.fault(
            "endpoint",
            format!(
                "{} is plaintext to another machine: use https:// with controller.ca_cert, \
                 or accept that anybody on the way can read and change everything with --insecure",
                config.endpoint
            ),
        );
    }
    if !plaintext && config.ca_cert.is_none() {
        section.fault(
            "ca_cert",
            "https:// needs it: name the PEM file with the certificate authority of the controller",
        );
    }
    match (&config.client_cert, &config.client_key) {
        (Some(_), None) => section.fault(
            "client_key",
            "client_cert needs it: name the PEM file of its key",
        ),
        (None, Some(_)) => section.fault(
            "client_cert",
            "client_key needs it: name the PEM file of its certificate",
        ),
        _ => {}
    }
}

fn enrolment_token(sources: &Sources, section: &Section<'_>) -> Option<EnrolmentTokenSource> {
    let inline = sources.setting("controller.enrolment_token");
    let file = sources.setting("controller.enrolment_token.file");
    let rank = |name: &str| usize::from(name.starts_with("--"));
    if let (Some(inline), Some(file)) = (inline, file)
        && rank(&inline.name) == rank(&file.name)
    {
        sources.fault(
            Origin::Setting(file.name.clone()),
            section.key(TOKEN),
            format!("{} is given as well: leave one of them out", inline.name),
        );
    }
    let best = inline
        .into_iter()
        .chain(file)
        .max_by_key(|setting| rank(&setting.name));
    let item = section.item(TOKEN);
    if let Some(setting) = best {
        let value = setting.values.last().cloned().unwrap_or_default();
        if value.is_empty() {
            let origin = Origin::Setting(setting.name.clone());
            sources.fault(origin, section.key(TOKEN), "this must not be empty");
        }
        return Some(if setting.key == "controller.enrolment_token" {
            EnrolmentTokenSource::Inline(value)
        } else {
            EnrolmentTokenSource::File(value.into())
        });
    }
    if item?.is_str() {
        section.fault(
            TOKEN,
            "a token does not belong in this file: write { file = \"PATH\" } or { env = \"NAME\" }",
        );
        return None;
    }
    let table = section.child(TOKEN);
    let file = table.path("file").map(EnrolmentTokenSource::File);
    let env = table
        .parsed("env", non_empty)
        .map(|found| EnrolmentTokenSource::Env(found.value));
    if file.is_some() && env.is_some() {
        section.fault(TOKEN, "write either `file` or `env`, not both");
    }
    table.finish(no_names);
    file.or(env)
}
