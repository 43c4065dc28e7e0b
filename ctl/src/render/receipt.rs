//! Receipts.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    clean_line, dash,
    table::{indent, pairs},
};
use crate::document::Receipt;

/// What was signed, whether it holds, and what anyone else verifies it from.
pub fn receipt(receipt: &Receipt) -> String {
    let signed = pairs(&[
        ("Command", receipt.command_id.clone()),
        ("Node", receipt.node_id.clone()),
        ("Name", receipt.name.clone()),
        ("State", receipt.state.clone()),
        ("Error", dash(receipt.error_code.as_deref())),
        ("Attempt", receipt.attempt.to_string()),
        ("Started", exact(receipt.started_at)),
        ("Finished", exact(receipt.finished_at)),
        ("Response", digest(&receipt.response_sha256)),
        ("Output", digest(&receipt.output_sha256)),
        ("Key", digest(&receipt.key_fingerprint)),
    ]);
    let verdict = if receipt.verified {
        "Verified: the node's key signed this, and the response and the output are those it names."
            .into()
    } else {
        let faults: Vec<String> = receipt.faults.iter().map(|it| clean_line(it)).collect();
        format!("NOT VERIFIED\n{}", indent(&faults.join("\n"), "  "))
    };
    format!(
        "{signed}\n\n{verdict}\n\nReceipt, in base64\n  {}\n\nSignature, in base64\n  {}\n\nKey of the node\n{}",
        receipt.receipt,
        receipt.signature,
        indent(&receipt.public_key, "  ")
    )
}

fn exact(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(
        || "-".into(),
        |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

fn digest(hex: &str) -> String {
    if hex.is_empty() {
        "-".into()
    } else {
        format!("sha256:{hex}")
    }
}
