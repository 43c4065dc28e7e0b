//! The exported constant of a plugin, checked.

use std::ffi::c_void;

use aegis_plugin_api::{
    abi::{
        AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR, AEGIS_FLAG_START_NEVER_BLOCKS, AEGIS_FLAG_UNWINDS,
        AEGIS_OK, AEGIS_PLUGIN_MAGIC, AegisBuffer, AegisBytes, AegisCreateArgs, AegisInstance,
        AegisPluginDescriptor, AegisSchemaV1,
    },
    manifest::Manifest,
};
use serde_json::Value;

use super::{buffer::ForeignBuffer, bytes, table::field};
use crate::loader::{Check, Refusal};

pub(super) type Create =
    unsafe extern "C" fn(*const AegisCreateArgs, *mut AegisInstance, *mut AegisBuffer) -> u32;
type GetInterface = unsafe extern "C" fn(AegisBytes) -> *const c_void;

/// No table of this ABI comes near it.
const MAX_TABLE_BYTES: usize = 64 * 1024;
const REBUILD: &str = "build it again with a current plugin API";

/// A descriptor that passed its checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptor {
    flags: u32,
    id: &'static [u8],
    manifest: &'static [u8],
    pub(super) create: Create,
    pub(super) get_interface: Option<GetInterface>,
}

impl Descriptor {
    /// Reads and checks the descriptor of a linked plugin.
    ///
    /// # Errors
    ///
    /// [`Check::Descriptor`] or [`Check::Panic`].
    pub(crate) fn linked(descriptor: &'static AegisPluginDescriptor) -> Result<Self, Refusal> {
        // SAFETY: a reference for ever to a whole descriptor.
        unsafe { Self::read(descriptor) }
    }

    /// Reads and checks a descriptor that may be older or newer than ours.
    ///
    /// # Errors
    ///
    /// [`Check::Descriptor`] or [`Check::Panic`].
    ///
    /// # Safety
    ///
    /// `descriptor` points to static data of at least 16 bytes. If it begins
    /// with the magic number and the ABI major of this host, it has as many
    /// bytes as its `struct_size` says, and its fields are what the ABI says.
    pub(super) unsafe fn read(descriptor: *const AegisPluginDescriptor) -> Result<Self, Refusal> {
        type D = AegisPluginDescriptor;
        let fail = |reason: String| Refusal::new(Check::Descriptor, reason, REBUILD);
        let whole = |name: &str| fail(format!("its descriptor is too short to have {name}"));

        // SAFETY: the first 16 bytes are readable, and these are plain numbers.
        let head = unsafe {
            (
                field!(descriptor, 16, D, magic),
                field!(descriptor, 16, D, struct_size),
                field!(descriptor, 16, D, abi_major),
            )
        };
        let (Some(magic), Some(size), Some(major)) = head else {
            return Err(fail("its descriptor is null".into()));
        };
        if magic != AEGIS_PLUGIN_MAGIC {
            return Err(fail(format!(
                "its descriptor begins with {magic:#018x}, not the magic number"
            )));
        }
        if major != AEGIS_ABI_MAJOR {
            return Err(fail(format!(
                "its descriptor is of ABI {major}, and this worker has ABI {AEGIS_ABI_MAJOR}"
            )));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_TABLE_BYTES {
            return Err(fail(format!("its descriptor claims {size} bytes")));
        }
        // SAFETY: the head is right, so `size` bytes are readable and their
        // fields are valid: numbers, byte runs, nullable functions.
        let (min_host_minor, flags, id, manifest, create, get_interface) = unsafe {
            (
                field!(descriptor, size, D, min_host_minor)
                    .ok_or_else(|| whole("min_host_minor"))?,
                field!(descriptor, size, D, flags).ok_or_else(|| whole("flags"))?,
                field!(descriptor, size, D, id).ok_or_else(|| whole("id"))?,
                field!(descriptor, size, D, manifest).ok_or_else(|| whole("manifest"))?,
                field!(descriptor, size, D, create).ok_or_else(|| whole("create"))?,
                field!(descriptor, size, D, get_interface).flatten(),
            )
        };
        if min_host_minor > AEGIS_ABI_MINOR {
            return Err(Refusal::new(
                Check::Descriptor,
                format!("its descriptor needs ABI {AEGIS_ABI_MAJOR}.{min_host_minor}"),
                "use a newer worker",
            ));
        }
        let Some(create) = create else {
            return Err(fail("its descriptor has no create function".into()));
        };
        // SAFETY: in a descriptor such bytes are readable for the life of the process.
        let (id, manifest) = unsafe { (bytes::borrow(id), bytes::borrow(manifest)) };
        let (Some(id), Some(manifest)) = (id, manifest) else {
            return Err(fail(
                "its descriptor has a length that cannot be true".into(),
            ));
        };
        Ok(Self {
            flags,
            id,
            manifest,
            create,
            get_interface,
        })
    }

    /// The manifest in memory.
    pub(crate) fn manifest(&self) -> &'static [u8] {
        self.manifest
    }

    /// Whether `start` may block its caller.
    pub(crate) fn start_may_block(&self) -> bool {
        self.flags & AEGIS_FLAG_START_NEVER_BLOCKS == 0
    }

    /// Whether the file told the truth before it was mapped.
    ///
    /// # Errors
    ///
    /// [`Check::Descriptor`]; [`Check::Panic`] where the manifest alone promises
    /// that panics stay inside.
    pub(crate) fn agrees_with(&self, manifest: &Manifest, text: &[u8]) -> Result<(), Refusal> {
        let differs = if self.manifest != text {
            "the manifest in its descriptor is not the one in its section"
        } else if self.id != manifest.id.as_bytes() {
            "the id in its descriptor is not the one in its manifest"
        } else if self.flags & AEGIS_FLAG_UNWINDS == 0 && manifest.panic == "unwind" {
            return Err(Refusal::new(
                Check::Panic,
                "its descriptor does not promise that panics stay inside, and its manifest does",
                REBUILD,
            ));
        } else {
            return Ok(());
        };
        Err(Refusal::new(Check::Descriptor, differs, REBUILD))
    }

    /// The request and response schema of a handler, from `aegis.schema/1`.
    /// `None` where the plugin has none that can be read.
    pub(crate) fn schemas(&self, handler: u32) -> Option<(Option<Value>, Option<Value>)> {
        let id = AegisBytes::new(b"aegis.schema/1");
        // SAFETY: the id is valid during the call.
        let table = unsafe { self.get_interface?(id) }.cast::<AegisSchemaV1>();
        // SAFETY: the id says that it is null or such a table, which begins
        // with its size.
        let size = unsafe { field!(table, size_of::<u32>(), AegisSchemaV1, struct_size) }?;
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_TABLE_BYTES)?;
        // SAFETY: `size` bytes of it exist.
        let describe = unsafe { field!(table, size, AegisSchemaV1, handler) }.flatten()?;
        let mut out = AegisBuffer::EMPTY;
        // SAFETY: `out` is a valid place to write a buffer to.
        let status = unsafe { describe(handler, &raw mut out) };
        // SAFETY: the plugin left it empty or gave a buffer away.
        let buffer = unsafe { ForeignBuffer::take(&mut out) };
        if status != AEGIS_OK {
            return None;
        }
        let mut document: Value = serde_json::from_slice(buffer.bytes()?).ok()?;
        let mut part = |name: &str| {
            document
                .get_mut(name)
                .map(Value::take)
                .filter(|part| !part.is_null())
        };
        Some((part("request"), part("response")))
    }
}
