//! How a linked plugin makes itself known to the program it is linked into.

use std::{fmt, sync::Arc};

use crate::{
    HandlerError,
    abi::AegisPluginDescriptor,
    export::Exported,
    instance::{Birth, Engine, create},
    log,
};

/// A plugin that is linked into this program, registered through `inventory`.
/// The host treats its descriptor as it does that of a loaded file.
pub struct BuiltIn {
    descriptor: &'static AegisPluginDescriptor,
    /// The way past the C tables, for the test harness.
    create: Option<Create>,
}

pub(crate) type Create = fn(Birth<'_>) -> Result<Arc<dyn Engine>, HandlerError>;

impl BuiltIn {
    /// A plugin written without the SDK.
    pub const fn new(descriptor: &'static AegisPluginDescriptor) -> Self {
        Self {
            descriptor,
            create: None,
        }
    }

    #[doc(hidden)]
    pub const fn exported<E: Exported>(descriptor: &'static AegisPluginDescriptor) -> Self {
        Self {
            descriptor,
            create: Some(create::<E>),
        }
    }

    /// Its descriptor, for the host. From now on what the plugins of this
    /// program log goes to the program's own `tracing` subscriber.
    pub fn descriptor(&self) -> &'static AegisPluginDescriptor {
        log::linked_in();
        self.descriptor
    }

    /// Its descriptor, for a host that loads it as if from a file.
    pub(crate) fn descriptor_as_if_loaded(&self) -> &'static AegisPluginDescriptor {
        self.descriptor
    }

    pub(crate) fn create(&self) -> Option<Create> {
        self.create
    }
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltIn")
            .field("descriptor", self.descriptor)
            .finish_non_exhaustive()
    }
}

inventory::collect!(BuiltIn);

/// The plugins that are linked into this program. A crate that is named in
/// `Cargo.toml` only is not linked: name it in the code too, as
/// `use the_plugin as _;`.
pub fn built_ins() -> impl Iterator<Item = &'static BuiltIn> {
    inventory::iter::<BuiltIn>.into_iter()
}
