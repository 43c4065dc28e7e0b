//! Sizes that both ends keep to.

/// Bytes of one gRPC message, in either direction.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a command's JSON payload, and of a handler's JSON response.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// Bytes of a command's output that are kept, unless configured otherwise.
pub const DEFAULT_OUTPUT_BYTES: usize = 1024 * 1024;

/// Bytes of one output chunk.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of a challenge nonce. A nonce of any other length is refused.
pub const NONCE_BYTES: usize = 32;

/// Bytes of a command name.
pub const MAX_NAME_BYTES: usize = 64;
