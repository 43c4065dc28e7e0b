//! The host interfaces of one plugin, as documents in and out.
//!
//! The C tables turn pointers into bytes and come here; so does what a child
//! process asks of the worker. An interface that is not granted is refused by
//! whoever is asked, whatever the caller believed.

use std::sync::Arc;

use aegis_plugin_api::HandlerError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    control::{CandidateConfig, ConfigControl, NodeControl},
    key_values::OwnKeyValues,
    manifest::HostInterface,
    plugin_metrics::OwnMetrics,
};

/// What a plugin can ask of its host.
pub(crate) trait HostInterfaces: Send + Sync + 'static {
    /// Whether the plugin may use `interface`.
    fn grants(&self, interface: HostInterface) -> bool;

    /// Carries out `function` of `interface`. Request and answer are JSON; an
    /// empty request stands for `{}`. May block as long as what is behind the
    /// interface does.
    ///
    /// # Errors
    ///
    /// `not-granted`, `malformed-request`, or what the function itself says.
    fn call(
        &self,
        interface: HostInterface,
        function: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError>;
}

/// The interfaces of this process, as far as one plugin was granted them.
#[derive(Clone, Default)]
pub(crate) struct Granted {
    /// Behind `aegis.node-control/1`.
    pub(crate) node_control: Option<Arc<dyn NodeControl>>,
    /// Behind `aegis.config/1`.
    pub(crate) config: Option<Arc<dyn ConfigControl>>,
    /// Behind `aegis.kv/1`.
    pub(crate) kv: Option<OwnKeyValues>,
    /// Behind `aegis.metrics/1`.
    pub(crate) metrics: Option<OwnMetrics>,
}

impl HostInterfaces for Granted {
    fn grants(&self, interface: HostInterface) -> bool {
        match interface {
            HostInterface::NodeControl => self.node_control.is_some(),
            HostInterface::Config => self.config.is_some(),
            HostInterface::KeyValue => self.kv.is_some(),
            HostInterface::Metrics => self.metrics.is_some(),
        }
    }

    fn call(
        &self,
        interface: HostInterface,
        function: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError> {
        let request = if request.is_empty() { b"{}" } else { request };
        let answered = match interface {
            HostInterface::NodeControl => {
                node_control(self.node_control.as_deref(), function, request)
            }
            HostInterface::Config => config(self.config.as_deref(), function, request),
            HostInterface::KeyValue => kv(self.kv.as_ref(), function, request),
            HostInterface::Metrics => metrics(self.metrics.as_ref(), function, request),
        };
        answered.unwrap_or_else(|| {
            Err(malformed(format!(
                "{} has no function {function:?}",
                interface.id()
            )))
        })
    }
}

/// Where a request says nothing but that it is one.
#[derive(Deserialize)]
struct Nothing {}

/// The answer that says nothing but that it is one.
#[derive(Serialize)]
struct Empty {}

#[derive(Deserialize)]
struct Version {
    version: String,
}

type Answer = Result<Vec<u8>, HandlerError>;

/// `None`: there is no such function.
fn node_control(
    granted: Option<&dyn NodeControl>,
    function: &str,
    request: &[u8],
) -> Option<Answer> {
    let Some(node) = granted else {
        return Some(Err(not_granted(HostInterface::NodeControl)));
    };
    Some(match function {
        "drain" => answer(request, |request| node.drain(request)),
        "drain_status" => answer(request, |_: Nothing| Ok(node.drain_status())),
        "shutdown" => answer(request, |request| node.shutdown(request).map(|()| Empty {})),
        _ => return None,
    })
}

/// `None`: there is no such function.
fn config(granted: Option<&dyn ConfigControl>, function: &str, request: &[u8]) -> Option<Answer> {
    let Some(config) = granted else {
        return Some(Err(not_granted(HostInterface::Config)));
    };
    Some(match function {
        "current" => answer(request, |_: Nothing| Ok(config.current())),
        "validate" => answer(request, |candidate: CandidateConfig| {
            config.validate(&candidate).map(|()| Empty {})
        }),
        "store" => answer(request, |candidate: CandidateConfig| {
            config.store(&candidate).map(|()| Empty {})
        }),
        "apply" => answer(request, |Version { version }| {
            config.apply(&version).map(|()| Empty {})
        }),
        "acknowledge" => answer(request, |Version { version }| {
            config.acknowledge(&version).map(|()| Empty {})
        }),
        "reject" => answer(request, |rejected| {
            config.reject(rejected).map(|()| Empty {})
        }),
        _ => return None,
    })
}

/// `None`: there is no such function.
fn kv(granted: Option<&OwnKeyValues>, function: &str, request: &[u8]) -> Option<Answer> {
    let Some(kv) = granted else {
        return Some(Err(not_granted(HostInterface::KeyValue)));
    };
    Some(match function {
        "get" => answer(request, |request| Ok(kv.get(request)?)),
        "put" => answer(request, |request| Ok(kv.put(request)?)),
        "remove" => answer(request, |request| Ok(kv.remove(request)?)),
        "list" => answer(request, |request| Ok(kv.list(&request)?)),
        _ => return None,
    })
}

/// `None`: there is no such function.
fn metrics(granted: Option<&OwnMetrics>, function: &str, request: &[u8]) -> Option<Answer> {
    let Some(metrics) = granted else {
        return Some(Err(not_granted(HostInterface::Metrics)));
    };
    Some(match function {
        "declare" => answer(request, |it| metrics.declare(it).map(|()| Empty {})),
        "record" => answer(request, |it| metrics.record(it).map(|()| Empty {})),
        _ => return None,
    })
}

fn answer<Q: DeserializeOwned, A: Serialize>(
    request: &[u8],
    run: impl FnOnce(Q) -> Result<A, HandlerError>,
) -> Answer {
    let request = serde_json::from_slice(request).map_err(malformed)?;
    serde_json::to_vec(&run(request)?).map_err(malformed)
}

pub(super) fn malformed(reason: impl ToString) -> HandlerError {
    HandlerError::new(
        "malformed-request",
        format!("the request is malformed: {}", reason.to_string()),
    )
}

fn not_granted(interface: HostInterface) -> HandlerError {
    HandlerError::new(
        "not-granted",
        format!("{} is not granted to this plugin", interface.id()),
    )
    .help(format!(
        "add {:?} to its grants in the worker's config",
        interface.grant()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{DrainRequest, DrainStatus, ShutdownRequest};

    struct Idle;

    impl NodeControl for Idle {
        fn drain(&self, request: DrainRequest) -> Result<DrainStatus, HandlerError> {
            Ok(DrainStatus {
                draining: request.drain,
                ..self.drain_status()
            })
        }
        fn drain_status(&self) -> DrainStatus {
            DrainStatus::default()
        }
        fn shutdown(&self, _: ShutdownRequest) -> Result<(), HandlerError> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_done_that_is_not_granted_or_not_there() {
        let granted = Granted {
            node_control: Some(Arc::new(Idle)),
            ..Granted::default()
        };
        let code = |interface, function, request: &[u8]| {
            let refused = granted.call(interface, function, request);
            refused.expect_err("refused").code
        };
        assert!(granted.grants(HostInterface::NodeControl));
        assert!(!granted.grants(HostInterface::Config));
        assert_eq!(code(HostInterface::Config, "current", b""), "not-granted");
        for (function, request) in [("apply", &b"{}"[..]), ("drain", b"["), ("drain", b"")] {
            assert_eq!(
                code(HostInterface::NodeControl, function, request),
                "malformed-request"
            );
        }
        let status = granted.call(HostInterface::NodeControl, "drain", br#"{"drain":true}"#);
        let status = String::from_utf8(status.expect("done")).expect("JSON");
        assert!(status.contains(r#""draining":true"#), "{status}");
        granted
            .call(HostInterface::NodeControl, "drain_status", b"")
            .expect("an empty request asks for nothing more");
    }
}
