//! Reads tables whose size the other side decides.

use std::ptr;

/// Copies the field `$field` out of a `$Table` of which `$size` bytes exist;
/// `None` if it does not lie within them.
macro_rules! field {
    ($table:expr, $size:expr, $Table:ty, $field:ident) => {
        $crate::plugin::ffi::table::read::<$Table, _>(
            $table,
            $size,
            std::mem::offset_of!($Table, $field),
            |table| &table.$field,
        )
    };
}

pub(super) use field;

/// See [`field!`]. The last argument is never called; it tells the type.
///
/// # Safety
///
/// `table` points to `size` readable bytes, and those of the field are a valid
/// `U`.
pub(super) unsafe fn read<T, U: Copy>(
    table: *const T,
    size: usize,
    offset: usize,
    _: fn(&T) -> &U,
) -> Option<U> {
    let end = offset.checked_add(size_of::<U>())?;
    if table.is_null() || end > size {
        return None;
    }
    // SAFETY: the field's bytes lie within the `size` bytes that the caller
    // vouches for; nothing is asked of their alignment.
    Some(unsafe { ptr::read_unaligned(table.cast::<u8>().wrapping_add(offset).cast::<U>()) })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use aegis_plugin_api::abi::AegisInstanceVtable;

    use super::*;

    unsafe extern "C" fn cancel(_: *mut std::ffi::c_void, _: u64, _: u32) {}

    #[test]
    fn a_field_is_read_only_if_all_of_it_lies_within_the_table() {
        let table = AegisInstanceVtable {
            struct_size: 0,
            reserved: 0,
            start: None,
            cancel: Some(cancel),
            reconfigure: None,
            quiesce: None,
            destroy: None,
            get_interface: None,
        };
        let end = offset_of!(AegisInstanceVtable, cancel) + size_of::<usize>();
        for size in 0..=size_of::<AegisInstanceVtable>() {
            // A copy of exactly `size` bytes, so that Miri sees a read beyond.
            let copy: Vec<u8> = (0..size)
                // SAFETY: within the table, of which every byte is initialised.
                .map(|at| unsafe { (&raw const table).cast::<u8>().add(at).read() })
                .collect();
            let pointer = copy.as_ptr().cast::<AegisInstanceVtable>();
            // SAFETY: `copy` has `size` bytes, and they are those of a table.
            let read = unsafe { field!(pointer, size, AegisInstanceVtable, cancel) };
            assert_eq!(read.is_some(), size >= end, "at {size} bytes");
        }
        // SAFETY: null is not read.
        let none = unsafe { field!(ptr::null(), 64, AegisInstanceVtable, cancel) };
        assert!(none.is_none());
    }
}
