//! Looking at what was built: is it still what it was, how do two sides differ, what failed how.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use containers::Docker;
use serde::Serialize;
use study::{ArtifactId, ArtifactStatus, BugId, Evaluation, Study};

use crate::content::{Content, FileEntry};
use crate::error::BuildError;
use crate::gc::{self, Garbage};
use crate::pair::mismatches;
use crate::record::BuildRecord;

/// What became of an artifact since it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The artifact.
    pub id: ArtifactId,
    /// What does not hold; empty if everything does.
    pub problems: Vec<String>,
}

/// Computes every digest of every artifact again and compares: identity, content, provenance,
/// store.
///
/// # Errors
/// If the study cannot be read. That an artifact is damaged is a result.
pub fn verify(study: &Study) -> Result<Vec<Verification>, BuildError> {
    let store = study.store()?;
    let mut ids: BTreeSet<ArtifactId> = BTreeSet::new();
    for (_, _, record) in store.builds()? {
        if record.is_built() {
            ids.insert(record.id);
        }
    }
    if let Ok(entries) = std::fs::read_dir(study.artifacts_dir()) {
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        ids.extend(names.filter_map(|name| ArtifactId::new(name).ok()));
    }
    ids.into_iter()
        .map(|id| {
            let stored = store.artifact(&id)?.map(|record| record.status);
            let problems = problems(&study.artifact_dir(&id), &id, stored.as_ref());
            Ok(Verification { id, problems })
        })
        .collect()
}

fn problems(folder: &Path, id: &ArtifactId, stored: Option<&ArtifactStatus>) -> Vec<String> {
    let mut problems = Vec::new();
    let record = match BuildRecord::read(&folder.join("record.json")) {
        Ok(record) => record,
        Err(error) => return vec![error.to_string()],
    };
    let content = match Content::of(&folder.join("files")) {
        Ok(content) => content,
        Err(error) => return vec![error.to_string()],
    };
    if record.id != *id || record.identity.id() != *id {
        problems.push("record.json tells of another artifact".to_owned());
    }
    if record.content.as_ref() != Some(&content.digest) {
        let then = match read_content(folder) {
            Ok(then) => then,
            Err(error) => return vec![error.to_string()],
        };
        let difference = difference(&then, &content);
        let names: Vec<_> = difference.names().collect();
        problems.push(format!("files are not what was built: {}", names.join(", ")));
    }
    match stored {
        Some(ArtifactStatus::Built { content: digest, .. }) if *digest == content.digest => {}
        Some(ArtifactStatus::Built { .. }) => {
            problems.push("the store has another content digest".to_owned());
        }
        Some(ArtifactStatus::Failed { .. }) => {
            problems.push("the store says that its build failed".to_owned());
        }
        None => problems.push("the store does not know it; `reproduceml build` adds it".to_owned()),
    }
    problems.extend(provenance_problem(folder, &content));
    problems
}

/// What was there when the artifact was stored.
pub(crate) fn read_content(folder: &Path) -> Result<Content, BuildError> {
    let path = folder.join("content.json");
    let bytes = std::fs::read(&path).map_err(BuildError::io(&path))?;
    serde_json::from_slice(&bytes).map_err(|e| BuildError::io(&path)(e.into()))
}

/// Whether the statement's subjects are the files that are there.
fn provenance_problem(folder: &Path, content: &Content) -> Option<String> {
    let path = folder.join("provenance.json");
    let statement: serde_json::Value =
        match std::fs::read(&path).map(|b| serde_json::from_slice(&b)) {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => return Some(format!("{}: {error}", path.display())),
            Err(error) => return Some(format!("{}: {error}", path.display())),
        };
    let said: BTreeSet<(String, String)> = statement
        .get("subject")
        .and_then(|subject| subject.as_array())
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.get("name")?.as_str()?;
            Some((name.to_owned(), entry.pointer("/digest/sha256")?.as_str()?.to_owned()))
        })
        .collect();
    let found: BTreeSet<(String, String)> =
        content.files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect();
    (said != found).then(|| "provenance.json names other files".to_owned())
}

/// How two artifacts differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Files that are the same in both.
    pub same: usize,
    /// Files in both with another content or kind.
    pub changed: Vec<String>,
    /// Files that only the first has.
    pub only_first: Vec<String>,
    /// Files that only the second has.
    pub only_second: Vec<String>,
}

impl Difference {
    /// Whether the two are the same byte for byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.changed, &self.only_first, &self.only_second]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

/// How two contents differ, file by file.
#[must_use]
pub fn difference(first: &Content, second: &Content) -> Difference {
    fn by_path(content: &Content) -> BTreeMap<&str, &FileEntry> {
        content.files.iter().map(|file| (file.path.as_str(), file)).collect()
    }
    let (left, right) = (by_path(first), by_path(second));
    let mut found = Difference::default();
    for (path, file) in &left {
        match right.get(path) {
            Some(other) if other == file => found.same += 1,
            Some(_) => found.changed.push((*path).to_owned()),
            None => found.only_first.push((*path).to_owned()),
        }
    }
    found.only_second =
        right.keys().filter(|path| !left.contains_key(*path)).map(|p| (*p).to_owned()).collect();
    found
}

/// The comparison of a bug's two artifacts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairComparison {
    /// The bug.
    pub bug: BugId,
    /// The side that has the bug or the fault.
    pub first: Evaluation,
    /// What differs between it (first) and the corrected side (second).
    pub difference: Difference,
    /// What else than the commit or the fault is not the same on both sides. A pair with anything
    /// here must not be compared.
    pub mismatches: Vec<String>,
}

/// Compares the two artifacts of every bug that has both.
///
/// # Errors
/// If the study cannot be read or a record is damaged.
pub fn compare(study: &Study) -> Result<Vec<PairComparison>, BuildError> {
    let mut sides: BTreeMap<BugId, BTreeMap<Evaluation, ArtifactId>> = BTreeMap::new();
    for (bug, evaluation, record) in study.store()?.builds()? {
        if record.is_built() {
            sides.entry(bug).or_default().insert(evaluation, record.id);
        }
    }
    let mut pairs = Vec::new();
    for (bug, sides) in sides {
        let Some(corrected) = sides.get(&Evaluation::Corrected) else { continue };
        for first in [Evaluation::Buggy, Evaluation::Artificial] {
            let Some(id) = sides.get(&first) else { continue };
            let (a, b) = (read(study, id)?, read(study, corrected)?);
            pairs.push(PairComparison {
                bug: bug.clone(),
                first,
                difference: difference(&a.1, &b.1),
                mismatches: mismatches(&a.0, &b.0),
            });
        }
    }
    Ok(pairs)
}

fn read(study: &Study, id: &ArtifactId) -> Result<(BuildRecord, Content), BuildError> {
    let folder = study.artifact_dir(id);
    let record = BuildRecord::read(&folder.join("record.json"))?;
    Ok((record, read_content(&folder)?))
}

/// Failed builds of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    /// The toolchain.
    pub toolchain: String,
    /// The class.
    pub class: String,
    /// The sides of bugs that failed this way.
    pub sides: Vec<(BugId, Evaluation)>,
}

/// Counts failed builds by toolchain and class.
///
/// # Errors
/// If the store cannot be read.
pub fn report(study: &Study) -> Result<Vec<FailureCount>, BuildError> {
    let mut counts: BTreeMap<(String, String), Vec<(BugId, Evaluation)>> = BTreeMap::new();
    for (bug, evaluation, record) in study.store()?.builds()? {
        if let ArtifactStatus::Failed { class, .. } = record.status {
            counts.entry((record.toolchain, class)).or_default().push((bug, evaluation));
        }
    }
    Ok(counts
        .into_iter()
        .map(|((toolchain, class), sides)| FailureCount { toolchain, class, sides })
        .collect())
}

/// Removes what interrupted builds of a study left behind, or only lists it.
///
/// # Errors
/// If another process uses the study, or Docker or the file system refuses.
pub async fn collect_garbage(study: &Study, dry_run: bool) -> Result<Vec<Garbage>, BuildError> {
    let _lock = study.lock()?;
    let docker = Docker::connect().await?;
    gc::clean(&docker, study, dry_run).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::FileKind;

    fn content(files: &[(&str, &str)]) -> Content {
        let files = files
            .iter()
            .map(|(path, sha256)| FileEntry {
                path: (*path).to_owned(),
                kind: FileKind::File,
                bytes: 1,
                sha256: (*sha256).to_owned(),
            })
            .collect();
        Content { digest: String::new(), bytes: 0, files }
    }

    #[test]
    fn files_are_told_apart() {
        let first = content(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let second = content(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let found = difference(&first, &second);
        assert_eq!(found.same, 1);
        assert_eq!(found.changed, ["b"]);
        assert_eq!(found.only_first, ["c"]);
        assert_eq!(found.only_second, ["d"]);
        assert!(!found.is_empty() && difference(&first, &first).is_empty());
    }
}
