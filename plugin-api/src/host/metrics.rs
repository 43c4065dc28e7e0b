//! `aegis.metrics/1`: a plugin's own figures among the worker's.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{HostInterface, Interface};
use crate::HandlerError;

/// Figures at the worker's `/metrics`, as `aegis_plugin_NAME` with the label
/// `plugin`. No method waits for anything.
///
/// Names of metrics and labels have 1 to 64 of `a-z A-Z 0-9 _`, do not begin with
/// a digit, nor end as the exposition's own (`_total` and the like: they are
/// added). A plugin has at most 64 metrics, and 256 series of them in all; a
/// series has at most 8 labels, of at most 256 bytes each. What goes beyond that is
/// refused and counted.
///
/// Make them once, where the plugin starts, and keep them in its state.
#[derive(Debug, Clone)]
pub struct Metrics(Interface);

/// It only grows.
#[derive(Debug, Clone)]
pub struct Counter(Metric);

/// It has a value.
#[derive(Debug, Clone)]
pub struct Gauge(Metric);

/// How observations are distributed.
#[derive(Debug, Clone)]
pub struct Histogram(Metric);

#[derive(Debug, Clone)]
struct Metric {
    interface: Interface,
    name: Arc<str>,
}

impl Metrics {
    /// A counter. `_total` is added to its name.
    ///
    /// # Errors
    ///
    /// `invalid-metric`; `metric-conflict`: it was declared as something else, by
    /// this plugin or another; `too-many-metrics`.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, HandlerError> {
        self.declare("counter", name, help, &[]).map(Counter)
    }

    /// A gauge.
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, HandlerError> {
        self.declare("gauge", name, help, &[]).map(Gauge)
    }

    /// A histogram with these upper bounds of its buckets: 1 to 32, ascending,
    /// without infinity, which is added.
    ///
    /// # Errors
    ///
    /// As [`counter`](Self::counter).
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, HandlerError> {
        self.declare("histogram", name, help, buckets)
            .map(Histogram)
    }

    fn declare(
        &self,
        kind: &'static str,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Metric, HandlerError> {
        let declaration = Declaration {
            name,
            kind,
            help,
            buckets,
        };
        let Done {} = self.0.call(0, &declaration)?;
        Ok(Metric {
            interface: self.0.clone(),
            name: name.into(),
        })
    }
}

impl Counter {
    /// Adds to the series with these labels: names and values.
    ///
    /// # Errors
    ///
    /// `invalid-metric`, `too-many-series`, or `plugin-stopped`. A handler can
    /// well go on without: the worker counts what it refuses.
    pub fn add(&self, by: u64, labels: &[(&str, &str)]) -> Result<(), HandlerError> {
        // Beyond 2^53 the worker counts in larger steps.
        self.0.record(by as f64, labels, false)
    }
}

impl Gauge {
    /// Sets the series with these labels.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn set(&self, value: f64, labels: &[(&str, &str)]) -> Result<(), HandlerError> {
        self.0.record(value, labels, false)
    }

    /// Adds to it, or takes away.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn add(&self, by: f64, labels: &[(&str, &str)]) -> Result<(), HandlerError> {
        self.0.record(by, labels, true)
    }
}

impl Histogram {
    /// Tells the series with these labels of one observation.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn observe(&self, value: f64, labels: &[(&str, &str)]) -> Result<(), HandlerError> {
        self.0.record(value, labels, false)
    }
}

impl Metric {
    fn record(&self, value: f64, labels: &[(&str, &str)], add: bool) -> Result<(), HandlerError> {
        let sample = Sample {
            name: &self.name,
            labels: labels.iter().copied().collect(),
            value,
            add,
        };
        self.interface.call(1, &sample).map(|Done {}| ())
    }
}

impl HostInterface for Metrics {
    const ID: &'static str = "aegis.metrics/1";
    const GRANT: &'static str = "metrics";
    const FUNCTIONS: &'static [&'static str] = &["declare", "record"];

    fn over(interface: Interface) -> Self {
        Self(interface)
    }
}

#[derive(Serialize)]
struct Declaration<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    help: &'a str,
    #[serde(skip_serializing_if = "<[f64]>::is_empty")]
    buckets: &'a [f64],
}

#[derive(Serialize)]
struct Sample<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
    value: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    add: bool,
}

#[derive(Deserialize)]
struct Done {}
