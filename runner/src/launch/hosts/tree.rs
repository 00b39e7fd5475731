//! A folder on its way into a volume of a Docker host: as one archive, cut into pieces that are
//! named by their digests, so that what has arrived is never sent again.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of a piece.
const PIECE: usize = 16 << 20;

/// What a folder is cut into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    folder: PathBuf,
    /// SHA-256 of the archive.
    pub(super) digest: String,
    /// The names of its pieces, in order.
    pub(super) pieces: Vec<String>,
}

impl Tree {
    /// Reads a folder once. The same files have the same digest: owners and times are left out, and
    /// Python's own caches too.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut pieces = Vec::new();
        let digest = pack(folder, |name, _| {
            pieces.push(name);
            Ok(())
        })?;
        Ok(Self { folder: folder.to_owned(), digest, pieces })
    }

    /// Reads the folder again and hands on the pieces that are not `there`.
    pub(super) fn missing(
        &self,
        there: &[String],
        mut take: impl FnMut(&str, Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let digest = pack(&self.folder, |name, piece| {
            if there.contains(&name) { Ok(()) } else { take(&name, piece.to_vec()) }
        })?;
        if digest == self.digest {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(io::Error::other(format!("{folder} was changed while it was sent")))
    }
}

/// A piece as an archive that the daemon unpacks into the volume.
pub(super) fn wrapped(name: &str, piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::with_capacity(piece.len() + 4096));
    let mut header = tar::Header::new_gnu();
    header.set_size(piece.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    archive.append_data(&mut header, format!(".arriving/{name}"), piece)?;
    archive.into_inner()
}

/// Cuts what is written, and gives each piece its name.
struct Cutter<F> {
    piece: Vec<u8>,
    whole: Sha256,
    count: usize,
    take: F,
}

impl<F: FnMut(String, &[u8]) -> io::Result<()>> Cutter<F> {
    fn cut(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.whole.update(&self.piece);
        let name = format!("{:06}-{}", self.count, study::files::sha256_hex(&self.piece));
        self.count += 1;
        (self.take)(name, &self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

impl<F: FnMut(String, &[u8]) -> io::Result<()>> Write for Cutter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..fits).unwrap_or_default());
        if self.piece.len() == PIECE {
            self.cut()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a folder as an archive in pieces; returns the digest of all of it.
fn pack(folder: &Path, take: impl FnMut(String, &[u8]) -> io::Result<()>) -> io::Result<String> {
    let at = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let cutter = Cutter { piece: Vec::with_capacity(PIECE), whole: Sha256::new(), count: 0, take };
    let mut archive = tar::Builder::new(cutter);
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let kind = std::fs::symlink_metadata(&path).map_err(|error| at(&path, error))?;
        let name = path.strip_prefix(folder).unwrap_or(&path);
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_size(0);
        if kind.is_dir() {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(|error| at(&path, error))? {
                let entry = entry.map_err(|error| at(&path, error))?;
                if entry.file_name() != "__pycache__" {
                    entries.push(entry.path());
                }
            }
            entries.sort();
            waiting.extend(entries.into_iter().rev());
            if name.as_os_str().is_empty() {
                continue;
            }
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            archive.append_data(&mut header, name, io::empty())?;
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            let target = std::fs::read_link(&path).map_err(|error| at(&path, error))?;
            archive.append_link(&mut header, name, target)?;
        } else if kind.is_file() {
            let file = std::fs::File::open(&path).map_err(|error| at(&path, error))?;
            let executable = kind.permissions().mode() & 0o111 != 0;
            header.set_mode(if executable { 0o755 } else { 0o644 });
            header.set_size(kind.len());
            archive.append_data(&mut header, name, io::Read::take(file, kind.len()))?;
        } else {
            return Err(at(&path, io::Error::other("neither a file nor a folder nor a link")));
        }
    }
    let mut cutter = archive.into_inner()?;
    cutter.cut()?;
    Ok(hex::encode(cutter.whole.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_are_the_same_pieces_and_those_that_arrived_are_left_out() {
        let make = || {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            std::fs::create_dir_all(at("site/__pycache__")).unwrap();
            std::fs::write(at("big"), vec![7; PIECE + 5]).unwrap();
            std::fs::write(at("site/a.py"), "a = 1").unwrap();
            std::fs::write(at("site/__pycache__/a.pyc"), folder.path().display().to_string())
                .unwrap();
            std::os::unix::fs::symlink("a.py", at("site/b.py")).unwrap();
            folder
        };
        let (first, second) = (make(), make());
        let tree = Tree::of(first.path()).unwrap();
        assert_eq!(tree.pieces.len(), 2);
        let other = Tree::of(second.path()).unwrap();
        assert_eq!((&tree.digest, &tree.pieces), (&other.digest, &other.pieces));

        let mut sent = Vec::new();
        let mut all = Vec::new();
        let mut take = |name: &str, piece: Vec<u8>| {
            sent.push(name.to_owned());
            all.extend(piece);
            Ok(())
        };
        tree.missing(&[], &mut take).unwrap();
        tree.missing(&tree.pieces[..1], &mut take).unwrap();
        let names = [&tree.pieces[0], &tree.pieces[1], &tree.pieces[1]];
        assert_eq!(sent.iter().collect::<Vec<_>>(), names);
        let mut archive = tar::Archive::new(all.as_slice());
        let names = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned());
        assert_eq!(names.collect::<Vec<_>>(), ["big", "site", "site/a.py", "site/b.py"]);

        std::fs::write(first.path().join("site/a.py"), "a = 2").unwrap();
        assert_ne!(Tree::of(first.path()).unwrap().digest, tree.digest);
        let error = tree.missing(&[], |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("was changed"), "{error}");
    }
}
