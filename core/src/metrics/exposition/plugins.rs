//! What plugins count themselves, each series with the plugin it is of.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::plugin_metrics::{Collected, Family, Kind, Value};

impl Collector for Collected {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        // A family without a series would be a lie to some readers.
        let told = self.families.iter().filter(|(_, it)| !it.series.is_empty());
        for (name, family) in told {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let encoder = to.encode_descriptor(name, &family.help, None, kind)?;
            family.encode(encoder)?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        for ((plugin, labels), value) in &self.series {
            let own = labels.iter().map(|(name, value)| (&**name, &**value));
            let labels: Vec<(&str, &str)> =
                [("plugin", &**plugin)].into_iter().chain(own).collect();
            let mut series = to.encode_family(&labels)?;
            match value {
                Value::Number(number) if self.kind == Kind::Gauge => {
                    series.encode_gauge(number)?;
                }
                Value::Number(number) => {
                    series.encode_counter::<NoLabelSet, _, f64>(number, None)?;
                }
                Value::Observed { sum, counts } => {
                    let bounds = self.buckets.iter().copied().chain([f64::INFINITY]);
                    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
                    let count = counts.iter().sum();
                    series.encode_histogram::<NoLabelSet>(*sum, count, &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}
