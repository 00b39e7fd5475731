//! A folder as it lies in the store: its files, each by its digest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::DepotError;

/// What kind of thing an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An ordinary file.
    File,
    /// A file that can be executed.
    Executable,
    /// A symbolic link to a target within the folder.
    Link(String),
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its path below the folder, with slashes.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes; 0 for a link.
    pub bytes: u64,
    /// SHA-256 of its content in hexadecimal; empty for a link.
    pub sha256: String,
}

/// A folder's files, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The version of this form.
    pub version: u32,
    /// The files.
    pub files: Vec<Entry>,
}

/// The version that is written.
const VERSION: u32 = 1;

impl Tree {
    /// Lists and digests what is below `folder`. Names that begin with `.part-` are being written
    /// and are left out.
    ///
    /// # Errors
    /// If something cannot be read, or is neither file nor a link within the folder.
    pub fn of(folder: &Path) -> Result<Self, DepotError> {
        let mut files = Vec::new();
        let part = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".part-");
        let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| !part(entry.file_name())) {
            let entry = entry.map_err(|error| DepotError::io(folder)(error.into()))?;
            let path = entry.path();
            let refuse = |reason: &str| DepotError::Content {
                path: path.to_owned(),
                reason: reason.to_owned(),
            };
            if entry.file_type().is_dir() {
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(path).to_str();
            let name = name.ok_or_else(|| refuse("its name is no UTF-8 text"))?.to_owned();
            if entry.file_type().is_symlink() {
                let target = fs::read_link(path).map_err(DepotError::io(path))?;
                let target = target.to_str().filter(|target| stays(&name, target));
                let target = target.ok_or_else(|| refuse("this link leads out of its folder"))?;
                let kind = Kind::Link(target.to_owned());
                files.push(Entry { path: name, kind, bytes: 0, sha256: String::new() });
            } else if entry.file_type().is_file() {
                let metadata = fs::metadata(path).map_err(DepotError::io(path))?;
                let executable = metadata.permissions().mode() & 0o111 != 0;
                files.push(Entry {
                    path: name,
                    kind: if executable { Kind::Executable } else { Kind::File },
                    bytes: metadata.len(),
                    sha256: study::files::sha256_file(path).map_err(DepotError::io(path))?,
                });
            } else {
                return Err(refuse("expected files, folders and links only"));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { version: VERSION, files })
    }

    /// As it lies in the store: the digest of the rest in the first line.
    pub(crate) fn written(&self) -> String {
        // Texts and numbers in lists: nothing in it can fail to be written.
        let body = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        format!("{}\n{body}", study::files::sha256_hex(body.as_bytes()))
    }

    /// Reads what [`Tree::written`] gave; the reason is for people.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
        let (digest, body) = text.split_once('\n').ok_or("it is cut off")?;
        if study::files::sha256_hex(body.as_bytes()) != digest {
            return Err("its SHA-256 is not the one in its first line".to_owned());
        }
        let tree: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if tree.version != VERSION {
            return Err(format!("it has version {}, this program reads {VERSION}", tree.version));
        }
        // Whoever can write there could write any list: none may lead out of its folder.
        let mut links = Vec::new();
        for entry in &tree.files {
            let sound = sound(&entry.path)
                && match &entry.kind {
                    Kind::Link(target) => stays(&entry.path, target),
                    Kind::File | Kind::Executable => is_digest(&entry.sha256),
                };
            if !sound {
                return Err(format!("{:?} is no sound path of a file", entry.path));
            }
            if matches!(entry.kind, Kind::Link(_)) {
                links.push(format!("{}/", entry.path));
            }
        }
        match tree.files.iter().find(|e| links.iter().any(|link| e.path.starts_with(link))) {
            Some(entry) => Err(format!("{:?} lies behind a link", entry.path)),
            None => Ok(tree),
        }
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|entry| entry.bytes).sum()
    }
}

/// Whether a path consists of names alone.
pub(crate) fn sound(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.chars().any(char::is_control)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a link at `path` with this target stays in the folder that `path` starts from.
fn stays(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let mut depth = path.matches('/').count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_as_it_was_written_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "1").unwrap();
        fs::write(folder.path().join(".part-c"), "2").unwrap();
        std::os::unix::fs::symlink("../a/b", folder.path().join("a/link")).unwrap();
        let tree = Tree::of(folder.path()).unwrap();
        assert_eq!(tree.files.len(), 2);
        let text = tree.written();
        assert_eq!(Tree::read(text.as_bytes()).unwrap(), tree);
        for changed in [text.replace("a/b", "a/c"), text[1..].to_owned(), text[..90].to_owned()] {
            assert!(Tree::read(changed.as_bytes()).is_err(), "{changed}");
        }
        std::os::unix::fs::symlink("../../x", folder.path().join("a/out")).unwrap();
        assert!(Tree::of(folder.path()).unwrap_err().to_string().contains("leads out"));
    }

    #[test]
    fn a_list_that_leads_out_of_its_folder_is_refused() {
        let entry = |path: &str, kind: Kind| Entry {
            path: path.into(),
            kind,
            bytes: 0,
            sha256: "0".repeat(64),
        };
        let link = |target: &str| Kind::Link(target.into());
        let sound = |files: Vec<Entry>| {
            let tree = Tree { version: VERSION, files };
            Tree::read(tree.written().as_bytes()).is_ok()
        };
        assert!(sound(vec![entry("a/b", Kind::File), entry("a/l", link("../c"))]));
        for path in ["", "/a", "../a", "a/../../b", "a//b", "a\nb", "./a"] {
            assert!(!sound(vec![entry(path, Kind::File)]), "{path}");
        }
        for target in ["/etc", "../a", "x/../../a", ""] {
            assert!(!sound(vec![entry("l", link(target))]), "{target}");
        }
        assert!(!sound(vec![entry("l", link("a")), entry("l/b", Kind::File)]));
    }
}
