//! Following jobs: one look at the queue, and what follows of it for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use super::{Dispatcher, Followed};
use crate::error::SlurmError;
use crate::job::{End, JobId, Seen, State, script_status};
use crate::journal::remove_secrets;
use crate::script::Names;

/// After so many looks that did not show a job it is looked up elsewhere.
const UNSEEN: u32 = 3;
/// Reasons of waiting that do not end by themselves.
const STUCK: &[&str] = &["Limit", "Invalid", "BadConstraints", "NodeNotAvail", "JobHeld", "Admin"];

impl Dispatcher {
    /// One look at the queue, and what follows of it for each job.
    pub(super) async fn look(&mut self) {
        let queue = match self.commands.queue().await {
            Ok(queue) => queue,
            Err(error) => {
                if self.silent.is_none() {
                    tracing::warn!("the cluster does not answer, and is asked again: {error}");
                    self.silent = Some(Instant::now());
                }
                return;
            }
        };
        if let Some(since) = self.silent.take() {
            tracing::warn!("the cluster answers again, after {} s", since.elapsed().as_secs());
        }
        let seen: BTreeMap<JobId, Seen> = queue.into_iter().map(|seen| (seen.id, seen)).collect();
        self.cancel_some(&seen).await;
        let missing = self.missing(&seen).await;
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(one) = seen.get(&id).or_else(|| missing.get(&id)) else { continue };
            let Some(followed) = self.jobs.get_mut(&id) else { continue };
            if !one.node.is_empty() {
                followed.node.clone_from(&one.node);
            }
            match one.state {
                State::Waiting => {
                    if is_stuck(&one.reason) && self.told.insert(one.reason.clone()) {
                        let reason = &one.reason;
                        tracing::warn!(
                            "job {id} waits: {reason}; `scontrol show job {id}` says more"
                        );
                    }
                }
                State::Running => {
                    if followed.began.is_none() {
                        tracing::info!("job {id} runs on {}", followed.node);
                        followed.began = Some(Instant::now());
                    }
                }
                State::Ended(end) => self.ended(one.clone(), end),
            }
        }
    }

    /// Cancels the jobs that are asked to end, and those of the study that nobody asked for: a
    /// submission whose answer was lost on its way.
    async fn cancel_some(&mut self, seen: &BTreeMap<JobId, Seen>) {
        let mut unwanted: Vec<JobId> = seen
            .iter()
            .filter(|(id, one)| {
                !matches!(one.state, State::Ended(_))
                    && !self.jobs.contains_key(id)
                    && !self.kept.contains_key(id)
            })
            .map(|(id, _)| *id)
            .collect();
        for (id, followed) in &mut self.jobs {
            if followed.request.cancel.is_cancelled() && !followed.cancelled {
                followed.cancelled = true;
                unwanted.push(*id);
            }
        }
        if !unwanted.is_empty()
            && let Err(error) = self.commands.cancel(&unwanted).await
        {
            tracing::warn!("{error}");
        }
    }

    /// What is known of jobs that several looks at the queue did not show. Of an array that is
    /// still known, a task that never began and is not listed was cancelled while it waited: Slurm
    /// keeps no record of such a task. Of others the accounts may know, else what the script left.
    async fn missing(&mut self, seen: &BTreeMap<JobId, Seen>) -> BTreeMap<JobId, Seen> {
        let mut lost = BTreeSet::new();
        for (id, followed) in &mut self.jobs {
            followed.unseen = if seen.contains_key(id) { 0 } else { followed.unseen + 1 };
            if followed.unseen >= UNSEEN {
                lost.insert(*id);
            }
        }
        if lost.is_empty() {
            return BTreeMap::new();
        }
        let known: BTreeSet<u64> = seen.keys().map(|id| id.job).collect();
        let began = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.began.is_some());
        let (cancelled, lost): (BTreeSet<JobId>, BTreeSet<JobId>) =
            lost.into_iter().partition(|id| known.contains(&id.job) && !began(id));
        let accounts = if lost.is_empty() {
            Vec::new()
        } else {
            self.commands.accounts(&lost.iter().map(|id| id.job).collect()).await
        };
        let accounts: BTreeMap<JobId, Seen> =
            accounts.into_iter().map(|seen| (seen.id, seen)).collect();
        let over = |id: JobId, end: End| Seen {
            id,
            state: State::Ended(end),
            code: None,
            node: String::new(),
            reason: String::new(),
        };
        let lost = lost
            .into_iter()
            .map(|id| (id, accounts.get(&id).cloned().unwrap_or_else(|| over(id, End::Forgotten))));
        lost.chain(cancelled.into_iter().map(|id| (id, over(id, End::Cancelled)))).collect()
    }

    /// A job is over: its secrets go, its end is recorded, and who waits for it is told.
    fn ended(&mut self, mut seen: Seen, end: End) {
        let Some(followed) = self.jobs.remove(&seen.id) else { return };
        let Followed { nonce, .. } = &followed;
        let folder = &followed.request.work.folder;
        let names = Names::of(nonce);
        remove_secrets(folder, nonce);
        let file = folder.join(&names.status);
        let status = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let _ = std::fs::remove_file(&file); // It may never have been there.
        if seen.node.is_empty() {
            seen.node.clone_from(&followed.node);
        }
        followed.record(seen.id, &format!("{end:?}"));
        if !self.jobs.values().any(|other| other.nonce == *nonce)
            && let Err(error) = self.journal.strike(nonce)
        {
            tracing::warn!("{error}");
        }
        let out = folder.join(&names.out);
        let code = status.or(seen.code.map(|(status, _)| status));
        let answer = match (end, code) {
            (End::Failed, Some(script_status::NOT_SHARED)) => {
                let root = self.setup.study.display();
                let said =
                    last_line(&out).unwrap_or_else(|| format!("{} does not see {root}", seen.node));
                Err(SlurmError::NotShared { said })
            }
            (End::Failed, Some(script_status::NO_PROGRAM)) => {
                let said = last_line(&out).unwrap_or_else(|| seen.node.clone());
                Err(SlurmError::NoProgram { stage: self.setup.stage, said })
            }
            _ => {
                let seconds = followed.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
                Ok(seen.over(end, status, seconds, out))
            }
        };
        // Nobody listens only if the call is at its end.
        let _ = followed.request.done.send(answer);
    }
}

/// Whether a job that waits for this reason may wait for ever.
fn is_stuck(reason: &str) -> bool {
    STUCK.iter().any(|word| reason.contains(word))
}

fn last_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_others_is_not_being_stuck() {
        for reason in ["(Resources)", "Priority", "None", "Dependency", "BeginTime"] {
            assert!(!is_stuck(reason), "{reason}");
        }
        for reason in ["PartitionTimeLimit", "BadConstraints", "JobHeldAdmin", "AssocGrpCpuLimit"] {
            assert!(is_stuck(reason), "{reason}");
        }
    }
}
