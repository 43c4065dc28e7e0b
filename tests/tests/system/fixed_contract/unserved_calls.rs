use aegis_proto::cluster::v1::{AttestNodeRequest, AttestNodeResponse};
use aegis_tests::Controller;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_this_project_does_not_serve_are_unimplemented() {
    let controller = Controller::start().await;
    let channel = tonic::transport::Endpoint::from_shared(controller.endpoint())
        .expect("an endpoint")
        .connect()
        .await
        .expect("a connection");
    for rpc in [
        "ForwardExecution",
        "ConnectEdge",
        "RotateEdgeKey",
        "IssueEnrollmentToken",
    ] {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("ready");
        let path = format!("/aegis.cluster.v1.NodeClusterService/{rpc}");
        let path = path.parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<AttestNodeRequest, AttestNodeResponse>::default();
        let request = tonic::Request::new(AttestNodeRequest::default());
        let status = grpc.unary(request, path, codec).await.expect_err(rpc);
        assert_eq!(status.code(), Code::Unimplemented, "{rpc}: {status:?}");
    }
}
