//! Which jobs of a study may be in the queue, on disk before anybody relies on it.
//!
//! A program that is killed leaves its jobs behind. The next call finds them by what stands here,
//! and by the name that all jobs of a study have. It takes them up again, or cancels them and takes
//! back their work: the file with its secrets goes, so that a job that begins all the same ends at
//! once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::SlurmError;
use crate::job::JobId;
use crate::script::Names;

/// One batch of jobs that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The job's number; `None` until `sbatch` has answered.
    pub(crate) job: Option<u64>,
    /// The folders of its work, in the order of its tasks.
    #[serde(rename = "runs")]
    pub(crate) folders: Vec<PathBuf>,
}

impl Handed {
    /// Its tasks with their folders; none before it has a number.
    fn tasks(&self) -> impl Iterator<Item = (JobId, &Path)> {
        let array = self.folders.len() > 1;
        self.job.into_iter().flat_map(move |job| {
            let id = move |task: u32| JobId { job, task: array.then_some(task) };
            (0..).zip(&self.folders).map(move |(task, folder)| (id(task), folder.as_path()))
        })
    }
}

/// The batches that are not over, by the mark of their files.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    batches: BTreeMap<String, Handed>,
    /// What was taken back, until it is known to be cancelled.
    given_up: BTreeMap<String, Handed>,
}

impl Journal {
    pub(crate) fn read(folder: &Path) -> Result<Self, SlurmError> {
        let path = folder.join("jobs.json");
        let batches = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SlurmError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(SlurmError::Io { path, source }),
        };
        Ok(Self { path, batches, given_up: BTreeMap::new() })
    }

    /// Enters a batch, or what has become known of it.
    pub(crate) fn enter(&mut self, nonce: &str, handed: Handed) -> Result<(), SlurmError> {
        self.batches.insert(nonce.to_owned(), handed);
        self.write()
    }

    /// Strikes out a batch that is over.
    pub(crate) fn strike(&mut self, nonce: &str) -> Result<(), SlurmError> {
        if self.batches.remove(nonce).is_some() { self.write() } else { Ok(()) }
    }

    /// Whether nothing is handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The jobs that are handed over, each with the mark of its files and its folder.
    pub(crate) fn jobs(&self) -> BTreeMap<JobId, (String, PathBuf)> {
        let of = |(nonce, handed): (&String, &Handed)| {
            let nonce = nonce.clone();
            let tasks = handed.tasks();
            tasks.map(|(id, at)| (id, (nonce.clone(), at.to_owned()))).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(of).collect()
    }

    /// Takes back every batch with a folder that is not to be kept, and those of which no number is
    /// known: no job of theirs that begins from now on finds what it would need. On disk they stay
    /// until [`Journal::forget_given_up`].
    pub(crate) fn release(&mut self, keep: impl Fn(&Path) -> bool) {
        let kept = |handed: &Handed| {
            handed.job.is_some() && handed.folders.iter().all(|folder| keep(folder))
        };
        let all = std::mem::take(&mut self.batches);
        let (batches, given_up) = all.into_iter().partition(|(_, handed)| kept(handed));
        (self.batches, self.given_up) = (batches, given_up);
        for (nonce, handed) in &self.given_up {
            for folder in &handed.folders {
                remove_secrets(folder, nonce);
            }
        }
    }

    /// The numbers of the jobs that were taken back.
    pub(crate) fn given_up(&self) -> Vec<u64> {
        self.given_up.values().filter_map(|handed| handed.job).collect()
    }

    /// Forgets the batches that were taken back.
    pub(crate) fn forget_given_up(&mut self) -> Result<(), SlurmError> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        self.given_up.clear();
        self.write()
    }

    fn write(&self) -> Result<(), SlurmError> {
        let text = serde_json::to_vec_pretty(&self.batches)
            .map_err(|source| SlurmError::Damaged { path: self.path.clone(), source })?;
        study::files::write_whole(&self.path, &text)
            .map_err(|source| SlurmError::Io { path: self.path.clone(), source })
    }
}

/// Removes the file with a job's secrets, without which it does nothing.
pub(crate) fn remove_secrets(folder: &Path, nonce: &str) {
    let path = folder.join(Names::of(nonce).launch);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("{}: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_found_again_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str| {
            let run = folder.path().join("runs/x").join(name);
            std::fs::create_dir_all(&run).unwrap();
            for file in ["job-9.env", "job-8.env", "job-7.env", "log.txt"] {
                std::fs::write(run.join(file), "said").unwrap();
            }
            run
        };
        let (first, second) = (run("0"), run("1"));
        let mut journal = Journal::read(folder.path()).unwrap();
        assert!(journal.jobs().is_empty());
        let handed = |job, all: &[&PathBuf]| Handed {
            job,
            folders: all.iter().map(|one| (*one).clone()).collect(),
        };
        journal.enter("9", handed(None, &[&first])).unwrap();
        journal.enter("9", handed(Some(12), &[&first])).unwrap();
        journal.enter("8", handed(None, &[&second])).unwrap();
        journal.enter("7", handed(Some(13), &[&second, &second])).unwrap();

        let mut again = Journal::read(folder.path()).unwrap();
        let ids: Vec<String> = again.jobs().keys().map(ToString::to_string).collect();
        assert_eq!(ids, ["12", "13_0", "13_1"]);
        again.release(|folder| *folder == second);
        assert!(!first.join("job-9.env").exists() && first.join("log.txt").exists());
        assert!(!second.join("job-8.env").exists(), "its number is not known");
        assert!(second.join("job-7.env").exists(), "it is kept");
        assert_eq!(again.given_up(), [12]);
        again.forget_given_up().unwrap();
        assert_eq!(Journal::read(folder.path()).unwrap().jobs().len(), 2);
        again.strike("7").unwrap();
        again.release(|_| false);
        assert!(Journal::read(folder.path()).unwrap().is_empty());
    }
}
