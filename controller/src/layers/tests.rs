use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    rollout::Terms,
    store::{Release, RolloutRecord, RolloutState},
};

fn layer(scope: LayerScope, document: &Value) -> LayerRecord {
    LayerRecord {
        scope,
        document: document.to_string().into_bytes(),
        set_by: "operator".into(),
        set_at: 0,
        pending: None,
    }
}

fn parsed(merged: &Merged) -> Value {
    serde_json::from_slice(&merged.document).expect("JSON")
}

#[test]
fn a_merge_is_that_of_rfc_7396() {
    // The cases of its appendix A.
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [1]}),
            json!({"a": [2, 3]}),
            json!({"a": [2, 3]}),
        ),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ];
    for (mut target, patch, merged) in cases {
        merge(&mut target, patch);
        assert_eq!(target, merged);
    }
}

#[test]
fn a_node_overrides_its_tags_and_they_the_global_layer() {
    let node = NodeId::from_uuid(Uuid::new_v4());
    let other = NodeId::from_uuid(Uuid::new_v4());
    let stack = LayerStack {
        revision: 1,
        layers: vec![
            layer(LayerScope::Node(node), &json!({"level": "node"})),
            layer(
                LayerScope::Tag("b".into()),
                &json!({"level": "b", "tag": "b"}),
            ),
            layer(
                LayerScope::Tag("a".into()),
                &json!({"level": "a", "tag": "a"}),
            ),
            layer(LayerScope::Global, &json!({"level": "global", "all": 1})),
        ],
    };
    let tags = ["a".to_owned(), "b".to_owned()];
    let merged = stack.merged(node, &tags).expect("layers");
    assert_eq!(
        parsed(&merged),
        json!({"level": "node", "tag": "b", "all": 1})
    );
    let merged = stack.merged(other, &[]).expect("the global layer");
    assert_eq!(parsed(&merged), json!({"level": "global", "all": 1}));
}

#[test]
fn equal_documents_have_equal_versions() {
    let one: Value = serde_json::from_str(r#"{"a":1,"b":{"d":2,"c":3}}"#).expect("JSON");
    let two: Value = serde_json::from_str(r#"{"b":{"c":3,"d":2},"a":1}"#).expect("JSON");
    assert_eq!(Merged::of(&one), Merged::of(&two));
    assert_ne!(Merged::of(&one).version, Merged::of(&json!({})).version);
}

#[test]
fn a_node_without_layers_keeps_only_what_was_pushed_by_hand() {
    let node = NodeId::from_uuid(Uuid::new_v4());
    let layered = LayerStack {
        revision: 1,
        layers: vec![layer(LayerScope::Global, &json!({"a": 1}))],
    };
    let version = layered.merged(node, &[]).expect("a layer").version;
    assert_eq!(layered.wanted(node, &[], &version), None);
    let none = LayerStack::default();
    assert_eq!(none.wanted(node, &[], ""), None);
    assert_eq!(none.wanted(node, &[], "v5"), None);
    let back = none.wanted(node, &[], &version).expect("the empty config");
    assert_eq!(back.document, b"{}");
    assert_eq!(none.wanted(node, &[], &back.version), None);
}

#[test]
fn a_rollout_keeps_the_old_document_from_whoever_is_not_released() {
    let (first, second) = (node_id(), node_id());
    let old = layer(LayerScope::Global, &json!({"a": 1}));
    let before = LayerStack::default().changed(&LayerChange::Set(old.clone()));
    let begun = before.changed(&begin(&json!({"a": 2}), old.document.clone()));
    let version = |stack: &LayerStack, node| stack.merged(node, &[]).map(|it| it.version);
    assert_eq!(version(&begun, first), version(&before, first));
    let rollout = begun.rollouts().next().expect("it is open");
    assert_eq!(begun.held_by(first, &[]), Some(rollout));

    let released = begun.changed(&LayerChange::Release {
        rollout,
        at: 0,
        batch: 1,
        nodes: vec![Release {
            node: first,
            present: true,
            command: None,
        }],
    });
    let new = Merged::of(&json!({"a": 2})).version;
    assert_eq!(version(&released, first), Some(new.clone()));
    assert_eq!(version(&released, second), version(&before, second));
    assert_eq!(released.held_by(first, &[]), None);

    let ends = Vec::new();
    let completed = released.changed(&LayerChange::Complete {
        rollout,
        at: 0,
        ends: ends.clone(),
    });
    assert_eq!(version(&completed, second), Some(new));
    assert_eq!(completed.rollouts().count(), 0);
    let aborted = released.changed(&LayerChange::Abort {
        rollout,
        layer: old,
        reason: String::new(),
        ends,
    });
    assert_eq!(version(&aborted, first), version(&before, first));
    assert_eq!(aborted.rollouts().count(), 0);
}

#[test]
fn a_layer_that_is_rolled_out_or_away_is_nothing_to_the_others() {
    let node = node_id();
    let appears = LayerStack::default().changed(&begin(&json!({"a": 1}), Vec::new()));
    assert_eq!(appears.wanted(node, &[], ""), None);

    let old = layer(LayerScope::Global, &json!({"a": 1}));
    let before = LayerStack::default().changed(&LayerChange::Set(old.clone()));
    let LayerChange::Begin {
        mut layer,
        rollout,
        nodes,
    } = begin(&json!({}), old.document)
    else {
        unreachable!("it is a beginning")
    };
    layer.document.clear();
    let id = rollout.id;
    let goes = before.changed(&LayerChange::Begin {
        layer,
        rollout,
        nodes,
    });
    assert_eq!(goes.merged(node, &[]), before.merged(node, &[]));
    let gone = goes.changed(&LayerChange::Complete {
        rollout: id,
        at: 0,
        ends: Vec::new(),
    });
    assert!(gone.layers.is_empty());
}

fn node_id() -> NodeId {
    NodeId::from_uuid(Uuid::new_v4())
}

fn begin(document: &Value, previous: Vec<u8>) -> LayerChange {
    let layer = layer(LayerScope::Global, document);
    LayerChange::Begin {
        rollout: RolloutRecord {
            id: Uuid::now_v7(),
            scope: LayerScope::Global,
            revision: 0,
            previous,
            state: RolloutState::Running,
            reason: String::new(),
            started_by: "operator".into(),
            started_at: 0,
            finished_at: None,
            terms: Terms {
                batch: 1,
                max_failures: 0,
                node_timeout: Duration::from_secs(1),
                pause: Duration::ZERO,
            },
        },
        layer,
        nodes: Vec::new(),
    }
}
