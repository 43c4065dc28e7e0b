//! A host behind the C tables.

use std::{
    ffi::c_void,
    mem::size_of,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    buffer::{give, take},
    read::read_table,
};
use crate::{
    HandlerError,
    abi::{
        AEGIS_ERROR, AEGIS_OK, AEGIS_UNKNOWN_CALL, AegisBuffer, AegisBytes, AegisCheckpointV1,
        AegisCompletion, AegisHostVtable, AegisJsonFn,
    },
    checkpoint::INTERFACE as CHECKPOINT,
    completion::Completion,
    port::HostPort,
};

/// Where the functions of an interface begin: after `struct_size` and `reserved`.
const INTERFACE_HEAD: usize = 8;

/// The functions of a host. Every host of this ABI major has them.
pub(super) struct CPort {
    ctx: *mut c_void,
    log_level: *const u32,
    complete: unsafe extern "C" fn(*mut c_void, u64, *const AegisCompletion) -> u32,
    progress: unsafe extern "C" fn(*mut c_void, u64, u32, AegisBytes) -> u32,
    output: unsafe extern "C" fn(*mut c_void, u64, AegisBytes) -> u32,
    is_cancelled: unsafe extern "C" fn(*mut c_void, u64) -> u32,
    log: unsafe extern "C" fn(*mut c_void, u64, u32, AegisBytes, AegisBytes, AegisBytes),
    get_interface: unsafe extern "C" fn(*mut c_void, AegisBytes) -> *const c_void,
}

// SAFETY: the ABI lets every function of the host be called from any thread,
// with the context that came with it; the port itself is never written to.
unsafe impl Send for CPort {}
// SAFETY: and from several threads at once.
unsafe impl Sync for CPort {}

impl CPort {
    /// A port over a host's table; `None` if a function is missing.
    ///
    /// # Safety
    ///
    /// `host` is null or a valid table, and together with `ctx` it stays so
    /// until the port is not used any more.
    pub(super) unsafe fn new(host: *const AegisHostVtable, ctx: *mut c_void) -> Option<Self> {
        // SAFETY: the caller's promise.
        let host = unsafe { read_table(host) };
        Some(Self {
            ctx,
            log_level: host.log_level,
            complete: host.complete?,
            progress: host.progress?,
            output: host.output?,
            is_cancelled: host.is_cancelled?,
            log: host.log?,
            get_interface: host.get_interface?,
        })
    }

    /// What an older host lacks is zero.
    fn checkpoints(&self) -> AegisCheckpointV1 {
        // SAFETY: by the interface's id this is null or such a table.
        unsafe { read_table(self.interface(CHECKPOINT).cast()) }
    }

    fn interface(&self, id: &str) -> *const c_void {
        // SAFETY: `new` was promised a valid table and context; `id` outlives the call.
        unsafe { (self.get_interface)(self.ctx, AegisBytes::new(id.as_bytes())) }
    }
}

impl HostPort for CPort {
    fn log_level(&self) -> u32 {
        if self.log_level.is_null() {
            return 0;
        }
        // SAFETY: not null, and by the ABI valid, aligned and accessed
        // atomically only, as long as the host's table is.
        unsafe { AtomicU32::from_ptr(self.log_level.cast_mut()) }.load(Ordering::Relaxed)
    }

    fn complete(&self, call: u64, completion: Completion) {
        let (status, document) = completion.into_parts();
        let completion = AegisCompletion {
            status,
            reserved: 0,
            buffer: give(document),
        };
        // SAFETY: as in `interface`; `completion` outlives the call. The host
        // takes the buffer in every case, and a completion has no drop of its
        // own that would free it again.
        unsafe { (self.complete)(self.ctx, call, &raw const completion) };
    }

    fn progress(&self, call: u64, permille: u32, note: &str) {
        // SAFETY: as in `interface`.
        unsafe { (self.progress)(self.ctx, call, permille, AegisBytes::new(note.as_bytes())) };
    }

    fn output(&self, call: u64, data: &[u8]) {
        // SAFETY: as in `interface`.
        unsafe { (self.output)(self.ctx, call, AegisBytes::new(data)) };
    }

    fn save_checkpoint(&self, call: u64, data: &[u8]) -> Result<(), HandlerError> {
        let Some(save) = self.checkpoints().save else {
            return Err(
                HandlerError::new("host-too-old", "this worker keeps no checkpoints")
                    .help("use a newer worker"),
            );
        };
        let mut error = AegisBuffer::EMPTY;
        // SAFETY: as in `interface`; data and buffer outlive the call.
        let status = unsafe { save(self.ctx, call, AegisBytes::new(data), &raw mut error) };
        // SAFETY: the caller releases it, and it is empty or what was written.
        let document = unsafe { take(error) };
        match status {
            AEGIS_OK => Ok(()),
            AEGIS_ERROR => Err(HandlerError::from_document(&document)),
            AEGIS_UNKNOWN_CALL => Err(HandlerError::new(
                "call-over",
                "the worker has given this call up and keeps nothing more of it",
            )),
            other => Err(HandlerError::new(
                "host-fault",
                format!("{CHECKPOINT} answered with the unknown status {other}"),
            )),
        }
    }

    fn load_checkpoint(&self, call: u64) -> Option<Vec<u8>> {
        let load = self.checkpoints().load?;
        let mut out = AegisBuffer::EMPTY;
        // SAFETY: as in `interface`; the buffer outlives the call.
        let status = unsafe { load(self.ctx, call, &raw mut out) };
        // SAFETY: the caller releases it, and it is empty or what was written.
        let data = unsafe { take(out) };
        (status == AEGIS_OK).then_some(data)
    }

    fn cancelled(&self, call: u64) -> u32 {
        // SAFETY: as in `interface`.
        unsafe { (self.is_cancelled)(self.ctx, call) }
    }

    fn log(&self, call: u64, level: u32, target: &str, message: &str, fields: &str) {
        let bytes = |text: &str| AegisBytes::new(text.as_bytes());
        // SAFETY: as in `interface`.
        unsafe {
            (self.log)(
                self.ctx,
                call,
                level,
                bytes(target),
                bytes(message),
                bytes(fields),
            );
        }
    }

    fn grants(&self, interface: &str) -> bool {
        !self.interface(interface).is_null()
    }

    fn call(
        &self,
        interface: &'static str,
        function: usize,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError> {
        let missing = || {
            HandlerError::new(
                "host-too-old",
                format!("this worker has no function number {function} in {interface}"),
            )
            .help("use a newer worker")
        };
        let table = self.interface(interface).cast::<u8>();
        if table.is_null() {
            return Err(missing());
        }
        let at = INTERFACE_HEAD + function * size_of::<AegisJsonFn>();
        // SAFETY: every interface is a table with `struct_size` at its
        // beginning, aligned as the pointers in it are.
        let size = unsafe { table.cast::<u32>().read() } as usize;
        if at + size_of::<AegisJsonFn>() > size {
            return Err(missing());
        }
        // SAFETY: the field lies within `struct_size`, and by the interface's
        // id all fields after the head are an `AegisJsonFn`; null is `None`.
        let function = unsafe { table.add(at).cast::<AegisJsonFn>().read() };
        let function = function.ok_or_else(missing)?;
        let mut out = AegisBuffer::EMPTY;
        // SAFETY: a function of this host with its context; request and `out`
        // outlive the call.
        let status = unsafe { function(self.ctx, AegisBytes::new(request), &raw mut out) };
        // SAFETY: the caller of an interface function releases `out`, which is
        // empty or what the function wrote.
        let document = unsafe { take(out) };
        match status {
            AEGIS_OK => Ok(document),
            AEGIS_ERROR => Err(HandlerError::from_document(&document)),
            other => Err(HandlerError::new(
                "host-fault",
                format!("{interface} answered with the unknown status {other}"),
            )),
        }
    }
}
