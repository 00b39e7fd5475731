//! What an artifact consists of: its files, each with a digest, and one digest over them all.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::error::BuildError;

/// One file or link of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the artifact's `files/`, with slashes.
    pub path: String,
    /// `file`, `executable` or `link`.
    pub kind: FileKind,
    /// Bytes of content, or of the link's target.
    pub bytes: u64,
    /// SHA-256 of the content, or of the link's target.
    pub sha256: String,
}

/// What kind of thing an artifact's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A file that can be executed.
    Executable,
    /// A symbolic link.
    Link,
}

/// All files of an artifact, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 over paths, kinds and digests.
    pub digest: String,
    /// Bytes in all files together.
    pub bytes: u64,
    /// The files, sorted by path.
    pub files: Vec<FileEntry>,
}

impl Content {
    /// Reads and digests everything below `folder`. Links are not followed.
    ///
    /// # Errors
    /// [`BuildError::Io`] for what cannot be read and for what is neither file, folder nor link.
    pub fn of(folder: &Path) -> Result<Self, BuildError> {
        let mut files = Vec::new();
        for entry in WalkDir::new(folder).min_depth(1).follow_links(false) {
            let entry = entry.map_err(|e| BuildError::io(folder)(e.into()))?;
            let path = entry.path();
            let kind = entry.file_type();
            if kind.is_dir() {
                continue;
            }
            let name = name_below(folder, path)?;
            let file = if kind.is_symlink() {
                let target = fs::read_link(path).map_err(BuildError::io(path))?;
                let target = target.as_os_str().as_encoded_bytes();
                FileEntry {
                    path: name,
                    kind: FileKind::Link,
                    bytes: target.len() as u64,
                    sha256: study::files::sha256_hex(target),
                }
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(|e| BuildError::io(path)(e.into()))?;
                let executable = metadata.permissions().mode() & 0o111 != 0;
                FileEntry {
                    path: name,
                    kind: if executable { FileKind::Executable } else { FileKind::File },
                    bytes: metadata.len(),
                    sha256: study::files::sha256_file(path).map_err(BuildError::io(path))?,
                }
            } else {
                let what = "an artifact may hold files, folders and links only";
                return Err(BuildError::io(path)(std::io::Error::other(what)));
            };
            files.push(file);
        }
        Ok(Self::of_files(files))
    }

    /// The content that consists of these files.
    #[must_use]
    pub fn of_files(mut files: Vec<FileEntry>) -> Self {
        files.sort();
        let mut hasher = Sha256::new();
        for file in &files {
            let line = serde_json::json!([file.path, file.kind, file.sha256]).to_string();
            hasher.update(line);
            hasher.update(b"\n");
        }
        let bytes = files.iter().map(|file| file.bytes).sum();
        Self { digest: hex::encode(hasher.finalize()), bytes, files }
    }
}

fn name_below(folder: &Path, path: &Path) -> Result<String, BuildError> {
    let below = path.strip_prefix(folder).unwrap_or(path);
    below.to_str().map(str::to_owned).ok_or_else(|| {
        BuildError::io(path)(std::io::Error::other("a file name that is no UTF-8 text"))
    })
}

/// Gives a tree to a user and a group, links themselves and not what they point to. Does nothing
/// unless this process is root, which alone may.
///
/// # Errors
/// If the tree cannot be walked or given away.
pub fn give_to(folder: &Path, owner: (u32, u32)) -> Result<(), BuildError> {
    if !is_root() {
        return Ok(());
    }
    for entry in WalkDir::new(folder).follow_links(false) {
        let entry = entry.map_err(|e| BuildError::io(folder)(e.into()))?;
        std::os::unix::fs::lchown(entry.path(), Some(owner.0), Some(owner.1))
            .map_err(BuildError::io(entry.path()))?;
    }
    Ok(())
}

/// Takes a container's output over: it belongs to this process's user, nobody else can write to
/// it, no program in it changes its user, and its bytes are on the disk.
pub(crate) fn take_over(folder: &Path) -> Result<(), BuildError> {
    // SAFETY: both calls only read this process's credentials and cannot fail.
    let me = unsafe { (libc::geteuid(), libc::getegid()) };
    give_to(folder, me)?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(folder).follow_links(false) {
        let entry = entry.map_err(|e| BuildError::io(folder)(e.into()))?;
        let path = entry.path();
        let mode = if entry.file_type().is_dir() {
            folders.push(path.to_owned());
            0o755
        } else if entry.file_type().is_file() {
            let metadata = entry.metadata().map_err(|e| BuildError::io(path)(e.into()))?;
            if metadata.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 }
        } else {
            continue;
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(BuildError::io(path))?;
        if entry.file_type().is_file() {
            File::open(path).and_then(|f| f.sync_all()).map_err(BuildError::io(path))?;
        }
    }
    for path in folders.iter().rev() {
        study::files::sync_folder(path).map_err(BuildError::io(path))?;
    }
    Ok(())
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: the call only reads this process's credentials and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_names_kinds_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/f"), "x").unwrap();
        let first = Content::of(folder.path()).unwrap();
        assert_eq!((first.files.len(), first.bytes), (1, 1));
        assert_eq!(first.files[0].path, "d/f");
        fs::set_permissions(at("d/f"), fs::Permissions::from_mode(0o755)).unwrap();
        let second = Content::of(folder.path()).unwrap();
        assert_ne!(first.digest, second.digest);
        // A link is what it says, not what it points to: nothing outside is read.
        std::os::unix::fs::symlink("/etc/hostname", at("l")).unwrap();
        let third = Content::of(folder.path()).unwrap();
        assert_eq!(third.files[1].kind, FileKind::Link);
        take_over(folder.path()).unwrap();
        assert_eq!(third, Content::of(folder.path()).unwrap());
    }

    #[test]
    fn pipes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(Content::of(folder.path()).unwrap_err().to_string().contains("links only"));
    }
}
