//! What was fetched once, by content, up to a limit: the oldest goes first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Objects on this machine's disk.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    limit: u64,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit }
    }

    fn place(&self, sha256: &str) -> PathBuf {
        self.folder.join(sha256)
    }

    /// Puts an object to `path`, if it is here and still what its name says.
    pub(crate) fn take(&self, sha256: &str, path: &Path) -> io::Result<bool> {
        let place = self.place(sha256);
        if !place.is_file() {
            return Ok(false);
        }
        fs::copy(&place, path)?;
        if study::files::sha256_file(path)? == sha256 {
            // Used now: it goes last.
            let file = fs::File::options().append(true).open(&place)?;
            file.set_modified(SystemTime::now())?;
            return Ok(true);
        }
        fs::remove_file(path)?;
        fs::remove_file(&place)?;
        Ok(false)
    }

    /// Keeps the verified object at `path`. That it cannot be kept is no failure.
    pub(crate) fn keep(&self, sha256: &str, path: &Path) {
        let bytes = path.metadata().map_or(u64::MAX, |metadata| metadata.len());
        if bytes > self.limit {
            return;
        }
        let keep = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let part = tempfile::Builder::new().prefix(".part-").tempfile_in(&self.folder)?;
            fs::copy(path, part.path())?;
            part.persist(self.place(sha256)).map_err(|error| error.error)?;
            Ok(())
        };
        if let Err(error) = keep() {
            tracing::debug!("{}: {error}", self.folder.display());
        }
    }

    /// Removes the objects that were used longest ago until the others keep within the limit.
    pub(crate) fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.limit {
                return;
            }
            // Another process may have been first.
            let _ = fs::remove_file(&path);
            total -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_what_was_changed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"), 25);
        let file = folder.path().join("file");
        let mut names = Vec::new();
        for content in ["a", "b", "c"] {
            let bytes = content.repeat(10);
            fs::write(&file, &bytes).unwrap();
            names.push(study::files::sha256_hex(bytes.as_bytes()));
            cache.keep(names.last().unwrap(), &file);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // The first was used last.
        assert!(cache.take(&names[0], &file).unwrap());
        cache.trim();
        assert!(cache.take(&names[0], &file).unwrap());
        assert!(!cache.take(&names[1], &file).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "a".repeat(10));
        fs::write(cache.place(&names[2]), "other").unwrap();
        fs::remove_file(&file).unwrap();
        assert!(!cache.take(&names[2], &file).unwrap());
        assert!(!file.exists() && !cache.place(&names[2]).exists());
    }
}
