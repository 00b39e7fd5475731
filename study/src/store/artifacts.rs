//! Artifacts and builds that failed: both are results.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, now};
use crate::{ArtifactId, BugId, CommitId, Evaluation, Strategy};

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ArtifactStatus {
    /// It is whole, passed its smoke test and lies under its identity.
    Built {
        /// SHA-256 over its files' paths and contents.
        content: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// It could not be made.
    Failed {
        /// `checkout`, `configure`, `compile`, `link`, `package`, `import`, `out-of-memory`,
        /// `out-of-disk`, `timeout`, ….
        class: String,
        /// The first line that tells why.
        line: String,
    },
}

/// One artifact, made or failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// Its identity.
    pub id: ArtifactId,
    /// `owner/name` of the repository.
    pub repository: String,
    /// The commit it was made of; none for a release.
    pub commit: Option<CommitId>,
    /// The toolchain's name.
    pub toolchain: String,
    /// The toolchain's identity.
    pub toolchain_digest: String,
    /// The image it was built in and runs in, as the Docker daemon names it.
    pub image: String,
    /// How it was made.
    pub strategy: Strategy,
    /// The planted fault's file name, if it has one.
    pub fault: Option<String>,
    /// How it ended.
    pub status: ArtifactStatus,
    /// Seconds it took.
    pub seconds: f64,
}

impl ArtifactRecord {
    /// Whether there is an artifact.
    pub fn is_built(&self) -> bool {
        matches!(self.status, ArtifactStatus::Built { .. })
    }
}

impl Store {
    /// Records how a build ended, in place of how it ended before.
    ///
    /// # Errors
    /// If writing fails.
    pub fn put_artifact(&self, record: &ArtifactRecord) -> Result<(), StoreError> {
        let json = serde_json::to_string(record).map_err(|e| self.damaged("artifact", e))?;
        self.with(|c| {
            c.execute(
                "INSERT INTO artifacts VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = ?2, recorded_at = ?3",
                params![record.id.as_str(), json, now()],
            )
        })?;
        Ok(())
    }

    /// One artifact's record.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn artifact(&self, id: &ArtifactId) -> Result<Option<ArtifactRecord>, StoreError> {
        let json: Option<String> = self.with(|c| {
            c.query_row("SELECT record FROM artifacts WHERE id = ?1", [id.as_str()], |r| r.get(0))
                .optional()
        })?;
        json.map(|json| {
            serde_json::from_str(&json).map_err(|e| self.damaged(format!("artifact {id}"), e))
        })
        .transpose()
    }

    /// Says which artifact (or failed build) is this side of this bug.
    ///
    /// # Errors
    /// If the artifact is unknown or writing fails.
    pub fn assign_artifact(
        &self,
        bug: &BugId,
        evaluation: Evaluation,
        artifact: &ArtifactId,
    ) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "INSERT INTO builds VALUES (?1, ?2, ?3)
                 ON CONFLICT (bug, evaluation) DO UPDATE SET artifact = ?3",
                params![bug.as_str(), evaluation.as_str(), artifact.as_str()],
            )
        })?;
        Ok(())
    }

    /// Takes back what [`assign_artifact`](Self::assign_artifact) said of a side. The artifact
    /// itself stays.
    ///
    /// # Errors
    /// If writing fails.
    pub fn withdraw_artifact(&self, bug: &BugId, evaluation: Evaluation) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "DELETE FROM builds WHERE bug = ?1 AND evaluation = ?2",
                params![bug.as_str(), evaluation.as_str()],
            )
        })?;
        Ok(())
    }

    /// Every side of every bug that was built or tried, by bug and evaluation.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn builds(&self) -> Result<Vec<(BugId, Evaluation, ArtifactRecord)>, StoreError> {
        let rows: Vec<(String, String, String)> = self.with(|c| {
            c.prepare(
                "SELECT bug, evaluation, record FROM builds JOIN artifacts ON id = artifact
                 ORDER BY bug, evaluation",
            )?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect()
        })?;
        rows.into_iter()
            .map(|(bug, evaluation, record)| {
                let what = || format!("the build of {bug} {evaluation}");
                Ok((
                    BugId::new(bug.clone()).map_err(|e| self.damaged(what(), e))?,
                    evaluation.parse().map_err(|e| self.damaged(what(), e))?,
                    serde_json::from_str(&record).map_err(|e| self.damaged(what(), e))?,
                ))
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::temporary;
    use super::*;

    pub(crate) fn record(byte: u8, status: ArtifactStatus) -> ArtifactRecord {
        ArtifactRecord {
            id: ArtifactId::from_digest([byte; 32]),
            repository: "tinynn/tinynn".into(),
            commit: None,
            toolchain: "debian-bookworm-tinynn".into(),
            toolchain_digest: "t".into(),
            image: "sha256:i".into(),
            strategy: Strategy::Source,
            fault: None,
            status,
            seconds: 1.5,
        }
    }

    pub(crate) fn built() -> ArtifactStatus {
        ArtifactStatus::Built { content: "c".into(), bytes: 10 }
    }

    #[test]
    fn a_second_try_replaces_the_first() {
        let (_folder, store) = temporary();
        let bug = BugId::of_pull_request(1);
        let failed =
            ArtifactStatus::Failed { class: "compile".into(), line: "x.c:1: error".into() };
        let first = record(1, failed);
        store.put_artifact(&first).unwrap();
        store.assign_artifact(&bug, Evaluation::Buggy, &first.id).unwrap();
        store.put_artifact(&record(1, built())).unwrap();
        let builds = store.builds().unwrap();
        assert_eq!(builds.len(), 1);
        assert!(builds[0].2.is_built());
        assert_eq!(store.artifact(&first.id).unwrap().unwrap(), builds[0].2);
    }

    #[test]
    fn a_side_needs_a_known_artifact() {
        let (_folder, store) = temporary();
        let unknown = ArtifactId::from_digest([9; 32]);
        let bug = BugId::of_pull_request(1);
        assert!(store.assign_artifact(&bug, Evaluation::Buggy, &unknown).is_err());
    }
}
