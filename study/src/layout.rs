//! A study's folder: where each thing lies, how the study is found, and its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::{ArtifactId, Bug, ConfigError, RunKey, Store, StoreError, StudyConfig, corpus};

/// Why a study cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// No `study.toml` here or above.
    #[error(
        "no study.toml in {from} or any folder above it; make a study with `reproduceml init DIR`, or name one with --study DIR"
    )]
    NotFound {
        /// Where the search began.
        from: PathBuf,
    },
    /// The folder given is none.
    #[error("{path} is no folder; --study expects the folder that holds study.toml")]
    NoFolder {
        /// What was given.
        path: PathBuf,
    },
    /// The study is in use.
    #[error(
        "{path}: this study is already in use by process {holder}; wait for it to end, or stop it"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// `study.toml` is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The corpus is not usable.
    #[error(transparent)]
    Corpus(#[from] corpus::CorpusError),
}

/// An opened study.
#[derive(Debug)]
pub struct Study {
    root: PathBuf,
    /// What `study.toml` says.
    pub config: StudyConfig,
}

/// Holds a study for one process; let go when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct StudyLock {
    _file: File,
}

impl Study {
    /// Opens the study in folder `root`.
    ///
    /// # Errors
    /// If there is no usable `study.toml`.
    pub fn open(root: &Path) -> Result<Self, StudyError> {
        if root.exists() && !root.is_dir() {
            return Err(StudyError::NoFolder { path: root.to_owned() });
        }
        let config = StudyConfig::read(&root.join("study.toml"))?;
        let root = std::path::absolute(root)
            .map_err(|source| StudyError::Io { path: root.to_owned(), source })?;
        Ok(Self { root, config })
    }

    /// Finds the study that `from` lies in, as git finds its repository.
    ///
    /// # Errors
    /// If there is none up to the root of the file system, or it cannot be opened.
    pub fn find(from: &Path) -> Result<Self, StudyError> {
        let start = std::path::absolute(from)
            .map_err(|source| StudyError::Io { path: from.to_owned(), source })?;
        let root = start
            .ancestors()
            .find(|folder| folder.join("study.toml").is_file())
            .ok_or_else(|| StudyError::NotFound { from: start.clone() })?;
        Self::open(root)
    }

    /// The study's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the store, making it if there is none.
    ///
    /// # Errors
    /// If it is no store, too new, or cannot be written.
    pub fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.root.join("study.db"))
    }

    /// Takes the study for this process, for stages that write.
    ///
    /// # Errors
    /// [`StudyError::Locked`] when another process has it.
    pub fn lock(&self) -> Result<StudyLock, StudyError> {
        self.lock_as(".lock")
    }

    /// Takes the study's `nightly` for this process. Its stages take [`Study::lock`] themselves.
    ///
    /// # Errors
    /// [`StudyError::Locked`] when another `nightly` has it.
    pub fn lock_nightly(&self) -> Result<StudyLock, StudyError> {
        self.lock_as(".nightly-lock")
    }

    /// Takes the study's `serve` for this process: it writes what its clients tell it, each
    /// message in a transaction of its own, and so goes beside any stage.
    ///
    /// # Errors
    /// [`StudyError::Locked`] when another `serve` has it.
    pub fn lock_serving(&self) -> Result<StudyLock, StudyError> {
        self.lock_as(".serve-lock")
    }

    fn lock_as(&self, name: &str) -> Result<StudyLock, StudyError> {
        let path = self.root.join(name);
        let io = |source| StudyError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        if let Err(error) = file.try_lock() {
            if let TryLockError::Error(source) = error {
                return Err(io(source));
            }
            let mut holder = String::new();
            // Unreadable or empty holder text only makes the message poorer.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
            return Err(StudyError::Locked { path, holder });
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(StudyLock { _file: file })
    }

    /// Release notes as received, one Markdown file a tag.
    pub fn notes_dir(&self) -> PathBuf {
        self.root.join("notes")
    }

    /// The corpus's folder.
    pub fn corpus_dir(&self) -> PathBuf {
        self.root.join("corpus")
    }

    /// The corpus, one bug a line.
    pub fn corpus_file(&self) -> PathBuf {
        self.corpus_dir().join("bugs.jsonl")
    }

    /// What became of each bug before building, one a line.
    pub fn selection_file(&self) -> PathBuf {
        self.corpus_dir().join("selection.jsonl")
    }

    /// People's labels.
    pub fn labels_file(&self) -> PathBuf {
        self.root.join("labels.csv")
    }

    /// What may be deleted at any time and is only slower to have again.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Artifacts, each under its identity.
    pub fn artifacts_dir(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// One artifact's folder: `files/`, `provenance.json`, `record.json`.
    pub fn artifact_dir(&self, id: &ArtifactId) -> PathBuf {
        self.artifacts_dir().join(id.as_str())
    }

    /// One build's folder: its log and record, whether it succeeded or not.
    pub fn build_dir(&self, id: &ArtifactId) -> PathBuf {
        self.root.join("builds").join(id.as_str())
    }

    /// One run's folder: manifest, log, predictions.
    pub fn run_dir(&self, key: &RunKey) -> PathBuf {
        self.root.join("runs").join(key.experiment.as_str()).join(format!("{:04}", key.run))
    }

    /// What `stats` wrote last.
    pub fn analysis_file(&self) -> PathBuf {
        self.root.join("stats").join("analysis.json")
    }

    /// The sequential design that was declared, if one was.
    pub fn design_file(&self) -> PathBuf {
        self.root.join("design").join("design.json")
    }

    /// The looks at runs that a sequential design took, one a line.
    pub fn looks_file(&self) -> PathBuf {
        self.root.join("design").join("looks.jsonl")
    }

    /// What `nightly` wrote: a folder a night, and its last summary.
    pub fn nightly_dir(&self) -> PathBuf {
        self.root.join("nightly")
    }

    /// The corpus.
    ///
    /// # Errors
    /// If there is none yet or it is damaged.
    pub fn corpus(&self) -> Result<Vec<Bug>, StudyError> {
        Ok(corpus::read(&self.corpus_file())?)
    }

    /// A path of `study.toml`, which starts at the study's folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// Where an image lies in a study's folder for machines that load it from there: an archive as
/// `docker save` writes it, named after the image.
pub fn image_archive(study: &Path, image: &str) -> PathBuf {
    let digest = crate::files::sha256_hex(image.as_bytes());
    study.join("cache/images").join(format!("{}.tar", digest.get(..16).unwrap_or(&digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study() -> (tempfile::TempDir, Study) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.toml"), crate::config::EXAMPLE).unwrap();
        let study = Study::open(folder.path()).unwrap();
        (folder, study)
    }

    #[test]
    fn a_study_is_found_from_below() {
        let (folder, _) = study();
        let below = folder.path().join("corpus/deep");
        std::fs::create_dir_all(&below).unwrap();
        let found = Study::find(&below).unwrap();
        assert_eq!(found.root(), std::path::absolute(folder.path()).unwrap());
    }

    #[test]
    fn where_there_is_none_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Study::find(folder.path()).unwrap_err().to_string();
        assert!(error.contains("reproduceml init"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Study::open(&file), Err(StudyError::NoFolder { .. })));
    }

    #[test]
    fn one_process_at_a_time() {
        let (_folder, study) = study();
        let lock = study.lock().unwrap();
        let error = study.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        let nightly = study.lock_nightly().unwrap();
        assert!(study.lock_nightly().is_err());
        study.lock_serving().unwrap();
        drop((lock, nightly));
        study.lock().unwrap();
    }
}
