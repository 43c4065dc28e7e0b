//! The host interfaces `aegis.node-control/1` and `aegis.config/1`: C tables
//! over the traits in [`crate::control`].

use std::{ffi::c_void, ptr, sync::Arc};

use aegis_plugin_api::{
    HandlerError,
    abi::{AEGIS_ERROR, AEGIS_OK, AegisBuffer, AegisBytes, AegisConfigV1, AegisNodeControlV1},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{buffer, bytes, host::with_context, instance::table_size};
use crate::{
    control::{
        CandidateConfig, ConfigControl, DrainRequest, NodeControl, RejectedConfig, ShutdownRequest,
    },
    manifest::HostInterface,
};

/// What one plugin was granted.
#[derive(Clone, Default)]
pub(crate) struct Facilities {
    /// Behind `aegis.node-control/1`.
    pub(crate) node_control: Option<Arc<dyn NodeControl>>,
    /// Behind `aegis.config/1`.
    pub(crate) config: Option<Arc<dyn ConfigControl>>,
}

impl Facilities {
    /// The table of an interface, or null if it is unknown or not granted.
    pub(super) fn table(&self, id: &str) -> *const c_void {
        match HostInterface::by_id(id) {
            Some(HostInterface::NodeControl) if self.node_control.is_some() => {
                ptr::from_ref(&NODE_CONTROL).cast()
            }
            Some(HostInterface::Config) if self.config.is_some() => ptr::from_ref(&CONFIG).cast(),
            _ => ptr::null(),
        }
    }

    fn node_control(&self) -> Result<&dyn NodeControl, HandlerError> {
        self.node_control
            .as_deref()
            .ok_or_else(|| not_granted(HostInterface::NodeControl))
    }

    fn config(&self) -> Result<&dyn ConfigControl, HandlerError> {
        self.config
            .as_deref()
            .ok_or_else(|| not_granted(HostInterface::Config))
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

/// Where a request says nothing but that it is one.
#[derive(Deserialize)]
struct Nothing {}

/// The answer that says nothing but that it is one.
#[derive(Serialize)]
struct Empty {}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// Defines the C function of one step: parses the request, runs the body,
/// writes the answer.
macro_rules! step {
    ($name:ident, $facilities:ident, $request:ident : $Request:ty, $body:expr) => {
        unsafe extern "C" fn $name(
            host_ctx: *mut c_void,
            request: AegisBytes,
            out: *mut AegisBuffer,
        ) -> u32 {
            let run = |$facilities: &Facilities, $request: $Request| $body;
            // SAFETY: what the ABI asks of the caller is what `answer` asks.
            unsafe { answer(host_ctx, request, out, run) }
        }
    };
}

step!(drain, granted, request: DrainRequest, granted.node_control()?.drain(request));
step!(drain_status, granted, _request: Nothing, Ok(granted.node_control()?.drain_status()));
step!(shutdown, granted, request: ShutdownRequest, {
    granted.node_control()?.shutdown(request).map(|()| Empty {})
});
step!(current, granted, _request: Nothing, Ok(granted.config()?.current()));
step!(validate, granted, request: CandidateConfig, {
    granted.config()?.validate(&request).map(|()| Empty {})
});
step!(store, granted, request: CandidateConfig, {
    granted.config()?.store(&request).map(|()| Empty {})
});
step!(apply, granted, request: Version, {
    granted.config()?.apply(&request.version).map(|()| Empty {})
});
step!(acknowledge, granted, request: Version, {
    granted.config()?.acknowledge(&request.version).map(|()| Empty {})
});
step!(reject, granted, request: RejectedConfig, {
    granted.config()?.reject(request).map(|()| Empty {})
});

/// # Safety
///
/// `host_ctx` is the plugin's own context; `request` is readable until this
/// returns; `out` is null or writable.
unsafe fn answer<Q: DeserializeOwned, A: Serialize>(
    host_ctx: *mut c_void,
    request: AegisBytes,
    out: *mut AegisBuffer,
    run: impl FnOnce(&Facilities, Q) -> Result<A, HandlerError>,
) -> u32 {
    let produce = |request: Option<&[u8]>, granted: &Facilities| -> Result<Vec<u8>, HandlerError> {
        let request = match request {
            Some([]) => b"{}",
            Some(request) => request,
            None => return Err(malformed("its length cannot be true")),
        };
        let request = serde_json::from_slice(request).map_err(malformed)?;
        serde_json::to_vec(&run(granted, request)?).map_err(malformed)
    };
    // SAFETY: promised by the caller.
    let answered = unsafe {
        with_context(host_ctx, None, |context| {
            Some(produce(bytes::borrow(request), &context.facilities()))
        })
    };
    let (status, document) = match answered {
        Some(Ok(document)) => (AEGIS_OK, document),
        Some(Err(error)) => (AEGIS_ERROR, serde_json::to_vec(&error).unwrap_or_default()),
        None => (AEGIS_ERROR, Vec::new()),
    };
    if !out.is_null() {
        // SAFETY: not null, so it is writable. Nothing is freed that was there:
        // it is an out parameter.
        unsafe { out.write(buffer::give(document)) };
    }
    status
}

fn malformed(reason: impl ToString) -> HandlerError {
    HandlerError::new(
        "malformed-request",
        format!("the request is malformed: {}", reason.to_string()),
    )
}

fn not_granted(interface: HostInterface) -> HandlerError {
    HandlerError::new(
        "not-granted",
        format!("{} is not granted to this plugin", interface.id()),
    )
    .help(format!(
        "add {:?} to its grants in the worker's config",
        interface.grant()
    ))
}
