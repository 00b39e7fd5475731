//! What an artifact is made of, and the identity that follows from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use study::{ArtifactId, CommitId, Strategy};

/// Everything that decides what an artifact is. Two builds with the same identity are the same
/// build, and the second is never done.
///
/// Its canonical form is its JSON with the fields in this (alphabetical) order and no spaces; the
/// artifact's identifier is the SHA-256 of that text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The commit it is built from; none for a released package.
    pub commit: Option<CommitId>,
    /// SHA-256 of the planted fault's file, if it has one.
    pub fault: Option<String>,
    /// Flags of its build; empty where nothing is compiled.
    pub flags: BTreeMap<String, String>,
    /// The release it is, or that it changes; the key is left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseIdentity>,
    /// `owner/name` of the repository.
    pub repository: String,
    /// How it is made.
    pub strategy: Strategy,
    /// Identity of the toolchain.
    pub toolchain: String,
}

/// A released package in an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseIdentity {
    /// Package and number: `torch 1.13.1`.
    pub name: String,
    /// SHA-256 of the wheel, or over the files that were taken over from the image.
    pub sha256: String,
    /// The fix that is taken back in it; none as released.
    pub without: Option<CommitId>,
}

impl Identity {
    /// The identifier of the artifact.
    #[must_use]
    pub fn id(&self) -> ArtifactId {
        // Maps with text keys and these fields always serialise.
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        ArtifactId::from_digest(Sha256::digest(canonical).into())
    }
}

/// One artifact to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its identifier.
    pub id: ArtifactId,
    /// What it is made of.
    pub identity: Identity,
    /// The planted fault's file, if it has one.
    pub fault: Option<PathBuf>,
    /// The artifact under a planted fault that is made first; none on the image's own package.
    pub base: Option<ArtifactId>,
    /// Where the release lies that it is or changes, if it is made of one.
    pub release: Option<PathBuf>,
    /// The changed files of an overlay: path in the repository, path in the package.
    pub files: Vec<(String, String)>,
    /// Why it is made like this.
    pub reason: String,
    /// Why it cannot be made at all.
    pub refused: Option<String>,
}

impl Job {
    /// The job of an identity.
    #[must_use]
    pub fn new(identity: Identity, fault: Option<PathBuf>, base: Option<ArtifactId>) -> Self {
        Self {
            id: identity.id(),
            identity,
            fault,
            base,
            release: None,
            files: Vec::new(),
            reason: String::new(),
            refused: None,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Identity { strategy, commit, release, .. } = &self.identity;
        if let (Strategy::Fault, Some(file)) = (strategy, &self.fault) {
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
            return format!("fault {}", name.unwrap_or_default());
        }
        match (release, commit) {
            (Some(ReleaseIdentity { name, without: Some(fix), .. }), _) => {
                format!("{strategy} {name} without {}", fix.short())
            }
            (Some(release), _) => format!("{strategy} {}", release.name),
            (None, Some(commit)) => format!("{strategy} {}", commit.short()),
            (None, None) => format!("{strategy} {}", self.identity.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_that_of_the_documented_text() {
        let identity = Identity {
            commit: Some(CommitId::new("1".repeat(40)).unwrap()),
            fault: None,
            release: None,
            flags: BTreeMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
            repository: "tinynn/tinynn".into(),
            strategy: Strategy::Source,
            toolchain: "t".into(),
        };
        let text = format!(
            "{{\"commit\":\"{}\",\"fault\":null,\"flags\":{{\"A\":\"1\",\"B\":\"2\"}},\
             \"repository\":\"tinynn/tinynn\",\"strategy\":\"source\",\"toolchain\":\"t\"}}",
            "1".repeat(40)
        );
        assert_eq!(identity.id().as_str(), study::files::sha256_hex(text.as_bytes()));
        let other = Identity { toolchain: "u".into(), ..identity.clone() };
        assert_ne!(other.id(), identity.id());
        assert_eq!(Job::new(identity, None, None).describe(), "source 111111111111");
    }
}
