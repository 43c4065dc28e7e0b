//! Writes one family after the other in the form of the exposition.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
        NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

/// Families of metrics, each with its help. The type's suffix, as `_total`,
/// and the unit's are added to the names.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

/// Names and values.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Families<'_> {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        count(&mut family, &value)
    }

    pub(super) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            count(&mut family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
            .encode_gauge(&value)
    }

    pub(super) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// One of several states: 1 for the one that is, 0 for all others.
    pub(super) fn state<'l>(
        &mut self,
        name: &str,
        help: &str,
        states: impl IntoIterator<Item = (&'l str, bool)>,
    ) -> fmt::Result {
        let samples = states
            .into_iter()
            .map(|(state, is)| ([("state", state)], u64::from(is)));
        self.gauges(name, help, samples)
    }

    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &impl EncodeLabelSet,
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(labels)
    }
}

fn count(family: &mut MetricEncoder<'_>, value: &impl EncodeCounterValue) -> fmt::Result {
    family.encode_counter::<NoLabelSet, _, u64>(value, None)
}
