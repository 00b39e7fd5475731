//! What `reach` found for the study's own workload: `reach/findings.jsonl`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use study::{BugId, Study};

/// The answers by which no run of the workload can show the change.
const OUT_OF_REACH: [&str; 2] = ["not-in-artifact", "not-executed"];

/// One answer, as far as pages show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Reached {
    pub bug: BugId,
    model: String,
    challenge: String,
    device: String,
    /// `not-in-artifact`, `not-executed`, `executed-same`, `may-differ` or `unknown`.
    pub answer: String,
    /// What it rests on: `static`, `traced`, `covered` or `measured`.
    pub strength: String,
    pub reason: String,
}

pub(super) fn file(study: &Study) -> PathBuf {
    study.root().join("reach").join("findings.jsonl")
}

/// The answers about the study's model, challenge and device, by bug.
pub(super) fn read(study: &Study) -> Result<BTreeMap<BugId, Reached>, String> {
    let path = file(study);
    let Some(text) = super::files::text(&path)? else { return Ok(BTreeMap::new()) };
    let config = &study.config;
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let reached: Reached = serde_json::from_str(line).map_err(|error| {
            format!("{}, line {}: expected an answer: {error}", path.display(), index + 1)
        })?;
        if reached.model == config.model.name
            && reached.challenge == config.challenge.name
            && reached.device == config.run.device
        {
            found.insert(reached.bug.clone(), reached);
        }
    }
    Ok(found)
}

/// The bugs that the workload cannot show, as the funnel counts them.
pub(super) fn blind(reached: &BTreeMap<BugId, Reached>) -> BTreeMap<BugId, String> {
    reached
        .iter()
        .filter(|(_, found)| OUT_OF_REACH.contains(&found.answer.as_str()))
        .map(|(bug, found)| (bug.clone(), format!("{}: {}", found.answer, found.reason)))
        .collect()
}
