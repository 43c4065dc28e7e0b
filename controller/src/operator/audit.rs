//! Every changing call leaves an entry: one that changes something in the same
//! transaction as the change, one that is refused by itself.

use std::future::Future;

use tonic::{Code, Status};

use crate::{controller::Controller, status::code_name, store::NewAudit, time};

/// What a call is about, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Who.
    pub operator: String,
    /// The RPC.
    pub action: &'static str,
    /// Without secrets and payloads.
    pub detail: serde_json::Value,
}

impl Call {
    /// The entry of a call that changed something.
    pub(crate) fn ok(&self) -> NewAudit {
        self.entry(Code::Ok)
    }

    fn entry(&self, code: Code) -> NewAudit {
        NewAudit {
            at: time::now(),
            operator: self.operator.clone(),
            action: self.action,
            detail: self.detail.to_string(),
            result: code_name(code),
        }
    }
}

impl Controller {
    /// Runs a changing call; writes the entry where it is refused. `change`
    /// writes the entry where it succeeds.
    pub(crate) async fn audited<T>(
        &self,
        call: &Call,
        change: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let result = change.await;
        if let Err(status) = &result
            && status.code() == Code::ResourceExhausted
        {
            self.storage.suspect();
        }
        if let Err(status) = &result
            && let Err(error) = self.store.append_audit(&call.entry(status.code())).await
        {
            tracing::error!(action = call.action, %error, "a refused call could not be audited");
        }
        result
    }
}
