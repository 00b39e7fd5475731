//! Where the runs of each bug go, where there is more than one machine: recorded in the study before
//! a bug's first run begins, since all of its runs must be made on the same class of hardware.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What machines of one class have in common, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Class(pub(super) BTreeMap<String, String>);

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let traits: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&traits.join(" "))
    }
}

/// Why the record cannot be used.
#[derive(Debug)]
pub(super) enum PlacedError {
    /// It is not what was written.
    Damaged { path: PathBuf, source: serde_json::Error },
    /// It cannot be read or written.
    Io { path: PathBuf, source: std::io::Error },
}

/// Where each bug's runs go, as the study's folder has it.
#[derive(Debug)]
pub(super) struct Placed<T> {
    path: PathBuf,
    places: BTreeMap<String, T>,
}

impl<T: Serialize + DeserializeOwned + PartialEq + Clone> Placed<T> {
    /// Reads the file, if there is one. What is said of bugs that have no run yet (those not in
    /// `begun`) does not count: nothing of theirs has to be matched.
    pub(super) fn read(path: PathBuf, begun: &BTreeSet<String>) -> Result<Self, PlacedError> {
        let mut places: BTreeMap<String, T> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| PlacedError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(PlacedError::Io { path, source }),
        };
        places.retain(|bug, _| begun.contains(bug));
        Ok(Self { path, places })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a bug's runs go.
    pub(super) fn get(&self, bug: &str) -> Option<&T> {
        self.places.get(bug)
    }

    /// The places of all bugs.
    pub(super) fn places(&self) -> impl Iterator<Item = &T> {
        self.places.values()
    }

    /// Records where a bug's runs go; it is on disk when this returns.
    pub(super) fn fix(&mut self, bug: &str, place: &T) -> Result<(), PlacedError> {
        if self.places.get(bug) == Some(place) {
            return Ok(());
        }
        self.places.insert(bug.to_owned(), place.clone());
        let text = serde_json::to_vec_pretty(&self.places)
            .map_err(|source| PlacedError::Damaged { path: self.path.clone(), source })?;
        study::files::write_whole(&self.path, &text)
            .map_err(|source| PlacedError::Io { path: self.path.clone(), source })
    }
}
