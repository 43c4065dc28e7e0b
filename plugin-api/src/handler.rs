//! A handler as its author writes it.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, HandlerError, HandlerSpec, Plugin};

/// Runs the commands of one name. `P` is the plugin whose state it uses; most
/// need none.
///
/// `handle` is written as an `async fn`. It runs on the plugin's own tokio
/// runtime, never on the worker's; it may use any crate that is built on
/// tokio. It must not block: for that there is [`BlockingHandler`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of the plugin `{P}`",
    note = "write `impl Handler<{P}> for {Self}`; a blocking handler is listed under `blocking: [...]`"
)]
pub trait Handler<P: Plugin = ()>: Send + Sync + 'static {
    /// Read from the command's payload, which is JSON.
    type Request: DeserializeOwned + JsonSchema + Send + 'static;
    /// Becomes the command's result.
    type Response: Serialize + JsonSchema;
    /// What it declares of itself.
    const SPEC: HandlerSpec;

    /// Runs one command.
    fn handle(
        &self,
        request: Self::Request,
        cx: &Context<P>,
    ) -> impl Future<Output = Result<Self::Response, HandlerError>> + Send;
}

/// A handler whose code blocks. It runs on a thread made for that, one of a
/// bounded number; a call that ignores its cancellation keeps its thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a blocking handler of the plugin `{P}`",
    note = "write `impl BlockingHandler<{P}> for {Self}`; an async handler is listed under `handlers: [...]`"
)]
pub trait BlockingHandler<P: Plugin = ()>: Send + Sync + 'static {
    /// Read from the command's payload, which is JSON.
    type Request: DeserializeOwned + JsonSchema + Send + 'static;
    /// Becomes the command's result.
    type Response: Serialize + JsonSchema;
    /// What it declares of itself. `inline` means nothing here.
    const SPEC: HandlerSpec;

    /// Runs one command.
    ///
    /// # Errors
    ///
    /// Why the command failed.
    fn handle(
        &self,
        request: Self::Request,
        cx: &Context<P>,
    ) -> Result<Self::Response, HandlerError>;
}
