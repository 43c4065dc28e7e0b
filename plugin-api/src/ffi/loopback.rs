//! The host's side of the C ABI, for the test harness: drives a descriptor as a
//! worker does, over any [`HostPort`].

mod host_side;
#[cfg(unix)]
mod library;

use std::{mem::size_of, path::Path, ptr, sync::Arc, time::Duration};

#[cfg(unix)]
pub(crate) use library::load;

use host_side::HostSide;

use super::{buffer::take, read::read_table};
use crate::{
    HandlerError,
    abi::{
        AEGIS_ABI_MAJOR, AEGIS_ERROR, AEGIS_NO_DEADLINE, AEGIS_OK, AEGIS_PLUGIN_MAGIC,
        AEGIS_START_DONE, AEGIS_START_PENDING, AEGIS_START_REFUSED, AEGIS_STATUS_CANCELLED,
        AEGIS_STATUS_ERROR, AEGIS_STATUS_OK, AEGIS_STATUS_PANICKED, AegisBuffer, AegisBytes,
        AegisCall, AegisCompletion, AegisCreateArgs, AegisInstance, AegisInstanceVtable,
        AegisPluginDescriptor, AegisSchemaV1,
    },
    completion::{Completion, Started},
    instance::{Birth, Engine, IncomingCall},
};

/// An instance behind its C table.
struct Loaded {
    instance: AegisInstance,
    vtable: AegisInstanceVtable,
    /// Freed in `drop`, after the instance is destroyed.
    host: *mut HostSide,
}

// SAFETY: every function of an instance may be called from any thread.
unsafe impl Send for Loaded {}
// SAFETY: and from several at once; `destroy` alone may not, and `drop` is alone.
unsafe impl Sync for Loaded {}

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

    let host = HostSide::new(birth.port);
    let node = serde_json::to_vec(&birth.node).unwrap_or_default();
    let state_dir = path_text(&birth.state_dir);
    let args = AegisCreateArgs {
        struct_size: size_of::<AegisCreateArgs>() as u32,
        reserved: 0,
        // SAFETY: made above and not freed before the instance is.
        host: unsafe { &raw const (*host).table },
        host_ctx: host.cast(),
        config: AegisBytes::new(birth.config),
        node: AegisBytes::new(&node),
        state_dir: AegisBytes::new(state_dir.as_bytes()),
    };
    let mut instance = AegisInstance {
        ctx: ptr::null_mut(),
        vtable: ptr::null(),
    };
    let mut error = AegisBuffer::EMPTY;
    // SAFETY: all arguments outlive the call; the host's side is
    // freed only after the instance is destroyed.
    let status = unsafe { create(&raw const args, &raw mut instance, &raw mut error) };
    // SAFETY: empty, or written by the plugin and ours.
    let error = unsafe { take(error) };
    match status {
        AEGIS_OK => {}
        AEGIS_ERROR => {
            // SAFETY: a plugin that does not start keeps nothing of the host.
            drop(unsafe { Box::from_raw(host) });
            return Err(HandlerError::from_document(&error));
        }
        other => panic!("`create` answered with the unknown status {other}"),
    }
    // SAFETY: `create` filled in a table that lives as long as the instance.
    let vtable = unsafe { read_table(instance.vtable) };
    Ok(Arc::new(Loaded {
        instance,
        vtable,
        host,
    }))
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
        // SAFETY: made in `create` and freed here only; a destroyed instance
        // does not use it any more.
        drop(unsafe { Box::from_raw(self.host) });
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
