//! The C ABI between a host and a plugin.
//!
//! Everything here has C layout and is mirrored in `include/aegis_plugin.h`.
//! This module holds layouts and constants only; what calls through them lives
//! in the SDK on the plugin's side and in the host.
//!
//! # Rules
//!
//! * A table begins with `struct_size`. It grows at its end only. A reader uses
//!   a field if it lies within `struct_size` and, for a pointer, is not null.
//!   [`AegisBytes`], [`AegisBuffer`], [`AegisInstance`] and [`AegisCompletion`]
//!   never grow.
//! * All that is optional is an interface with a revisioned id, such as
//!   `aegis.node-control/1`, asked for through `get_interface`. An id never
//!   changes its meaning.
//! * Enumerations cross as `u32` and are checked by the receiver. No struct is
//!   returned by value. No foreign `bool` crosses.
//! * Texts are UTF-8 without a terminator; documents are JSON.
//! * No function unwinds into the other side.
//! * A function may be called from any thread, and from several at once, unless
//!   its comment says otherwise.

mod bytes;
mod interfaces;

use std::ffi::c_void;

pub use interfaces::{
    AegisCheckpointV1, AegisConfigV1, AegisJsonFn, AegisKeyValueV1, AegisMetricsV1,
    AegisNodeControlV1, AegisSchemaV1,
};

/// `AEGISPLG` in memory on a little-endian machine: the first bytes of a descriptor.
pub const AEGIS_PLUGIN_MAGIC: u64 = 0x474c_5053_4947_4541;
/// Changes only if plugins must be built anew.
pub const AEGIS_ABI_MAJOR: u16 = 1;
/// Grows with every appended field or function.
pub const AEGIS_ABI_MINOR: u16 = 0;

/// A panic in the plugin unwinds and is caught by the plugin itself. A plugin
/// without this flag is refused in-process.
pub const AEGIS_FLAG_UNWINDS: u32 = 1;
/// No `start` of this plugin ever blocks its caller.
pub const AEGIS_FLAG_START_NEVER_BLOCKS: u32 = 2;

/// The function did what it says.
pub const AEGIS_OK: u32 = 0;
/// It did not; the buffer holds an error document.
pub const AEGIS_ERROR: u32 = 1;
/// The deadline passed first.
pub const AEGIS_TIMEOUT: u32 = 2;
/// No such call: it is over, was never made, or is another's.
pub const AEGIS_UNKNOWN_CALL: u32 = 3;

/// `load` of `aegis.checkpoint/1`: the command has no checkpoint.
pub const AEGIS_NO_CHECKPOINT: u32 = 4;

/// `start`: the call is over; its completion is in the out parameter.
pub const AEGIS_START_DONE: u32 = 0;
/// `start`: the call runs on; the plugin will call `complete` once.
pub const AEGIS_START_PENDING: u32 = 1;
/// `start`: the call was not taken and had no effect; the out parameter may
/// hold an error.
pub const AEGIS_START_REFUSED: u32 = 2;

/// The buffer is the response document.
pub const AEGIS_STATUS_OK: u32 = 0;
/// The buffer is an error document.
pub const AEGIS_STATUS_ERROR: u32 = 1;
/// The handler ended because of its cancellation; the buffer may be empty or an
/// error document.
pub const AEGIS_STATUS_CANCELLED: u32 = 2;
/// The handler panicked; the buffer is an error document with file and line.
/// The instance takes no further calls, refuses them with the error code
/// `plugin-poisoned`, and is to be destroyed.
pub const AEGIS_STATUS_PANICKED: u32 = 3;

/// `cancel`: an operator asked for it.
pub const AEGIS_CANCEL_REQUESTED: u32 = 1;
/// `cancel`: the timeout passed.
pub const AEGIS_CANCEL_DEADLINE: u32 = 2;
/// `cancel`: the worker shuts down.
pub const AEGIS_CANCEL_SHUTDOWN: u32 = 3;
/// `cancel`: the grace after an earlier cancel is over. The plugin drops the
/// call where it can and completes it at once.
pub const AEGIS_CANCEL_ABANDON: u32 = 4;

/// `log` levels, in the order of urgency; 0 in `log_level` turns all off.
/// This one: something failed.
pub const AEGIS_LOG_ERROR: u32 = 1;
/// Something is wrong and the plugin goes on.
pub const AEGIS_LOG_WARN: u32 = 2;
/// What an operator wants to know.
pub const AEGIS_LOG_INFO: u32 = 3;
/// For whoever looks for a fault.
pub const AEGIS_LOG_DEBUG: u32 = 4;
/// Every step.
pub const AEGIS_LOG_TRACE: u32 = 5;

/// `progress`: the handler cannot tell how far it is.
pub const AEGIS_PROGRESS_UNKNOWN: u32 = 1001;
/// `deadline_ns`: none.
pub const AEGIS_NO_DEADLINE: u64 = u64::MAX;
/// The longest checkpoint, in bytes.
pub const AEGIS_MAX_CHECKPOINT_BYTES: usize = 65536;

/// The most bytes of a key of `aegis.kv/1`.
pub const AEGIS_KV_MAX_KEY_BYTES: usize = 256;
/// The most bytes of a value of `aegis.kv/1`.
pub const AEGIS_KV_MAX_VALUE_BYTES: usize = 65536;
/// The most keys that a plugin has in `aegis.kv/1`.
pub const AEGIS_KV_MAX_KEYS: usize = 4096;
/// The most bytes that all keys and values of a plugin have in `aegis.kv/1`.
pub const AEGIS_KV_MAX_BYTES: usize = 1048576;
/// The most keys that `list` of `aegis.kv/1` answers with, and how many where it
/// is not told.
pub const AEGIS_KV_MAX_PAGE: usize = 256;

/// A borrowed run of bytes. `data` may be null where `len` is 0. Valid until
/// the function that it was passed to returns, or, in a descriptor, for the
/// life of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AegisBytes {
    /// The first byte.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// An owned run of bytes. Whoever holds it calls `release` exactly once, on any
/// thread, or never if `release` is null (static bytes). Only the side that
/// made it frees it.
#[repr(C)]
#[derive(Debug)]
pub struct AegisBuffer {
    /// The first byte; may be null where `len` is 0.
    pub data: *const u8,
    /// How many.
    pub len: usize,
    /// Handed to `release` as it is.
    pub owner: *mut c_void,
    /// Frees the bytes.
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void, data: *const u8, len: usize)>,
}

/// The exported constant by which a host knows a plugin. Its symbol is
/// `aegis_plugin_v1_` followed by a name of the plugin's own choice, which the
/// manifest records under `symbol`.
///
/// The manifest is a JSON document that the file also carries, closed by a NUL
/// byte, in the section `.aegis.plugin` (ELF) or `__DATA,__aegis` (Mach-O), so
/// that it is read before any code of the plugin runs. The two must be equal.
#[repr(C)]
#[derive(Debug)]
pub struct AegisPluginDescriptor {
    /// [`AEGIS_PLUGIN_MAGIC`].
    pub magic: u64,
    /// The size of this struct as the plugin knows it.
    pub struct_size: u32,
    /// [`AEGIS_ABI_MAJOR`] as the plugin knows it.
    pub abi_major: u16,
    /// [`AEGIS_ABI_MINOR`] as the plugin knows it.
    pub abi_minor: u16,
    /// The lowest minor of a host that the plugin works with.
    pub min_host_minor: u16,
    /// 0.
    pub reserved: u16,
    /// `AEGIS_FLAG_…`; a host ignores those that it does not know.
    pub flags: u32,
    /// The plugin's name, as in the config's `[plugins.NAME]`.
    pub id: AegisBytes,
    /// The plugin's own version.
    pub version: AegisBytes,
    /// Name and version of what it was written with.
    pub sdk: AegisBytes,
    /// The compiler.
    pub toolchain: AegisBytes,
    /// The target triple.
    pub target: AegisBytes,
    /// The manifest, without its NUL.
    pub manifest: AegisBytes,
    /// Makes an instance. Runs once per instance, on a thread where it may
    /// block for a bounded time. On `AEGIS_OK` it has filled in `out`. On
    /// `AEGIS_ERROR` it has left `out` alone and may have filled in `error`.
    pub create: Option<
        unsafe extern "C" fn(
            args: *const AegisCreateArgs,
            out: *mut AegisInstance,
            error: *mut AegisBuffer,
        ) -> u32,
    >,
    /// Finds an interface that needs no instance, such as `aegis.schema/1`.
    /// Null where the plugin has none by that id. The table lives as long as
    /// the process.
    pub get_interface: Option<unsafe extern "C" fn(id: AegisBytes) -> *const c_void>,
}

/// What `create` is given. Valid until `create` returns, but for `host` and
/// `host_ctx`, which stay valid until `destroy` returns.
#[repr(C)]
#[derive(Debug)]
pub struct AegisCreateArgs {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The host's functions. Never null.
    pub host: *const AegisHostVtable,
    /// Handed to every one of them.
    pub host_ctx: *mut c_void,
    /// The plugin's section of the config, a JSON object.
    pub config: AegisBytes,
    /// The node, a JSON object: `node_id`, `role`, `tags`, `worker_version`.
    pub node: AegisBytes,
    /// The path of a directory that is this plugin's alone. It exists.
    pub state_dir: AegisBytes,
}

/// A running plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AegisInstance {
    /// Handed to every function of the table.
    pub ctx: *mut c_void,
    /// Stays valid until `destroy` returns.
    pub vtable: *const AegisInstanceVtable,
}

/// What an instance can do.
#[repr(C)]
#[derive(Debug)]
pub struct AegisInstanceVtable {
    /// The size of this struct as the plugin knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Begins a call and answers with `AEGIS_START_…`. `call` is valid until
    /// `start` returns. `out` is zeroed and is filled in on
    /// `AEGIS_START_DONE`. The plugin may call `complete` for this call before
    /// `start` has returned `AEGIS_START_PENDING`.
    pub start: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            call: *const AegisCall,
            out: *mut AegisCompletion,
        ) -> u32,
    >,
    /// Asks that a call end. Never blocks. The call still completes once. An
    /// id that is over is ignored.
    pub cancel: Option<unsafe extern "C" fn(ctx: *mut c_void, call_id: u64, reason: u32)>,
    /// Gives a new config, a JSON object. On `AEGIS_ERROR` the old one stays
    /// in force. May block for a bounded time; never called twice at once.
    pub reconfigure: Option<
        unsafe extern "C" fn(ctx: *mut c_void, config: AegisBytes, error: *mut AegisBuffer) -> u32,
    >,
    /// Refuses new calls from now on, waits for the running ones, ends the
    /// plugin's threads. Answers `AEGIS_TIMEOUT` if calls still run after
    /// `timeout_ns`. After `AEGIS_OK` the plugin calls nothing of the host
    /// any more.
    pub quiesce: Option<unsafe extern "C" fn(ctx: *mut c_void, timeout_ns: u64) -> u32>,
    /// Frees the instance. Called once, after `quiesce` answered `AEGIS_OK`,
    /// with no other call under way.
    pub destroy: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    /// Finds an interface of this instance. Null where it has none by that id.
    pub get_interface:
        Option<unsafe extern "C" fn(ctx: *mut c_void, id: AegisBytes) -> *const c_void>,
}

/// One call of a handler.
#[repr(C)]
#[derive(Debug)]
pub struct AegisCall {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// Which handler: its index in the manifest's `handlers`.
    pub handler: u32,
    /// Names this call to the host. Never 0, never used again by this process.
    pub call_id: u64,
    /// Nanoseconds from now until the timeout, or [`AEGIS_NO_DEADLINE`].
    pub deadline_ns: u64,
    /// The command's id: a UUID in its hyphenated form.
    pub command_id: AegisBytes,
    /// The request document.
    pub payload: AegisBytes,
    /// Who gave the command.
    pub issuer: AegisBytes,
    /// A W3C trace context, or empty.
    pub traceparent: AegisBytes,
    /// 1 for the first attempt at this command.
    pub attempt: u32,
    /// 0.
    pub reserved: u32,
}

/// How a call ended.
#[repr(C)]
#[derive(Debug)]
pub struct AegisCompletion {
    /// `AEGIS_STATUS_…`.
    pub status: u32,
    /// 0.
    pub reserved: u32,
    /// What it says depends on `status`. Ownership passes with the completion.
    ///
    /// An error document is a JSON object: `code` (stable, in lower case with
    /// hyphens), `message`, and optionally `help`, `retryable` (a boolean) and
    /// `retry_after_ms`.
    pub buffer: AegisBuffer,
}

/// What a host can do. Stays valid until `destroy` of the instance returns.
/// No function blocks.
#[repr(C)]
#[derive(Debug)]
pub struct AegisHostVtable {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// [`AEGIS_ABI_MINOR`] as the host knows it.
    pub abi_minor: u32,
    /// The most talkative level that `log` still takes. Read it atomically; it
    /// changes while the plugin runs.
    pub log_level: *const u32,
    /// Ends a call. The host takes the buffer in every case. `AEGIS_UNKNOWN_CALL`
    /// if the call is over or not this instance's.
    pub complete: Option<
        unsafe extern "C" fn(
            host_ctx: *mut c_void,
            call_id: u64,
            completion: *const AegisCompletion,
        ) -> u32,
    >,
    /// Says how far a call is: 0 to 1000, or [`AEGIS_PROGRESS_UNKNOWN`]. Only
    /// the newest is kept.
    pub progress: Option<
        unsafe extern "C" fn(
            host_ctx: *mut c_void,
            call_id: u64,
            permille: u32,
            note: AegisBytes,
        ) -> u32,
    >,
    /// Appends to the call's output. What goes beyond the limit is counted and
    /// cut.
    pub output:
        Option<unsafe extern "C" fn(host_ctx: *mut c_void, call_id: u64, data: AegisBytes) -> u32>,
    /// 0, or the `AEGIS_CANCEL_…` that was asked for.
    pub is_cancelled: Option<unsafe extern "C" fn(host_ctx: *mut c_void, call_id: u64) -> u32>,
    /// Writes to the worker's log. `call_id` is 0 outside calls; `target` names
    /// the part of the plugin; `fields` is empty or a JSON object.
    pub log: Option<
        unsafe extern "C" fn(
            host_ctx: *mut c_void,
            call_id: u64,
            level: u32,
            target: AegisBytes,
            message: AegisBytes,
            fields: AegisBytes,
        ),
    >,
    /// Finds an interface that the operator granted to this plugin. Null where
    /// the host has none by that id or did not grant it.
    pub get_interface:
        Option<unsafe extern "C" fn(host_ctx: *mut c_void, id: AegisBytes) -> *const c_void>,
}

const _: () = assert!(AEGIS_PLUGIN_MAGIC == u64::from_le_bytes(*b"AEGISPLG"));

// SAFETY: a descriptor holds pointers to static data and functions only, and
// nothing writes through them.
unsafe impl Sync for AegisPluginDescriptor {}
// SAFETY: the tables hold sizes and functions only.
unsafe impl Sync for AegisInstanceVtable {}
// SAFETY: `log_level` points to a value that is only read and written atomically.
unsafe impl Sync for AegisHostVtable {}
