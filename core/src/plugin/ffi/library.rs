//! Maps a library into this process.

use std::{ffi::c_int, fs::File, io, path::Path, ptr};

use aegis_plugin_api::manifest::Manifest;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::mm::{MapFlags, ProtFlags};

use super::Descriptor;
use crate::loader::{Check, PluginFile, Refusal, Sealed};

// What `<dlfcn.h>` says. A library is never unloaded: a thread or a TLS
// destructor of it may outlive every instance.
#[cfg(target_vendor = "apple")]
const RTLD_NODELETE: c_int = 0x80;
#[cfg(not(target_vendor = "apple"))]
const RTLD_NODELETE: c_int = 0x1000;

/// Maps a copy of `file`'s bytes and checks the descriptor that it exports.
/// The library's constructors run here, and no other code of it.
///
/// # Errors
///
/// [`Check::Load`] or [`Check::Descriptor`].
pub(crate) fn map(file: &PluginFile, state_dir: &Path) -> Result<Descriptor, Refusal> {
    let sealed = executable_copy(&file.bytes, state_dir)?;
    map_copy(sealed, &file.manifest, &file.manifest_text)
}

/// Maps a copy whose bytes carry this manifest.
///
/// # Errors
///
/// [`Check::Load`] or [`Check::Descriptor`].
pub(crate) fn map_copy(
    sealed: Sealed,
    manifest: &Manifest,
    manifest_text: &[u8],
) -> Result<Descriptor, Refusal> {
    let refuse = |reason: String, remedy: &str| Refusal::new(Check::Load, reason, remedy);
    // SAFETY: constructors of the library run now. The operator trusts the
    // file, which the checks of owner, mode and digest have made sure of.
    let library =
        unsafe { Library::open(Some(sealed.path()), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) };
    let library = library.map_err(|error| {
        refuse(
            format!("the dynamic linker refused it: {error}"),
            "see that every library it needs is installed (ldd names them)",
        )
    })?;
    // From here on the path is taken, even if the descriptor is refused.
    sealed.keep_open();
    // SAFETY: `*const T` is how libloading hands out the address of a symbol,
    // and nothing is read through it here.
    let symbol = unsafe {
        library
            .get::<*const aegis_plugin_api::abi::AegisPluginDescriptor>(manifest.symbol.as_bytes())
    };
    let address = symbol.map(|symbol| *symbol).map_err(|error| {
        refuse(
            format!("its symbol {} is not found: {error}", manifest.symbol),
            "build it again with a current plugin API",
        )
    })?;
    // SAFETY: the symbol is data that stays mapped (RTLD_NODELETE), and the
    // file was checked to hold the head of a descriptor there.
    let descriptor = unsafe { Descriptor::read(address) }?;
    descriptor.agrees_with(manifest, manifest_text)?;
    Ok(descriptor)
}

/// A copy that nothing can change any more and that code may be mapped from.
///
/// # Errors
///
/// [`Check::Load`].
pub(crate) fn executable_copy(bytes: &[u8], state_dir: &Path) -> Result<Sealed, Refusal> {
    copy(bytes, state_dir).map_err(|error| {
        Refusal::new(
            Check::Load,
            format!("no executable copy of it can be made: {error}"),
            "allow memfd execution (vm.memfd_noexec), or put node.state_dir on a file system without noexec",
        )
    })
}

fn copy(bytes: &[u8], state_dir: &Path) -> io::Result<Sealed> {
    let in_memory = Sealed::in_memory(bytes).and_then(|sealed| {
        probe(sealed.file())?;
        Ok(sealed)
    });
    in_memory.or_else(|error| {
        tracing::debug!(%error, "memory files cannot be executed here; using a private copy");
        let sealed = Sealed::in_directory(bytes, state_dir)?;
        probe(sealed.file())?;
        Ok(sealed)
    })
}

/// Whether code may be mapped from `file`.
fn probe(file: &File) -> io::Result<()> {
    // SAFETY: a new private mapping at an address of the kernel's choice; it
    // is not read and is gone before anyone else learns of it.
    unsafe {
        let address = rustix::mm::mmap(
            ptr::null_mut(),
            1,
            ProtFlags::READ | ProtFlags::EXEC,
            MapFlags::PRIVATE,
            file,
            0,
        )?;
        rustix::mm::munmap(address, 1)?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{ffi::c_int, process::Command};

    use super::*;

    #[test]
    fn a_library_is_mapped_from_either_kind_of_copy() {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, library) = (directory.path().join("a.c"), directory.path().join("a.so"));
        std::fs::write(&source, "int answer = 42;").expect("a source");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status();
        assert!(built.expect("a C compiler").success());
        let bytes = std::fs::read(&library).expect("built");
        for sealed in [
            Sealed::in_memory(&bytes).expect("a memfd"),
            Sealed::in_directory(&bytes, directory.path()).expect("a private copy"),
        ] {
            probe(sealed.file()).expect("code may be mapped from it");
            // SAFETY: the library has no constructors of its own, and `answer`
            // is an int in it.
            let answer = unsafe {
                let library =
                    Library::open(Some(sealed.path()), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
                let library = library.expect("mapped");
                **library.get::<*const c_int>(b"answer").expect("exported")
            };
            assert_eq!(answer, 42);
            sealed.keep_open();
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_noticed_before_the_linker_is_asked() {
        let file = File::open("/proc/self/status").expect("a file that is only read");
        probe(&file).expect_err("it cannot be mapped");
    }
}
