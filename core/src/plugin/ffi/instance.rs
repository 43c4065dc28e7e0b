//! A running instance of a plugin.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aegis_plugin_api::{
    HandlerError,
    abi::{
        AEGIS_CANCEL_ABANDON, AEGIS_CANCEL_DEADLINE, AEGIS_CANCEL_REQUESTED, AEGIS_CANCEL_SHUTDOWN,
        AEGIS_ERROR, AEGIS_NO_DEADLINE, AEGIS_OK, AEGIS_START_DONE, AEGIS_START_PENDING,
        AEGIS_START_REFUSED, AegisBuffer, AegisBytes, AegisCall, AegisCompletion, AegisCreateArgs,
        AegisInstance, AegisInstanceVtable,
    },
};

use super::{
    Descriptor,
    buffer::ForeignBuffer,
    host::{HOST, HostContext},
    table::field,
};
use crate::{
    command::CancelReason,
    plugin::{Call, CallId, Completion, answer},
};

type Start = unsafe extern "C" fn(*mut c_void, *const AegisCall, *mut AegisCompletion) -> u32;
type Cancel = unsafe extern "C" fn(*mut c_void, u64, u32);
type Reconfigure = unsafe extern "C" fn(*mut c_void, AegisBytes, *mut AegisBuffer) -> u32;
type Quiesce = unsafe extern "C" fn(*mut c_void, u64) -> u32;
type Destroy = unsafe extern "C" fn(*mut c_void);

/// A live instance. Dropping it destroys it if it was quiesced, and leaks it
/// otherwise: its threads may still run.
#[derive(Debug)]
pub(crate) struct Instance {
    ctx: *mut c_void,
    start: Start,
    cancel: Option<Cancel>,
    reconfigure: Option<Reconfigure>,
    quiesce: Option<Quiesce>,
    destroy: Option<Destroy>,
    host: &'static HostContext,
    pub(super) quiesced: AtomicBool,
}

// SAFETY: the ABI lets every function of an instance be called from any thread
// and from several at once; `ctx` is only ever handed to them. `reconfigure`,
// which must not run twice at once, is guarded by its caller. `destroy` runs
// in `drop`, which no other call can overlap.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// What an instance is made from.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    /// A JSON object.
    pub(crate) config: String,
    /// A JSON object.
    pub(crate) node: String,
    /// It exists.
    pub(crate) state_dir: String,
}

/// A call as it goes to the plugin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) id: CallId,
    pub(crate) call: Call<'a>,
}

/// What `start` answered.
#[derive(Debug)]
pub(crate) enum Begun {
    Done(Completion),
    Pending,
    Refused(HandlerError),
}

impl Instance {
    /// Makes an instance. May block for as long as the plugin likes.
    ///
    /// # Errors
    ///
    /// The plugin's own error, or `plugin-fault` if it broke the contract.
    pub(crate) fn create(
        descriptor: &Descriptor,
        host: &'static HostContext,
        seed: &Seed,
    ) -> Result<Self, HandlerError> {
        let args = AegisCreateArgs {
            struct_size: size_of_u32::<AegisCreateArgs>(),
            reserved: 0,
            host: &raw const HOST,
            host_ctx: host.as_ptr(),
            config: AegisBytes::new(seed.config.as_bytes()),
            node: AegisBytes::new(seed.node.as_bytes()),
            state_dir: AegisBytes::new(seed.state_dir.as_bytes()),
        };
        let mut out = AegisInstance {
            ctx: ptr::null_mut(),
            vtable: ptr::null(),
        };
        let mut error = AegisBuffer::EMPTY;
        // SAFETY: `args` and what it borrows live through the call, the host's
        // table and context for ever; both out parameters are writable.
        let status = unsafe { (descriptor.create)(&raw const args, &raw mut out, &raw mut error) };
        // SAFETY: the plugin left it empty or gave a buffer away.
        let error = unsafe { ForeignBuffer::take(&mut error) };
        match status {
            AEGIS_OK => {
                // SAFETY: the plugin says that it has filled in `out`.
                unsafe { Self::wrap(out, host) }
            }
            AEGIS_ERROR => Err(answer::error_document(error.bytes(), "create-failed")),
            other => Err(answer::fault(format!(
                "create answered {other}, which means nothing"
            ))),
        }
    }

    /// # Safety
    ///
    /// `instance` was filled in by a plugin's `create`.
    pub(super) unsafe fn wrap(
        instance: AegisInstance,
        host: &'static HostContext,
    ) -> Result<Self, HandlerError> {
        type V = AegisInstanceVtable;
        let vtable = instance.vtable;
        // SAFETY: null, or a table, which begins with its size.
        let size = unsafe { field!(vtable, size_of::<u32>(), V, struct_size) };
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(0);
        // SAFETY: `size` bytes of it exist, and its fields are nullable functions.
        let (start, cancel, reconfigure, quiesce, destroy) = unsafe {
            (
                field!(vtable, size, V, start).flatten(),
                field!(vtable, size, V, cancel).flatten(),
                field!(vtable, size, V, reconfigure).flatten(),
                field!(vtable, size, V, quiesce).flatten(),
                field!(vtable, size, V, destroy).flatten(),
            )
        };
        let Some(start) = start else {
            return Err(answer::fault(
                "the instance that create made has no start function".into(),
            ));
        };
        let quiesced = AtomicBool::new(false);
        Ok(Self {
            ctx: instance.ctx,
            start,
            cancel,
            reconfigure,
            quiesce,
            destroy,
            host,
            quiesced,
        })
    }

    /// The host's side of it.
    pub(crate) const fn host(&self) -> &'static HostContext {
        self.host
    }

    /// Begins a call.
    pub(crate) fn start(&self, request: Request<'_>) -> Begun {
        let call = &request.call;
        let mut hyphenated = [0; 36];
        let command_id = call
            .command_id
            .as_uuid()
            .hyphenated()
            .encode_lower(&mut hyphenated)
            .as_bytes();
        let raw = AegisCall {
            struct_size: size_of_u32::<AegisCall>(),
            handler: call.handler,
            call_id: request.id.0,
            deadline_ns: call.timeout.map_or(AEGIS_NO_DEADLINE, nanoseconds),
            command_id: AegisBytes::new(command_id),
            payload: AegisBytes::new(call.payload),
            issuer: AegisBytes::new(call.issuer.as_bytes()),
            traceparent: AegisBytes::new(call.traceparent.as_bytes()),
            attempt: call.attempt,
            reserved: 0,
        };
        let mut out = AegisCompletion {
            status: 0,
            reserved: 0,
            buffer: AegisBuffer::EMPTY,
        };
        // SAFETY: `raw` and what it borrows live through the call, and `out` is
        // writable and zeroed.
        let answered = unsafe { (self.start)(self.ctx, &raw const raw, &raw mut out) };
        // SAFETY: the plugin left it empty or gave a buffer away.
        let buffer = unsafe { ForeignBuffer::take(&mut out.buffer) };
        match answered {
            AEGIS_START_DONE => Begun::Done(answer::completion(out.status, buffer.bytes())),
            AEGIS_START_PENDING => Begun::Pending,
            AEGIS_START_REFUSED => {
                Begun::Refused(answer::error_document(buffer.bytes(), "refused"))
            }
            other => Begun::Done(Completion::Failed(answer::fault(format!(
                "start answered {other}, which means nothing"
            )))),
        }
    }

    /// Asks that a call end.
    pub(crate) fn cancel(&self, id: CallId, reason: CancelReason) {
        if let Some(cancel) = self.cancel {
            // SAFETY: plain numbers; the plugin ignores ids that are over.
            unsafe { cancel(self.ctx, id.0, cancel_number(reason)) };
        }
    }

    /// Gives a new config, a JSON object. Never to be called twice at once.
    ///
    /// # Errors
    ///
    /// The plugin's own error; `not-reconfigurable` if it cannot take any.
    pub(crate) fn reconfigure(&self, config: &str) -> Result<(), HandlerError> {
        let Some(reconfigure) = self.reconfigure else {
            return Err(HandlerError::new(
                "not-reconfigurable",
                "the plugin takes its configuration only when it starts",
            )
            .help("restart the worker to give it the new one"));
        };
        let mut error = AegisBuffer::EMPTY;
        // SAFETY: `config` lives through the call and `error` is writable.
        let status =
            unsafe { reconfigure(self.ctx, AegisBytes::new(config.as_bytes()), &raw mut error) };
        // SAFETY: the plugin left it empty or gave a buffer away.
        let error = unsafe { ForeignBuffer::take(&mut error) };
        match status {
            AEGIS_OK => Ok(()),
            AEGIS_ERROR => Err(answer::error_document(error.bytes(), "reconfigure-failed")),
            other => Err(answer::fault(format!(
                "reconfigure answered {other}, which means nothing"
            ))),
        }
    }

    /// Waits for the running calls; `None` if the plugin has no such function.
    pub(crate) fn quiesce(&self, timeout: Duration) -> Option<bool> {
        // SAFETY: plain numbers.
        let status = unsafe { self.quiesce?(self.ctx, nanoseconds(timeout)) };
        Some(status == AEGIS_OK)
    }

    /// Nothing of the instance runs any more: whatever it still sends is
    /// ignored, and its last owner destroys it.
    pub(crate) fn close(&self) {
        self.host.close();
        self.quiesced.store(true, Ordering::Release);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy
            && *self.quiesced.get_mut()
        {
            // SAFETY: it was quiesced, this is its last owner, so no other call
            // is under way, and a value is dropped once.
            unsafe { destroy(self.ctx) };
        }
    }
}

pub(crate) const fn cancel_number(reason: CancelReason) -> u32 {
    match reason {
        CancelReason::Requested => AEGIS_CANCEL_REQUESTED,
        CancelReason::Deadline => AEGIS_CANCEL_DEADLINE,
        CancelReason::Shutdown => AEGIS_CANCEL_SHUTDOWN,
        CancelReason::Abandon => AEGIS_CANCEL_ABANDON,
    }
}

/// Never the number that means "no deadline".
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .min(AEGIS_NO_DEADLINE - 1)
}

/// The tables of this ABI are far smaller than 4 GiB.
#[allow(clippy::cast_possible_truncation)]
const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

pub(super) const fn table_size<T>() -> u32 {
    size_of_u32::<T>()
}

/// What the host tells a plugin that asks whether its call is cancelled.
pub(super) fn cancelled_number(reason: Option<CancelReason>) -> u32 {
    reason.map_or(0, cancel_number)
}
