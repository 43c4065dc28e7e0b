//! Borrowed bytes, as a plugin passes them to the host.

use aegis_plugin_api::abi::AegisBytes;

/// Nothing that a plugin hands over at once is longer. A greater length is a
/// fault of the plugin, and the bytes are not touched.
pub(super) const MAX_FOREIGN_BYTES: usize = 64 * 1024 * 1024;

/// The bytes, or `None` if their length cannot be true.
///
/// # Safety
///
/// `bytes` describes readable bytes that stay as they are for `'a`, unless it
/// is null, empty or longer than [`MAX_FOREIGN_BYTES`].
pub(super) unsafe fn borrow<'a>(bytes: AegisBytes) -> Option<&'a [u8]> {
    if bytes.len > MAX_FOREIGN_BYTES || (bytes.data.is_null() && bytes.len != 0) {
        return None;
    }
    // SAFETY: the length is sane; the rest is the caller's promise.
    Some(unsafe { bytes.as_slice() })
}
