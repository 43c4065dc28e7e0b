//! Loads a plugin's shared library.

use std::{
    ffi::{CStr, CString},
    mem::size_of,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::{
    HandlerError,
    abi::{AEGIS_PLUGIN_MAGIC, AegisPluginDescriptor},
};

mod dl {
    use std::ffi::{c_char, c_int, c_void};

    /// The same on Linux, macOS and the BSDs.
    pub(super) const RTLD_NOW: c_int = 2;

    unsafe extern "C" {
        pub(super) fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
        pub(super) fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
        pub(super) fn dlerror() -> *const c_char;
    }
}

/// The descriptor of a library, which stays loaded.
pub(crate) fn load(
    path: &Path,
    symbol: &str,
) -> Result<&'static AegisPluginDescriptor, HandlerError> {
    let no_nul = "a path and a symbol have no NUL";
    let path = CString::new(path.as_os_str().as_bytes()).expect(no_nul);
    let symbol = CString::new(symbol).expect(no_nul);
    // SAFETY: the strings end with a NUL. The library's constructors run here:
    // the author of the test trusts their own library.
    let library = unsafe { dl::dlopen(path.as_ptr(), dl::RTLD_NOW) };
    if library.is_null() {
        return Err(load_error());
    }
    // SAFETY: the library is loaded and never closed.
    let address = unsafe { dl::dlsym(library, symbol.as_ptr()) };
    if address.is_null() {
        return Err(load_error());
    }
    let descriptor = address.cast::<AegisPluginDescriptor>().cast_const();
    // SAFETY: the symbol's name says that it is a descriptor of this ABI major;
    // it is static in a library that stays loaded. The fields read here are
    // within the part that every descriptor has.
    let (magic, size) = unsafe { ((*descriptor).magic, (*descriptor).struct_size) };
    if magic != AEGIS_PLUGIN_MAGIC || (size as usize) < size_of::<AegisPluginDescriptor>() {
        return Err(HandlerError::new(
            "no-descriptor",
            "the symbol is not a whole descriptor",
        ));
    }
    // SAFETY: as above, and as large as this SDK knows it.
    Ok(unsafe { &*descriptor })
}

fn load_error() -> HandlerError {
    // SAFETY: null or a text that ends with a NUL and stays as it is until the
    // next call of the `dl` family on this thread.
    let message = unsafe {
        let text = dl::dlerror();
        if text.is_null() {
            "the loader does not say why".into()
        } else {
            CStr::from_ptr(text).to_string_lossy()
        }
    };
    HandlerError::new("not-loaded", message.into_owned())
}
