//! Who may call the operator API: whoever sends the operator's token.

use tonic::{Request, Status, service::Interceptor};

use super::Caller;
use crate::auth::OperatorToken;

/// Refuses calls without the operator's token.
#[derive(Clone)]
pub struct Gate {
    token: OperatorToken,
}

impl Gate {
    /// Opens to this token alone.
    pub fn new(token: OperatorToken) -> Self {
        Self { token }
    }
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let sent = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = sent.and_then(|sent| {
            let (scheme, token) = sent.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let Some(token) = token else {
            return Err(Status::unauthenticated(
                "no operator token was sent; send the content of the controller's operator.token \
                 as \"authorization: Bearer TOKEN\"",
            ));
        };
        let Some(name) = self.token.recognise(token) else {
            tracing::warn!("a call with a wrong operator token was refused");
            return Err(Status::unauthenticated(
                "the operator token is wrong; read the current one from operator.token in the \
                 controller's data directory",
            ));
        };
        request.extensions_mut().insert(Caller(name));
        Ok(request)
    }
}
