//! Group commit: what waits for the disk at the same time shares one
//! transaction and one wait.
//!
//! One task commits, so that a caller that goes away takes nobody's work along.
//! A group that fails is tried again one by one: each caller gets an answer of
//! its own.

use std::{mem, sync::Arc};

use aegis_proto::{CommandId, NodeId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    commands::{advance_all, finish_one, insert_new},
    connections::Connections,
    log, transaction,
};
use crate::{
    command::Step,
    kill_point::kill_point,
    store::{CommandRecord, Finish, Finished, NewAudit, StoreError, Submission, Submitted},
    time::Millis,
};

/// Callers in one transaction, at the most.
const GROUP: usize = 128;

/// Callers that wait for the next one; further ones wait to wait.
const WAITING: usize = 256;

/// Commits submissions, deliveries and outcomes.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    jobs: mpsc::Sender<Job>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
enum Work {
    Submit(Arc<Submission>, NewAudit),
    Advance(NodeId, Vec<(CommandId, Step)>, Millis),
    Finish(Vec<Finish>),
}

#[derive(Debug)]
enum Done {
    Submitted(Submitted),
    Advanced(Vec<CommandRecord>),
    Finished(Vec<Finished>),
}

#[derive(Debug)]
struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Done, StoreError>>,
}

impl Committer {
    /// Begins to commit through the one connection that writes.
    pub(super) fn start(write: Connections) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(run(write, waiting, closing.clone()));
        tasks.close();
        Self {
            jobs,
            closing,
            tasks,
        }
    }

    pub(super) async fn submit(
        &self,
        submission: Arc<Submission>,
        audit: NewAudit,
    ) -> Result<Submitted, StoreError> {
        match self.commit(Work::Submit(submission, audit)).await? {
            Done::Submitted(submitted) => Ok(submitted),
            _ => Err(StoreError::Closed),
        }
    }

    pub(super) async fn advance(
        &self,
        node: NodeId,
        steps: Vec<(CommandId, Step)>,
        at: Millis,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        match self.commit(Work::Advance(node, steps, at)).await? {
            Done::Advanced(changed) => Ok(changed),
            _ => Err(StoreError::Closed),
        }
    }

    pub(super) async fn finish(&self, finishes: Vec<Finish>) -> Result<Vec<Finished>, StoreError> {
        match self.commit(Work::Finish(finishes)).await? {
            Done::Finished(finished) => Ok(finished),
            _ => Err(StoreError::Closed),
        }
    }

    /// Ends after the work that there is.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }

    async fn commit(&self, work: Work) -> Result<Done, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(Job { work, answer })
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

async fn run(write: Connections, mut waiting: mpsc::Receiver<Job>, closing: CancellationToken) {
    let mut group = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled(), if !waiting.is_closed() => waiting.close(),
            found = waiting.recv_many(&mut group, GROUP) => match found {
                0 => return,
                _ => commit(&write, mem::take(&mut group)).await,
            }
        }
    }
}

async fn commit(write: &Connections, group: Vec<Job>) {
    let (works, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|job| (job.work, job.answer)).unzip();
    match write_all(write, &works).await {
        Ok(done) => {
            // What was submitted belongs to its caller alone again.
            drop(works);
            for (answer, done) in answers.into_iter().zip(done) {
                // A caller that went away needs no answer.
                let _ = answer.send(Ok(done));
            }
        }
        Err(error) if works.len() == 1 => {
            if let Some(answer) = answers.into_iter().next() {
                let _ = answer.send(Err(error));
            }
        }
        Err(_) => {
            for (work, answer) in works.into_iter().zip(answers) {
                let done = write_all(write, std::slice::from_ref(&work)).await;
                let one = done.and_then(|mut done| done.pop().ok_or(StoreError::Closed));
                let _ = answer.send(one);
            }
        }
    }
}

async fn write_all(write: &Connections, works: &[Work]) -> Result<Vec<Done>, StoreError> {
    let mut tx = transaction::durable(write).await?;
    let mut all = Vec::with_capacity(works.len());
    let (mut submits, mut delivers, mut finishes) = (false, false, false);
    for work in works {
        all.push(match work {
            Work::Submit(submission, audit) => {
                let submitted = insert_new(&mut tx, submission).await?;
                if submitted == Submitted::Made {
                    log::insert_audit(&mut tx, audit).await?;
                    submits = true;
                }
                Done::Submitted(submitted)
            }
            Work::Advance(node, steps, at) => {
                let changed = advance_all(&mut tx, *node, steps, *at).await?;
                delivers |= !changed.is_empty();
                Done::Advanced(changed)
            }
            Work::Finish(some) => {
                let mut finished = Vec::with_capacity(some.len());
                for finish in some {
                    let one = finish_one(&mut tx, finish).await?;
                    finishes |= matches!(one, Finished::Committed(_));
                    finished.push(one);
                }
                Done::Finished(finished)
            }
        });
    }
    if submits || delivers || finishes {
        if submits {
            kill_point!("submit.committing");
        }
        if delivers {
            kill_point!("deliver.committing");
        }
        if finishes {
            kill_point!("result.committing");
        }
        tx.commit().await?;
        if submits {
            kill_point!("submit.committed");
        }
        if delivers {
            kill_point!("deliver.committed");
        }
        if finishes {
            kill_point!("result.committed");
        }
    }
    Ok(all)
}
