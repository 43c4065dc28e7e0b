//! The host's side of the C ABI, for the test harness: drives a descriptor as a
//! worker does, over any [`HostPort`].

use std::{
    ffi::c_void,
    mem::size_of,
    path::Path,
    ptr,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use super::{
    buffer::{give, take},
    read::{read_table, text},
};
use crate::{
    ConfigControl, HandlerError, HostInterface, NodeControl,
    abi::{
        AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR, AEGIS_ERROR, AEGIS_LOG_TRACE, AEGIS_NO_DEADLINE,
        AEGIS_OK, AEGIS_PLUGIN_MAGIC, AEGIS_START_DONE, AEGIS_START_PENDING, AEGIS_START_REFUSED,
        AEGIS_STATUS_CANCELLED, AEGIS_STATUS_ERROR, AEGIS_STATUS_OK, AEGIS_STATUS_PANICKED,
        AegisBuffer, AegisBytes, AegisCall, AegisCompletion, AegisConfigV1, AegisCreateArgs,
        AegisHostVtable, AegisInstance, AegisInstanceVtable, AegisNodeControlV1,
        AegisPluginDescriptor, AegisSchemaV1,
    },
    completion::{Completion, Started},
    instance::{Birth, Engine, IncomingCall},
    panic::guard,
    port::HostPort,
};

/// An instance behind its C table.
struct Loaded {
    instance: AegisInstance,
    vtable: AegisInstanceVtable,
    /// Outlives the instance, which is destroyed first in `drop`.
    _host: Box<HostSide>,
}

// SAFETY: every function of an instance may be called from any thread.
unsafe impl Send for Loaded {}
// SAFETY: and from several at once; `destroy` alone may not, and `drop` is alone.
unsafe impl Sync for Loaded {}

/// What the plugin is given to call.
struct HostSide {
    port: Box<dyn HostPort>,
    log_level: AtomicU32,
    table: AegisHostVtable,
}

/// Makes an instance as a worker does.
pub(crate) fn create(
    descriptor: &'static AegisPluginDescriptor,
    birth: Birth<'_>,
) -> Result<Arc<dyn Engine>, HandlerError> {
    // SAFETY: a descriptor is static and as large as it says.
    let descriptor = unsafe { read_table(descriptor) };
    assert_eq!(
        descriptor.magic, AEGIS_PLUGIN_MAGIC,
        "the descriptor's magic"
    );
    assert_eq!(
        descriptor.abi_major, AEGIS_ABI_MAJOR,
        "the descriptor's ABI major"
    );
    let create = descriptor.create.expect("a descriptor has `create`");

    let mut host = Box::new(HostSide {
        port: birth.port,
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
    });
    host.table.log_level = host.log_level.as_ptr().cast_const();
    let node = serde_json::to_vec(&birth.node).unwrap_or_default();
    let state_dir = path_text(&birth.state_dir);
    let args = AegisCreateArgs {
        struct_size: size_of::<AegisCreateArgs>() as u32,
        reserved: 0,
        host: &raw const host.table,
        host_ctx: ptr::from_ref::<HostSide>(&host).cast_mut().cast(),
        config: AegisBytes::new(birth.config),
        node: AegisBytes::new(&node),
        state_dir: AegisBytes::new(state_dir.as_bytes()),
    };
    let mut instance = AegisInstance {
        ctx: ptr::null_mut(),
        vtable: ptr::null(),
    };
    let mut error = AegisBuffer::EMPTY;
    // SAFETY: all arguments outlive the call; the host's side lives in a box
    // that is kept until the instance is destroyed.
    let status = unsafe { create(&raw const args, &raw mut instance, &raw mut error) };
    // SAFETY: empty, or written by the plugin and ours.
    let error = unsafe { take(error) };
    match status {
        AEGIS_OK => {}
        AEGIS_ERROR => return Err(HandlerError::from_document(&error)),
        other => panic!("`create` answered with the unknown status {other}"),
    }
    // SAFETY: `create` filled in a table that lives as long as the instance.
    let vtable = unsafe { read_table(instance.vtable) };
    Ok(Arc::new(Loaded {
        instance,
        vtable,
        _host: host,
    }))
}

#[cfg(unix)]
mod dl {
    use std::ffi::{c_char, c_int, c_void};

    /// The same on Linux, macOS and the BSDs.
    pub(super) const RTLD_NOW: c_int = 2;

    unsafe extern "C" {
        pub(super) fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
        pub(super) fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
        pub(super) fn dlerror() -> *const c_char;
    }
}

/// The descriptor of a library, which stays loaded.
#[cfg(unix)]
pub(crate) fn load(
    path: &Path,
    symbol: &str,
) -> Result<&'static AegisPluginDescriptor, HandlerError> {
    use std::{ffi::CString, os::unix::ffi::OsStrExt};

    let no_nul = "a path and a symbol have no NUL";
    let path = CString::new(path.as_os_str().as_bytes()).expect(no_nul);
    let symbol = CString::new(symbol).expect(no_nul);
    // SAFETY: the strings end with a NUL. The library's constructors run here:
    // the author of the test trusts their own library.
    let library = unsafe { dl::dlopen(path.as_ptr(), dl::RTLD_NOW) };
    if library.is_null() {
        return Err(load_error());
    }
    // SAFETY: the library is loaded and never closed.
    let address = unsafe { dl::dlsym(library, symbol.as_ptr()) };
    if address.is_null() {
        return Err(load_error());
    }
    let descriptor = address.cast::<AegisPluginDescriptor>().cast_const();
    // SAFETY: the symbol's name says that it is a descriptor of this ABI major;
    // it is static in a library that stays loaded. The fields read here are
    // within the part that every descriptor has.
    let (magic, size) = unsafe { ((*descriptor).magic, (*descriptor).struct_size) };
    if magic != AEGIS_PLUGIN_MAGIC || (size as usize) < size_of::<AegisPluginDescriptor>() {
        return Err(HandlerError::new(
            "no-descriptor",
            "the symbol is not a whole descriptor",
        ));
    }
    // SAFETY: as above, and as large as this SDK knows it.
    Ok(unsafe { &*descriptor })
}

#[cfg(unix)]
fn load_error() -> HandlerError {
    // SAFETY: null or a text that ends with a NUL and stays as it is until the
    // next call of the `dl` family on this thread.
    let message = unsafe {
        let text = dl::dlerror();
        if text.is_null() {
            "the loader does not say why".into()
        } else {
            std::ffi::CStr::from_ptr(text).to_string_lossy()
        }
    };
    HandlerError::new("not-loaded", message.into_owned())
}

/// The schemas of a handler through `aegis.schema/1`.
pub(crate) fn schemas(
    descriptor: &'static AegisPluginDescriptor,
    handler: u32,
) -> Option<serde_json::Value> {
    // SAFETY: as in `create`.
    let find = unsafe { read_table(descriptor) }.get_interface?;
    // SAFETY: the id is static.
    let table = unsafe { find(AegisBytes::new(b"aegis.schema/1")) }.cast::<AegisSchemaV1>();
    // SAFETY: null or a table that lives as long as the process.
    let schemas = unsafe { read_table(table) }.handler?;
    let mut out = AegisBuffer::EMPTY;
    // SAFETY: `out` outlives the call.
    let status = unsafe { schemas(handler, &raw mut out) };
    // SAFETY: empty, or written by the plugin and ours.
    let document = unsafe { take(out) };
    (status == AEGIS_OK)
        .then(|| serde_json::from_slice(&document).ok())
        .flatten()
}

/// The manifest in the descriptor.
pub(crate) fn manifest(descriptor: &'static AegisPluginDescriptor) -> &'static [u8] {
    // SAFETY: a descriptor's texts are static.
    unsafe { descriptor.manifest.as_slice() }
}

/// The id in the descriptor.
pub(crate) fn id(descriptor: &'static AegisPluginDescriptor) -> &'static [u8] {
    // SAFETY: a descriptor's texts are static.
    unsafe { descriptor.id.as_slice() }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("the harness makes paths in UTF-8")
}

impl Engine for Loaded {
    fn start(self: Arc<Self>, call: IncomingCall<'_>) -> Started {
        let start = self.vtable.start.expect("an instance has `start`");
        let bytes = |text: &str| AegisBytes::new(text.as_bytes());
        let passed = AegisCall {
            struct_size: size_of::<AegisCall>() as u32,
            handler: call.handler,
            call_id: call.id,
            deadline_ns: call.timeout.map_or(AEGIS_NO_DEADLINE, nanoseconds),
            command_id: bytes(call.text.command_id),
            payload: AegisBytes::new(call.payload),
            issuer: bytes(call.text.issuer),
            traceparent: bytes(call.text.traceparent),
            attempt: call.attempt,
            reserved: 0,
        };
        let mut out = AegisCompletion {
            status: 0,
            reserved: 0,
            buffer: AegisBuffer::EMPTY,
        };
        // SAFETY: the instance lives until `drop`; the arguments outlive the call.
        let answer = unsafe { start(self.instance.ctx, &raw const passed, &raw mut out) };
        match answer {
            AEGIS_START_PENDING => Started::Pending,
            // SAFETY: filled in by `start`, and ours.
            AEGIS_START_DONE => Started::Done(unsafe { read_completion(out) }),
            AEGIS_START_REFUSED => {
                // SAFETY: empty or filled in by `start`, and ours.
                let document = unsafe { take(out.buffer) };
                Started::Refused(HandlerError::from_document(&document))
            }
            other => panic!("`start` answered with the unknown status {other}"),
        }
    }

    fn cancel(&self, call: u64, reason: u32) {
        let cancel = self.vtable.cancel.expect("an instance has `cancel`");
        // SAFETY: the instance lives until `drop`.
        unsafe { cancel(self.instance.ctx, call, reason) };
    }

    fn reconfigure(&self, config: &[u8]) -> Result<(), HandlerError> {
        let reconfigure = self
            .vtable
            .reconfigure
            .expect("an instance has `reconfigure`");
        let mut error = AegisBuffer::EMPTY;
        // SAFETY: the instance lives until `drop`; the arguments outlive the call.
        let status =
            unsafe { reconfigure(self.instance.ctx, AegisBytes::new(config), &raw mut error) };
        // SAFETY: empty, or written by the plugin and ours.
        let error = unsafe { take(error) };
        if status == AEGIS_OK {
            Ok(())
        } else {
            Err(HandlerError::from_document(&error))
        }
    }

    fn quiesce(&self, timeout: Duration) -> bool {
        let quiesce = self.vtable.quiesce.expect("an instance has `quiesce`");
        // SAFETY: the instance lives until `drop`.
        unsafe { quiesce(self.instance.ctx, nanoseconds(timeout)) == AEGIS_OK }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let destroy = self.vtable.destroy.expect("an instance has `destroy`");
        // SAFETY: called once, with the last reference in hand; the harness has
        // quiesced the instance before it lets go of it.
        unsafe { destroy(self.instance.ctx) };
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// # Safety
///
/// The completion is valid and ours; it is not used again.
unsafe fn read_completion(completion: AegisCompletion) -> Completion {
    // SAFETY: the caller's promise.
    let document = unsafe { take(completion.buffer) };
    match completion.status {
        AEGIS_STATUS_OK => Completion::Succeeded(document),
        AEGIS_STATUS_ERROR => Completion::Failed(HandlerError::from_document(&document)),
        AEGIS_STATUS_CANCELLED => Completion::Cancelled(if document.is_empty() {
            HandlerError::cancelled("the handler ended because it was asked to")
        } else {
            HandlerError::from_document(&document)
        }),
        AEGIS_STATUS_PANICKED => Completion::Panicked(HandlerError::from_document(&document)),
        other => Completion::Failed(HandlerError::new(
            "plugin-fault",
            format!("the completion has the unknown status {other}"),
        )),
    }
}

/// Asks the port; what a fake throws does not reach the plugin.
///
/// # Safety
///
/// `ctx` is the `host_ctx` that [`create`] passed, and the instance is not yet
/// destroyed.
unsafe fn ask<R>(ctx: *mut c_void, ask: impl FnOnce(&dyn HostPort) -> R) -> Option<R> {
    // SAFETY: the caller's promise; the box is not moved out of or written to.
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
    // SAFETY: the plugin passes the context it was given.
    if unsafe { ask(ctx, |port| port.grants(id)) } != Some(true) {
        return ptr::null();
    }
    match id {
        NodeControl::ID => (&raw const NODE_CONTROL).cast(),
        ConfigControl::ID => (&raw const CONFIG).cast(),
        _ => ptr::null(),
    }
}

static NODE_CONTROL: AegisNodeControlV1 = AegisNodeControlV1 {
    struct_size: size_of::<AegisNodeControlV1>() as u32,
    reserved: 0,
    drain: Some(node_control::<0>),
    drain_status: Some(node_control::<1>),
    shutdown: Some(node_control::<2>),
};

static CONFIG: AegisConfigV1 = AegisConfigV1 {
    struct_size: size_of::<AegisConfigV1>() as u32,
    reserved: 0,
    current: Some(config::<0>),
    validate: Some(config::<1>),
    store: Some(config::<2>),
    apply: Some(config::<3>),
    acknowledge: Some(config::<4>),
    reject: Some(config::<5>),
};

/// # Safety
///
/// As `AegisJsonFn` says.
unsafe extern "C" fn node_control<const FUNCTION: usize>(
    ctx: *mut c_void,
    request: AegisBytes,
    out: *mut AegisBuffer,
) -> u32 {
    // SAFETY: the plugin keeps to `AegisJsonFn`.
    unsafe { answer(ctx, NodeControl::ID, FUNCTION, request, out) }
}

/// # Safety
///
/// As `AegisJsonFn` says.
unsafe extern "C" fn config<const FUNCTION: usize>(
    ctx: *mut c_void,
    request: AegisBytes,
    out: *mut AegisBuffer,
) -> u32 {
    // SAFETY: the plugin keeps to `AegisJsonFn`.
    unsafe { answer(ctx, ConfigControl::ID, FUNCTION, request, out) }
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
