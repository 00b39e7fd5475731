//! What became of a run whose process has ended.

use study::{Ending, RunStatus, Store, StoreError};

use crate::launch::Exit;
use crate::plan::PlannedRun;

/// How and why a run ended without results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// How.
    pub ending: Ending,
    /// Why; of a Python exception the first line is the exception, and its traceback follows.
    pub reason: String,
}

impl Failed {
    /// Whether a cluster took its node from the run, so that it is worth another one at once.
    pub(crate) fn is_of_node(&self) -> bool {
        matches!(self.ending, Ending::Preempted | Ending::NodeLost)
    }

    fn of(exit: &Exit) -> Self {
        Self { ending: exit.ending().unwrap_or(Ending::Exit), reason: exit.describe() }
    }
}

/// Decides what became of a run. What the server accepted stands, however the process ended
/// afterwards; what the client told the server says more than its exit status.
pub(crate) fn settle(
    store: &Store,
    planned: &PlannedRun,
    exit: &Exit,
) -> Result<Option<Failed>, StoreError> {
    let key = &planned.key;
    let run = store.run(key)?;
    let status = run.as_ref().map(|run| run.status);
    let failed = match status {
        Some(RunStatus::Finished) => {
            if let Some(ending) = exit.ending() {
                let how = Exit { tail: String::new(), ..exit.clone() }.describe();
                store.note_ending(
                    key,
                    ending,
                    &format!("after its results were accepted: {how}"),
                )?;
            }
            return Ok(None);
        }
        Some(RunStatus::Failed) => {
            let reason = run.and_then(|run| run.reason).unwrap_or_default();
            let ending = if reason.starts_with("job: ") || !reason.contains("Traceback (most") {
                Ending::Job
            } else {
                Ending::Exception
            };
            Failed { ending, reason }
        }
        Some(RunStatus::Running) | None => Failed::of(exit),
    };
    if status.is_none() {
        // It ended before it ever spoke to the server.
        store.begin_run(key, planned.experiment.seed(key.run))?;
    }
    // Of a run whose end was not its own doing nothing is known: it starts over.
    if status != Some(RunStatus::Failed) && !failed.ending.starts_over() {
        store.fail_run(key, &failed.reason)?;
    }
    store.note_ending(key, failed.ending, &failed.reason)?;
    Ok(Some(failed))
}
