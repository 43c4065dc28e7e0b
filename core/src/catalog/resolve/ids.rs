//! Several plugins with one id.

use std::collections::BTreeMap;

use crate::{
    catalog::found::Found,
    config::model::PluginsConfig,
    loader::{Check, Refusal},
    plugin::{Placement, PluginState},
};

/// Leaves at most one plugin of each id.
pub(super) fn settle(found: &mut [Found], plugins: &PluginsConfig) {
    let mut by_id: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, found) in found
        .iter()
        .enumerate()
        .filter(|(_, found)| found.is_active())
    {
        by_id
            .entry(found.info.name.clone())
            .or_default()
            .push(index);
    }
    for (id, indices) in by_id {
        let (linked, files): (Vec<usize>, Vec<usize>) = indices
            .into_iter()
            .partition(|index| found[*index].info.placement == Placement::BuiltIn);
        let placement = plugins.by_name.get(&id).and_then(|config| config.placement);
        match placement {
            Some(wanted @ (Placement::InProcess | Placement::Process)) if files.is_empty() => {
                let refusal = misplaced(&id, wanted.as_str(), "no file of it was taken");
                refuse(found, &linked, &refusal);
            }
            Some(Placement::BuiltIn) if linked.is_empty() => {
                let refusal = misplaced(&id, "built-in", "it is not linked into this program");
                refuse(found, &files, &refusal);
            }
            Some(wanted @ (Placement::InProcess | Placement::Process)) => {
                for index in linked {
                    let wanted = wanted.as_str();
                    let reason = format!("[plugins.{id}] placement = {wanted:?} prefers the file");
                    found[index].leave_out(PluginState::Disabled(reason));
                }
                settle_files(found, &id, &files);
            }
            _ if linked.is_empty() => settle_files(found, &id, &files),
            _ => {
                refuse(
                    found,
                    &files,
                    &Refusal::new(
                        Check::Conflict,
                        format!("a built-in plugin has the id {id:?}"),
                        format!(
                            "remove the file, or prefer it with placement = \"process\" or \"in-process\" under [plugins.{id}]"
                        ),
                    ),
                );
                if linked.len() > 1 {
                    refuse(found, &linked, &ambiguous(&id, linked.len()));
                }
            }
        }
    }
}

/// Of several files with one id: copies of one file are one plugin, and
/// different ones are none.
fn settle_files(found: &mut [Found], id: &str, files: &[usize]) {
    let Some((first, others)) = files.split_first() else {
        return;
    };
    if others
        .iter()
        .any(|other| found[*other].info.sha256 != found[*first].info.sha256)
    {
        refuse(found, files, &ambiguous(id, files.len()));
        return;
    }
    let original = found[*first].info.file.clone().unwrap_or_default();
    for other in others {
        let reason = format!("it is a copy of {}", original.display());
        found[*other].leave_out(PluginState::Disabled(reason));
    }
}

fn refuse(found: &mut [Found], indices: &[usize], refusal: &Refusal) {
    for index in indices {
        found[*index].refuse(refusal);
    }
}

fn ambiguous(id: &str, count: usize) -> Refusal {
    Refusal::new(
        Check::Conflict,
        format!("{count} different plugins have the id {id:?}"),
        format!("keep one of them, or list its sha256 under [plugins.{id}]"),
    )
}

fn misplaced(id: &str, placement: &str, why: &str) -> Refusal {
    Refusal::new(
        Check::Placement,
        format!("[plugins.{id}] placement = {placement:?}, but {why}"),
        "correct the placement",
    )
}
