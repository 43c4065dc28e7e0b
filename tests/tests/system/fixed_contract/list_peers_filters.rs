use aegis_proto::cluster::v1::{NodeRole, NodeStatus};
use aegis_tests::Controller;

#[tokio::test(flavor = "multi_thread")]
async fn list_peers_lets_status_and_role_through() {
    let controller = Controller::start().await;
    let mut active = controller.fixed_client().await;
    let mut draining = controller.fixed_client().await;
    active
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
    draining
        .heartbeat(NodeStatus::Draining)
        .await
        .expect("a heartbeat");

    let ids = async |client: &mut aegis_tests::FixedClient, status: &[_], role: &[_]| {
        let answer = client.list_peers(status, role).await.expect("the peers");
        assert!(!answer.cluster_id.is_empty());
        let mut ids: Vec<_> = answer.nodes.into_iter().map(|it| it.node_id).collect();
        ids.sort();
        ids
    };
    let mut all = vec![active.node_id.clone(), draining.node_id.clone()];
    all.sort();
    assert_eq!(ids(&mut active, &[], &[]).await, all);
    assert_eq!(
        ids(&mut active, &[NodeStatus::Active], &[]).await,
        [active.node_id.clone()]
    );
    assert_eq!(
        ids(&mut active, &[NodeStatus::Draining], &[]).await,
        [draining.node_id.clone()]
    );
    let both = [NodeStatus::Active, NodeStatus::Draining];
    assert_eq!(ids(&mut active, &both, &[NodeRole::Worker]).await, all);
    assert!(ids(&mut active, &[], &[NodeRole::Edge]).await.is_empty());

    let nodes = active
        .list_peers(&[NodeStatus::Active], &[])
        .await
        .expect("the peers")
        .nodes;
    let info = &nodes[0];
    assert_eq!(info.capabilities, Some(active.capabilities.clone()));
    assert_eq!(info.grpc_address, active.grpc_address);
    assert!(info.registered_at.is_some() && info.last_heartbeat_at.is_some());
}
