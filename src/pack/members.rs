//! What goes into a pack. Only what is named here does: a study's folder may hold anything else,
//! tokens and keys among it.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::anyhow;
use builder::{Content, FileKind};
use packing::Source;
use study::{RunKey, RunStatus, Store, Study};

use super::args::PackArgs;
use super::tables;
use crate::failure::Failure;
use crate::home::Home;

/// Names of the environment whose values must never leave this machine.
const SECRETS: [&str; 5] = [
    "REPRODUCEML_TOKEN",
    "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
];

/// A secret shorter than this is no secret, and would be found everywhere.
const SHORTEST_SECRET: usize = 12;

/// What goes into a pack, and what there is to say about it.
pub struct Gathered {
    pub members: Vec<(String, Source)>,
    pub notes: Vec<String>,
}

struct Gatherer<'a> {
    study: &'a Study,
    members: Vec<(String, Source)>,
    notes: Vec<String>,
}

/// Lists the members; rows are written below `scratch`.
pub fn gather(
    study: &Study,
    store: &Store,
    args: &PackArgs,
    scratch: &Path,
) -> Result<Gathered, Failure> {
    let mut gatherer = Gatherer { study, members: Vec::new(), notes: Vec::new() };
    gatherer.definition()?;
    gatherer.rows(store, scratch)?;
    gatherer.builds(store, args.artifacts)?;
    if args.predictions {
        gatherer.predictions(store)?;
    }
    for (name, bytes) in tables::of_a_current_study(study, store)? {
        gatherer.members.retain(|(there, _)| *there != name);
        gatherer.members.push((name, Source::Bytes(bytes)));
    }
    gatherer.look_for_secrets()?;
    Ok(Gathered { members: gatherer.members, notes: gatherer.notes })
}

impl Gatherer<'_> {
    /// Takes a file of the study along, if there is one.
    fn file(&mut self, name: &str) -> bool {
        let path = self.study.root().join(name);
        // A link would be refused; where there is nothing, there is nothing to take.
        let there = path.symlink_metadata().is_ok();
        if there {
            self.members.push((name.to_owned(), Source::File(path)));
        }
        there
    }

    fn definition(&mut self) -> Result<(), Failure> {
        let config = &self.study.config;
        if let Some(clone) = &config.framework.clone
            && holds_a_password(clone)
        {
            return Err(Failure::input(anyhow!(
                "study.toml: the address in `framework.clone` holds a user's name or password, \
                 which would go into the pack; leave it to git's credential helper and take it out"
            )));
        }
        for name in [
            "study.toml",
            "labels.csv",
            "corpus/bugs.jsonl",
            "corpus/bugs.csv",
            "corpus/bugs.parquet",
            "corpus/selection.jsonl",
            "reach/findings.jsonl",
            "own-tests/findings.jsonl",
            "design/design.json",
            "design/looks.jsonl",
        ] {
            self.file(name);
        }
        // The runs from which follows what the own tests showed.
        for found in study::own_tests::read(self.study).map_err(Failure::input)? {
            self.file(&crate::own_tests::name(&found.bug));
        }
        if let Some(source) = &config.model.source {
            self.named("model.source", source);
        }
        let home = Home::find().ok();
        for fault in &config.faults {
            let name = format!("faults/{}", fault.file);
            if packing::path::check(&name).is_err() || self.file(&name) {
                continue;
            }
            let shipped = home.as_ref().map(|home| home.faults().join(&fault.file));
            if let Some(path) = shipped.filter(|path| path.is_file()) {
                self.members.push((name, Source::File(path)));
            }
        }
        // A fault may be named twice, and the model may be one of these files.
        self.members.sort_by(|a, b| a.0.cmp(&b.0));
        self.members.dedup_by(|a, b| a.0 == b.0);
        Ok(())
    }

    /// Takes a file along that study.toml names.
    fn named(&mut self, key: &str, path: &str) {
        if packing::path::check(path).is_err() {
            let note = format!("{key} lies outside the study and is not packed: {path}");
            self.notes.push(note);
        } else if !self.file(path) {
            self.notes.push(format!("{key} is not there and so not packed: {path}"));
        }
    }

    fn rows(&mut self, store: &Store, scratch: &Path) -> Result<(), Failure> {
        let cannot = |error| Failure::missing(anyhow!("{}: {error}", scratch.display()));
        let mut files = BTreeMap::new();
        for table in study::store::TABLES {
            let path = scratch.join(format!("{table}.jsonl"));
            let file = std::fs::File::create(&path).map_err(cannot)?;
            files.insert(table, BufWriter::new(file));
            self.members.push((format!("rows/{table}.jsonl"), Source::File(path)));
        }
        store
            .export_rows(|table, line| match files.get_mut(table) {
                Some(file) => writeln!(file, "{line}"),
                None => Ok(()),
            })
            .map_err(Failure::missing)?;
        files.into_values().try_for_each(|mut file| file.flush()).map_err(cannot)
    }

    fn builds(&mut self, store: &Store, files: bool) -> Result<(), Failure> {
        let mut ids: Vec<_> = store.builds()?.into_iter().map(|(_, _, record)| record.id).collect();
        ids.extend(store.artifact_uses()?.into_iter().map(|used| used.artifact));
        ids.sort();
        ids.dedup();
        for id in ids {
            self.file(&format!("builds/{id}/record.json"));
            self.file(&format!("artifacts/{id}/record.json"));
            self.file(&format!("artifacts/{id}/provenance.json"));
            let folder = self.study.artifact_dir(&id).join("files");
            if !files {
                continue;
            }
            if !folder.is_dir() {
                self.notes.push(format!("artifact {} is not in this study", id.short()));
                continue;
            }
            for entry in Content::of(&folder).map_err(Failure::input)?.files {
                let path = folder.join(&entry.path);
                let source = match entry.kind {
                    FileKind::File => Source::File(path),
                    FileKind::Executable => Source::Executable(path),
                    FileKind::Link => {
                        let target = std::fs::read_link(&path)
                            .map_err(|error| Failure::missing(anyhow!("{error}")))?;
                        Source::Link(target.to_string_lossy().into_owned())
                    }
                };
                self.members.push((format!("artifacts/{id}/files/{}", entry.path), source));
            }
        }
        Ok(())
    }

    fn predictions(&mut self, store: &Store) -> Result<(), Failure> {
        let mut missing = 0_usize;
        for id in store.experiment_ids()? {
            for run in store.run_states(&id)? {
                if run.status != RunStatus::Finished {
                    continue;
                }
                let key = RunKey { experiment: id.clone(), run: run.key.run };
                for (split, digest) in store.prediction_digests(&key)? {
                    let path = server::predictions_file(&self.study.run_dir(&key), &split, &digest);
                    let name = path.strip_prefix(self.study.root()).ok().and_then(Path::to_str);
                    match name.map(str::to_owned) {
                        Some(name) if self.file(&name) => {}
                        _ => missing += 1,
                    }
                }
            }
        }
        if missing > 0 {
            self.notes
                .push(format!("predictions of {missing} splits of runs are not in the study"));
        }
        Ok(())
    }

    /// Refuses if a secret of this process's environment is in a text, and says which texts name
    /// folders of this machine.
    fn look_for_secrets(&mut self) -> Result<(), Failure> {
        let value = |name: &str| std::env::var(name).ok().filter(|v| v.len() >= SHORTEST_SECRET);
        let secrets: Vec<(&str, String)> =
            SECRETS.iter().filter_map(|name| Some((*name, value(name)?))).collect();
        let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
        let own = self.study.root().display().to_string();
        let mut telling = Vec::new();
        for (name, source) in &self.members {
            // What was built, and what was predicted, is not text.
            if name.contains("/files/") || name.starts_with("runs/") {
                continue;
            }
            let read;
            let bytes: &[u8] = match source {
                Source::Bytes(bytes) => bytes,
                Source::File(path) | Source::Executable(path) => {
                    read = std::fs::read(path).unwrap_or_default();
                    &read
                }
                Source::Link(_) => continue,
            };
            let text = String::from_utf8_lossy(bytes);
            if let Some((secret, _)) = secrets.iter().find(|(_, value)| text.contains(value)) {
                return Err(Failure::input(anyhow!(
                    "{name} holds the value of {secret}, which must not leave this machine; \
                     take it out, and get a new one if others could read that file"
                )));
            }
            if text.contains(&own) || home.as_ref().is_some_and(|home| text.contains(home)) {
                telling.push(name.as_str());
            }
        }
        if !telling.is_empty() {
            let note = format!("folders of this machine are named in {}", telling.join(", "));
            self.notes.push(note);
        }
        Ok(())
    }
}

/// Whether an address has a part that says who asks: `https://USER:PASSWORD@host/…`.
pub fn holds_a_password(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    // `ssh://git@host` names the account that everyone uses.
    host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') || scheme.starts_with("http"))
}

#[cfg(test)]
mod tests {
    use super::holds_a_password;

    #[test]
    fn passwords_in_addresses_are_seen() {
        for address in ["https://me:word@host/a", "https://token@host/a", "ssh://me:word@host/a"] {
            assert!(holds_a_password(address), "{address}");
        }
        for address in ["https://host/a@b", "ssh://git@host/a", "git@host:a/b", "../clone", "a@b:c"]
        {
            assert!(!holds_a_password(address), "{address}");
        }
    }
}
