//! The tables that a plugin is given to call.

use std::{ffi::c_void, mem::size_of, ptr, sync::atomic::AtomicU32};

use super::read_completion;
use crate::{
    ConfigControl, HandlerError, HostInterface, KeyValue, Metrics, NodeControl,
    abi::{
        AEGIS_ABI_MINOR, AEGIS_ERROR, AEGIS_LOG_TRACE, AEGIS_NO_CHECKPOINT, AEGIS_OK, AegisBuffer,
        AegisBytes, AegisCheckpointV1, AegisCompletion, AegisConfigV1, AegisHostVtable,
        AegisKeyValueV1, AegisMetricsV1, AegisNodeControlV1,
    },
    checkpoint::INTERFACE as CHECKPOINT,
    ffi::{buffer::give, read::text},
    panic::guard,
    port::HostPort,
};

/// What the plugin is given to call.
pub(super) struct HostSide {
    port: Box<dyn HostPort>,
    log_level: AtomicU32,
    pub(super) table: AegisHostVtable,
}

impl HostSide {
    /// A box that is given up: the table points into it, and the plugin has
    /// pointers to both. Whoever asked for it frees it.
    pub(super) fn new(port: Box<dyn HostPort>) -> *mut Self {
        let host = Box::into_raw(Box::new(HostSide {
            port,
            log_level: AtomicU32::new(AEGIS_LOG_TRACE),
            table: AegisHostVtable {
                struct_size: size_of::<AegisHostVtable>() as u32,
                abi_minor: u32::from(AEGIS_ABI_MINOR),
                log_level: ptr::null(),
                complete: Some(complete),
                progress: Some(progress),
                output: Some(output),
                is_cancelled: Some(is_cancelled),
                log: Some(log),
                get_interface: Some(get_interface),
            },
        }));
        // SAFETY: made above, and nobody else knows it yet.
        unsafe { (*host).table.log_level = (*host).log_level.as_ptr().cast_const() };
        host
    }
}

/// Asks the port; what a fake throws does not reach the plugin.
///
/// # Safety
///
/// `ctx` is the `host_ctx` that [`create`](super::create) passed, and the
/// instance is not yet destroyed.
unsafe fn ask<R>(ctx: *mut c_void, ask: impl FnOnce(&dyn HostPort) -> R) -> Option<R> {
    // SAFETY: the caller's promise; nothing writes to it but through its atomic.
    let host = unsafe { &*ctx.cast::<HostSide>() };
    guard(|| ask(&*host.port)).ok()
}

/// # Safety
///
/// As `AegisHostVtable::complete` says.
unsafe extern "C" fn complete(
    ctx: *mut c_void,
    call: u64,
    completion: *const AegisCompletion,
) -> u32 {
    // SAFETY: the plugin passes a valid completion and gives up its buffer.
    let completion = unsafe { read_completion(completion.read()) };
    // SAFETY: the plugin passes the context it was given.
    unsafe { ask(ctx, |port| port.complete(call, completion)) };
    AEGIS_OK
}

/// # Safety
///
/// As `AegisHostVtable::progress` says.
unsafe extern "C" fn progress(ctx: *mut c_void, call: u64, permille: u32, note: AegisBytes) -> u32 {
    // SAFETY: valid until this returns.
    let note = unsafe { text(note) }.unwrap_or("(not UTF-8)");
    // SAFETY: the plugin passes the context it was given.
    unsafe { ask(ctx, |port| port.progress(call, permille, note)) };
    AEGIS_OK
}

/// # Safety
///
/// As `AegisHostVtable::output` says.
unsafe extern "C" fn output(ctx: *mut c_void, call: u64, data: AegisBytes) -> u32 {
    // SAFETY: valid until this returns.
    let data = unsafe { data.as_slice() };
    // SAFETY: the plugin passes the context it was given.
    unsafe { ask(ctx, |port| port.output(call, data)) };
    AEGIS_OK
}

/// # Safety
///
/// As `AegisHostVtable::is_cancelled` says.
unsafe extern "C" fn is_cancelled(ctx: *mut c_void, call: u64) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    unsafe { ask(ctx, |port| port.cancelled(call)) }.unwrap_or(0)
}

/// # Safety
///
/// As `AegisHostVtable::log` says.
unsafe extern "C" fn log(
    ctx: *mut c_void,
    call: u64,
    level: u32,
    target: AegisBytes,
    message: AegisBytes,
    fields: AegisBytes,
) {
    // SAFETY: valid until this returns.
    let (target, message, fields) = unsafe { (text(target), text(message), text(fields)) };
    let target = target.unwrap_or("(not UTF-8)");
    let message = message.unwrap_or("(not UTF-8)");
    let fields = fields.unwrap_or_default();
    // SAFETY: the plugin passes the context it was given.
    unsafe { ask(ctx, |port| port.log(call, level, target, message, fields)) };
}

/// # Safety
///
/// As `AegisHostVtable::get_interface` says.
unsafe extern "C" fn get_interface(ctx: *mut c_void, id: AegisBytes) -> *const c_void {
    // SAFETY: valid until this returns.
    let Some(id) = (unsafe { text(id) }) else {
        return ptr::null();
    };
    if id == CHECKPOINT {
        return (&raw const CHECKPOINTS).cast();
    }
    // SAFETY: the plugin passes the context it was given.
    if unsafe { ask(ctx, |port| port.grants(id)) } != Some(true) {
        return ptr::null();
    }
    match id {
        NodeControl::ID => (&raw const NODE_CONTROL).cast(),
        ConfigControl::ID => (&raw const CONFIG).cast(),
        KeyValue::ID => (&raw const KEY_VALUE).cast(),
        Metrics::ID => (&raw const METRICS).cast(),
        _ => ptr::null(),
    }
}

/// Function number `FUNCTION` of a granted interface.
///
/// # Safety
///
/// As `AegisJsonFn` says.
unsafe extern "C" fn ask_for<I: HostInterface, const FUNCTION: usize>(
    ctx: *mut c_void,
    request: AegisBytes,
    out: *mut AegisBuffer,
) -> u32 {
    // SAFETY: the plugin keeps to `AegisJsonFn`.
    unsafe { answer(ctx, I::ID, FUNCTION, request, out) }
}

static NODE_CONTROL: AegisNodeControlV1 = AegisNodeControlV1 {
    struct_size: size_of::<AegisNodeControlV1>() as u32,
    reserved: 0,
    drain: Some(ask_for::<NodeControl, 0>),
    drain_status: Some(ask_for::<NodeControl, 1>),
    shutdown: Some(ask_for::<NodeControl, 2>),
};

static CONFIG: AegisConfigV1 = AegisConfigV1 {
    struct_size: size_of::<AegisConfigV1>() as u32,
    reserved: 0,
    current: Some(ask_for::<ConfigControl, 0>),
    validate: Some(ask_for::<ConfigControl, 1>),
    store: Some(ask_for::<ConfigControl, 2>),
    apply: Some(ask_for::<ConfigControl, 3>),
    acknowledge: Some(ask_for::<ConfigControl, 4>),
    reject: Some(ask_for::<ConfigControl, 5>),
};

static KEY_VALUE: AegisKeyValueV1 = AegisKeyValueV1 {
    struct_size: size_of::<AegisKeyValueV1>() as u32,
    reserved: 0,
    get: Some(ask_for::<KeyValue, 0>),
    put: Some(ask_for::<KeyValue, 1>),
    remove: Some(ask_for::<KeyValue, 2>),
    list: Some(ask_for::<KeyValue, 3>),
};

static METRICS: AegisMetricsV1 = AegisMetricsV1 {
    struct_size: size_of::<AegisMetricsV1>() as u32,
    reserved: 0,
    declare: Some(ask_for::<Metrics, 0>),
    record: Some(ask_for::<Metrics, 1>),
};

static CHECKPOINTS: AegisCheckpointV1 = AegisCheckpointV1 {
    struct_size: size_of::<AegisCheckpointV1>() as u32,
    reserved: 0,
    save: Some(save_checkpoint),
    load: Some(load_checkpoint),
};

/// # Safety
///
/// As `AegisCheckpointV1::save` says.
unsafe extern "C" fn save_checkpoint(
    ctx: *mut c_void,
    call: u64,
    data: AegisBytes,
    error: *mut AegisBuffer,
) -> u32 {
    // SAFETY: valid until this returns.
    let data = unsafe { data.as_slice() };
    // SAFETY: the plugin passes the context it was given.
    let refused = match unsafe { ask(ctx, |port| port.save_checkpoint(call, data)) } {
        Some(Ok(())) => return AEGIS_OK,
        Some(Err(refused)) => refused,
        None => HandlerError::new(HandlerError::PANICKED, "the fake host panicked"),
    };
    if !error.is_null() {
        // SAFETY: not null, so it is a place for a buffer.
        unsafe { error.write(give(refused.to_document())) };
    }
    AEGIS_ERROR
}

/// # Safety
///
/// As `AegisCheckpointV1::load` says.
unsafe extern "C" fn load_checkpoint(ctx: *mut c_void, call: u64, out: *mut AegisBuffer) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    let Some(data) = unsafe { ask(ctx, |port| port.load_checkpoint(call)) }.flatten() else {
        return AEGIS_NO_CHECKPOINT;
    };
    // SAFETY: the plugin passes a place for a buffer.
    unsafe { out.write(give(data)) };
    AEGIS_OK
}

/// # Safety
///
/// As `AegisJsonFn` says.
unsafe fn answer(
    ctx: *mut c_void,
    interface: &'static str,
    function: usize,
    request: AegisBytes,
    out: *mut AegisBuffer,
) -> u32 {
    // SAFETY: valid until this returns.
    let request = unsafe { request.as_slice() };
    // SAFETY: the plugin passes the context it was given.
    let answer = unsafe { ask(ctx, |port| port.call(interface, function, request)) };
    let (status, document) = match answer {
        Some(Ok(document)) => (AEGIS_OK, document),
        Some(Err(error)) => (AEGIS_ERROR, error.to_document()),
        None => {
            let error = HandlerError::new(HandlerError::PANICKED, "the fake host panicked");
            (AEGIS_ERROR, error.to_document())
        }
    };
    // SAFETY: the plugin passes a place for a buffer.
    unsafe { out.write(give(document)) };
    status
}
