//! What watched epochs showed, as it was seen: `reach/watched/<bug>.json`, beside the answers that
//! were drawn from it.

use reach::lines::FileCounts;
use reach::values::Values;
use serde::{Deserialize, Serialize};
use study::Bug;

use super::epoch::Watcher;
use crate::failure::Failure;

/// Both sides of one bug.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    model: String,
    challenge: String,
    device: String,
    /// The side with the bug.
    pub buggy: Side,
    /// The side with the fix.
    pub corrected: Side,
}

/// One side; none of what its epoch did not come to.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// How often each line that counts ran, by file.
    pub lines: Option<FileCounts>,
    /// Parameters and losses after each batch.
    pub values: Option<Values>,
}

/// Keeps what was seen beside what was seen before of the same workload.
pub fn keep(
    watcher: &Watcher<'_>,
    bug: &Bug,
    change: impl FnOnce(&mut Watched),
) -> Result<(), Failure> {
    let path = watcher.study.root().join("reach/watched").join(format!("{}.json", bug.id));
    let workload = &watcher.workload;
    let mut seen = Watched {
        model: workload.model.clone(),
        challenge: workload.challenge.clone(),
        device: workload.device.clone(),
        ..Watched::default()
    };
    // What cannot be read is of an older version, and is written anew.
    let before: Option<Watched> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(before) = before
        && (&before.model, &before.challenge, &before.device)
            == (&seen.model, &seen.challenge, &seen.device)
    {
        seen = before;
    }
    change(&mut seen);
    let text = serde_json::to_vec(&seen).map_err(Failure::stage)?;
    study::files::write_whole(&path, &text).map_err(Failure::missing)
}
