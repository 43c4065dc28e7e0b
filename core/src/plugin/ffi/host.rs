//! What a plugin can call.

use std::{
    ffi::c_void,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use aegis_plugin_api::abi::{
    AEGIS_ABI_MINOR, AEGIS_ERROR, AEGIS_LOG_DEBUG, AEGIS_LOG_ERROR, AEGIS_LOG_INFO,
    AEGIS_LOG_TRACE, AEGIS_LOG_WARN, AEGIS_OK, AEGIS_PROGRESS_UNKNOWN, AEGIS_STATUS_PANICKED,
    AEGIS_UNKNOWN_CALL, AegisBuffer, AegisBytes, AegisCompletion, AegisHostVtable,
};
use tracing::Level;

use super::{
    Instance,
    buffer::ForeignBuffer,
    bytes, checkpoint,
    instance::{cancelled_number, table_size},
    tables,
};
use crate::plugin::{
    CallId, CallSink, answer,
    calls::{Calls, InstanceNumber},
    faults::Faults,
    interfaces::{Granted, HostInterfaces},
    log,
};

/// Notes longer than this are cut.
const MAX_NOTE_BYTES: usize = 4 * 1024;

static LOG_LEVEL: AtomicU32 = AtomicU32::new(AEGIS_LOG_INFO);

/// The one host table; what differs between plugins is in their contexts.
pub(super) static HOST: AegisHostVtable = AegisHostVtable {
    struct_size: table_size::<AegisHostVtable>(),
    abi_minor: AEGIS_ABI_MINOR as u32,
    log_level: LOG_LEVEL.as_ptr().cast_const(),
    complete: Some(complete),
    progress: Some(progress),
    output: Some(output),
    is_cancelled: Some(is_cancelled),
    log: Some(write_log),
    get_interface: Some(interface),
};

/// Sets the most talkative level that plugins still send; `None` turns all off.
pub(crate) fn set_log_level(level: Option<Level>) {
    let number = match level {
        None => 0,
        Some(Level::ERROR) => AEGIS_LOG_ERROR,
        Some(Level::WARN) => AEGIS_LOG_WARN,
        Some(Level::INFO) => AEGIS_LOG_INFO,
        Some(Level::DEBUG) => AEGIS_LOG_DEBUG,
        Some(Level::TRACE) => AEGIS_LOG_TRACE,
    };
    LOG_LEVEL.store(number, Ordering::Relaxed);
}

/// The most talkative level that plugins send, as on the ABI.
pub(crate) fn log_level() -> u32 {
    LOG_LEVEL.load(Ordering::Relaxed)
}

/// As [`set_log_level`], by number.
pub(crate) fn set_log_number(level: u32) {
    LOG_LEVEL.store(level, Ordering::Relaxed);
}

/// What all instances of one plugin share.
pub(crate) struct PluginSide {
    /// The plugin's id.
    pub(crate) id: String,
    /// The calls that are not over.
    pub(crate) calls: Calls<Arc<Instance>>,
    /// What it did that it must not.
    pub(crate) faults: Faults,
    /// Called with the number of an instance that panicked, before anyone else
    /// hears of it.
    pub(crate) on_panic: OnceLock<Box<dyn Fn(InstanceNumber) + Send + Sync>>,
}

/// The host's side of one instance. Contexts are never freed: a plugin may
/// call with one at any time, be its instance destroyed or not.
pub(crate) struct HostContext {
    number: InstanceNumber,
    plugin: Arc<PluginSide>,
    interfaces: RwLock<Arc<dyn HostInterfaces>>,
    closed: AtomicBool,
    poisoned: AtomicBool,
}

impl HostContext {
    /// A context for one more instance of `plugin`.
    pub(crate) fn leak(
        plugin: Arc<PluginSide>,
        interfaces: Arc<dyn HostInterfaces>,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            number: InstanceNumber::next(),
            plugin,
            interfaces: RwLock::new(interfaces),
            closed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        }))
    }

    pub(crate) const fn number(&self) -> InstanceNumber {
        self.number
    }

    /// Whether a handler of the instance panicked.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Notes a panic, once.
    pub(crate) fn poison(&self) {
        if !self.poisoned.swap(true, Ordering::AcqRel)
            && let Some(hook) = self.plugin.on_panic.get()
        {
            hook(self.number);
        }
    }

    pub(super) const fn as_ptr(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        *self
            .interfaces
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(Granted::default());
    }

    pub(super) fn interfaces(&self) -> Arc<dyn HostInterfaces> {
        self.interfaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn sink(&self, call_id: u64) -> Option<Arc<dyn CallSink>> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        self.plugin.calls.sink(self.number, CallId(call_id))
    }

    fn complete(&self, call_id: u64, status: u32, buffer: Option<&[u8]>) -> u32 {
        if self.closed.load(Ordering::Acquire) {
            self.plugin.faults.after_quiesce();
            return AEGIS_UNKNOWN_CALL;
        }
        let completion = answer::completion(status, buffer);
        match self
            .plugin
            .calls
            .complete(self.number, CallId(call_id), completion)
        {
            Ok(delivery) => {
                if status == AEGIS_STATUS_PANICKED {
                    self.poison();
                }
                if let Some((sink, completion)) = delivery {
                    sink.complete(completion);
                }
                AEGIS_OK
            }
            Err(stray) => {
                self.plugin.faults.stray(stray);
                AEGIS_UNKNOWN_CALL
            }
        }
    }
}

impl fmt::Debug for HostContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostContext")
            .field("plugin", &self.plugin.id)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Runs what a plugin asked for, and keeps a panic of ours from leaving
/// through the plugin.
///
/// # Safety
///
/// `host_ctx` is null or the pointer that `create` was given.
pub(super) unsafe fn with_context<T>(
    host_ctx: *mut c_void,
    otherwise: T,
    run: impl FnOnce(&'static HostContext) -> T,
) -> T {
    if host_ctx.is_null() {
        return otherwise;
    }
    // SAFETY: contexts are leaked, so the pointer that `create` was given is
    // valid for ever; they are only ever shared.
    let context: &'static HostContext = unsafe { &*host_ctx.cast_const().cast() };
    // What is behind a context is behind locks and atomics, and says itself
    // when it is in disorder.
    catch_unwind(AssertUnwindSafe(|| run(context))).unwrap_or_else(|_| {
        tracing::error!(
            plugin = context.plugin.id,
            "the worker panicked in a call of this plugin"
        );
        otherwise
    })
}

unsafe extern "C" fn complete(
    host_ctx: *mut c_void,
    call_id: u64,
    completion: *const AegisCompletion,
) -> u32 {
    if completion.is_null() {
        return AEGIS_ERROR;
    }
    // SAFETY: not null, so it is a completion, whose buffer is ours from now on.
    let (status, buffer) = unsafe {
        let completion = completion.read();
        let mut buffer: AegisBuffer = completion.buffer;
        (completion.status, ForeignBuffer::take(&mut buffer))
    };
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe {
        with_context(host_ctx, AEGIS_ERROR, |context| {
            context.complete(call_id, status, buffer.bytes())
        })
    }
}

unsafe extern "C" fn progress(
    host_ctx: *mut c_void,
    call_id: u64,
    permille: u32,
    note: AegisBytes,
) -> u32 {
    let run = |context: &'static HostContext| {
        // SAFETY: the ABI keeps the bytes valid until this function returns.
        let Some(note) = (unsafe { bytes::borrow(note) }) else {
            return AEGIS_ERROR;
        };
        if permille > AEGIS_PROGRESS_UNKNOWN {
            return AEGIS_ERROR;
        }
        let Some(sink) = context.sink(call_id) else {
            return AEGIS_UNKNOWN_CALL;
        };
        let note = String::from_utf8_lossy(&note[..note.len().min(MAX_NOTE_BYTES)]);
        sink.progress(permille, &note);
        AEGIS_OK
    };
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe { with_context(host_ctx, AEGIS_ERROR, run) }
}

unsafe extern "C" fn output(host_ctx: *mut c_void, call_id: u64, data: AegisBytes) -> u32 {
    let run = |context: &'static HostContext| {
        // SAFETY: the ABI keeps the bytes valid until this function returns.
        let Some(data) = (unsafe { bytes::borrow(data) }) else {
            return AEGIS_ERROR;
        };
        let Some(sink) = context.sink(call_id) else {
            return AEGIS_UNKNOWN_CALL;
        };
        sink.output(data);
        AEGIS_OK
    };
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe { with_context(host_ctx, AEGIS_ERROR, run) }
}

unsafe extern "C" fn is_cancelled(host_ctx: *mut c_void, call_id: u64) -> u32 {
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe {
        with_context(host_ctx, 0, |context| {
            context
                .sink(call_id)
                .map_or(0, |sink| cancelled_number(sink.cancelled()))
        })
    }
}

unsafe extern "C" fn write_log(
    host_ctx: *mut c_void,
    call_id: u64,
    level: u32,
    target: AegisBytes,
    message: AegisBytes,
    fields: AegisBytes,
) {
    let run = |context: &'static HostContext| {
        let level = match level {
            _ if level > LOG_LEVEL.load(Ordering::Relaxed) => return,
            AEGIS_LOG_ERROR => Level::ERROR,
            AEGIS_LOG_WARN => Level::WARN,
            AEGIS_LOG_INFO => Level::INFO,
            AEGIS_LOG_DEBUG => Level::DEBUG,
            AEGIS_LOG_TRACE => Level::TRACE,
            _ => return,
        };
        // SAFETY: the ABI keeps the bytes valid until this function returns.
        let [target, message, fields] = [target, message, fields]
            .map(|text| unsafe { bytes::borrow(text) }.unwrap_or_default());
        let command = context
            .plugin
            .calls
            .command(context.number, CallId(call_id));
        log::emit(level, &context.plugin.id, command, target, message, fields);
    };
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe { with_context(host_ctx, (), run) }
}

unsafe extern "C" fn interface(host_ctx: *mut c_void, id: AegisBytes) -> *const c_void {
    let run = |context: &'static HostContext| {
        // SAFETY: the ABI keeps the bytes valid until this function returns.
        let id = unsafe { bytes::borrow(id) }.and_then(|id| std::str::from_utf8(id).ok());
        match id {
            Some(checkpoint::ID) => checkpoint::table(),
            Some(id) => tables::table(&*context.interfaces(), id),
            None => ptr::null(),
        }
    };
    // SAFETY: the ABI has the plugin pass its own context.
    unsafe { with_context(host_ctx, ptr::null(), run) }
}
