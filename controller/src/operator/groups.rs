//! ShowGroup.

use aegis_proto::operator::v1 as api;
use tonic::Status;

use super::OperatorApi;
use crate::{store::GroupRecord, time::timestamp};

impl OperatorApi {
    pub(super) async fn group(
        &self,
        request: api::ShowGroupRequest,
    ) -> Result<api::ShowGroupResponse, Status> {
        self.controller.expire_before_reading().await;
        let id = self.controller.find_group(&request.group_id).await?;
        let group = self.controller.store.group_counts(id).await?;
        let group = group.ok_or_else(|| Status::not_found(format!("there is no group {id}")))?;
        Ok(api::ShowGroupResponse {
            group: Some(view(group)),
        })
    }
}

fn view(group: GroupRecord) -> api::Group {
    let counts = group.counts.into_iter();
    api::Group {
        group_id: group.id.to_string(),
        name: group.name,
        issuer: group.issuer,
        created_at: Some(timestamp(group.created_at)),
        counts: counts
            .map(|(state, commands)| api::StateCount {
                state: state.into(),
                commands,
            })
            .collect(),
        finished_at: group.finished_at.map(timestamp),
    }
}
