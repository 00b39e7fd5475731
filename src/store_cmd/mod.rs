//! `store`: artifacts, predictions and notes in a store that several machines share, and fetching
//! artifacts for `build` and `run`.

pub mod args;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::anyhow;
use builder::{BuildRecord, Content};
use depot::{Depot, DepotError, Refused};
use serde::Serialize;
use study::{ArtifactId, RunKey, RunStatus, Store, Study};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;
use args::{Part, Parts, StoreArgs, StoreCommand};

/// A folder of the study as the store knows it.
struct Place {
    part: Part,
    /// Its name in the store.
    name: String,
    folder: PathBuf,
    artifact: Option<ArtifactId>,
}

impl Place {
    fn is_here(&self) -> bool {
        match &self.artifact {
            Some(_) => self.folder.join("record.json").is_file(),
            None => self.folder.is_dir(),
        }
    }
}

/// What a call did or found.
#[derive(Debug, Default, Serialize)]
struct Told {
    store: String,
    /// Folders that the study has or refers to.
    folders: usize,
    /// … that are on this machine.
    here: usize,
    /// … that are in the store.
    there: usize,
    /// Folders that this call sent or fetched.
    moved: usize,
    /// Files among them, those that were there already left out.
    files: usize,
    /// Their bytes.
    bytes: u64,
    /// Folders that are nowhere.
    nowhere: Vec<String>,
    /// What is in the store and is not what its name says.
    refused: Vec<Refused>,
}

/// Does what was asked for with the study's store.
pub async fn store(cli: &Cli, args: &StoreArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let depot = Depot::of(&study).map_err(explain)?.ok_or_else(|| {
        Failure::input(anyhow!(
            "study.toml names no store; add [store] with url = \"s3://BUCKET/PREFIX\" or \
             \"file:///FOLDER\" (docs/guide/store.md)"
        ))
    })?;
    let db = study.store()?;
    let (StoreCommand::Push(Parts { parts })
    | StoreCommand::Pull(Parts { parts })
    | StoreCommand::Status(Parts { parts })
    | StoreCommand::Verify(Parts { parts })) = &args.what;
    let places = places(&study, &db, parts)?;
    let mut told = Told {
        store: depot.url().to_owned(),
        folders: places.len(),
        here: places.iter().filter(|place| place.is_here()).count(),
        ..Told::default()
    };
    let there = there(&depot, &study, &places).await.map_err(explain)?;
    told.there = places.iter().filter(|place| there.contains(&place.name)).count();
    let progress = Progress::new();
    let total = places.len() as u64;
    for (done, place) in places.iter().enumerate() {
        progress.count(done as u64, total);
        let is_there = there.contains(&place.name);
        match &args.what {
            _ if !is_there && !place.is_here() => told.nowhere.push(place.name.clone()),
            // Notes may be new ones under the same name.
            StoreCommand::Push(_)
                if place.is_here() && (!is_there || place.part == Part::Notes) =>
            {
                let pushed = depot.push(&place.name, &place.folder).await.map_err(explain)?;
                told.moved += usize::from(!is_there || pushed.sent > 0);
                told.files += pushed.sent;
                told.bytes += pushed.bytes;
            }
            StoreCommand::Pull(_) if is_there && !place.is_here() => {
                match pull(&depot, place).await {
                    Ok(Some(pulled)) => {
                        told.moved += 1;
                        told.files += pulled.fetched;
                        told.bytes += pulled.bytes;
                    }
                    Ok(None) => told.nowhere.push(place.name.clone()),
                    Err(DepotError::Corrupt { object, reason, .. }) => {
                        told.refused.push(Refused { object, reason });
                    }
                    Err(error) => return Err(explain(error)),
                }
            }
            StoreCommand::Verify(_) if is_there => {
                told.refused.extend(depot.verify(&place.name).await.map_err(explain)?);
            }
            _ => {}
        }
    }
    drop(progress);
    print(cli, &told)?;
    if told.refused.is_empty() {
        return Ok(());
    }
    Err(Failure::stage(anyhow!(
        "{} objects in {} were changed since they were put there and are not used; remove them \
         there, and push again from a machine that has them",
        told.refused.len(),
        told.store
    )))
}

fn print(cli: &Cli, told: &Told) -> Result<(), Failure> {
    let mut rows = Rows::new(&["what", "result"]);
    rows.push(["store", &told.store]);
    for (what, count) in [
        ("folders of the study", told.folders),
        ("here before", told.here),
        ("there before", told.there),
        ("moved", told.moved),
        ("files sent or fetched", told.files),
    ] {
        rows.push([what, &count.to_string()]);
    }
    rows.push(["bytes sent or fetched", &told.bytes.to_string()]);
    for name in &told.nowhere {
        rows.push(["nowhere", name]);
    }
    for refused in &told.refused {
        rows.push(["CHANGED", &format!("{}: {}", refused.object, refused.reason)]);
    }
    output::print(cli.format, told, &rows)
}

/// The study's folders that a store keeps, whether they are here or not.
fn places(study: &Study, store: &Store, parts: &[Part]) -> Result<Vec<Place>, Failure> {
    let wanted = |part: Part| parts.is_empty() || parts.contains(&part);
    let mut all = Vec::new();
    if wanted(Part::Artifacts) {
        let mut ids: BTreeSet<ArtifactId> = BTreeSet::new();
        let builds = store.builds()?.into_iter();
        ids.extend(builds.filter(|(_, _, r)| r.is_built()).map(|(_, _, record)| record.id));
        for used in store.artifact_uses()? {
            if store.artifact(&used.artifact)?.is_some_and(|record| record.is_built()) {
                ids.insert(used.artifact);
            }
        }
        all.extend(ids.into_iter().map(|id| artifact(study, id)));
    }
    let own = format!("studies/{}", own_name(&study.config.study.name));
    if wanted(Part::Predictions) {
        for experiment in store.experiment_ids()? {
            for run in store.run_states(&experiment)? {
                let key = RunKey { experiment: experiment.clone(), run: run.key.run };
                if run.status == RunStatus::Finished && !store.prediction_digests(&key)?.is_empty()
                {
                    all.push(Place {
                        part: Part::Predictions,
                        name: format!("{own}/runs/{experiment}/{:04}", key.run),
                        folder: study.run_dir(&key).join("predictions"),
                        artifact: None,
                    });
                }
            }
        }
    }
    if wanted(Part::Notes) {
        all.push(Place {
            part: Part::Notes,
            name: format!("{own}/notes"),
            folder: study.notes_dir(),
            artifact: None,
        });
    }
    Ok(all)
}

fn artifact(study: &Study, id: ArtifactId) -> Place {
    Place {
        part: Part::Artifacts,
        name: format!("artifacts/{id}"),
        folder: study.artifact_dir(&id),
        artifact: Some(id),
    }
}

/// A study's name as one part of a path.
fn own_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let name: String = name.chars().map(keep).collect();
    if name.is_empty() { "study".to_owned() } else { name }
}

/// The folders that are in the store, of those that may be asked for.
async fn there(
    depot: &Depot,
    study: &Study,
    places: &[Place],
) -> Result<BTreeSet<String>, DepotError> {
    let mut found = BTreeSet::new();
    let own = format!("studies/{}", own_name(&study.config.study.name));
    for (under, needed) in [
        ("artifacts", places.iter().any(|place| place.artifact.is_some())),
        (own.as_str(), places.iter().any(|place| place.artifact.is_none())),
    ] {
        if needed {
            found.extend(depot.list(under).await?);
        }
    }
    Ok(found)
}

/// Fetches a folder; an artifact only if it is the one that it says it is.
async fn pull(depot: &Depot, place: &Place) -> Result<Option<depot::Pulled>, DepotError> {
    let Some(id) = &place.artifact else { return depot.pull(&place.name, &place.folder).await };
    let above = place.folder.parent().unwrap_or(Path::new("."));
    let io = |source| DepotError::Io { path: above.to_owned(), source };
    std::fs::create_dir_all(above).map_err(io)?;
    // What is not proven yet must not lie under the artifact's name.
    let part = tempfile::Builder::new().prefix(".part-").tempdir_in(above).map_err(io)?;
    let folder = part.path().join("artifact");
    let Some(pulled) = depot.pull(&place.name, &folder).await? else { return Ok(None) };
    let corrupt = |reason: String| DepotError::Corrupt {
        url: depot.url().to_owned(),
        object: format!("trees/{}", place.name),
        reason,
    };
    let record =
        BuildRecord::read(&folder.join("record.json")).map_err(|e| corrupt(e.to_string()))?;
    let content = Content::of(&folder.join("files")).map_err(|e| corrupt(e.to_string()))?;
    if record.id != *id || record.content.as_ref() != Some(&content.digest) {
        return Err(corrupt("it is another artifact than its name says".to_owned()));
    }
    match std::fs::rename(&folder, &place.folder) {
        // Another process was first, with the same.
        Err(_) if place.is_here() => {}
        other => other.map_err(io)?,
    }
    Ok(Some(pulled))
}

fn explain(error: DepotError) -> Failure {
    match error {
        DepotError::Corrupt { .. } => Failure::stage(error),
        error if error.is_missing() => Failure::missing(error),
        error => Failure::input(error),
    }
}

/// Fetches the artifacts that are not on this machine from the study's store, if it has one that
/// has them.
pub async fn fetch_missing(
    study: &Study,
    ids: impl Iterator<Item = &ArtifactId>,
) -> Result<(), Failure> {
    let missing: BTreeSet<&ArtifactId> =
        ids.filter(|id| !study.artifact_dir(id).join("record.json").is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(depot) = Depot::of(study).map_err(explain)? else { return Ok(()) };
    for id in missing {
        if let Some(pulled) = pull(&depot, &artifact(study, id.clone())).await.map_err(explain)? {
            eprintln!("{} fetched from {}, {} files", id.short(), depot.url(), pulled.files);
        }
    }
    Ok(())
}

/// The study's store as `build` looks into it before it makes anything.
#[derive(Debug)]
pub struct Shared(Depot);

impl Shared {
    /// The store of study.toml, if there is one.
    pub fn of(study: &Study) -> Result<Option<Self>, Failure> {
        Ok(Depot::of(study).map_err(explain)?.map(Self))
    }
}

impl builder::Elsewhere for Shared {
    fn obtain<'a>(
        &'a self,
        study: &'a Study,
        id: &'a ArtifactId,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(async move {
            let place = artifact(study, id.clone());
            let pulled = pull(&self.0, &place).await.map_err(|error| error.to_string())?;
            Ok(pulled.is_some())
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_studys_name_is_one_part_of_a_path() {
        for (name, own) in [("quick-tinynn", "quick-tinynn"), ("../a/b", "---a-b"), ("", "study")] {
            assert_eq!(super::own_name(name), own);
        }
    }
}
