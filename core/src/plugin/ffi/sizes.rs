//! Tables of every size through the host's readers: plugins of older minors
//! that lack fields, of newer ones that have more, and of none that was ever
//! released. Each table lies in a run of exactly its own bytes, so that Miri
//! sees a read beyond it.

use std::{
    ffi::c_void,
    ptr,
    sync::{Arc, OnceLock, atomic::AtomicPtr, atomic::Ordering},
    time::Duration,
};

use aegis_plugin_api::abi::{
    AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR, AEGIS_FLAG_UNWINDS, AEGIS_OK, AEGIS_PLUGIN_MAGIC,
    AEGIS_START_PENDING, AegisBuffer, AegisBytes, AegisCall, AegisCompletion, AegisCreateArgs,
    AegisInstance, AegisInstanceVtable, AegisPluginDescriptor, AegisSchemaV1,
};

use super::{Descriptor, HostContext, Instance, PluginSide};
use crate::{
    loader::Check,
    plugin::{calls::Calls, faults::Faults, interfaces::Granted},
};

/// More bytes than any table here has fields for.
const BEYOND: usize = 24;

/// The first `size` bytes of `table`, and junk where it has no more; never fewer
/// than `head`, which a reader may always read. It is never freed, as the tables
/// of a library are not.
fn cut<T>(table: &T, size: usize, head: usize) -> *const T {
    let bytes = vec![0x5a_u8; size.max(head)].leak();
    let known = bytes.len().min(size_of::<T>());
    // SAFETY: both have at least as many bytes, and `bytes` was just made.
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(table).cast(), bytes.as_mut_ptr(), known) };
    bytes.as_ptr().cast()
}

fn number(size: usize) -> u32 {
    u32::try_from(size).expect("small")
}

static SCHEMAS: AtomicPtr<AegisSchemaV1> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" fn find(_: AegisBytes) -> *const c_void {
    SCHEMAS.load(Ordering::Acquire).cast_const().cast()
}

unsafe extern "C" fn describe(_: u32, out: *mut AegisBuffer) -> u32 {
    let document = br#"{"request":{},"response":true}"#;
    // SAFETY: the host passes a place for a buffer; the bytes are static.
    unsafe {
        out.write(AegisBuffer {
            data: document.as_ptr(),
            len: document.len(),
            ..AegisBuffer::EMPTY
        });
    }
    AEGIS_OK
}

unsafe extern "C" fn create(
    _: *const AegisCreateArgs,
    _: *mut AegisInstance,
    _: *mut AegisBuffer,
) -> u32 {
    AEGIS_OK
}

fn descriptor(size: usize) -> AegisPluginDescriptor {
    AegisPluginDescriptor {
        magic: AEGIS_PLUGIN_MAGIC,
        struct_size: number(size),
        abi_major: AEGIS_ABI_MAJOR,
        // Newer than this host; it need not know what came with it.
        abi_minor: AEGIS_ABI_MINOR + 7,
        min_host_minor: AEGIS_ABI_MINOR,
        reserved: 0,
        flags: AEGIS_FLAG_UNWINDS,
        id: AegisBytes::new(b"sizes"),
        version: AegisBytes::EMPTY,
        sdk: AegisBytes::EMPTY,
        toolchain: AegisBytes::EMPTY,
        target: AegisBytes::EMPTY,
        manifest: AegisBytes::new(b"{}"),
        create: Some(create),
        get_interface: Some(find),
    }
}

/// The tests that set `SCHEMAS` are one, for there is one of it.
#[test]
fn a_descriptor_and_its_schemas_of_any_size_are_read_as_far_as_they_go() {
    let needed = std::mem::offset_of!(AegisPluginDescriptor, create) + size_of::<usize>();
    for size in 0..=size_of::<AegisPluginDescriptor>() + BEYOND {
        let table = cut(&descriptor(size), size, 16);
        // SAFETY: static bytes, as many as `struct_size` says and at least 16.
        let read = unsafe { Descriptor::read(table) };
        match read {
            Ok(read) => {
                assert!(size >= needed, "{size} bytes have no create function");
                assert_eq!(read.manifest(), b"{}");
                let whole = size >= size_of::<AegisPluginDescriptor>();
                assert_eq!(read.get_interface.is_some(), whole, "at {size} bytes");
            }
            Err(refusal) => {
                assert!(size < needed, "at {size} bytes: {refusal}");
                assert_eq!(refusal.check, Check::Descriptor);
            }
        }
    }

    let whole = descriptor(size_of::<AegisPluginDescriptor>());
    // SAFETY: whole, and this function outlives what reads it.
    let read = unsafe { Descriptor::read(&raw const whole) }.expect("a sound descriptor");
    assert!(read.schemas(0).is_none(), "there is no table");
    let needed = std::mem::offset_of!(AegisSchemaV1, handler) + size_of::<usize>();
    for size in 0..=size_of::<AegisSchemaV1>() + BEYOND {
        let schemas = AegisSchemaV1 {
            struct_size: number(size),
            reserved: 0,
            handler: Some(describe),
            config: None,
        };
        SCHEMAS.store(cut(&schemas, size, 4).cast_mut(), Ordering::Release);
        assert_eq!(read.schemas(0).is_some(), size >= needed, "at {size} bytes");
    }
}

unsafe extern "C" fn start(_: *mut c_void, _: *const AegisCall, _: *mut AegisCompletion) -> u32 {
    AEGIS_START_PENDING
}
unsafe extern "C" fn cancel(_: *mut c_void, _: u64, _: u32) {}
unsafe extern "C" fn reconfigure(_: *mut c_void, _: AegisBytes, _: *mut AegisBuffer) -> u32 {
    AEGIS_OK
}
unsafe extern "C" fn quiesce(_: *mut c_void, _: u64) -> u32 {
    AEGIS_OK
}
unsafe extern "C" fn destroy(ctx: *mut c_void) {
    // SAFETY: the test passes an `AtomicPtr` that outlives the instance.
    unsafe { &*ctx.cast::<AtomicPtr<()>>() }.store(ptr::null_mut(), Ordering::Release);
}

#[test]
fn an_instance_with_a_table_of_any_size_does_what_lies_within_it() {
    let side = Arc::new(PluginSide {
        id: "sizes".to_owned(),
        calls: Calls::new(),
        faults: Faults::default(),
        on_panic: OnceLock::new(),
    });
    let context = HostContext::leak(side, Arc::new(Granted::default()));
    for size in 0..=size_of::<AegisInstanceVtable>() + BEYOND {
        let vtable = AegisInstanceVtable {
            struct_size: number(size),
            reserved: 0,
            start: Some(start),
            cancel: Some(cancel),
            reconfigure: Some(reconfigure),
            quiesce: Some(quiesce),
            destroy: Some(destroy),
            get_interface: None,
        };
        let has = |field: usize| size >= field + size_of::<usize>();
        let not_destroyed = AtomicPtr::new(ptr::dangling_mut::<()>());
        let instance = AegisInstance {
            ctx: (&raw const not_destroyed).cast_mut().cast(),
            vtable: cut(&vtable, size, 4),
        };
        // SAFETY: a table of as many bytes as it says, with functions of this file.
        let instance = match unsafe { Instance::wrap(instance, context) } {
            Ok(instance) => instance,
            Err(error) => {
                assert!(!has(8), "at {size} bytes: {error}");
                continue;
            }
        };
        assert!(has(8), "{size} bytes have no start function");
        instance.cancel(
            crate::plugin::CallId(1),
            crate::command::CancelReason::Requested,
        );
        assert_eq!(
            instance.reconfigure("{}").is_ok(),
            has(24),
            "at {size} bytes"
        );
        assert_eq!(
            instance.quiesce(Duration::ZERO).is_some(),
            has(32),
            "at {size} bytes"
        );
        instance.quiesced.store(true, Ordering::Release);
        drop(instance);
        let destroyed = not_destroyed.load(Ordering::Acquire).is_null();
        assert_eq!(destroyed, has(40), "at {size} bytes");
    }
}
