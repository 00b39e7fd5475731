//! Finding and removing what no result rests on any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::{Study, StudyError};

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prunable {
    /// `artifact`, `build log`, `run folder` or `night`.
    pub what: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why nothing rests on it.
    pub why: &'static str,
}

/// Lists what is older than `keep` and what no result rests on: artifacts and build logs that no
/// bug of the newest build, no planned experiment and no run refers to, folders of runs that the
/// store does not know, and what old nights said.
///
/// Age is that of the folder's last change. What seems to be from the future is kept.
///
/// # Errors
/// If the store or a folder cannot be read.
pub fn prunable(study: &Study, keep: Duration) -> Result<Vec<Prunable>, StudyError> {
    let store = study.store()?;
    let mut needed: BTreeSet<String> = BTreeSet::new();
    needed.extend(store.builds()?.into_iter().map(|(_, _, record)| record.id.to_string()));
    needed.extend(
        store
            .artifact_uses()?
            .into_iter()
            .filter(|used| used.active || used.runs > 0)
            .map(|used| used.artifact.to_string()),
    );
    let known: BTreeSet<String> = store.experiment_ids()?.iter().map(ToString::to_string).collect();

    let old = |path: &Path| {
        let age = path
            .metadata()
            .and_then(|m| m.modified())
            .map(|changed| SystemTime::now().duration_since(changed).unwrap_or(Duration::ZERO));
        age.is_ok_and(|age| age >= keep)
    };
    let mut found = Vec::new();
    let mut collect = |folder: &Path, what, why, rests: &dyn Fn(&str) -> bool| {
        for (name, path) in folders(folder)? {
            // Names with a dot are being written, or are not ours.
            if !name.starts_with('.') && !rests(&name) && old(&path) {
                let bytes = size(&path);
                found.push(Prunable { what, path, bytes, why });
            }
        }
        Ok::<(), StudyError>(())
    };
    let artifact = |name: &str| needed.contains(name) || !is_identity(name);
    let unused = "no bug, experiment or run refers to it";
    collect(&study.artifacts_dir(), "artifact", unused, &artifact)?;
    collect(&study.root().join("builds"), "build log", unused, &artifact)?;
    collect(
        &study.root().join("runs"),
        "run folder",
        "the store knows no such experiment",
        &|name| known.contains(name),
    )?;
    collect(&study.nightly_dir(), "night", "it is old", &|_| false)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Removes one. Its name goes first, so that no half of it is ever taken for the whole.
///
/// # Errors
/// If the file system refuses.
pub fn remove(item: &Prunable) -> Result<(), StudyError> {
    let io = |source| StudyError::Io { path: item.path.clone(), source };
    let name = item.path.file_name().unwrap_or_default().to_string_lossy();
    let going = item.path.with_file_name(format!(".part-{name}"));
    std::fs::rename(&item.path, &going).map_err(io)?;
    std::fs::remove_dir_all(&going).map_err(io)
}

/// Whether a name is the 64 hexadecimal digits of an artifact's identity.
fn is_identity(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, StudyError> {
    let io = |source| StudyError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        // A link is not followed: what it names is not the study's.
        if entry.file_type().map_err(io)?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// Bytes of the files below a folder; what cannot be read counts nothing.
pub fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RunKey;
    use crate::{ArtifactId, Evaluation};

    fn put(path: PathBuf) {
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "12345").unwrap();
    }

    #[test]
    fn only_what_nothing_rests_on_goes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.toml"), crate::config::EXAMPLE).unwrap();
        let study = Study::open(folder.path()).unwrap();
        let store = study.store().unwrap();
        let experiment = crate::experiment::tests::example(Evaluation::Buggy);
        store.plan(&[(experiment.clone(), 1)]).unwrap();
        let key = RunKey { experiment: experiment.id(), run: 0 };
        let seed = store.issue_seed(&experiment, 0).unwrap();
        store.begin_run(&key, seed).unwrap();
        // A later plan retires the experiment, and its run still rests on the artifact.
        let mut later = experiment.clone();
        later.hyperparameters.epochs += 1;
        later.artifact = ArtifactId::from_digest([8; 32]);
        store.plan(&[(later.clone(), 1)]).unwrap();

        let unused = ArtifactId::from_digest([9; 32]);
        for id in [&experiment.artifact, &later.artifact, &unused] {
            put(study.artifact_dir(id));
            put(study.build_dir(id));
        }
        put(study.artifacts_dir().join("notes-of-a-person"));
        put(study.artifacts_dir().join(".part-0123"));
        put(study.run_dir(&key));
        put(study.root().join("runs/pr9-buggy-000000000000/0000"));
        put(study.nightly_dir().join("2026-01-01T000000Z"));
        std::fs::write(study.nightly_dir().join("state.json"), "{}").unwrap();

        assert_eq!(prunable(&study, Duration::from_secs(3600)).unwrap(), [], "all of it is new");
        let found = prunable(&study, Duration::ZERO).unwrap();
        let names: Vec<String> = found
            .iter()
            .map(|p| p.path.strip_prefix(study.root()).unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                format!("artifacts/{unused}"),
                format!("builds/{unused}"),
                "nightly/2026-01-01T000000Z".to_owned(),
                "runs/pr9-buggy-000000000000".to_owned(),
            ]
        );
        assert!(found.iter().all(|item| item.bytes == 5), "{found:?}");
        for item in &found {
            remove(item).unwrap();
        }
        assert_eq!(prunable(&study, Duration::ZERO).unwrap(), []);
        assert!(study.artifact_dir(&experiment.artifact).join("file").exists());
        assert!(study.nightly_dir().join("state.json").exists());
    }
}
