//! `export_plugin!`.

/// Makes a plugin of this crate: the manifest, the exported descriptor, and the
/// registration by which a program that links the crate finds it. A crate has
/// one.
///
/// The short form names the handlers of a plugin without state. Its id is the
/// package's name:
///
/// ```
/// # use aegis_plugin_api::prelude::*;
/// # struct Hello;
/// # impl Handler for Hello {
/// #     type Request = NoFields;
/// #     type Response = ();
/// #     const SPEC: HandlerSpec = HandlerSpec::new("hello");
/// #     async fn handle(&self, _: NoFields, _: &Context) -> Result<(), HandlerError> { Ok(()) }
/// # }
/// # struct Goodbye;
/// # impl Handler for Goodbye {
/// #     type Request = NoFields;
/// #     type Response = ();
/// #     const SPEC: HandlerSpec = HandlerSpec::new("goodbye");
/// #     async fn handle(&self, _: NoFields, _: &Context) -> Result<(), HandlerError> { Ok(()) }
/// # }
/// export_plugin! { Hello, Goodbye }
/// # fn main() {}
/// ```
///
/// In the long form every key but `handlers` or `blocking` may be left out, and
/// the keys come in this order:
///
/// ```
/// # use aegis_plugin_api::{host::NodeControl, prelude::*};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     type Config = NoFields;
/// #     fn start(_: NoFields, _: &Host) -> Result<Self, HandlerError> { Ok(Self) }
/// # }
/// # struct Hello;
/// # impl Handler<MyPlugin> for Hello {
/// #     type Request = NoFields;
/// #     type Response = ();
/// #     const SPEC: HandlerSpec = HandlerSpec::new("hello");
/// #     async fn handle(&self, _: NoFields, _: &Context<MyPlugin>) -> Result<(), HandlerError> {
/// #         Ok(())
/// #     }
/// # }
/// # struct Checksum;
/// # impl BlockingHandler<MyPlugin> for Checksum {
/// #     type Request = NoFields;
/// #     type Response = ();
/// #     const SPEC: HandlerSpec = HandlerSpec::new("checksum");
/// #     fn handle(&self, _: NoFields, _: &Context<MyPlugin>) -> Result<(), HandlerError> { Ok(()) }
/// # }
/// export_plugin! {
///     id: "my-plugin",
///     plugin: MyPlugin,
///     handlers: [Hello],
///     blocking: [Checksum],
///     requires: [NodeControl],
/// }
/// # fn main() {}
/// ```
///
/// A handler is named by a path that is both its type and its value, as that of
/// a unit struct is.
///
/// A declaration that no worker would take does not compile: this name, for one,
/// is not `1 to 64 of a-z 0-9 - . _, beginning with a letter`.
///
/// ```compile_fail
/// # use aegis_plugin_api::prelude::*;
/// # struct Hello;
/// impl Handler for Hello {
///     const SPEC: HandlerSpec = HandlerSpec::new("Hello World");
/// #     type Request = NoFields;
/// #     type Response = ();
/// #     async fn handle(&self, _: NoFields, _: &Context) -> Result<(), HandlerError> { Ok(()) }
/// }
/// export_plugin! { Hello }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($($handler:path),+ $(,)?) => {
        $crate::export_plugin! { handlers: [$($handler),+] }
    };
    (
        $(id: $id:expr,)?
        $(plugin: $plugin:ty,)?
        $(handlers: [$($handler:path),* $(,)?] $(,)?)?
        $(blocking: [$($blocking:path),* $(,)?] $(,)?)?
        $(requires: [$($interface:ty),* $(,)?] $(,)?)?
    ) => {
        const _: () = {
            use $crate::__private as sdk;

            type State = sdk::first_type!($($plugin,)? ());

            struct Export;

            impl sdk::Exported for Export {
                type Plugin = State;
                const ID: &'static str = sdk::first!($($id,)? env!("CARGO_PKG_NAME"));
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
                const HANDLERS: &'static [&'static dyn sdk::ErasedHandler<State>] = &[
                    $($(&sdk::Async($handler),)*)?
                    $($(&sdk::Blocking($blocking),)*)?
                ];
                const REQUIRES: &'static [sdk::Requirement] =
                    &[$($(sdk::Requirement::of::<$interface>()),*)?];
            }

            const PARTS: sdk::Parts = sdk::Parts {
                id: <Export as sdk::Exported>::ID,
                version: <Export as sdk::Exported>::VERSION,
                symbol: concat!("aegis_plugin_v1_", env!("CARGO_CRATE_NAME")),
                unwinds: cfg!(panic = "unwind"),
                requires: <Export as sdk::Exported>::REQUIRES,
                handlers: &[
                    $($(<$handler as sdk::Handler<State>>::SPEC,)*)?
                    $($(<$blocking as sdk::BlockingHandler<State>>::SPEC,)*)?
                ],
            };
            const LENGTH: usize = sdk::length(&PARTS);

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__aegis"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".aegis.plugin"))]
            static MANIFEST: [u8; LENGTH + 1] = sdk::bytes(&PARTS);

            #[unsafe(export_name = concat!("aegis_plugin_v1_", env!("CARGO_CRATE_NAME")))]
            static DESCRIPTOR: sdk::AegisPluginDescriptor =
                sdk::descriptor::<Export>(&MANIFEST, cfg!(panic = "unwind"));

            sdk::submit! { sdk::BuiltIn::exported::<Export>(&DESCRIPTOR) }
        };
    };
}

/// The first of several expressions.
#[doc(hidden)]
#[macro_export]
macro_rules! __first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

/// The first of several types.
#[doc(hidden)]
#[macro_export]
macro_rules! __first_type {
    ($first:ty $(, $rest:ty)*) => {
        $first
    };
}
