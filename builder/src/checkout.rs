//! A commit's tree as plain files: no `.git`, no filters, nothing outside the target folder.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository, Tree};
use study::CommitId;

/// Why a commit's tree could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The clone cannot be opened or read.
    #[error("{}: {what}", clone.display())]
    Clone {
        /// The clone.
        clone: PathBuf,
        /// What git says.
        what: String,
    },
    /// The clone has no such commit.
    #[error("{}: there is no commit {commit} in this clone; fetch it first", clone.display())]
    NoCommit {
        /// The clone.
        clone: PathBuf,
        /// The commit.
        commit: CommitId,
    },
    /// A tree entry has a name or a kind that must not become a file.
    #[error("commit {commit} holds `{path}`, which {what}")]
    Entry {
        /// The commit.
        commit: CommitId,
        /// The entry's path in the tree.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// What was laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The tree's identity in git.
    pub tree: String,
    /// Number of files and links.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Submodules: path and pinned commit. Their folders are left empty.
    pub submodules: Vec<(String, String)>,
}

/// Writes the tree of `commit` from the clone at `clone` into the empty folder `target`.
///
/// # Errors
/// See [`CheckoutError`]. The target is then incomplete and must be thrown away.
pub fn export(clone: &Path, commit: &CommitId, target: &Path) -> Result<Checkout, CheckoutError> {
    let git = |error: git2::Error| CheckoutError::Clone {
        clone: clone.to_owned(),
        what: error.message().to_owned(),
    };
    let repository = Repository::open(clone).map_err(git)?;
    let oid = Oid::from_str(commit.as_str()).map_err(git)?;
    let found = repository
        .find_commit(oid)
        .map_err(|_| CheckoutError::NoCommit { clone: clone.to_owned(), commit: commit.clone() })?;
    let tree = found.tree().map_err(git)?;
    let mut export = Export {
        repository: &repository,
        clone,
        commit,
        done: Checkout { tree: tree.id().to_string(), files: 0, bytes: 0, submodules: Vec::new() },
    };
    export.folder(&tree, target, "")?;
    Ok(export.done)
}

struct Export<'a> {
    repository: &'a Repository,
    clone: &'a Path,
    commit: &'a CommitId,
    done: Checkout,
}

impl Export<'_> {
    fn folder(
        &mut self,
        tree: &Tree<'_>,
        target: &Path,
        inside: &str,
    ) -> Result<(), CheckoutError> {
        for entry in tree {
            let name = entry.name().unwrap_or_default();
            let path = format!("{inside}{name}");
            let refuse = |what| CheckoutError::Entry {
                commit: self.commit.clone(),
                path: path.clone(),
                what,
            };
            if name.is_empty() {
                return Err(refuse("has a name that is no UTF-8 text"));
            }
            let dangerous = matches!(name, "." | "..") || name.contains(['/', '\0']);
            if dangerous || name.eq_ignore_ascii_case(".git") {
                return Err(refuse("has a name that must not become a file"));
            }
            let file = target.join(name);
            let io = |source| CheckoutError::Io { path: file.clone(), source };
            match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Tree), _) => {
                    // Not `create_dir_all`: a name that is there already, perhaps as a link out
                    // of the target, is an error.
                    fs::create_dir(&file).map_err(io)?;
                    let below = self.repository.find_tree(entry.id()).map_err(|e| self.git(&e))?;
                    self.folder(&below, &file, &format!("{path}/"))?;
                }
                (Some(ObjectType::Commit), _) => {
                    fs::create_dir(&file).map_err(io)?;
                    self.done.submodules.push((path, entry.id().to_string()));
                }
                (Some(ObjectType::Blob), mode) => {
                    let blob = self.repository.find_blob(entry.id()).map_err(|e| self.git(&e))?;
                    let content = blob.content();
                    if mode == 0o120_000 {
                        use std::os::unix::ffi::OsStrExt;
                        symlink(std::ffi::OsStr::from_bytes(content), &file).map_err(io)?;
                    } else {
                        let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
                        let mut out = OpenOptions::new()
                            .write(true)
                            .create_new(true)
                            .mode(mode)
                            .open(&file)
                            .map_err(io)?;
                        out.write_all(content).map_err(io)?;
                    }
                    self.done.files += 1;
                    self.done.bytes += content.len() as u64;
                }
                _ => return Err(refuse("is neither a file, a folder, a link nor a submodule")),
            }
        }
        Ok(())
    }

    fn git(&self, error: &git2::Error) -> CheckoutError {
        CheckoutError::Clone { clone: self.clone.to_owned(), what: error.message().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Signature;
    use std::os::unix::fs::PermissionsExt;

    fn commit(repository: &Repository, tree: Oid) -> CommitId {
        let tree = repository.find_tree(tree).unwrap();
        let who = Signature::now("a", "a@b").unwrap();
        let id = repository.commit(None, &who, &who, "m", &tree, &[]).unwrap();
        CommitId::new(id.to_string()).unwrap()
    }

    #[test]
    fn a_tree_is_laid_out_as_it_is() {
        let clone = tempfile::tempdir().unwrap();
        let repository = Repository::init(clone.path()).unwrap();
        let blob = repository.blob(b"text\r\n").unwrap();
        let link = repository.blob(b"deep/file").unwrap();
        let mut deep = repository.treebuilder(None).unwrap();
        deep.insert("file", blob, 0o100_755).unwrap();
        let deep = deep.write().unwrap();
        let mut root = repository.treebuilder(None).unwrap();
        root.insert("deep", deep, 0o040_000).unwrap();
        root.insert("link", link, 0o120_000).unwrap();
        root.insert("plain", blob, 0o100_644).unwrap();
        root.insert("sub", Oid::from_str(&"1".repeat(40)).unwrap(), 0o160_000).unwrap();
        let id = commit(&repository, root.write().unwrap());

        let target = tempfile::tempdir().unwrap();
        let done = export(clone.path(), &id, target.path()).unwrap();
        assert_eq!((done.files, done.submodules.len()), (3, 1));
        let at = |name: &str| target.path().join(name);
        assert_eq!(fs::read(at("plain")).unwrap(), b"text\r\n");
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("deep/file"));
        assert_eq!(fs::metadata(at("deep/file")).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!at(".git").exists());
    }

    #[test]
    fn an_unknown_commit_and_a_missing_clone_are_named() {
        let clone = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let id = CommitId::new("1".repeat(40)).unwrap();
        let error = export(clone.path(), &id, target.path()).unwrap_err();
        assert!(matches!(error, CheckoutError::Clone { .. }));
        Repository::init(clone.path()).unwrap();
        let error = export(clone.path(), &id, target.path()).unwrap_err();
        assert!(error.to_string().contains("fetch it first"), "{error}");
    }
}
