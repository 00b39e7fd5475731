//! What is kept of a build beside the artifact itself: `builds/<id>/record.json`.

use std::collections::BTreeMap;
use std::path::Path;

use containers::ContainerExit;
use serde::{Deserialize, Serialize};
use study::ArtifactId;

use crate::error::BuildError;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::overlay::OverlaidFile;
use crate::submodules::Submodule;

/// A build, however it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The artifact.
    pub id: ArtifactId,
    /// What it is made of.
    pub identity: Identity,
    /// The toolchain's name.
    pub toolchain: String,
    /// Name and digest of the image.
    pub image: ImageRef,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// Seconds in between.
    pub seconds: f64,
    /// How often it was tried in this call, failures of the daemon included.
    pub attempts: u32,
    /// The steps in their order, the smoke test last.
    pub steps: Vec<StepRecord>,
    /// Calls of the compiler that the cache answered or passed on.
    pub cache: CacheUse,
    /// The planted fault's file name, if it has one.
    #[serde(default)]
    pub fault_file: Option<String>,
    /// The tree that was built, as git names it.
    #[serde(default)]
    pub tree: Option<String>,
    /// Its submodules that were filled, at the commits it pins.
    #[serde(default)]
    pub submodules: Vec<Submodule>,
    /// The toolchain's patches that took hold.
    #[serde(default)]
    pub patches: Vec<String>,
    /// Bytes that tree, objects and artifact took together before they were cleared away.
    #[serde(default)]
    pub scratch_bytes: u64,
    /// Why it was made like this: the strategy, and the release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The files of a release that an overlay changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlay: Vec<OverlaidFile>,
    /// The limits it ran under, as text for people.
    pub limits: BTreeMap<String, String>,
    /// The class of machine it was built on: the two sides of a pair must share it.
    pub host: BTreeMap<String, String>,
    /// What the smoke test said.
    #[serde(default)]
    pub smoke: Option<serde_json::Value>,
    /// Why it failed, if it did.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Digest of the artifact's content, if there is one.
    #[serde(default)]
    pub content: Option<String>,
    /// Size of the artifact's content in bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// An image by name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Its name on the daemon.
    pub tag: String,
    /// Digest of its configuration.
    pub id: String,
    /// Digest of the base it was made from.
    pub base: String,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// The line of the log at which its output begins.
    pub first_line: u64,
    /// How its container ended.
    pub exit: ContainerExit,
}

/// What the compiler cache did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    /// Compilations answered from the cache.
    pub hits: u64,
    /// Compilations done.
    pub misses: u64,
}

impl CacheUse {
    /// Counts the log that ccache writes with `CCACHE_STATSLOG`: one word a line for each counter
    /// that a call raised.
    #[must_use]
    pub fn from_stats_log(text: &str) -> Self {
        let count = |words: &[&str]| {
            text.lines().filter(|line| words.contains(&line.trim())).count() as u64
        };
        Self {
            hits: count(&["direct_cache_hit", "preprocessed_cache_hit"]),
            misses: count(&["cache_miss"]),
        }
    }
}

impl CacheUse {
    /// Counts ccache's own log (`CCACHE_LOGFILE`), for versions before 4.3 that know no stats log.
    #[must_use]
    pub fn from_debug_log(text: &str) -> Self {
        let mut used = Self::default();
        for line in text.lines() {
            let Some((_, result)) = line.split_once("Result: ") else { continue };
            match result.trim() {
                "cache hit (direct)"
                | "cache hit (preprocessed)"
                | "direct_cache_hit"
                | "preprocessed_cache_hit" => used.hits += 1,
                "cache miss" | "cache_miss" => used.misses += 1,
                _ => {}
            }
        }
        used
    }
}

impl BuildRecord {
    /// Reads the record of a build.
    ///
    /// # Errors
    /// [`BuildError::Io`] if it is not there or damaged.
    pub fn read(path: &Path) -> Result<Self, BuildError> {
        let bytes = std::fs::read(path).map_err(BuildError::io(path))?;
        serde_json::from_slice(&bytes).map_err(|e| BuildError::io(path)(e.into()))
    }

    /// The record as it is written: JSON for people, with a line end.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_log_is_counted() {
        let text = "# src/a.c\ncache_miss\ndirect_cache_miss\npreprocessed_cache_miss\n\
                    # src/b.c\ndirect_cache_hit\nlocal_storage_hit\n# b\npreprocessed_cache_hit\n";
        assert_eq!(CacheUse::from_stats_log(text), CacheUse { hits: 2, misses: 1 });
        assert_eq!(CacheUse::from_stats_log(""), CacheUse::default());
        let text = "[t 1] Config: (default) stats = true\n[t 1] Result: direct_cache_hit\n\
                    [t 2] Result: cache miss\n[t 3] Result: called for link\n\
                    [t 4] Result: cache hit (preprocessed)\n";
        assert_eq!(CacheUse::from_debug_log(text), CacheUse { hits: 2, misses: 1 });
    }
}
