//! Whether a pack's record holds together: names follow from attributes, seeds from the study's
//! meta seed, artifacts from their files.

use std::collections::BTreeMap;
use std::path::Path;

use builder::{Content, FileEntry, FileKind};
use packing::{Manifest, Member};
use study::{ArtifactId, ArtifactStatus, Store};

use super::check::Finding;
use crate::failure::Failure;

/// Holds names and seeds against what they are derived from.
pub fn runs(store: &Store, problems: &mut Vec<Finding>) -> Result<usize, Failure> {
    let mut runs = 0;
    for state in store.experiment_states()? {
        let experiment = &state.experiment;
        let id = experiment.id();
        if store.experiment(&id)?.is_none() {
            problems.push(Finding::new(
                "rows/experiments.jsonl",
                format!("its attributes make it {id}, which is not the name it has"),
            ));
            continue;
        }
        for run in store.run_states(&id)? {
            runs += 1;
            let expected = experiment.seed(run.key.run);
            if run.seed.is_some_and(|seed| seed != expected) {
                problems.push(Finding::new(
                    format!("rows/runs.jsonl: {}", run.key),
                    format!("its seed is {:?}, the study's meta seed gives {expected}", run.seed),
                ));
            }
        }
    }
    Ok(runs)
}

/// Holds the digest of each artifact's content, as the store and its provenance say it, against the
/// files that are in the pack.
pub fn artifacts(
    manifest: &Manifest,
    folder: &Path,
    store: &Store,
    problems: &mut Vec<Finding>,
) -> Result<usize, Failure> {
    let mut contents: BTreeMap<&str, Vec<FileEntry>> = BTreeMap::new();
    for member in &manifest.files {
        if let Some((id, path)) = part(&member.path) {
            contents.entry(id).or_default().push(entry(member, path));
        }
    }
    let mut looked = 0;
    for (id, files) in contents {
        let content = Content::of_files(files);
        let record = ArtifactId::new(id).ok().map(|id| store.artifact(&id)).transpose()?.flatten();
        let place = format!("artifacts/{id}");
        match record.map(|record| record.status) {
            Some(ArtifactStatus::Built { content: expected, .. }) => {
                if expected != content.digest {
                    problems.push(Finding::new(
                        place.clone(),
                        format!(
                            "its files have the digest {}, the record says {expected}",
                            content.digest
                        ),
                    ));
                }
            }
            _ => problems.push(Finding::new(
                place.clone(),
                "rows/artifacts.jsonl does not say that it was built".to_owned(),
            )),
        }
        looked += 1;
        let statement = std::fs::read(folder.join(&place).join("provenance.json")).ok();
        let Some(statement) = statement else { continue };
        if provenance(&statement) != Some(content.digest) {
            problems.push(Finding::new(
                format!("{place}/provenance.json"),
                "it is not about these files".to_owned(),
            ));
        }
    }
    Ok(looked)
}

/// The artifact that a member is a file of, and the file's path in it.
fn part(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("artifacts/")?.split_once("/files/")
}

fn entry(member: &Member, path: &str) -> FileEntry {
    let kind = match (&member.link, member.executable) {
        (Some(_), _) => FileKind::Link,
        (None, true) => FileKind::Executable,
        (None, false) => FileKind::File,
    };
    FileEntry { path: path.to_owned(), kind, bytes: member.bytes, sha256: member.sha256.clone() }
}

/// The digest of the content that a provenance statement is about.
fn provenance(statement: &[u8]) -> Option<String> {
    let statement: serde_json::Value = serde_json::from_slice(statement).ok()?;
    let details = statement.get("predicate")?.get("runDetails")?;
    let products = details.get("byproducts")?.as_array()?;
    let content = products.iter().find(|product| product["name"] == "content")?;
    content["digest"]["sha256"].as_str().map(str::to_owned)
}
