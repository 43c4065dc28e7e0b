//! The functions that a plugin exports. Each catches what its plugin throws.

use std::{ffi::c_void, mem::size_of, path::PathBuf, ptr, sync::Arc, time::Duration};

use super::{
    buffer::give,
    port::CPort,
    read::{read_table, text},
};
use crate::{
    HandlerError, Plugin,
    abi::{
        AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR, AEGIS_ERROR, AEGIS_FLAG_START_NEVER_BLOCKS,
        AEGIS_FLAG_UNWINDS, AEGIS_NO_DEADLINE, AEGIS_OK, AEGIS_PLUGIN_MAGIC, AEGIS_START_DONE,
        AEGIS_START_PENDING, AEGIS_START_REFUSED, AEGIS_STATUS_ERROR, AEGIS_STATUS_PANICKED,
        AEGIS_TIMEOUT, AegisBuffer, AegisBytes, AegisCall, AegisCompletion, AegisCreateArgs,
        AegisInstance, AegisInstanceVtable, AegisPluginDescriptor, AegisSchemaV1,
    },
    call_facts::TextParts,
    completion::{Completion, Started},
    erased::request_schema,
    export::Exported,
    instance::{Birth, Engine, IncomingCall, create as create_instance},
    manifest,
    panic::guard,
};

const SCHEMA_INTERFACE: &[u8] = b"aegis.schema/1";

/// The descriptor of an exported plugin. `manifest` ends with a NUL.
#[doc(hidden)]
pub const fn descriptor<E: Exported>(
    manifest: &'static [u8],
    unwinds: bool,
) -> AegisPluginDescriptor {
    let (document, _nul) = manifest.split_at(manifest.len() - 1);
    AegisPluginDescriptor {
        magic: AEGIS_PLUGIN_MAGIC,
        struct_size: size_of::<AegisPluginDescriptor>() as u32,
        abi_major: AEGIS_ABI_MAJOR,
        abi_minor: AEGIS_ABI_MINOR,
        min_host_minor: 0,
        reserved: 0,
        flags: AEGIS_FLAG_START_NEVER_BLOCKS | if unwinds { AEGIS_FLAG_UNWINDS } else { 0 },
        id: AegisBytes::new(E::ID.as_bytes()),
        version: AegisBytes::new(E::VERSION.as_bytes()),
        sdk: AegisBytes::new(manifest::SDK.as_bytes()),
        toolchain: AegisBytes::new(manifest::TOOLCHAIN.as_bytes()),
        target: AegisBytes::new(manifest::TARGET.as_bytes()),
        manifest: AegisBytes::new(document),
        create: Some(create::<E>),
        get_interface: Some(get_interface::<E>),
    }
}

/// What an `AegisInstance` of the SDK points to.
type Ctx = Arc<dyn Engine>;

static INSTANCE: AegisInstanceVtable = AegisInstanceVtable {
    struct_size: size_of::<AegisInstanceVtable>() as u32,
    reserved: 0,
    start: Some(start),
    cancel: Some(cancel),
    reconfigure: Some(reconfigure),
    quiesce: Some(quiesce),
    destroy: Some(destroy),
    get_interface: Some(no_interface),
};

/// The engine behind an instance.
///
/// # Safety
///
/// `ctx` is what [`create`] put into an `AegisInstance`, and [`destroy`] was not
/// yet called for it and is not while the reference is used.
unsafe fn engine<'a>(ctx: *mut c_void) -> &'a Ctx {
    // SAFETY: `create` made `ctx` from a `Box<Ctx>` that only `destroy` frees;
    // it is never written to in between.
    unsafe { &*ctx.cast::<Ctx>() }
}

/// Writes an error document where the host wants one.
///
/// # Safety
///
/// `error` is null or can be written to.
unsafe fn write_error(error: *mut AegisBuffer, what: &HandlerError) {
    if !error.is_null() {
        // SAFETY: the caller's promise. What was there is empty and needs no release.
        unsafe { error.write(give(what.to_document())) };
    }
}

/// # Safety
///
/// As `AegisPluginDescriptor::create` says.
unsafe extern "C" fn create<E: Exported>(
    args: *const AegisCreateArgs,
    out: *mut AegisInstance,
    error: *mut AegisBuffer,
) -> u32 {
    let made = guard(|| {
        // SAFETY: the host passes a valid table.
        let args = unsafe { read_table(args) };
        // SAFETY: host and context stay valid until `destroy` returns. The
        // instance closes its link to the port in `quiesce`, at the latest when
        // it is dropped, and `create` closes it where it fails.
        let port = unsafe { CPort::new(args.host, args.host_ctx) }.ok_or_else(|| {
            HandlerError::new(
                "host-too-old",
                "the host lacks functions that this plugin needs",
            )
        })?;
        // SAFETY: the three are valid until `create` returns.
        let (config, node, state_dir) = unsafe {
            (
                args.config.as_slice(),
                args.node.as_slice(),
                text(args.state_dir),
            )
        };
        let node = if node.is_empty() { b"{}" } else { node };
        let node = serde_json::from_slice(node).map_err(|error| {
            HandlerError::new(
                "malformed-node",
                format!("description of the node: {error}"),
            )
        })?;
        let state_dir = PathBuf::from(state_dir.ok_or_else(|| {
            HandlerError::new("malformed-path", "the state directory's path is not UTF-8")
        })?);
        create_instance::<E>(Birth {
            port: Box::new(port),
            config,
            node,
            state_dir,
        })
    });
    match made.unwrap_or_else(|panic| Err(panic.into_error())) {
        Ok(_) if out.is_null() => AEGIS_ERROR,
        Ok(engine) => {
            let ctx = Box::into_raw(Box::<Ctx>::new(engine)).cast::<c_void>();
            // SAFETY: not null, and the host passes a place for an instance.
            unsafe {
                out.write(AegisInstance {
                    ctx,
                    vtable: &raw const INSTANCE,
                })
            };
            AEGIS_OK
        }
        Err(what) => {
            // SAFETY: null or a place for a buffer.
            unsafe { write_error(error, &what) };
            AEGIS_ERROR
        }
    }
}

/// # Safety
///
/// As `AegisInstanceVtable::start` says.
unsafe extern "C" fn start(
    ctx: *mut c_void,
    call: *const AegisCall,
    out: *mut AegisCompletion,
) -> u32 {
    let started = guard(|| {
        // SAFETY: the host passes the instance's context, and a valid table.
        let (engine, call) = unsafe { (engine(ctx), read_table(call)) };
        // SAFETY: the texts and the payload are valid until `start` returns.
        let (command_id, issuer, traceparent, payload) = unsafe {
            (
                text(call.command_id),
                text(call.issuer),
                text(call.traceparent),
                call.payload.as_slice(),
            )
        };
        let (Some(command_id), Some(issuer), Some(traceparent)) = (command_id, issuer, traceparent)
        else {
            return Started::Refused(HandlerError::new(
                "malformed-call",
                "a text of the call is not UTF-8",
            ));
        };
        let timeout = match call.deadline_ns {
            AEGIS_NO_DEADLINE => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        };
        Arc::clone(engine).start(IncomingCall {
            handler: call.handler,
            id: call.call_id,
            timeout,
            text: TextParts {
                command_id,
                issuer,
                traceparent,
            },
            payload,
            attempt: call.attempt,
        })
    });
    let (answer, completion) = match started {
        Ok(Started::Pending) => return AEGIS_START_PENDING,
        Ok(Started::Done(completion)) => (AEGIS_START_DONE, completion.into_parts()),
        Ok(Started::Refused(error)) => (
            AEGIS_START_REFUSED,
            (AEGIS_STATUS_ERROR, error.to_document()),
        ),
        // The engine guards what its plugin does: this is a fault of the SDK.
        Err(panic) => {
            let parts = Completion::Panicked(panic.into_error()).into_parts();
            debug_assert_eq!(parts.0, AEGIS_STATUS_PANICKED);
            (AEGIS_START_DONE, parts)
        }
    };
    if !out.is_null() {
        let (status, document) = completion;
        // SAFETY: not null, and the host passes a place for a completion.
        unsafe {
            out.write(AegisCompletion {
                status,
                reserved: 0,
                buffer: give(document),
            })
        };
    }
    answer
}

/// # Safety
///
/// As `AegisInstanceVtable::cancel` says.
unsafe extern "C" fn cancel(ctx: *mut c_void, call_id: u64, reason: u32) {
    // SAFETY: the host passes the instance's context.
    let engine = unsafe { engine(ctx) };
    // What could throw here is a waker of the plugin's own making. The call
    // still completes, so nothing is lost with the panic.
    let _ = guard(|| engine.cancel(call_id, reason));
}

/// # Safety
///
/// As `AegisInstanceVtable::reconfigure` says.
unsafe extern "C" fn reconfigure(
    ctx: *mut c_void,
    config: AegisBytes,
    error: *mut AegisBuffer,
) -> u32 {
    // SAFETY: the host passes the instance's context, and a config that is
    // valid until this returns.
    let (engine, config) = unsafe { (engine(ctx), config.as_slice()) };
    match guard(|| engine.reconfigure(config)).unwrap_or_else(|panic| Err(panic.into_error())) {
        Ok(()) => AEGIS_OK,
        Err(what) => {
            // SAFETY: null or a place for a buffer.
            unsafe { write_error(error, &what) };
            AEGIS_ERROR
        }
    }
}

/// # Safety
///
/// As `AegisInstanceVtable::quiesce` says.
unsafe extern "C" fn quiesce(ctx: *mut c_void, timeout_ns: u64) -> u32 {
    // SAFETY: the host passes the instance's context.
    let engine = unsafe { engine(ctx) };
    match guard(|| engine.quiesce(Duration::from_nanos(timeout_ns))) {
        Ok(true) => AEGIS_OK,
        // A panic here is a fault of the SDK; not to be destroyed is the safe answer.
        Ok(false) | Err(_) => AEGIS_TIMEOUT,
    }
}

/// # Safety
///
/// As `AegisInstanceVtable::destroy` says.
unsafe extern "C" fn destroy(ctx: *mut c_void) {
    if ctx.is_null() {
        return;
    }
    // SAFETY: `create` made it from a box, and the host calls this once, with
    // nothing else under way.
    let engine = unsafe { Box::from_raw(ctx.cast::<Ctx>()) };
    // The plugin's own drop may panic; there is nobody left to tell.
    let _ = guard(|| drop(engine));
}

/// # Safety
///
/// None: it uses neither argument.
unsafe extern "C" fn no_interface(_ctx: *mut c_void, _id: AegisBytes) -> *const c_void {
    ptr::null()
}

/// # Safety
///
/// As `AegisPluginDescriptor::get_interface` says.
unsafe extern "C" fn get_interface<E: Exported>(id: AegisBytes) -> *const c_void {
    // SAFETY: the id is valid until this returns.
    let id = unsafe { id.as_slice() };
    if id == SCHEMA_INTERFACE {
        ptr::from_ref(<Schema<E> as SchemaTable>::TABLE).cast()
    } else {
        ptr::null()
    }
}

/// Carries the schema table of one plugin.
struct Schema<E>(std::marker::PhantomData<E>);

trait SchemaTable {
    const TABLE: &'static AegisSchemaV1;
}

impl<E: Exported> SchemaTable for Schema<E> {
    const TABLE: &'static AegisSchemaV1 = &AegisSchemaV1 {
        struct_size: size_of::<AegisSchemaV1>() as u32,
        reserved: 0,
        handler: Some(handler_schemas::<E>),
        config: Some(config_schema::<E>),
    };
}

/// # Safety
///
/// `out` is null or can be written to.
unsafe extern "C" fn handler_schemas<E: Exported>(handler: u32, out: *mut AegisBuffer) -> u32 {
    let document = guard(|| {
        let handler = E::HANDLERS.get(handler as usize)?;
        serde_json::to_vec(&handler.schemas()).ok()
    });
    // SAFETY: the caller's promise.
    unsafe { write_document(document.ok().flatten(), out) }
}

/// # Safety
///
/// `out` is null or can be written to.
unsafe extern "C" fn config_schema<E: Exported>(out: *mut AegisBuffer) -> u32 {
    let document =
        guard(|| serde_json::to_vec(&request_schema::<<E::Plugin as Plugin>::Config>()).ok());
    // SAFETY: the caller's promise.
    unsafe { write_document(document.ok().flatten(), out) }
}

/// # Safety
///
/// `out` is null or can be written to.
unsafe fn write_document(document: Option<Vec<u8>>, out: *mut AegisBuffer) -> u32 {
    match document {
        Some(document) if !out.is_null() => {
            // SAFETY: not null, and the caller's promise.
            unsafe { out.write(give(document)) };
            AEGIS_OK
        }
        _ => AEGIS_ERROR,
    }
}
