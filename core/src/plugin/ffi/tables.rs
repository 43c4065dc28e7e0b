//! The host interfaces that an operator grants: C tables over [`HostInterfaces`].

use std::{ffi::c_void, ptr};

use aegis_plugin_api::abi::{
    AEGIS_ERROR, AEGIS_OK, AegisBuffer, AegisBytes, AegisConfigV1, AegisKeyValueV1, AegisMetricsV1,
    AegisNodeControlV1,
};

use super::{buffer, bytes, host::with_context, instance::table_size};
use crate::{
    manifest::HostInterface,
    plugin::interfaces::{HostInterfaces, malformed},
};

/// The table of an interface, or null if it is unknown or not granted.
pub(super) fn table(granted: &dyn HostInterfaces, id: &str) -> *const c_void {
    match HostInterface::by_id(id).filter(|interface| granted.grants(*interface)) {
        Some(HostInterface::NodeControl) => ptr::from_ref(&NODE_CONTROL).cast(),
        Some(HostInterface::Config) => ptr::from_ref(&CONFIG).cast(),
        Some(HostInterface::KeyValue) => ptr::from_ref(&KEY_VALUE).cast(),
        Some(HostInterface::Metrics) => ptr::from_ref(&METRICS).cast(),
        None => ptr::null(),
    }
}

static NODE_CONTROL: AegisNodeControlV1 = AegisNodeControlV1 {
    struct_size: table_size::<AegisNodeControlV1>(),
    reserved: 0,
    drain: Some(drain),
    drain_status: Some(drain_status),
    shutdown: Some(shutdown),
};

static CONFIG: AegisConfigV1 = AegisConfigV1 {
    struct_size: table_size::<AegisConfigV1>(),
    reserved: 0,
    current: Some(current),
    validate: Some(validate),
    store: Some(store),
    apply: Some(apply),
    acknowledge: Some(acknowledge),
    reject: Some(reject),
};

static KEY_VALUE: AegisKeyValueV1 = AegisKeyValueV1 {
    struct_size: table_size::<AegisKeyValueV1>(),
    reserved: 0,
    get: Some(get),
    put: Some(put),
    remove: Some(remove),
    list: Some(list),
};

static METRICS: AegisMetricsV1 = AegisMetricsV1 {
    struct_size: table_size::<AegisMetricsV1>(),
    reserved: 0,
    declare: Some(declare),
    record: Some(record),
};

/// Defines the C functions of an interface, each of which is called by its name.
macro_rules! functions {
    ($interface:ident: $($name:ident),+) => {
        $(unsafe extern "C" fn $name(
            host_ctx: *mut c_void,
            request: AegisBytes,
            out: *mut AegisBuffer,
        ) -> u32 {
            let function = (HostInterface::$interface, stringify!($name));
            // SAFETY: what the ABI asks of the caller is what `answer` asks.
            unsafe { answer(host_ctx, function, request, out) }
        })+
    };
}

functions!(NodeControl: drain, drain_status, shutdown);
functions!(Config: current, validate, store, apply, acknowledge, reject);
functions!(KeyValue: get, put, remove, list);
functions!(Metrics: declare, record);

/// # Safety
///
/// `host_ctx` is the plugin's own context; `request` is readable until this
/// returns; `out` is null or writable.
unsafe fn answer(
    host_ctx: *mut c_void,
    (interface, function): (HostInterface, &str),
    request: AegisBytes,
    out: *mut AegisBuffer,
) -> u32 {
    // SAFETY: promised by the caller.
    let answered = unsafe {
        with_context(host_ctx, None, |context| {
            Some(match bytes::borrow(request) {
                Some(request) => context.interfaces().call(interface, function, request),
                None => Err(malformed("its length cannot be true")),
            })
        })
    };
    let (status, document) = match answered {
        Some(Ok(document)) => (AEGIS_OK, document),
        Some(Err(error)) => (AEGIS_ERROR, error.to_document()),
        None => (AEGIS_ERROR, Vec::new()),
    };
    if !out.is_null() {
        // SAFETY: not null, so it is writable. Nothing is freed that was there:
        // it is an out parameter.
        unsafe { out.write(buffer::give(document)) };
    }
    status
}
