//! Bytes that cross the ABI, as Rust makes and reads them.

use super::{AegisBuffer, AegisBytes};

impl AegisBytes {
    /// No bytes.
    pub const EMPTY: Self = Self {
        data: std::ptr::null(),
        len: 0,
    };

    /// Borrows `bytes`. The caller keeps them alive as long as the receiver may read.
    pub const fn new(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    ///
    /// `data` and `len` describe readable bytes that stay as they are for `'a`,
    /// or `len` is 0.
    pub const unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: not null and not empty; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl AegisBuffer {
    /// No bytes, nothing to free.
    pub const EMPTY: Self = Self {
        data: std::ptr::null(),
        len: 0,
        owner: std::ptr::null_mut(),
        release: None,
    };
}
