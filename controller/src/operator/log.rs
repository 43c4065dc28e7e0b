//! Events and the audit log.

use std::collections::HashSet;

use aegis_proto::operator::v1::{self as api, selector};
use tonic::Status;

use super::{
    OperatorApi,
    views::{audit_view, event_view},
};

/// Events that are searched through for those of a tag.
const SEARCHED: u32 = 10_000;

impl OperatorApi {
    pub(super) async fn events(
        &self,
        request: api::ListEventsRequest,
    ) -> Result<api::ListEventsResponse, Status> {
        let limit = limit(request.limit)?;
        let after = i64::try_from(request.after).unwrap_or(i64::MAX);
        let store = &self.controller.store;
        let chosen = request
            .selector
            .as_ref()
            .and_then(|one| one.selector.as_ref());
        let events = match chosen {
            None | Some(selector::Selector::All(_)) => store.events(after, limit, None).await?,
            Some(selector::Selector::Node(node)) => {
                let node = self.controller.find_node(node)?.id;
                store.events(after, limit, Some(node)).await?
            }
            Some(selector::Selector::Tag(_)) => {
                let nodes = self.controller.select(request.selector.as_ref())?;
                let ids: HashSet<_> = nodes.iter().map(|node| node.id.to_string()).collect();
                let mut events = store.events(after, SEARCHED, None).await?;
                events.retain(|event| ids.contains(&event.node));
                let surplus = events.len().saturating_sub(limit as usize);
                if after > 0 {
                    events.truncate(limit as usize);
                } else {
                    events.drain(..surplus);
                }
                events
            }
        };
        Ok(api::ListEventsResponse {
            events: events.into_iter().map(event_view).collect(),
        })
    }

    pub(super) async fn audit_log(
        &self,
        request: api::ListAuditRequest,
    ) -> Result<api::ListAuditResponse, Status> {
        let after = i64::try_from(request.after).unwrap_or(i64::MAX);
        let entries = self
            .controller
            .store
            .audit(after, limit(request.limit)?)
            .await?;
        Ok(api::ListAuditResponse {
            entries: entries.into_iter().map(audit_view).collect(),
        })
    }
}

/// 0 is the default of 100.
pub(super) fn limit(asked: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(100),
        1..=1000 => Ok(asked),
        _ => Err(Status::invalid_argument(
            "the limit has to be from 1 to 1000",
        )),
    }
}
