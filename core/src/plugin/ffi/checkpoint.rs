//! The host interface `aegis.checkpoint/1`: a C table over
//! [`CallSink`](crate::plugin::CallSink). It needs no grant, for it reaches no
//! further than the call it is asked about.

use std::{ffi::c_void, ptr};

use aegis_plugin_api::{
    HandlerError,
    abi::{
        AEGIS_ERROR, AEGIS_MAX_CHECKPOINT_BYTES, AEGIS_NO_CHECKPOINT, AEGIS_OK, AEGIS_UNKNOWN_CALL,
        AegisBuffer, AegisBytes, AegisCheckpointV1,
    },
};

use super::{buffer, bytes, host::with_context, instance::table_size};

/// Its id on the ABI.
pub(super) const ID: &str = "aegis.checkpoint/1";

static CHECKPOINT: AegisCheckpointV1 = AegisCheckpointV1 {
    struct_size: table_size::<AegisCheckpointV1>(),
    reserved: 0,
    save: Some(save),
    load: Some(load),
};

pub(super) fn table() -> *const c_void {
    ptr::from_ref(&CHECKPOINT).cast()
}

unsafe extern "C" fn save(
    host_ctx: *mut c_void,
    call_id: u64,
    data: AegisBytes,
    error: *mut AegisBuffer,
) -> u32 {
    // SAFETY: the ABI keeps the bytes valid until this function returns.
    let data = unsafe { bytes::borrow(data) };
    // SAFETY: the ABI has the plugin pass its own context.
    let saved = unsafe {
        with_context(host_ctx, None, |context| {
            let Some(sink) = context.sink(call_id) else {
                return Some(Err(None));
            };
            let checked = checked(data).and_then(|data| sink.save_checkpoint(data));
            Some(checked.map_err(Some))
        })
    };
    let document = match saved {
        Some(Ok(())) => return AEGIS_OK,
        Some(Err(None)) => return AEGIS_UNKNOWN_CALL,
        Some(Err(Some(refused))) => refused.to_document(),
        None => Vec::new(),
    };
    if !error.is_null() {
        // SAFETY: not null, so it is writable. Nothing is freed that was there:
        // it is an out parameter.
        unsafe { error.write(buffer::give(document)) };
    }
    AEGIS_ERROR
}

fn checked(data: Option<&[u8]>) -> Result<&[u8], HandlerError> {
    match data {
        Some(data) if data.len() <= AEGIS_MAX_CHECKPOINT_BYTES => Ok(data),
        _ => Err(HandlerError::new(
            "checkpoint-too-large",
            format!("a checkpoint has at most {AEGIS_MAX_CHECKPOINT_BYTES} bytes"),
        )),
    }
}

unsafe extern "C" fn load(host_ctx: *mut c_void, call_id: u64, out: *mut AegisBuffer) -> u32 {
    if out.is_null() {
        return AEGIS_ERROR;
    }
    // SAFETY: the ABI has the plugin pass its own context.
    let found = unsafe {
        with_context(host_ctx, Err(AEGIS_ERROR), |context| {
            let sink = context.sink(call_id).ok_or(AEGIS_UNKNOWN_CALL)?;
            sink.checkpoint().ok_or(AEGIS_NO_CHECKPOINT)
        })
    };
    match found {
        Ok(data) => {
            // SAFETY: not null, so it is writable. It is an out parameter.
            unsafe { out.write(buffer::give(data.to_vec())) };
            AEGIS_OK
        }
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use super::*;
    use crate::plugin::{
        calls::Calls,
        faults::Faults,
        ffi::{HostContext, PluginSide, buffer::ForeignBuffer},
        interfaces::Granted,
    };

    #[test]
    fn a_call_that_there_is_not_has_no_checkpoint_and_gets_none() {
        let side = PluginSide {
            id: "test".to_owned(),
            calls: Calls::new(),
            faults: Faults::default(),
            on_panic: OnceLock::new(),
        };
        let context = HostContext::leak(side.into(), Arc::new(Granted::default())).as_ptr();
        let mut out = AegisBuffer::EMPTY;
        let some = AegisBytes::new(b"some");
        // SAFETY: a context of this host or null, readable bytes or a length
        // that is not believed, and null or a place for a buffer.
        unsafe {
            assert_eq!(save(context, 7, some, &raw mut out), AEGIS_UNKNOWN_CALL);
            assert_eq!(load(context, 7, &raw mut out), AEGIS_UNKNOWN_CALL);
            assert!(out.release.is_none(), "nothing was written");
            assert_eq!(load(context, 7, ptr::null_mut()), AEGIS_ERROR);
            assert_eq!(load(ptr::null_mut(), 7, &raw mut out), AEGIS_ERROR);
            assert_eq!(save(ptr::null_mut(), 7, some, ptr::null_mut()), AEGIS_ERROR);
            assert_eq!(save(ptr::null_mut(), 7, some, &raw mut out), AEGIS_ERROR);
            drop(ForeignBuffer::take(&mut out));
        }
    }

    #[test]
    fn what_is_too_long_or_cannot_be_read_is_refused() {
        let most = vec![0; AEGIS_MAX_CHECKPOINT_BYTES];
        assert_eq!(checked(Some(&most)), Ok(most.as_slice()));
        let more = vec![0; AEGIS_MAX_CHECKPOINT_BYTES + 1];
        for refused in [Some(more.as_slice()), None] {
            let error = checked(refused).expect_err("refused");
            assert_eq!(error.code, "checkpoint-too-large");
        }
    }
}
