//! Owned bytes across the ABI.

use std::{ffi::c_void, mem::ManuallyDrop, ptr};

use crate::abi::AegisBuffer;

/// Gives bytes away.
pub(super) fn give(bytes: Vec<u8>) -> AegisBuffer {
    if bytes.capacity() == 0 {
        return AegisBuffer::EMPTY;
    }
    let mut bytes = ManuallyDrop::new(bytes);
    AegisBuffer {
        data: bytes.as_mut_ptr().cast_const(),
        len: bytes.len(),
        // Not a pointer: the capacity, which is all that is missing to make the
        // vector again.
        owner: ptr::without_provenance_mut(bytes.capacity()),
        release: Some(release),
    }
}

/// # Safety
///
/// The arguments are those of a buffer that [`give`] made, and this is the only
/// call for it.
unsafe extern "C" fn release(owner: *mut c_void, data: *const u8, len: usize) {
    // SAFETY: `give` took pointer, length and capacity from a `Vec<u8>` that it
    // did not drop, and by the caller's promise nobody else owns it now. The
    // pointer came from `as_mut_ptr`, so writing through it is allowed. Freeing
    // bytes does not unwind.
    drop(unsafe { Vec::from_raw_parts(data.cast_mut(), len, owner.addr()) });
}

/// Takes the bytes of a buffer and releases it.
///
/// # Safety
///
/// The buffer is valid and this side owns it; the caller does not use it again.
pub(super) unsafe fn take(buffer: AegisBuffer) -> Vec<u8> {
    let bytes = if buffer.len == 0 || buffer.data.is_null() {
        Vec::new()
    } else {
        // SAFETY: a valid buffer has `len` readable bytes at `data`.
        unsafe { std::slice::from_raw_parts(buffer.data, buffer.len) }.to_vec()
    };
    if let Some(release) = buffer.release {
        // SAFETY: owned by this side and released here only; the copy above is
        // the last use.
        unsafe { release(buffer.owner, buffer.data, buffer.len) };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_can_be_taken() {
        for bytes in [Vec::new(), Vec::with_capacity(10), b"some".to_vec()] {
            let buffer = give(bytes.clone());
            // SAFETY: made above and taken once.
            assert_eq!(unsafe { take(buffer) }, bytes);
        }
    }
}
