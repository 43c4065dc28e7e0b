//! The fake host's `aegis.metrics/1`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::HandlerError;

/// What a plugin counts, for [`Setup::figures`](super::Setup::figures). The limits
/// of a worker are not those of this fake.
#[derive(Debug, Clone, Default)]
pub struct Figures(Arc<Mutex<State>>);

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct State {
    kinds: BTreeMap<String, String>,
    series: BTreeMap<(String, Labels), Vec<f64>>,
}

impl Figures {
    /// What a counter or a gauge with these labels has come to; of a histogram
    /// the sum. `None`: nothing was ever recorded.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let all = self.observations(name, labels);
        (!all.is_empty()).then(|| all.iter().sum())
    }

    /// What a histogram was told, in this order.
    pub fn observations(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let labels = labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        let key = (name.to_owned(), labels.collect());
        self.state().series.get(&key).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, function: &str, request: &Value) -> Result<Value, HandlerError> {
        let mut state = self.state();
        let name = request["name"].as_str().unwrap_or_default();
        if function == "declare" {
            let kind = request["type"].as_str().unwrap_or_default();
            let known = state.kinds.entry(name.to_owned());
            if *known.or_insert_with(|| kind.to_owned()) != kind {
                return Err(HandlerError::new(
                    "metric-conflict",
                    format!("{name} was declared as something else"),
                ));
            }
            return Ok(json!({}));
        }
        let invalid = |why: &str| HandlerError::new("invalid-metric", format!("{name}: {why}"));
        let kind = state.kinds.get(name).cloned();
        let kind = kind.ok_or_else(|| invalid("it was never declared"))?;
        let value = request["value"].as_f64();
        let value = value.ok_or_else(|| invalid("the value is no number"))?;
        let labels = request["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
        let series = state.series.entry((name.to_owned(), labels.collect()));
        let series = series.or_default();
        if kind == "gauge" && request["add"] != true {
            series.clear();
        }
        series.push(value);
        Ok(json!({}))
    }
}
