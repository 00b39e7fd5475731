//! Watching what a container writes, since bind mounts have no quota of their own.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::spec::DiskLimit;

/// How long between two looks when looking is cheap.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looking may take at most this share of the time: a tree that needs 0.2 s to add up is looked at
/// every four seconds.
const REST_FACTOR: u32 = 20;

/// Bytes free for ordinary users on the file system that holds a path.
///
/// # Errors
///
/// What the system says when the path is not there or cannot be reached.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let text = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path with a zero byte"))?;
    // SAFETY: an all-zero `statvfs` is a valid value of this plain C structure, and the call gets
    // a terminated string and a pointer to memory of the right size.
    let (code, numbers) = unsafe {
        let mut numbers: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(text.as_ptr(), &raw mut numbers), numbers)
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(numbers.f_bavail.saturating_mul(numbers.f_frsize))
}

/// Bytes that a folder's contents occupy on disk. What vanishes or cannot be read while it is
/// added up is left out: builds delete their own files all the time.
#[must_use]
pub fn folder_bytes(folder: &Path) -> u64 {
    WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.blocks().saturating_mul(512))
        .sum()
}

/// Returns as soon as the limit is broken, with a sentence that says how.
pub(crate) async fn until_full(limit: DiskLimit) -> String {
    loop {
        let began = Instant::now();
        let looked = {
            let limit = limit.clone();
            tokio::task::spawn_blocking(move || broken(&limit)).await
        };
        if let Ok(Some(sentence)) = looked {
            return sentence;
        }
        tokio::time::sleep(INTERVAL.max(began.elapsed() * REST_FACTOR)).await;
    }
}

/// How the limit is broken at this moment, if it is.
fn broken(limit: &DiskLimit) -> Option<String> {
    for folder in &limit.folders {
        if let Ok(free) = free_bytes(folder)
            && free < limit.min_free
        {
            return Some(format!(
                "only {} MiB are left on the disk, and {} MiB must stay free",
                free >> 20,
                limit.min_free >> 20
            ));
        }
    }
    let used: u64 = limit.folders.iter().map(|folder| folder_bytes(folder)).sum();
    (used > limit.max_bytes).then(|| {
        format!("it wrote {} MiB, and {} MiB are allowed", used >> 20, limit.max_bytes >> 20)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_added_up_and_limits_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("deep/file"), vec![1_u8; 300_000]).unwrap();
        assert!(folder_bytes(folder.path()) >= 300_000);
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such/folder")).is_err());

        let folders = vec![folder.path().to_owned()];
        let roomy = DiskLimit { folders: folders.clone(), max_bytes: 1 << 40, min_free: 0 };
        assert_eq!(broken(&roomy), None);
        let small = DiskLimit { folders: folders.clone(), max_bytes: 1000, min_free: 0 };
        assert!(broken(&small).unwrap().contains("allowed"));
        let full = DiskLimit { folders, max_bytes: 1 << 40, min_free: u64::MAX };
        assert!(broken(&full).unwrap().contains("must stay free"));
    }
}
