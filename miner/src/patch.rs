//! What a fix changed, as lines to be shown.

use std::path::{Path, PathBuf};

use git2::{DiffFormat, DiffLineType, Oid};
use study::{CommitId, Study};

use crate::history::{HistoryError, clone};

/// What a line of a patch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The names of a file, or that it is binary.
    File,
    /// Where in the file.
    Place,
    /// A line that both sides have.
    Context,
    /// A line of the fix alone.
    Added,
    /// A line of the buggy side alone.
    Removed,
}

/// The local clone that a study is traced in: the one given, `framework.clone`, or the one that
/// `mine` made. `None` when there is none on this machine yet.
pub fn local_clone(study: &Study, given: Option<&Path>) -> Option<PathBuf> {
    let named = given.map(|path| path.to_string_lossy().into_owned());
    let named = named.or_else(|| study.config.framework.clone.clone());
    let path = match (given, named) {
        (_, None) => return None,
        (_, Some(named)) if clone::is_address(&named) => clone::ours(study),
        (Some(path), _) => path.to_owned(),
        (None, Some(named)) => study.resolve(&named),
    };
    path.exists().then_some(path)
}

/// The lines between a bug's two commits, without line ends; bytes that are no UTF-8 become
/// replacement characters.
///
/// # Errors
/// If the clone cannot be opened or lacks a commit.
pub fn patch(
    clone: &Path,
    buggy: &CommitId,
    fix: &CommitId,
) -> Result<Vec<(Kind, String)>, HistoryError> {
    let repository = clone::open(clone)?;
    let tree = |id: &CommitId| repository.find_commit(Oid::from_str(id.as_str())?)?.tree();
    let (old, new) = (tree(buggy)?, tree(fix)?);
    let mut diff = repository.diff_tree_to_tree(Some(&old), Some(&new), None)?;
    diff.find_similar(None)?;
    let mut lines = Vec::new();
    diff.print(DiffFormat::Patch, |_, _, line| {
        let (kind, before) = match line.origin_value() {
            DiffLineType::Addition => (Kind::Added, "+"),
            DiffLineType::Deletion => (Kind::Removed, "-"),
            DiffLineType::Context => (Kind::Context, " "),
            DiffLineType::HunkHeader => (Kind::Place, ""),
            DiffLineType::FileHeader | DiffLineType::Binary => (Kind::File, ""),
            _ => (Kind::Context, ""),
        };
        let text = String::from_utf8_lossy(line.content());
        lines.extend(text.lines().map(|text| (kind, format!("{before}{text}"))));
        true
    })?;
    Ok(lines)
}
