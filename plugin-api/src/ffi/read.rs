//! Reads what the other side of the ABI passes.

use std::{
    mem::{MaybeUninit, offset_of, size_of},
    ptr,
};

use crate::abi::{
    AegisBytes, AegisCall, AegisCheckpointV1, AegisCreateArgs, AegisHostVtable,
    AegisInstanceVtable, AegisPluginDescriptor, AegisSchemaV1,
};

/// A size-prefixed table of the ABI.
///
/// # Safety
///
/// The type has C layout, consists of integers, pointers, [`AegisBytes`] and
/// `Option`s of function pointers (so that all zeroes are a value of it),
/// `FIELDS` are the offset and the size of each field, and `SIZE_AT` is the
/// offset of its `struct_size: u32`.
pub(super) unsafe trait Table {
    /// Where `struct_size` lies.
    const SIZE_AT: usize;
    /// Where each field begins and how many bytes it has.
    const FIELDS: &'static [(usize, usize)];
}

const fn size_of_field<T, U>(_: fn(&T) -> &U) -> usize {
    size_of::<U>()
}

/// Implements [`Table`] and proves that the fields named are all there are, and
/// that nothing lies between them: their sizes add up to the table's.
macro_rules! tables {
    ($($table:ident { $($field:ident),+ $(,)? })+) => {$(
        // SAFETY: offsets and sizes come from the type itself, and the types of
        // its fields were looked at in `abi.rs`; `tests/released-abi.txt` holds
        // them.
        unsafe impl Table for $table {
            const SIZE_AT: usize = offset_of!($table, struct_size);
            const FIELDS: &'static [(usize, usize)] = &[$((
                offset_of!($table, $field),
                size_of_field::<$table, _>(|table| &table.$field),
            )),+];
        }

        const _: () = {
            let fields = <$table as Table>::FIELDS;
            let (mut at, mut bytes) = (0, 0);
            while at < fields.len() {
                bytes += fields[at].1;
                at += 1;
            }
            assert!(bytes == size_of::<$table>());
        };
    )+};
}

tables! {
    AegisPluginDescriptor {
        magic, struct_size, abi_major, abi_minor, min_host_minor, reserved, flags,
        id, version, sdk, toolchain, target, manifest, create, get_interface,
    }
    AegisCreateArgs { struct_size, reserved, host, host_ctx, config, node, state_dir }
    AegisCall {
        struct_size, handler, call_id, deadline_ns, command_id, payload, issuer, traceparent,
        attempt, reserved,
    }
    AegisHostVtable {
        struct_size, abi_minor, log_level, complete, progress, output, is_cancelled, log,
        get_interface,
    }
    AegisInstanceVtable {
        struct_size, reserved, start, cancel, reconfigure, quiesce, destroy, get_interface,
    }
    AegisSchemaV1 { struct_size, reserved, handler, config }
    AegisCheckpointV1 { struct_size, reserved, save, load }
}

/// Copies the fields of a table that lie wholly within its `struct_size`; the
/// rest is zero, that is, absent. Null gives a table of zeroes.
///
/// # Safety
///
/// `table` is null, or its `struct_size` can be read and so can as many bytes
/// from `table` on as that says.
pub(super) unsafe fn read_table<T: Table>(table: *const T) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    if !table.is_null() {
        let from = table.cast::<u8>();
        let to = copy.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller's promise covers `struct_size`. The read makes no
        // demand on alignment.
        let size = unsafe { from.add(T::SIZE_AT).cast::<u32>().read_unaligned() } as usize;
        for &(at, bytes) in T::FIELDS {
            if at + bytes <= size {
                // SAFETY: the field lies within the bytes that the caller
                // promised, and within `copy`, which is a local.
                unsafe { ptr::copy_nonoverlapping(from.add(at), to.add(at), bytes) };
            }
        }
    }
    // SAFETY: all of `copy` is initialised: zeroes, and whole fields of a `T`
    // over them. By the contract of `Table` both are values of a field.
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

    /// Reads a table whose every byte is 0x5a but for its size, from a run of
    /// exactly as many bytes, so that Miri sees a read beyond it, and says how
    /// many bytes of each field came through.
    fn read_bytes<T: Table>(size: usize) -> Vec<u8> {
        let head = T::SIZE_AT + size_of::<u32>();
        let mut bytes = vec![0x5a_u8; size.max(head)];
        let number = u32::try_from(size).expect("small").to_ne_bytes();
        bytes[T::SIZE_AT..head].copy_from_slice(&number);
        // SAFETY: `bytes` has at least `size` bytes, and its `struct_size`. That
        // the functions among the fields are none is not looked at: the copy
        // stays in a `MaybeUninit` below.
        let copy = unsafe { read_table(bytes.as_ptr().cast::<Bytes<T>>()) };
        // SAFETY: `read_table` initialised every byte of it.
        unsafe { std::slice::from_raw_parts((&raw const copy).cast::<u8>(), size_of::<T>()) }
            .to_vec()
    }

    /// A `T` of which nothing is asked: any bytes are one.
    #[repr(transparent)]
    struct Bytes<T>(MaybeUninit<T>);

    // SAFETY: the layout is that of `T`, and any bytes are a value of it.
    unsafe impl<T: Table> Table for Bytes<T> {
        const SIZE_AT: usize = T::SIZE_AT;
        const FIELDS: &'static [(usize, usize)] = T::FIELDS;
    }

    fn read_at_every_size<T: Table>() {
        // Beyond the end: a newer host or plugin, with fields that nobody here
        // knows.
        for size in 0..=size_of::<T>() + 24 {
            let copy = read_bytes::<T>(size);
            for &(at, bytes) in T::FIELDS {
                let field = &copy[at..at + bytes];
                if at + bytes > size {
                    assert!(field.iter().all(|byte| *byte == 0), "{at} at size {size}");
                } else if at == T::SIZE_AT {
                    let number = u32::try_from(size).expect("small");
                    assert_eq!(field, number.to_ne_bytes());
                } else {
                    assert!(
                        field.iter().all(|byte| *byte == 0x5a),
                        "{at} at size {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_table_is_read_as_far_as_it_goes_and_no_further() {
        read_at_every_size::<AegisPluginDescriptor>();
        read_at_every_size::<AegisCreateArgs>();
        read_at_every_size::<AegisCall>();
        read_at_every_size::<AegisHostVtable>();
        read_at_every_size::<AegisInstanceVtable>();
        read_at_every_size::<AegisSchemaV1>();
        read_at_every_size::<AegisCheckpointV1>();
    }

    #[test]
    fn no_table_is_a_table_of_zeroes() {
        // SAFETY: null is allowed.
        let host = unsafe { read_table::<AegisHostVtable>(ptr::null()) };
        assert_eq!(host.struct_size, 0);
        assert_eq!(host.abi_minor, 0);
        assert!(host.complete.is_none() && host.log_level.is_null());
    }
}
