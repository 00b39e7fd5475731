//! The artifacts and failed builds of a study: listed, shown, copied out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use study::{ArtifactId, ArtifactRecord, BugId, Evaluation, Study};

use crate::content::{Content, take_over};
use crate::error::BuildError;
use crate::inspect;
use crate::layout;
use crate::record::BuildRecord;

/// Documents that go with an artifact's files.
const DOCUMENTS: [&str; 3] = ["provenance.json", "content.json", "record.json"];
/// Lines of a log's end that are shown.
const LOG_LINES: usize = 20;

/// One artifact, or a build that gave none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// What the store knows of it.
    #[serde(flatten)]
    pub artifact: ArtifactRecord,
    /// The sides of bugs that it is.
    pub sides: Vec<(BugId, Evaluation)>,
}

/// Every artifact and failed build that a bug of the study wants, by the first bug that does.
///
/// # Errors
/// If the store cannot be read.
pub fn entries(study: &Study) -> Result<Vec<Entry>, BuildError> {
    let mut places: BTreeMap<ArtifactId, usize> = BTreeMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    for (bug, evaluation, artifact) in study.store()?.builds()? {
        let place = *places.entry(artifact.id.clone()).or_insert(entries.len());
        if place == entries.len() {
            entries.push(Entry { artifact, sides: Vec::new() });
        }
        if let Some(entry) = entries.get_mut(place) {
            entry.sides.push((bug, evaluation));
        }
    }
    Ok(entries)
}

/// An artifact or failed build with all that is kept of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Its identity, steps, times, cache and limits.
    pub record: BuildRecord,
    /// The sides of bugs that it is.
    pub sides: Vec<(BugId, Evaluation)>,
    /// Its files, if it is whole.
    pub content: Option<Content>,
    /// Where its provenance statement lies, if it is whole.
    pub provenance: Option<PathBuf>,
    /// Where its compressed log lies.
    pub log: PathBuf,
    /// The end of that log.
    pub log_end: Vec<String>,
}

/// All that is kept of one artifact or failed build.
///
/// # Errors
/// [`BuildError::Request`] if nothing or more than one thing begins with `id`;
/// [`BuildError::Io`] if its files are damaged.
pub fn show(study: &Study, id: &str) -> Result<Shown, BuildError> {
    let id = find(study, id)?;
    let folder = study.artifact_dir(&id);
    let build = study.build_dir(&id);
    let whole = folder.join("record.json").is_file();
    let record = BuildRecord::read(&if whole { &folder } else { &build }.join("record.json"))?;
    let sides = entries(study)?
        .into_iter()
        .find(|entry| entry.artifact.id == id)
        .map(|entry| entry.sides)
        .unwrap_or_default();
    let log = build.join("log.zst");
    let text = crate::log::read_log(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    Ok(Shown {
        record,
        sides,
        content: whole.then(|| inspect::read_content(&folder)).transpose()?,
        provenance: whole.then(|| folder.join("provenance.json")),
        log_end: end.iter().map(|line| (*line).to_owned()).collect(),
        log,
    })
}

/// The artifact or failed build whose identifier begins with `start`.
///
/// # Errors
/// [`BuildError::Request`] if there is none or more than one.
pub fn find(study: &Study, start: &str) -> Result<ArtifactId, BuildError> {
    let mut ids: BTreeSet<ArtifactId> =
        entries(study)?.into_iter().map(|entry| entry.artifact.id).collect();
    for folder in [study.artifacts_dir(), study.root().join("builds")] {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        ids.extend(names.filter_map(|e| ArtifactId::new(e.file_name().to_string_lossy()).ok()));
    }
    let mut found = ids.iter().filter(|id| id.as_str().starts_with(start));
    let request = |text: String| Err(BuildError::Request(text));
    match (found.next(), found.next()) {
        (Some(id), None) if !start.is_empty() => Ok(id.clone()),
        (Some(_), _) => request(format!(
            "more than one artifact's identifier begins with `{start}`; give more of it"
        )),
        (None, _) => request(format!(
            "there is no artifact `{start}`; `reproduceml build list` names all, and the first \
             characters of an identifier are enough"
        )),
    }
}

/// Copies an artifact's files and documents into a folder that must be empty or not be there, and
/// checks the copy against the artifact's digest.
///
/// # Errors
/// [`BuildError::Request`] if there is no such artifact, if it is damaged, or if the folder has
/// something in it.
pub fn export(study: &Study, id: &str, target: &Path) -> Result<Content, BuildError> {
    let id = find(study, id)?;
    let folder = study.artifact_dir(&id);
    let request = |text: String| BuildError::Request(text);
    if !folder.join("record.json").is_file() {
        return Err(request(format!(
            "{} is a build that failed, so there is nothing to export; `reproduceml build show \
             {}` tells why",
            id.short(),
            id.short()
        )));
    }
    let free = fs::read_dir(target).map_or(!target.exists(), |mut all| all.next().is_none());
    if !free {
        return Err(request(format!(
            "{} has something in it; expected an empty folder or a new name",
            target.display()
        )));
    }
    let target = std::path::absolute(target).map_err(BuildError::io(target))?;
    let above = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(above).map_err(BuildError::io(above))?;
    // Whole or not at all: what is copied gets its name last.
    let part = tempfile::Builder::new()
        .prefix(".reproduceml-export-")
        .tempdir_in(above)
        .map_err(BuildError::io(above))?;
    let files = part.path().join("files");
    fs::create_dir(&files).map_err(BuildError::io(&files))?;
    layout::copy_tree(&folder.join("files"), &files)?;
    for name in DOCUMENTS {
        let to = part.path().join(name);
        fs::copy(folder.join(name), &to).map_err(BuildError::io(&to))?;
    }
    let content = Content::of(&files)?;
    let wanted = BuildRecord::read(&folder.join("record.json"))?.content;
    if wanted.as_ref() != Some(&content.digest) {
        return Err(request(format!(
            "the files of {} are not what was built; `reproduceml build verify` names them",
            id.short()
        )));
    }
    take_over(part.path())?;
    // An empty folder gives way to the name.
    let _ = fs::remove_dir(&target);
    fs::rename(part.path(), &target).map_err(BuildError::io(&target))?;
    Ok(content)
}
