//! Owned bytes, in both directions.

use std::{ffi::c_void, mem, ptr};

use aegis_plugin_api::abi::{AegisBuffer, AegisBytes};

use super::bytes;

/// A buffer that a plugin made. Its release function runs once, when this is
/// dropped, whatever was in it.
#[derive(Debug)]
pub(super) struct ForeignBuffer(AegisBuffer);

impl ForeignBuffer {
    /// Takes the buffer out of `slot` and leaves an empty one.
    ///
    /// # Safety
    ///
    /// `slot` was filled in by a plugin that gives it away: `data` and `len`
    /// describe readable bytes until `release` is called, and `release` is
    /// null or may be called once.
    pub(super) unsafe fn take(slot: &mut AegisBuffer) -> Self {
        Self(mem::replace(slot, AegisBuffer::EMPTY))
    }

    /// The bytes, or `None` if their length cannot be true.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: `take` was promised that they are readable until the
        // release, which only the drop of `self` does.
        unsafe {
            bytes::borrow(AegisBytes {
                data: self.0.data,
                len: self.0.len,
            })
        }
    }
}

impl Drop for ForeignBuffer {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: `take` was promised that it may be called once, with
            // what came beside it; this value is the only one that can.
            unsafe { release(self.0.owner, self.0.data, self.0.len) };
        }
    }
}

/// Gives bytes of the host away; the plugin releases them.
pub(super) fn give(bytes: Vec<u8>) -> AegisBuffer {
    if bytes.is_empty() {
        return AegisBuffer::EMPTY;
    }
    let len = bytes.len();
    // One pointer for both: making a `&mut` for the owner would end what a
    // pointer made before it may read.
    let bytes = Box::into_raw(bytes.into_boxed_slice()).cast::<u8>();
    AegisBuffer {
        data: bytes.cast_const(),
        len,
        owner: bytes.cast::<c_void>(),
        release: Some(release),
    }
}

unsafe extern "C" fn release(owner: *mut c_void, _: *const u8, len: usize) {
    if !owner.is_null() {
        // SAFETY: `owner` and `len` come from `give`, which leaked a boxed
        // slice of this length, and the ABI has the holder release it once.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(owner.cast::<u8>(), len)) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_foreign_buffer_is_released_once_even_if_its_length_is_a_lie() {
        unsafe extern "C" fn count(owner: *mut c_void, _: *const u8, _: usize) {
            // SAFETY: the test passes an `AtomicUsize` that outlives the buffer.
            unsafe { &*owner.cast::<AtomicUsize>() }.fetch_add(1, Ordering::Relaxed);
        }
        for (len, readable) in [(3, true), (usize::MAX, false)] {
            let released = AtomicUsize::new(0);
            let mut slot = AegisBuffer {
                data: b"abc".as_ptr(),
                len,
                owner: (&raw const released).cast_mut().cast(),
                release: Some(count),
            };
            // SAFETY: three readable bytes, or a length that is not believed.
            let buffer = unsafe { ForeignBuffer::take(&mut slot) };
            assert_eq!(buffer.bytes().is_some(), readable);
            drop(buffer);
            assert!(slot.release.is_none(), "the slot is left empty");
            assert_eq!(released.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn bytes_given_away_come_back_through_their_release() {
        let mut slot = give(b"answer".to_vec());
        // SAFETY: made by `give`.
        let buffer = unsafe { ForeignBuffer::take(&mut slot) };
        assert_eq!(buffer.bytes(), Some(&b"answer"[..]));
    }
}
