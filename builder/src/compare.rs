//! The two artifacts of a bug compared, and whether the fix explains where they differ. Kept as
//! `builds/pairs/<bug>-<side>/comparison.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use study::{ArtifactId, Bug, BugId, Evaluation, Strategy, Study};

use crate::content::Content;
use crate::error::BuildError;
use crate::inspect::{Difference, difference, read_content};
use crate::pair::mismatches;
use crate::record::BuildRecord;
use crate::sections::{self, SectionDifference};

/// Kinds of change that can show in anything that a compiler or a generator makes.
const COMPILED: [&str; 7] =
    ["cpp-cpu", "cuda", "codegen", "build", "third-party", "accelerator", "other"];

/// The comparison of a bug's two artifacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairComparison {
    /// The bug.
    pub bug: BugId,
    /// The side that has the bug or the fault.
    pub first: Evaluation,
    /// Its artifact, and the corrected side's.
    pub artifacts: (ArtifactId, ArtifactId),
    /// The digests of the two contents.
    pub contents: (String, String),
    /// Whether the two are the same byte for byte, so that no run can tell them apart.
    pub identical: bool,
    /// What differs between the first and the corrected side (second).
    pub difference: Difference,
    /// For changed compiled files, the sections that differ.
    pub sections: BTreeMap<String, Vec<SectionDifference>>,
    /// Differences that the change between the two does not explain, each as a sentence.
    pub unexplained: Vec<String>,
    /// What else than the commit or the fault is not the same on both sides. A pair with anything
    /// here must not be compared.
    pub mismatches: Vec<String>,
}

/// Compares the two artifacts of every bug that has both. What was compared before is read back
/// unless an artifact has changed.
///
/// # Errors
/// If the study cannot be read or a record is damaged.
pub fn compare(study: &Study) -> Result<Vec<PairComparison>, BuildError> {
    let mut sides: BTreeMap<BugId, BTreeMap<Evaluation, (ArtifactId, String)>> = BTreeMap::new();
    for (bug, evaluation, record) in study.store()?.builds()? {
        if let study::ArtifactStatus::Built { content, .. } = record.status {
            sides.entry(bug).or_default().insert(evaluation, (record.id, content));
        }
    }
    let corpus: BTreeMap<BugId, Bug> = study::corpus::read(&study.corpus_file())?
        .into_iter()
        .map(|bug| (bug.id.clone(), bug))
        .collect();
    let mut pairs = Vec::new();
    for (bug, sides) in sides {
        let Some(corrected) = sides.get(&Evaluation::Corrected) else { continue };
        for first in [Evaluation::Buggy, Evaluation::Artificial] {
            let Some(other) = sides.get(&first) else { continue };
            let place = place(study, &bug, first);
            if let Some(known) = known(&place, other, corrected) {
                pairs.push(known);
                continue;
            }
            let pair = pair(study, (&bug, corpus.get(&bug)), first, (&other.0, &corrected.0))?;
            let mut json =
                serde_json::to_vec_pretty(&pair).map_err(|e| BuildError::io(&place)(e.into()))?;
            json.push(b'\n');
            study::files::write_whole(&place, &json).map_err(BuildError::io(&place))?;
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

/// Where a pair's comparison is kept.
fn place(study: &Study, bug: &BugId, first: Evaluation) -> PathBuf {
    study.root().join("builds/pairs").join(format!("{bug}-{first}")).join("comparison.json")
}

/// What was found before, if it was about these two.
fn known(
    place: &Path,
    first: &(ArtifactId, String),
    second: &(ArtifactId, String),
) -> Option<PairComparison> {
    let found: PairComparison = serde_json::from_slice(&fs::read(place).ok()?).ok()?;
    let same = (&found.artifacts.0, &found.artifacts.1) == (&first.0, &second.0)
        && (&found.contents.0, &found.contents.1) == (&first.1, &second.1);
    same.then_some(found)
}

fn pair(
    study: &Study,
    (id, bug): (&BugId, Option<&Bug>),
    first: Evaluation,
    (a, b): (&ArtifactId, &ArtifactId),
) -> Result<PairComparison, BuildError> {
    let (left, right) = (read(study, a)?, read(study, b)?);
    let difference = difference(&left.1, &right.1);
    let mut compiled = BTreeMap::new();
    for path in &difference.changed {
        let bytes = |id| {
            let path = study.artifact_dir(id).join("files").join(path);
            fs::read(&path).map_err(BuildError::io(path))
        };
        // A changed link is no file to take apart.
        let (Ok(one), Ok(other)) = (bytes(a), bytes(b)) else { continue };
        if let Some(sections) = sections::compare(&one, &other) {
            compiled.insert(path.clone(), sections);
        }
    }
    let unexplained = unexplained(bug, &left.0, &right.0, &difference, &compiled);
    Ok(PairComparison {
        bug: id.clone(),
        first,
        artifacts: (a.clone(), b.clone()),
        contents: (left.1.digest.clone(), right.1.digest.clone()),
        identical: left.1.digest == right.1.digest,
        difference,
        sections: compiled,
        unexplained,
        mismatches: mismatches(&left.0, &right.0),
    })
}

fn read(study: &Study, id: &ArtifactId) -> Result<(BuildRecord, Content), BuildError> {
    let folder = study.artifact_dir(id);
    let record = BuildRecord::read(&folder.join("record.json"))?;
    Ok((record, read_content(&folder)?))
}

/// The differences that what lies between the two sides does not explain.
fn unexplained(
    bug: Option<&Bug>,
    first: &BuildRecord,
    second: &BuildRecord,
    difference: &Difference,
    compiled: &BTreeMap<String, Vec<SectionDifference>>,
) -> Vec<String> {
    let strategy = first.identity.strategy;
    if strategy == Strategy::Release && second.identity.strategy == Strategy::Release {
        return if difference.is_empty() {
            Vec::new()
        } else {
            vec!["two releases differ in more than the fix".to_owned()]
        };
    }
    difference
        .names()
        .filter_map(|path| {
            let explained = match strategy {
                Strategy::Fault => path == "fault.py",
                Strategy::Overlay => {
                    first.overlay.iter().any(|file| path == format!("site/{}", file.path))
                }
                _ => by_commit(bug, path, compiled.get(path)),
            };
            (!explained).then(|| match strategy {
                Strategy::Fault => format!("{path} differs, which no planted fault does"),
                _ => format!("{path} differs, and nothing that the fix changed explains it"),
            })
        })
        .collect()
}

/// Whether a commit's change explains that an artifact's file is another.
fn by_commit(bug: Option<&Bug>, path: &str, sections: Option<&Vec<SectionDifference>>) -> bool {
    let Some(bug) = bug else { return false };
    let below = path.strip_prefix("site/").unwrap_or(path);
    // The file itself was changed: its path in the package is the end of its path in the tree.
    let itself = bug.files.iter().any(|file| {
        let ends = |long: &str, short: &str| {
            long == short || long.strip_suffix(short).is_some_and(|rest| rest.ends_with('/'))
        };
        ends(&file.path, below) || ends(below, &file.path)
    });
    // What is compiled or generated can come from any compiled source. A Python file cannot,
    // unless a generator or the build changed.
    let kind = |kinds: &[&str]| bug.scope.iter().any(|kind| kinds.contains(&kind.as_str()));
    let python = below.ends_with(".py");
    itself
        || (python && kind(&["codegen", "build"]))
        || (!python && (sections.is_some() || !below.ends_with(".pyi")) && kind(&COMPILED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use study::ChangedFile;

    fn bug(path: &str, kind: &str) -> Bug {
        let file = ChangedFile { path: path.into(), kind: kind.into(), added: 1, removed: 1 };
        Bug {
            files: vec![file],
            scope: vec![kind.into()],
            ..Bug::untraced(BugId::of_pull_request(1), "tinynn")
        }
    }

    #[test]
    fn a_fix_explains_its_own_files_and_what_is_made_of_them() {
        let python = bug("python/tinynn/nn/loss.py", "python");
        let c = bug("src/loss.c", "cpp-cpu");
        let sections = vec![];
        let told = |bug, path, sections| by_commit(Some(bug), path, sections);
        assert!(told(&python, "site/tinynn/nn/loss.py", None));
        assert!(!told(&python, "site/tinynn/nn/pool.py", None));
        assert!(!told(&python, "site/tinynn/libtinynn.so", Some(&sections)));
        assert!(told(&c, "site/tinynn/libtinynn.so", Some(&sections)));
        assert!(!told(&c, "site/tinynn/nn/loss.py", None));
        assert!(!by_commit(None, "site/x", None));
        let other = bug("oss.py", "python");
        assert!(!told(&other, "site/loss.py", None), "a name's end is not a path's end");
    }
}
