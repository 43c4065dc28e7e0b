//! Reads what the other side of the ABI passes.

use std::mem::{MaybeUninit, size_of};

use crate::abi::{
    AegisBytes, AegisCall, AegisCheckpointV1, AegisConfigV1, AegisCreateArgs, AegisHostVtable,
    AegisInstanceVtable, AegisNodeControlV1, AegisPluginDescriptor, AegisSchemaV1,
};

/// A size-prefixed table of the ABI.
///
/// # Safety
///
/// The type has C layout, consists of integers, pointers and `Option`s of
/// function pointers (so that all zeroes are a value of it), has no padding, no
/// field is larger than 8 bytes or crosses a multiple of 8 but for
/// [`AegisBytes`], and `SIZE_AT` is the offset of its `struct_size: u32`.
pub(super) unsafe trait Table {
    /// Where `struct_size` lies.
    const SIZE_AT: usize;
}

// SAFETY: checked field by field against `abi.rs`; the snapshot test in
// `tests/layout.rs` holds the offsets.
unsafe impl Table for AegisCreateArgs {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisCall {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisHostVtable {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisInstanceVtable {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisNodeControlV1 {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisConfigV1 {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisCheckpointV1 {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above.
unsafe impl Table for AegisSchemaV1 {
    const SIZE_AT: usize = 0;
}
// SAFETY: as above; `magic` comes first, then the size.
unsafe impl Table for AegisPluginDescriptor {
    const SIZE_AT: usize = 8;
}

/// Copies of a table what lies within its `struct_size`; the rest is zero, that
/// is, absent. Null gives a table of zeroes.
///
/// # Safety
///
/// `table` is null, or its `struct_size` can be read and so can as many bytes
/// from `table` on as that says.
pub(super) unsafe fn read_table<T: Table>(table: *const T) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    if !table.is_null() {
        let from = table.cast::<u8>();
        // SAFETY: the caller's promise covers `struct_size`. The read makes no
        // demand on alignment.
        let size = unsafe { from.add(T::SIZE_AT).cast::<u32>().read_unaligned() };
        // Cut to a multiple of 8: no pointer or number is read by half, and of
        // an `AegisBytes` that is cut the length is 0.
        let size = (size as usize).min(size_of::<T>()) & !7;
        // SAFETY: `size` bytes can be read by the caller's promise, and written
        // because it is no more than the size of `copy`, which is a local.
        unsafe { std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr().cast::<u8>(), size) };
    }
    // SAFETY: all of `copy` is initialised: zeroes, over them bytes of a `T`.
    // By the contract of `Table` each field has either its own bytes or zeroes,
    // and both are values of it.
    unsafe { copy.assume_init() }
}

/// The bytes as text; `None` if they are not UTF-8.
///
/// # Safety
///
/// As of [`AegisBytes::as_slice`].
pub(super) unsafe fn text<'a>(bytes: AegisBytes) -> Option<&'a str> {
    // SAFETY: the caller's promise.
    std::str::from_utf8(unsafe { bytes.as_slice() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of every table at every size, in a run of exactly that length, so
    /// that Miri sees a read beyond it.
    fn read_at_size(size: usize) -> AegisCall {
        let full = AegisCall {
            struct_size: u32::try_from(size).expect("small"),
            handler: 7,
            call_id: u64::MAX,
            deadline_ns: u64::MAX,
            command_id: AegisBytes::new(b"id"),
            payload: AegisBytes::new(b"{}"),
            issuer: AegisBytes::new(b"me"),
            traceparent: AegisBytes::EMPTY,
            attempt: 3,
            reserved: 0,
        };
        let words = size.div_ceil(8).max(1);
        let mut room = vec![0u64; words];
        let length = size.max(4).min(size_of::<AegisCall>());
        // SAFETY: `room` has at least `length` bytes, and so has `full`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                (&raw const full).cast::<u8>(),
                room.as_mut_ptr().cast::<u8>(),
                length,
            );
            read_table(room.as_ptr().cast::<AegisCall>())
        }
    }

    #[test]
    fn a_table_of_any_size_is_read_as_far_as_it_goes() {
        for size in 0..=size_of::<AegisCall>() + 16 {
            let call = read_at_size(size);
            assert_eq!(call.handler, if size >= 8 { 7 } else { 0 }, "size {size}");
            assert_eq!(
                call.call_id,
                if size >= 16 { u64::MAX } else { 0 },
                "size {size}"
            );
            // SAFETY: `payload` is that of the static bytes, or cut to length 0.
            let payload = unsafe { call.payload.as_slice() };
            assert_eq!(
                payload,
                if size >= 56 { &b"{}"[..] } else { b"" },
                "size {size}"
            );
            assert_eq!(call.attempt, if size >= 96 { 3 } else { 0 }, "size {size}");
        }
    }

    #[test]
    fn no_table_is_a_table_of_zeroes() {
        // SAFETY: null is allowed.
        let host = unsafe { read_table::<AegisHostVtable>(std::ptr::null()) };
        assert_eq!(host.struct_size, 0);
        assert_eq!(host.abi_minor, 0);
        assert!(host.complete.is_none() && host.log_level.is_null());
    }
}
