//! Whether the disk takes what is to be written, as health checks are told.
//!
//! Nothing is asked while all is well: whoever fails to write raises the
//! suspicion, and from then on the disk is tried until it takes a write again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{controller::Controller, store::StoreError};

/// Between attempts on a disk that refused.
const RETRY: Duration = Duration::from_secs(1);

/// What was noticed of the disk.
#[derive(Debug, Default)]
pub struct Storage {
    suspected: Notify,
}

impl Storage {
    /// A write has failed, maybe for want of room.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// The same, where the error says that it was.
    pub fn blame(&self, error: &StoreError) {
        if matches!(error, StoreError::Full(_)) {
            self.suspect();
        }
    }
}

/// Tells the health service, until the controller stops. `services` are those
/// that can't do their work without the disk; the empty name is all of them.
pub async fn watch(
    controller: Arc<Controller>,
    mut reporter: HealthReporter,
    services: Vec<&'static str>,
) {
    loop {
        tokio::select! {
            () = controller.stopping.cancelled() => return,
            () = controller.storage.suspected.notified() => {}
        }
        let Err(error) = controller.store.probe().await else {
            continue;
        };
        let since = Instant::now();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "nothing is accepted until there is room");
        tell(&mut reporter, &services, ServingStatus::NotServing).await;
        loop {
            tokio::select! {
                () = controller.stopping.cancelled() => return,
                () = sleep(RETRY) => {}
            }
            if controller.store.probe().await.is_ok() {
                break;
            }
        }
        tell(&mut reporter, &services, ServingStatus::Serving).await;
        let message = format!(
            "the disk of the database takes writes again; it refused them for {} s",
            since.elapsed().as_secs().max(1)
        );
        controller
            .event("storage-recovered", None, None, message)
            .await;
    }
}

async fn tell(reporter: &mut HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}
