//! A fix as the lines it changed, read from a clone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use git2::{DiffOptions, Oid, Repository, Tree};
use study::{Bug, CommitId};

use crate::error::ReachError;

/// One side of a changed file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Its bytes; none where the file is not there.
    pub content: Option<Vec<u8>>,
    /// Its changed lines, from 1: removed ones on the buggy side, added ones on the corrected.
    pub lines: Vec<u32>,
}

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Path in the repository.
    pub path: String,
    /// Its kind in the scope's words.
    pub kind: String,
    /// Before the fix.
    pub buggy: Side,
    /// After the fix.
    pub corrected: Side,
}

/// A fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its files, by path.
    pub files: Vec<FileChange>,
}

/// A clone of the framework's repository.
pub struct Clone {
    path: std::path::PathBuf,
    repository: Repository,
}

impl Clone {
    /// Opens a clone, bare or not.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(path: &Path) -> Result<Self, ReachError> {
        let repository = Repository::open(path).map_err(ReachError::git(path))?;
        Ok(Self { path: path.to_owned(), repository })
    }

    /// The tree of a commit; none where the clone has no such commit.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn tree(&self, commit: &CommitId) -> Result<Option<Tree<'_>>, ReachError> {
        let git = ReachError::git(&self.path);
        let oid = Oid::from_str(commit.as_str()).map_err(&git)?;
        match self.repository.find_commit(oid) {
            Ok(found) => Ok(Some(found.tree().map_err(git)?)),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(git(error)),
        }
    }

    /// The sources that a header is compiled into, and the sources among `paths`, as one side of
    /// a fix has them.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn compiled_with(
        &self,
        commit: &CommitId,
        paths: &[String],
        dictionary: &crate::Dictionary,
    ) -> Result<Vec<String>, ReachError> {
        let Some(tree) = self.tree(commit)? else { return Ok(Vec::new()) };
        let index = crate::index::Library::default().index(self, &tree, dictionary)?;
        let mut found = std::collections::BTreeSet::new();
        for path in paths {
            if crate::index::is_header(path) {
                let includers = index.includers(path);
                found.extend(includers.into_iter().filter(|path| !crate::index::is_header(path)));
            } else if crate::index::is_source(path) {
                found.insert(path.clone());
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The bytes of a blob.
    pub(crate) fn blob(&self, oid: Oid) -> Result<Vec<u8>, ReachError> {
        let blob = self.repository.find_blob(oid).map_err(ReachError::git(&self.path))?;
        Ok(blob.content().to_vec())
    }

    /// Every file of `tree` below one of `folders` (all files, where there are none), by path.
    pub(crate) fn files(
        &self,
        tree: &Tree<'_>,
        folders: &[String],
    ) -> Result<BTreeMap<String, Oid>, ReachError> {
        let mut found = BTreeMap::new();
        tree.walk(git2::TreeWalkMode::PreOrder, |parent, entry| {
            let Ok(name) = entry.name() else { return 0 };
            let path = format!("{parent}{name}");
            match entry.kind() {
                Some(git2::ObjectType::Tree) => {
                    let below = format!("{path}/");
                    let wanted = folders.is_empty()
                        || folders
                            .iter()
                            .any(|folder| folder.starts_with(&below) || below.starts_with(folder));
                    i32::from(!wanted)
                }
                Some(git2::ObjectType::Blob) => {
                    if folders.is_empty() || folders.iter().any(|f| path.starts_with(f.as_str())) {
                        found.insert(path, entry.id());
                    }
                    0
                }
                _ => 0,
            }
        })
        .map_err(ReachError::git(&self.path))?;
        Ok(found)
    }

    /// What the fix of `bug` changed between its two commits; none where the clone lacks one.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn change(&self, bug: &Bug) -> Result<Option<Change>, ReachError> {
        let (Some(buggy), Some(fix)) = (&bug.buggy, &bug.fix) else { return Ok(None) };
        let (Some(old), Some(new)) = (self.tree(buggy)?, self.tree(fix)?) else { return Ok(None) };
        let git = ReachError::git(&self.path);
        let mut options = DiffOptions::new();
        options.context_lines(0).ignore_submodules(false);
        let diff = self
            .repository
            .diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))
            .map_err(&git)?;
        let files: RefCell<Vec<(String, Oid, Oid, Vec<u32>, Vec<u32>)>> = RefCell::default();
        diff.foreach(
            &mut |delta, _| {
                let side = |file: git2::DiffFile<'_>| {
                    file.path().map(|path| path.to_string_lossy().into_owned())
                };
                let path = side(delta.new_file()).or_else(|| side(delta.old_file()));
                files.borrow_mut().push((
                    path.unwrap_or_default(),
                    delta.old_file().id(),
                    delta.new_file().id(),
                    Vec::new(),
                    Vec::new(),
                ));
                true
            },
            None,
            None,
            Some(&mut |_, _, line| {
                if let Some((_, _, _, buggy, corrected)) = files.borrow_mut().last_mut() {
                    match line.origin() {
                        '-' => buggy.extend(line.old_lineno()),
                        '+' => corrected.extend(line.new_lineno()),
                        _ => {}
                    }
                }
                true
            }),
        )
        .map_err(&git)?;
        let kinds: BTreeMap<&str, &str> =
            bug.files.iter().map(|file| (file.path.as_str(), file.kind.as_str())).collect();
        let content = |oid: Oid| {
            if oid.is_zero() {
                return None;
            }
            // A submodule's commit is no blob of this repository.
            self.blob(oid).ok()
        };
        let files = files
            .into_inner()
            .into_iter()
            .map(|(path, old, new, removed, added)| FileChange {
                kind: kinds.get(path.as_str()).copied().unwrap_or("other").to_owned(),
                buggy: Side { content: content(old), lines: removed },
                corrected: Side { content: content(new), lines: added },
                path,
            })
            .collect();
        Ok(Some(Change { files }))
    }
}
