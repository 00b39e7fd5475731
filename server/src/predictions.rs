//! Predictions on disk, compressed: `predictions/<split>.<start of digest>.f4.zst` of a run.
//!
//! The name follows from the content, so a process that lost its run cannot overwrite what the
//! run's new holder sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use protocol::Digest;

/// Compression level: predictions are near to noise, and more effort gains little.
const LEVEL: i32 = 3;

/// The file of a split's predictions in a run's folder. `split` is one of the server's own words.
pub fn file(run_dir: &Path, split: &str, digest: &str) -> PathBuf {
    let digest = digest.get(..16).unwrap_or(digest);
    run_dir.join("predictions").join(format!("{split}.{digest}.f4.zst"))
}

/// Writes predictions whole; when this returns they are on disk.
pub(crate) fn keep(
    run_dir: &Path,
    split: &str,
    digest: &Digest,
    data: &[u8],
) -> Result<(), (PathBuf, std::io::Error)> {
    let path = file(run_dir, split, &digest.to_string());
    let write = || {
        let packed = zstd::bulk::compress(data, LEVEL)?;
        study::files::write_whole(&path, &packed)
    };
    write().map_err(|error| (path.clone(), error))
}

/// The predictions that a run's split was graded by: log-probabilities as little-endian float32,
/// samples by classes. `run_dir` is the run's folder, `digest` their SHA-256.
///
/// # Errors
/// If there are none, or the file is damaged.
pub fn read_predictions(run_dir: &Path, split: &str, digest: &str) -> std::io::Result<Vec<u8>> {
    read_predictions_within(run_dir, split, digest, u64::MAX)
}

/// As [`read_predictions`], of at most `limit` bytes.
///
/// # Errors
/// If there are none, there are more, or the file is damaged.
pub fn read_predictions_within(
    run_dir: &Path,
    split: &str,
    digest: &str,
    limit: u64,
) -> std::io::Result<Vec<u8>> {
    let packed = std::fs::File::open(file(run_dir, split, digest))?;
    let mut data = Vec::new();
    // One byte more tells that there are too many.
    zstd::Decoder::new(packed)?.take(limit.saturating_add(1)).read_to_end(&mut data)?;
    if study::files::sha256_hex(&data) == digest {
        Ok(data)
    } else {
        Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("the predictions for {split} are not those with SHA-256 {digest}"),
        ))
    }
}

/// Removes predictions of earlier attempts: all files but those of `kept` (split, digest).
pub(crate) fn sweep<'a>(run_dir: &Path, kept: impl Iterator<Item = (&'a String, &'a String)>) {
    let kept: Vec<PathBuf> = kept.map(|(split, digest)| file(run_dir, split, digest)).collect();
    let Ok(entries) = std::fs::read_dir(run_dir.join("predictions")) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !kept.contains(path)) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}
