//! The plugins' own figures: `aegis.metrics/1`.
//!
//! One family may have series of several plugins, so all are in one place. What a
//! plugin can put here is bounded; what goes beyond is refused and counted.

mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use aegis_plugin_api::HandlerError;
use serde::Deserialize;

use crate::unpoisoned::lock;

/// Metrics that a plugin can declare.
const MAX_METRICS: usize = 64;
/// Series of all metrics of a plugin.
const MAX_SERIES: usize = 256;

/// The figures of all plugins. No method waits for more than another's turn.
#[derive(Debug, Default)]
pub(crate) struct PluginMetrics(Mutex<Collected>);

/// Those of one plugin, whatever its version and placement.
#[derive(Debug, Clone)]
pub(crate) struct OwnMetrics {
    all: Arc<PluginMetrics>,
    plugin: Arc<str>,
}

/// All that plugins have told so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Collected {
    /// By name.
    pub(crate) families: BTreeMap<String, Family>,
    /// By plugin.
    pub(crate) refused: BTreeMap<Arc<str>, u64>,
}

/// What has one name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: Kind,
    pub(crate) help: String,
    /// Of a histogram: the upper bounds, without infinity.
    pub(crate) buckets: Vec<f64>,
    declared_by: BTreeSet<Arc<str>>,
    pub(crate) series: BTreeMap<(Arc<str>, Labels), Value>,
}

/// Names and values.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a series has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    Observed {
        sum: f64,
        /// How many fell into each bucket; the last is that without an end.
        counts: Vec<u64>,
    },
}

#[derive(Deserialize)]
pub(crate) struct Declaration {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    help: String,
    #[serde(default)]
    buckets: Vec<f64>,
}

#[derive(Deserialize)]
pub(crate) struct Sample {
    name: String,
    #[serde(default)]
    labels: Labels,
    value: f64,
    /// A gauge is added to instead of set.
    #[serde(default)]
    add: bool,
}

impl PluginMetrics {
    /// The figures of a plugin.
    pub(crate) fn of(self: &Arc<Self>, plugin: &str) -> OwnMetrics {
        OwnMetrics {
            all: Arc::clone(self),
            plugin: plugin.into(),
        }
    }

    /// All of them, as they are now.
    pub(crate) fn collected(&self) -> Collected {
        lock(&self.0).clone()
    }
}

impl OwnMetrics {
    /// Makes a metric known. Repeating it changes nothing but the help.
    pub(crate) fn declare(&self, declaration: Declaration) -> Result<(), HandlerError> {
        self.change(|all| all.declare(&self.plugin, declaration))
    }

    /// Changes a series of a metric that was declared.
    pub(crate) fn record(&self, sample: Sample) -> Result<(), HandlerError> {
        self.change(|all| all.record(&self.plugin, sample))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Collected) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        let mut all = lock(&self.all.0);
        change(&mut all).inspect_err(|_| {
            let refused = all.refused.entry(Arc::clone(&self.plugin));
            *refused.or_default() += 1;
        })
    }
}

impl Collected {
    fn declare(&mut self, plugin: &Arc<str>, declaration: Declaration) -> Result<(), HandlerError> {
        let name = declaration.name;
        rules::metric(
            &name,
            &declaration.help,
            declaration.kind,
            &declaration.buckets,
        )?;
        if let Some(family) = self.families.get(&name)
            && (family.kind, &family.buckets) != (declaration.kind, &declaration.buckets)
        {
            let by: Vec<&str> = family.declared_by.iter().map(|it| &**it).collect();
            return Err(HandlerError::new(
                "metric-conflict",
                format!(
                    "the metric {name} has been declared with another type or other buckets by {}",
                    by.join(", ")
                ),
            )
            .help("declare it as that is, or under another name"));
        }
        let known = |family: &Family| family.declared_by.contains(plugin);
        let new = !self.families.get(&name).is_some_and(known);
        if new && self.families.values().filter(|it| known(it)).count() >= MAX_METRICS {
            return Err(HandlerError::new(
                "too-many-metrics",
                format!("the metric {name} is one more than the {MAX_METRICS} of a plugin"),
            ));
        }
        let family = self.families.entry(name).or_insert_with(|| Family {
            kind: declaration.kind,
            help: String::new(),
            buckets: declaration.buckets,
            declared_by: BTreeSet::new(),
            series: BTreeMap::new(),
        });
        family.help = declaration.help;
        family.declared_by.insert(Arc::clone(plugin));
        Ok(())
    }

    fn record(&mut self, plugin: &Arc<str>, sample: Sample) -> Result<(), HandlerError> {
        let family = self.families.get(&sample.name);
        let Some(family) = family.filter(|family| family.declared_by.contains(plugin)) else {
            let name: String = sample.name.chars().take(rules::MAX_NAME_BYTES).collect();
            return Err(rules::invalid(format!(
                "the metric {name:?} was not declared"
            )));
        };
        if family.kind == Kind::Counter && sample.value < 0.0 {
            return Err(rules::invalid(format!(
                "the counter {} cannot become less",
                sample.name
            )));
        }
        let key = (Arc::clone(plugin), sample.labels);
        if !family.series.contains_key(&key) {
            rules::labels(&key.1)?;
            if self.series_of(plugin) >= MAX_SERIES {
                return Err(HandlerError::new(
                    "too-many-series",
                    format!(
                        "these labels of {} make one more series than the {MAX_SERIES} of a plugin",
                        sample.name
                    ),
                )
                .help("give labels values of which there are few"));
            }
        }
        let fresh = || family.kind.fresh(family.buckets.len());
        let mut value = family.series.get(&key).cloned().unwrap_or_else(fresh);
        value.take(family.kind, &family.buckets, sample.value, sample.add)?;
        if let Some(family) = self.families.get_mut(&sample.name) {
            family.series.insert(key, value);
        }
        Ok(())
    }

    fn series_of(&self, plugin: &Arc<str>) -> usize {
        let series = self.families.values().flat_map(|it| it.series.keys());
        series.filter(|(owner, _)| owner == plugin).count()
    }
}

impl Kind {
    fn fresh(self, buckets: usize) -> Value {
        match self {
            Self::Counter | Self::Gauge => Value::Number(0.0),
            Self::Histogram => Value::Observed {
                sum: 0.0,
                counts: vec![0; buckets + 1],
            },
        }
    }
}

impl Value {
    fn take(
        &mut self,
        kind: Kind,
        buckets: &[f64],
        value: f64,
        add: bool,
    ) -> Result<(), HandlerError> {
        let total = match self {
            Self::Number(_) if kind == Kind::Gauge && !add => value,
            Self::Number(number) => *number + value,
            Self::Observed { sum, .. } => *sum + value,
        };
        if !total.is_finite() {
            return Err(rules::invalid(
                "it would become larger than a number can be",
            ));
        }
        match self {
            Self::Number(number) => *number = total,
            Self::Observed { sum, counts } => {
                *sum = total;
                let bucket = buckets.partition_point(|bound| *bound < value);
                counts[bucket] = counts[bucket].saturating_add(1);
            }
        }
        Ok(())
    }
}
