//! A study's jobs on a cluster, from the first look at what a killed call left to the last moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use containers::Cancel;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::commands::Commands;
use crate::dispatch::{Dispatcher, Request};
use crate::error::SlurmError;
use crate::job::{JobId, Over, Seen, State};
use crate::journal::Journal;
use crate::work::{Setup, Work};

/// Hands work to a cluster as jobs. What is not over when this is dropped is cancelled.
pub struct Cluster {
    setup: Setup,
    commands: Commands,
    requests: mpsc::UnboundedSender<Request>,
    dispatcher: JoinHandle<()>,
}

/// What was found of a call that was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Jobs in the queue that were cancelled.
    pub cancelled: usize,
    /// Jobs that are kept, to be waited for with [`Cluster::carry_out`].
    pub kept: usize,
}

/// How long the last moment of a program may take.
const LAST_MOMENT: Duration = Duration::from_millis(1200);

impl Cluster {
    /// Looks at what an earlier, killed call left: jobs whose work's folder is to be kept are
    /// followed again as soon as the same folder is handed over, the others are cancelled. Then asks
    /// the cluster for its nodes and whether any of them can take the `first` work.
    ///
    /// # Errors
    /// [`SlurmError`] with what is missing.
    pub async fn start(
        setup: Setup,
        first: &Work,
        keep: impl Fn(&Path) -> bool,
    ) -> Result<(Self, Found), SlurmError> {
        let commands = Commands::new(setup.name.clone());
        Self::start_with(setup, commands, first, keep).await
    }

    pub(crate) async fn start_with(
        setup: Setup,
        commands: Commands,
        first: &Work,
        keep: impl Fn(&Path) -> bool,
    ) -> Result<(Self, Found), SlurmError> {
        let mut journal = Journal::read(&setup.folder)?;
        journal.release(keep);
        let kept: BTreeSet<JobId> = journal.jobs().into_keys().collect();
        let cancelled = cancel_leftovers(&commands, &mut journal, &kept).await?;
        let found = Found { cancelled, kept: kept.len() };
        let (requests, receiver) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher::new(setup.clone(), commands.clone(), journal, first).await?;
        let dispatcher = tokio::spawn(dispatcher.follow(receiver));
        Ok((Self { setup, commands, requests, dispatcher }, found))
    }

    /// Hands over one piece of work, or takes up the job that an earlier call made of the same
    /// folder, and waits until the job is over.
    ///
    /// # Errors
    /// [`SlurmError`] if the cluster does not take it or a node lacks what it needs; how the job
    /// ended is an [`Over`].
    pub async fn carry_out(&self, work: &Work, cancel: &Cancel) -> Result<Over, SlurmError> {
        let (done, over) = oneshot::channel();
        let request = Request { work: work.clone(), cancel: cancel.clone(), done };
        self.requests.send(request).map_err(|_| SlurmError::Ended)?;
        over.await.map_err(|_| SlurmError::Ended)?
    }

    /// As if this process were killed here.
    #[cfg(test)]
    pub(crate) fn forget(self) {
        self.dispatcher.abort();
        std::mem::forget(self);
    }
}

/// Cancels every job of the study but those that are kept, and takes back its work; how many jobs
/// there were.
async fn cancel_leftovers(
    commands: &Commands,
    journal: &mut Journal,
    kept: &BTreeSet<JobId>,
) -> Result<usize, SlurmError> {
    // Also of a study that was moved since, whose jobs had another name.
    let written: Vec<JobId> =
        journal.given_up().into_iter().map(|job| JobId { job, task: None }).collect();
    let unwanted = |seen: &Seen| !matches!(seen.state, State::Ended(_)) && !kept.contains(&seen.id);
    let queue = commands.queue().await?;
    let mut left: Vec<JobId> = queue.iter().filter(|seen| unwanted(seen)).map(|s| s.id).collect();
    let found = left.len();
    left.extend(written.into_iter().filter(|job| queue.iter().all(|seen| seen.id.job != job.job)));
    if !left.is_empty() {
        commands.cancel(&left).await?;
    }
    if found > 0 {
        // They are given a moment to leave their nodes; nothing of theirs counts anyway.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            if !commands.queue().await?.iter().any(unwanted) {
                break;
            }
        }
    }
    journal.forget_given_up()?;
    Ok(found)
}

impl Drop for Cluster {
    /// Nothing of this call stays in the queue.
    fn drop(&mut self) {
        self.dispatcher.abort();
        if let Ok(mut journal) = Journal::read(&self.setup.folder)
            && !journal.is_empty()
        {
            journal.release(|_| false);
            self.commands.cancel_all_now(LAST_MOMENT);
            // What was not cancelled in this moment is found by its name.
            if let Err(error) = journal.forget_given_up() {
                tracing::warn!("{error}");
            }
        }
    }
}
