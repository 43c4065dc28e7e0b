//! Several handlers of one name.

use std::collections::BTreeMap;

use super::Claim;
use crate::{catalog::found::Found, config::model::HandlersConfig, plugin::Placement};

/// Leaves at most one enabled handler of each name: the one that the config
/// names; else the built-in one; else none.
pub(super) fn settle(found: &[Found], handlers: &HandlersConfig, claims: &mut [Claim]) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        if claim.info.disabled.is_none() {
            by_name
                .entry(claim.info.name.clone())
                .or_default()
                .push(index);
        }
    }
    for (name, rivals) in by_name {
        let chosen = handlers
            .by_name
            .get(&name)
            .and_then(|config| config.plugin.as_deref());
        if let Some(chosen) = chosen {
            for index in rivals {
                if claims[index].info.plugin != chosen {
                    claims[index].info.disabled = Some(format!(
                        "[handlers.{name}] plugin = {chosen:?} names another plugin"
                    ));
                }
            }
            continue;
        }
        if rivals.len() < 2 {
            continue;
        }
        let is_linked =
            |index: &usize| found[claims[*index].plugin].info.placement == Placement::BuiltIn;
        let mut linked = rivals.iter().copied().filter(is_linked);
        let winner = linked.next().filter(|_| linked.next().is_none());
        let reason = refusal(&name, &rivals, winner, claims);
        for index in rivals.into_iter().filter(|index| Some(*index) != winner) {
            claims[index].info.disabled = Some(reason.clone());
        }
    }
}

fn refusal(name: &str, rivals: &[usize], winner: Option<usize>, claims: &[Claim]) -> String {
    let plugins: Vec<&str> = rivals
        .iter()
        .map(|index| claims[*index].info.plugin.as_str())
        .collect();
    let who = match winner {
        Some(winner) => format!(
            "the command {name:?} belongs to the built-in plugin {}",
            claims[winner].info.plugin
        ),
        None => format!(
            "the command {name:?} is claimed by the plugins {}",
            plugins.join(" and ")
        ),
    };
    format!("{who}; name the one to serve it with plugin = \"ID\" under [handlers.{name}]")
}
