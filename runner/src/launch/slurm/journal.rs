//! Which jobs of a study may be in the queue, on disk before anybody relies on it.
//!
//! A program that is killed leaves its jobs behind. The next call finds them by what stands here,
//! and by the name that all jobs of a study have, cancels them, and takes back their runs: the file
//! with a run's secrets goes, so that a job that begins all the same ends at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SlurmError;
use super::script::Names;

/// One batch of jobs that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handed {
    /// The job's number; `None` until `sbatch` has answered.
    pub(super) job: Option<u64>,
    /// The folders of its runs, in the order of its tasks.
    pub(super) runs: Vec<PathBuf>,
}

/// The batches that are not over, by the mark of their files.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    batches: BTreeMap<String, Handed>,
}

impl Journal {
    pub(super) fn read(folder: &Path) -> Result<Self, SlurmError> {
        let path = folder.join("jobs.json");
        let batches = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SlurmError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(SlurmError::Io { path, source }),
        };
        Ok(Self { path, batches })
    }

    /// Enters a batch, or what has become known of it.
    pub(super) fn enter(&mut self, nonce: &str, handed: Handed) -> Result<(), SlurmError> {
        self.batches.insert(nonce.to_owned(), handed);
        self.write()
    }

    /// Strikes out a batch that is over.
    pub(super) fn strike(&mut self, nonce: &str) -> Result<(), SlurmError> {
        if self.batches.remove(nonce).is_some() { self.write() } else { Ok(()) }
    }

    /// The numbers of all jobs.
    pub(super) fn jobs(&self) -> Vec<u64> {
        self.batches.values().filter_map(|handed| handed.job).collect()
    }

    /// Whether nothing is handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes back every run: no job that begins from now on finds what it would need.
    pub(super) fn withdraw(&self) {
        for (nonce, handed) in &self.batches {
            for run in &handed.runs {
                remove_secrets(run, nonce);
            }
        }
    }

    /// Forgets all batches.
    pub(super) fn clear(&mut self) -> Result<(), SlurmError> {
        if self.batches.is_empty() {
            return Ok(());
        }
        self.batches.clear();
        self.write()
    }

    fn write(&self) -> Result<(), SlurmError> {
        let text = serde_json::to_vec_pretty(&self.batches)
            .map_err(|source| SlurmError::Damaged { path: self.path.clone(), source })?;
        study::files::write_whole(&self.path, &text)
            .map_err(|source| SlurmError::Io { path: self.path.clone(), source })
    }
}

/// Removes the file with a run's secrets.
pub(super) fn remove_secrets(run: &Path, nonce: &str) {
    let path = run.join(Names::of(nonce).launch);
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
        let run = folder.path().join("runs/x/0000");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("job-9.env"), "secret").unwrap();
        std::fs::write(run.join("log.txt"), "said").unwrap();
        let mut journal = Journal::read(folder.path()).unwrap();
        assert!(journal.jobs().is_empty());
        let handed = |job| Handed { job, runs: vec![run.clone()] };
        journal.enter("9", handed(None)).unwrap();
        journal.enter("9", handed(Some(12))).unwrap();
        journal.enter("8", handed(None)).unwrap();

        let mut again = Journal::read(folder.path()).unwrap();
        assert_eq!(again.jobs(), [12]);
        again.withdraw();
        assert!(!run.join("job-9.env").exists() && run.join("log.txt").exists());
        again.strike("8").unwrap();
        again.clear().unwrap();
        assert!(Journal::read(folder.path()).unwrap().jobs().is_empty());
    }
}
