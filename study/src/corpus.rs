//! The corpus: one bug a line in `corpus/bugs.jsonl`, the form every later stage reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::write_whole;
use crate::{BugId, CommitId, Resolution};

/// A file that the fix changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path in the repository.
    pub path: String,
    /// Its kind in the scope's words (`python`, `cpp-cpu`, `cuda`, `test`, …).
    pub kind: String,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// One bug of the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bug {
    /// Its name, after the pull request.
    pub id: BugId,
    /// The framework.
    pub framework: String,
    /// The release whose notes name it (a tag).
    pub release: String,
    /// The headings above the entry, outermost first.
    pub section: Vec<String>,
    /// The entry as plain text.
    pub text: String,
    /// The pull request's address.
    pub url: String,
    /// The pull request's number; 0 for a planted fault.
    pub pr: u64,
    /// All pull requests of the entry, in its order.
    pub prs: Vec<u64>,
    /// The entry's position among the entries of its release, from 0.
    pub entry: u32,
    /// How it was traced to its fix.
    pub resolution: Resolution,
    /// The fixing commit.
    pub fix: Option<CommitId>,
    /// The last commit with the bug: the fix's first parent.
    pub buggy: Option<CommitId>,
    /// When the fix was committed (RFC 3339).
    pub fixed_at: Option<String>,
    /// When the fix was written (RFC 3339).
    pub authored_at: Option<String>,
    /// The files it changed.
    pub files: Vec<ChangedFile>,
    /// Lines added over all files.
    pub lines_added: u32,
    /// Lines removed over all files.
    pub lines_removed: u32,
    /// The kinds of files it changed, in a fixed order.
    pub scope: Vec<String>,
    /// Only Python files of the artifact changed.
    pub python_only: bool,
    /// Something that must be compiled changed.
    pub needs_compile: bool,
    /// Something changed that only a GPU executes.
    pub needs_cuda: bool,
    /// Nothing that goes into the artifact changed.
    pub not_in_artifact: bool,
    /// Test files the fix brought or changed.
    pub tests: Vec<String>,
}

impl Bug {
    /// An entry of which nothing but its name is known: untraced, its change empty.
    pub fn untraced(id: BugId, framework: &str) -> Self {
        Self {
            id,
            framework: framework.to_owned(),
            release: String::new(),
            section: Vec::new(),
            text: String::new(),
            url: String::new(),
            pr: 0,
            prs: Vec::new(),
            entry: 0,
            resolution: Resolution::Unresolved,
            fix: None,
            buggy: None,
            fixed_at: None,
            authored_at: None,
            files: Vec::new(),
            lines_added: 0,
            lines_removed: 0,
            scope: Vec::new(),
            python_only: false,
            needs_compile: false,
            needs_cuda: false,
            not_in_artifact: false,
            tests: Vec::new(),
        }
    }
}

/// Why a corpus could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// No corpus yet.
    #[error("{path}: there is no corpus yet; run `reproduceml mine` first")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A line is no bug.
    #[error(
        "{path}, line {line}: expected one bug as JSON: {source}; move the file away and run `reproduceml mine` to write it anew"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Reads a corpus in its order.
///
/// # Errors
/// See [`CorpusError`].
pub fn read(path: &Path) -> Result<Vec<Bug>, CorpusError> {
    read_lines(path)
}

/// Writes a corpus whole, one bug a line, in the order given.
///
/// # Errors
/// If the file system refuses; the old corpus then stays.
pub fn write_jsonl(path: &Path, bugs: &[Bug]) -> Result<(), CorpusError> {
    write_lines(path, bugs)
}

/// Reads a file of JSON Lines.
pub(crate) fn read_lines<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Vec<T>, CorpusError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CorpusError::Missing { path: path.to_owned() },
        _ => CorpusError::Io { path: path.to_owned(), source },
    })?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| CorpusError::Line {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

/// Writes a file of JSON Lines, whole.
pub(crate) fn write_lines<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), CorpusError> {
    let io = |source| CorpusError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row).map_err(|e| io(e.into()))?);
        text.push('\n');
    }
    write_whole(path, text.as_bytes()).map_err(io)
}
