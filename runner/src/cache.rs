//! Arrays that the clients of one call keep on this machine, so that only the first run of an
//! experiment moves them.
//!
//! A client computes the digest of what it finds there before it uses it, so nobody who can write
//! to the folder can change what is trained on.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use study::Study;

/// The folder, empty at the beginning and gone at the end.
pub(crate) struct ArrayCache(PathBuf);

impl ArrayCache {
    /// Makes the folder `cache/arrays` of a study, which this process holds; what a killed process
    /// left there goes first. What else the study caches, such as compiled objects, stays.
    pub(crate) fn make(study: &Study) -> Result<Self, (PathBuf, io::Error)> {
        let path = study.cache_dir().join("arrays");
        let make = || {
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            fs::create_dir_all(&path)?;
            // Clients in containers are another user; each may only remove what is its own.
            fs::set_permissions(&path, Permissions::from_mode(0o1777))
        };
        make().map_err(|error| (path.clone(), error))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ArrayCache {
    fn drop(&mut self) {
        // What is left is removed by the next call.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_begins_empty_and_does_not_outlive_its_call() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("study.toml"), crate::plan::tests::CONFIG).unwrap();
        let study = Study::open(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("cache/arrays")).unwrap();
        fs::create_dir_all(folder.path().join("cache/ccache")).unwrap();
        fs::write(folder.path().join("cache/arrays/left"), "by a killed process").unwrap();
        let cache = ArrayCache::make(&study).unwrap();
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
        let mode = fs::metadata(cache.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        fs::write(cache.path().join("array"), "bytes").unwrap();
        drop(cache);
        assert!(!folder.path().join("cache/arrays").exists());
        assert!(folder.path().join("cache/ccache").exists(), "what else is cached stays");
    }
}
