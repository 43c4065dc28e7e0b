//! The tables of what is optional: each is an interface with a revisioned id.

use std::ffi::c_void;

#[cfg(doc)]
use super::{AEGIS_KV_MAX_KEY_BYTES, AEGIS_KV_MAX_PAGE, AEGIS_MAX_CHECKPOINT_BYTES};
use super::{AegisBuffer, AegisBytes};

/// Interface `aegis.schema/1` of a descriptor: the JSON Schemas of a handler,
/// where the manifest does not carry them.
#[repr(C)]
#[derive(Debug)]
pub struct AegisSchemaV1 {
    /// The size of this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Writes a JSON object with `request` and `response` to `out`.
    pub handler: Option<unsafe extern "C" fn(handler: u32, out: *mut AegisBuffer) -> u32>,
    /// Writes the JSON Schema of the plugin's config to `out`.
    pub config: Option<unsafe extern "C" fn(out: *mut AegisBuffer) -> u32>,
}

/// A function of a host interface: takes a JSON object, writes a JSON object to
/// `out` on `AEGIS_OK` and an error document on `AEGIS_ERROR`. The caller
/// releases `out`.
pub type AegisJsonFn = Option<
    unsafe extern "C" fn(host_ctx: *mut c_void, request: AegisBytes, out: *mut AegisBuffer) -> u32,
>;

/// Interface `aegis.node-control/1` of a host. Grant: `node-control`. `drain`
/// may block until the drain is written down: not for inline handlers. The
/// others do not block.
#[repr(C)]
#[derive(Debug)]
pub struct AegisNodeControlV1 {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Begins, changes or undoes a drain: `drain` (a boolean), `deadline_ms`
    /// (from now; optional), `reason` (optional). Answers with the status.
    pub drain: AegisJsonFn,
    /// The drain's status: `draining`, `started_at`, `deadline`, `finished_at`
    /// (RFC 3339 or null), `reason`, `in_flight` (objects with `command_id`,
    /// `name`, `plugin`, `started_at`, `timeout_at`, `cancelled_at`, `given_up`).
    pub drain_status: AegisJsonFn,
    /// Begins the worker's own end: `reason`, `drain_timeout_ms` (optional).
    /// Answers with an empty object, before the worker ends.
    pub shutdown: AegisJsonFn,
}

/// Interface `aegis.config/1` of a host: the steps of a pushed config. Grant:
/// `config`. Its functions may block for a bounded time: not for inline
/// handlers.
#[repr(C)]
#[derive(Debug)]
pub struct AegisConfigV1 {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// `{}`. Answers with `version` (empty if none was ever applied), `sha256`
    /// of its document in hexadecimal digits, `rejected` (null, or `version`,
    /// `step`, `reason`).
    pub current: AegisJsonFn,
    /// `version`, `document` (a JSON object). Refuses what this node cannot
    /// take; changes nothing. Answers with an empty object.
    pub validate: AegisJsonFn,
    /// `version`, `document`. Writes it durably beside the last good one.
    pub store: AegisJsonFn,
    /// `version`. Puts the stored config into force, on probation; on an error
    /// the one before it is in force again. Once the node was well under it for
    /// a while, it is itself the last good one.
    pub apply: AegisJsonFn,
    /// `version`. Tells the controller which version is in force.
    pub acknowledge: AegisJsonFn,
    /// `version`, `step`, `reason`. Remembers that this version is not to be
    /// tried again, and tells the controller why. A failure at the step
    /// `acknowledge` is told and not remembered: the config is in force.
    pub reject: AegisJsonFn,
}

/// Interface `aegis.checkpoint/1` of a host: what a resumable handler is given
/// back after a crash. Every plugin has it, without a grant; it reaches the
/// commands of this plugin's own calls alone. An older host has none: null.
#[repr(C)]
#[derive(Debug)]
pub struct AegisCheckpointV1 {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Keeps `data`, at most [`AEGIS_MAX_CHECKPOINT_BYTES`] of any form, in the
    /// place of the checkpoint before it. On `AEGIS_OK` it is on disk. On
    /// `AEGIS_ERROR` the one before may still be the newest, and `error`, which
    /// may be null, has an error document that the caller releases.
    /// `AEGIS_UNKNOWN_CALL` if the call is over or not this instance's. Blocks
    /// while the disk is written: not to be called within `start`, nor on a
    /// thread that others wait for.
    pub save: Option<
        unsafe extern "C" fn(
            host_ctx: *mut c_void,
            call_id: u64,
            data: AegisBytes,
            error: *mut AegisBuffer,
        ) -> u32,
    >,
    /// Gives the newest checkpoint of the call's command, of this attempt or one
    /// before, in `out`, which the caller releases; it may be empty. Otherwise
    /// `AEGIS_NO_CHECKPOINT` or `AEGIS_UNKNOWN_CALL`. Never blocks.
    pub load: Option<
        unsafe extern "C" fn(host_ctx: *mut c_void, call_id: u64, out: *mut AegisBuffer) -> u32,
    >,
}

/// Interface `aegis.kv/1` of a host: values that are the plugin's alone, that
/// survive restarts and updates of plugin and worker, wherever the plugin runs.
/// Grant: `kv`. Keys are texts of 1 to [`AEGIS_KV_MAX_KEY_BYTES`], values bytes,
/// in the documents in base64 (RFC 4648, with padding). Each change gives its
/// key a version, a number above 0 that the plugin never sees again. All
/// functions may block while the disk is read or written: not to be called within
/// `start`, nor on a thread that others wait for.
#[repr(C)]
#[derive(Debug)]
pub struct AegisKeyValueV1 {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// `key`. Answers with `value` and `version`; null and 0: there is none.
    pub get: AegisJsonFn,
    /// `key`, `value`, `expected` (optional: the version that the key has; 0: it
    /// has none). Answers with the new `version`; then it is on disk. Otherwise
    /// nothing has changed: `version-conflict` where another was expected,
    /// `value-too-large`, `kv-full`.
    pub put: AegisJsonFn,
    /// `key`, `expected` (as above). Answers with `removed`: whether there was
    /// one. Then it is gone from the disk.
    pub remove: AegisJsonFn,
    /// `prefix`, `after` (a key), `limit` (1 to [`AEGIS_KV_MAX_PAGE`]), all
    /// optional. Answers with `keys`, objects with `key`, `version` and `bytes`
    /// in the order of the keys' bytes, and with `more`: whether another page
    /// follows `after` the last of them.
    pub list: AegisJsonFn,
}

/// Interface `aegis.metrics/1` of a host: figures at the worker's `/metrics`, as
/// `aegis_plugin_NAME` with the label `plugin`. Grant: `metrics`. Its functions do
/// not wait for anything.
#[repr(C)]
#[derive(Debug)]
pub struct AegisMetricsV1 {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// `name`, `type` (`counter`, `gauge` or `histogram`), `help`, and for a
    /// histogram `buckets` (their upper bounds, ascending, without infinity).
    /// Saying the same again changes nothing. Answers with an empty object.
    pub declare: AegisJsonFn,
    /// `name`, `labels` (an object of texts; optional), `value` (a number). Adds
    /// to a counter, which takes 0 and more alone; sets a gauge, or adds to it
    /// where `add` is true; tells a histogram of one observation. Answers with an
    /// empty object.
    pub record: AegisJsonFn,
}

// SAFETY: a table holds sizes and functions only.
unsafe impl Sync for AegisSchemaV1 {}
// SAFETY: as above.
unsafe impl Sync for AegisNodeControlV1 {}
// SAFETY: as above.
unsafe impl Sync for AegisConfigV1 {}
// SAFETY: as above.
unsafe impl Sync for AegisCheckpointV1 {}
// SAFETY: as above.
unsafe impl Sync for AegisKeyValueV1 {}
// SAFETY: as above.
unsafe impl Sync for AegisMetricsV1 {}
