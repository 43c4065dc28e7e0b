//! The compiled descriptor of `aegis.cluster.v1` is the fixed contract: all of
//! it and nothing else.

use std::collections::BTreeSet;

use aegis_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const PACKAGE: &str = "aegis.cluster.v1";
const SERVICE: &str = "NodeClusterService";

/// `RPC request response`.
const RPCS: &str = "
AttestNode AttestNodeRequest AttestNodeResponse
ChallengeNode ChallengeNodeRequest ChallengeNodeResponse
RegisterNode RegisterNodeRequest RegisterNodeResponse
Heartbeat NodeHeartbeatRequest NodeHeartbeatResponse
DeregisterNode DeregisterNodeRequest DeregisterNodeResponse
RouteExecution RouteExecutionRequest RouteExecutionResponse
SyncConfig SyncConfigRequest SyncConfigResponse
PushConfig PushConfigRequest PushConfigResponse
ListPeers ListPeersRequest ListPeersResponse
";

/// `message: number [label] type name [(oneof)], …`.
const MESSAGES: &str = "
SealNodeEnvelope: 1 string node_security_token, 2 bytes signature, 3 bytes payload
NodeCapabilities: 1 uint32 gpu_count, 2 uint32 vram_gb, 3 uint32 cpu_cores, 4 uint32 available_memory_gb, 5 repeated string supported_runtimes, 6 repeated string tags
NodeInfo: 1 string node_id, 2 NodeRole role, 3 NodeStatus status, 4 NodeCapabilities capabilities, 5 string grpc_address, 6 Timestamp last_heartbeat_at, 7 Timestamp registered_at
AttestNodeRequest: 1 string node_id, 2 NodeRole role, 3 bytes public_key, 4 NodeCapabilities capabilities, 5 string grpc_address, 6 string enrolment_token
AttestNodeResponse: 1 bytes challenge_nonce, 2 string challenge_id
ChallengeNodeRequest: 1 string challenge_id, 2 string node_id, 3 bytes challenge_signature, 4 string enrollment_token (bootstrap_proof)
ChallengeNodeResponse: 1 string node_security_token, 2 Timestamp expires_at
RegisterNodeRequest: 1 SealNodeEnvelope envelope
RegisterNodeInner: 1 string node_id, 2 NodeCapabilities capabilities, 3 string grpc_address
RegisterNodeResponse: 1 bool accepted, 2 string cluster_id, 3 string message
NodeHeartbeatRequest: 1 SealNodeEnvelope envelope
NodeHeartbeatInner: 1 string node_id, 2 NodeStatus status, 3 uint32 active_executions, 4 uint32 available_memory_gb, 5 float cpu_utilization_percent
NodeHeartbeatResponse: 1 repeated NodeCommand pending_commands
NodeCommand: 1 DrainCommand drain (command), 2 PushConfigCommand push_config (command), 3 ShutdownCommand shutdown (command)
DrainCommand: 1 bool drain
PushConfigCommand: 1 string config_version, 2 bytes config_payload
ShutdownCommand: 1 string reason
DeregisterNodeRequest: 1 SealNodeEnvelope envelope
DeregisterNodeInner: 1 string node_id, 2 string reason
DeregisterNodeResponse: 1 bool accepted
RouteExecutionRequest: 1 SealNodeEnvelope envelope
RouteExecutionInner: 1 string execution_id, 2 string agent_id, 3 NodeCapabilities required_capabilities, 4 repeated string preferred_tags, 5 string tenant_id
RouteExecutionResponse: 1 string target_node_id, 2 string worker_grpc_address
SyncConfigRequest: 1 SealNodeEnvelope envelope
SyncConfigInner: 1 string node_id, 2 string current_config_version, 3 optional string tenant_id
SyncConfigResponse: 1 bool up_to_date, 2 string latest_version, 3 bytes config_delta
PushConfigRequest: 1 SealNodeEnvelope envelope
PushConfigInner: 1 string target_node_id, 2 string config_version, 3 bytes config_payload
PushConfigResponse: 1 bool accepted
ListPeersRequest: 1 SealNodeEnvelope envelope
ListPeersInner: 1 repeated NodeStatus filter_status, 2 repeated NodeRole filter_role
ListPeersResponse: 1 repeated NodeInfo nodes, 2 string cluster_id
";

/// `enum: number name, …`.
const ENUMS: &str = "
NodeStatus: 0 NODE_STATUS_UNSPECIFIED, 1 NODE_STATUS_ACTIVE, 2 NODE_STATUS_DRAINING, 3 NODE_STATUS_UNHEALTHY
NodeRole: 0 NODE_ROLE_UNSPECIFIED, 1 NODE_ROLE_CONTROLLER, 2 NODE_ROLE_WORKER, 3 NODE_ROLE_HYBRID, 4 NODE_ROLE_EDGE, 5 NODE_ROLE_RELAY_COORDINATOR
";

#[test]
fn the_service_has_the_rpcs_of_the_contract_and_no_others() {
    let mut found = BTreeSet::new();
    for file in files() {
        for service in &file.service {
            assert_eq!(service.name(), SERVICE);
            for method in &service.method {
                let streams = method.client_streaming() || method.server_streaming();
                assert!(!streams, "{} is unary", method.name());
                found.insert(format!(
                    "{} {} {}",
                    method.name(),
                    short(method.input_type()),
                    short(method.output_type()),
                ));
            }
        }
    }
    same(lines(RPCS), found);
}

#[test]
fn the_messages_have_the_fields_of_the_contract_and_no_others() {
    let files = files();
    let messages = files.iter().flat_map(|file| &file.message_type);
    same(lines(MESSAGES), messages.map(message).collect());
}

#[test]
fn the_enums_have_the_values_of_the_contract_and_no_others() {
    let files = files();
    let enums = files.iter().flat_map(|file| &file.enum_type);
    same(lines(ENUMS), enums.map(enumeration).collect());
}

#[test]
fn the_files_of_the_contract_are_plain_proto3() {
    for file in files() {
        assert_eq!(file.syntax(), "proto3");
        assert!(file.extension.is_empty(), "no extensions");
    }
}

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let files: Vec<_> = set
        .file
        .into_iter()
        .filter(|file| file.package() == PACKAGE)
        .collect();
    assert!(!files.is_empty(), "the set has {PACKAGE}");
    files
}

fn message(message: &DescriptorProto) -> String {
    let nested = message.nested_type.len() + message.enum_type.len() + message.extension.len();
    assert_eq!(nested, 0, "{} has nothing nested", message.name());
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    let fields: Vec<_> = fields.iter().map(|it| field(message, it)).collect();
    format!("{}: {}", message.name(), fields.join(", "))
}

fn field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        Label::Optional if field.proto3_optional() => "optional ",
        Label::Optional => "",
        Label::Required => "required ",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    // A proto3 `optional` is a oneof of its own only inside the compiler.
    let oneof = match field.oneof_index {
        Some(index) if !field.proto3_optional() => {
            let index = usize::try_from(index).expect("an index");
            format!(" ({})", message.oneof_decl[index].name())
        }
        _ => String::new(),
    };
    format!("{} {label}{kind} {}{oneof}", field.number(), field.name())
}

fn enumeration(enumeration: &EnumDescriptorProto) -> String {
    let mut values: Vec<_> = enumeration.value.iter().collect();
    values.sort_by_key(|value| value.number());
    let values: Vec<_> = values
        .iter()
        .map(|value| format!("{} {}", value.number(), value.name()))
        .collect();
    format!("{}: {}", enumeration.name(), values.join(", "))
}

/// The name within the contract. Only a timestamp comes from elsewhere.
fn short(name: &str) -> &str {
    if name == ".google.protobuf.Timestamp" {
        return "Timestamp";
    }
    name.strip_prefix('.')
        .and_then(|name| name.strip_prefix(PACKAGE))
        .and_then(|name| name.strip_prefix('.'))
        .unwrap_or(name)
}

fn lines(table: &str) -> BTreeSet<String> {
    table.trim().lines().map(str::to_owned).collect()
}

fn same(contract: BTreeSet<String>, found: BTreeSet<String>) {
    let missing: Vec<_> = contract.difference(&found).collect();
    let foreign: Vec<_> = found.difference(&contract).collect();
    assert!(
        missing.is_empty() && foreign.is_empty(),
        "not the contract\nmissing: {missing:#?}\nforeign: {foreign:#?}",
    );
}
