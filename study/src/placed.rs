//! Where the runs and builds of each bug go, where there is more than one machine: recorded in the
//! study before a bug's first one begins, since all of them must be made on one class of hardware.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What machines of one class have in common, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Class(pub BTreeMap<String, String>);

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let traits: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&traits.join(" "))
    }
}

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacedError {
    /// It is not what was written.
    #[error("{path}: {source}; remove the file if nothing is run or built yet, else restore it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

/// Where each bug's runs go, as the study's folder has it.
#[derive(Debug)]
pub struct Placed<T> {
    path: PathBuf,
    places: BTreeMap<String, T>,
}

/// Everything that is recorded, by the bug; nothing if there is no record.
///
/// # Errors
/// If the file is damaged or cannot be read.
pub fn recorded<T: DeserializeOwned>(path: &Path) -> Result<BTreeMap<String, T>, PlacedError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| PlacedError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(PlacedError::Io { path: path.to_owned(), source }),
    }
}

impl<T: Serialize + DeserializeOwned + PartialEq + Clone> Placed<T> {
    /// Reads the file, if there is one. What is said of bugs of which nothing is made yet (those not
    /// in `begun`) does not count: nothing of theirs has to be matched.
    ///
    /// # Errors
    /// If the file is damaged or cannot be read.
    pub fn read(path: PathBuf, begun: &BTreeSet<String>) -> Result<Self, PlacedError> {
        let mut places: BTreeMap<String, T> = recorded(&path)?;
        places.retain(|bug, _| begun.contains(bug));
        Ok(Self { path, places })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a bug's runs go.
    pub fn get(&self, bug: &str) -> Option<&T> {
        self.places.get(bug)
    }

    /// The places of all bugs.
    pub fn places(&self) -> impl Iterator<Item = &T> {
        self.places.values()
    }

    /// Records where a bug's runs go; it is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn fix(&mut self, bug: &str, place: &T) -> Result<(), PlacedError> {
        if self.places.get(bug) == Some(place) {
            return Ok(());
        }
        self.places.insert(bug.to_owned(), place.clone());
        let text = serde_json::to_vec_pretty(&self.places)
            .map_err(|source| PlacedError::Damaged { path: self.path.clone(), source })?;
        crate::files::write_whole(&self.path, &text)
            .map_err(|source| PlacedError::Io { path: self.path.clone(), source })
    }
}
