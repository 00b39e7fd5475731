//! The store: `study.db`, one SQLite file that keeps what must survive anything.
//!
//! It runs in WAL mode with `synchronous=FULL`: when a method returns, what it was told is on
//! disk. The connection sits behind a mutex, so a `Store` may be shared between threads; other
//! processes may read at the same time.

mod artifacts;
mod counts;
mod experiments;
mod rows;
mod run_record;
mod runs;
mod seeds;
mod sessions;
mod views;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

pub use artifacts::{ArtifactRecord, ArtifactStatus};
pub use counts::{ArtifactUse, RunCounts};
pub use rows::{RowsError, TABLES};
pub use run_record::{EpochRecord, NoRunKey, RunKey, RunRecord, RunStatus};
pub use sessions::{Holder, SessionOutcome, SessionRefusal, SessionWrite};
pub use views::{EpochPoint, ExperimentState, MetricPoint, RunState};

/// What makes each layout of the one before; the first makes an empty store. The number of the
/// last is the layout this program writes.
const LAYOUTS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("{path}: {source}")]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Written by a later program.
    #[error(
        "{path}: the store has layout {found}, this program knows up to {known}; use a newer reproduceml"
    )]
    TooNew {
        /// The store.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest one known.
        known: i64,
    },
    /// Written by an earlier program, and opened for reading alone.
    #[error(
        "{path}: the store has layout {found}, this program reads {known}; `reproduceml --study DIR status` renews it"
    )]
    TooOld {
        /// The store.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The one that is read.
        known: i64,
    },
    /// The disk is full.
    #[error(
        "{path}: the disk is full; make room and call again, nothing that was acknowledged is lost"
    )]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// Something stored is not what it should be.
    #[error("{path}: {what} is damaged: {reason}")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// Which record.
        what: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// A second seed for a run that has one.
    #[error(
        "run {index} of experiment pair {pair} has seed {stored} already and was now given {given}; the derivation or the study changed: use a new study"
    )]
    SeedConflict {
        /// The pair's key.
        pair: String,
        /// Which seed.
        index: u32,
        /// What is stored.
        stored: u32,
        /// What was to be stored.
        given: u32,
    },
    /// A run that is over cannot be written to.
    #[error("{experiment} run {run} is {status} and takes nothing more")]
    RunOver {
        /// The experiment.
        experiment: String,
        /// The run.
        run: u32,
        /// What it is.
        status: &'static str,
    },
}

/// The store of one study.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store at `path`, making it if there is none.
    ///
    /// # Errors
    /// If the file is no store, is from a later program, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self::connect(path, OpenFlags::default())?;
        store.migrate()?;
        Ok(store)
    }

    /// Opens an existing store for reading alone, beside a process that writes.
    ///
    /// # Errors
    /// If there is no store, it is no store, or it has another layout.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::connect(path, flags)?;
        let (found, known) = (store.layout()?, newest_layout());
        if found < known {
            return Err(StoreError::TooOld { path: path.to_owned(), found, known });
        }
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|source| StoreError::Sqlite { path: path.to_owned(), source })?;
        let store = Self { path: path.to_owned(), connection: Mutex::new(connection) };
        store.with(|c| {
            c.busy_timeout(std::time::Duration::from_secs(30))?;
            c.pragma_update(None, "foreign_keys", true)?;
            c.pragma_update(None, "synchronous", "FULL")
        })?;
        Ok(store)
    }

    fn migrate(&self) -> Result<(), StoreError> {
        // The mode is kept in the file; a reader may hold it, then it is WAL already.
        self.with(|c| c.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())))?;
        let found = self.layout()?;
        let todo = usize::try_from(found).ok().and_then(|found| LAYOUTS.get(found..));
        for (step, layout) in todo.unwrap_or_default().iter().enumerate() {
            // Each layout is whole or not there; another process may have made it meanwhile.
            self.transaction(|t| {
                let target = found + 1 + i64::try_from(step).unwrap_or(i64::MAX - found - 1);
                let now: i64 = t.pragma_query_value(None, "user_version", |r| r.get(0))?;
                if now >= target {
                    return Ok(());
                }
                t.execute_batch(layout)?;
                t.pragma_update(None, "user_version", target)
            })?;
        }
        Ok(())
    }

    /// The store's layout, unless it is a later program's.
    fn layout(&self) -> Result<i64, StoreError> {
        let found: i64 = self.with(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))?;
        let known = newest_layout();
        if found > known {
            return Err(StoreError::TooNew { path: self.path.clone(), found, known });
        }
        Ok(found)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves at most an open transaction, which SQLite rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the connection.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.lock()).map_err(|error| self.explain(error))
    }

    /// Runs `work` in a transaction that is committed only if it succeeds.
    pub(crate) fn transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let result = (|| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        result.map_err(|error| self.explain(error))
    }

    fn explain(&self, source: rusqlite::Error) -> StoreError {
        if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            return StoreError::Full { path: self.path.clone() };
        }
        StoreError::Sqlite { path: self.path.clone(), source }
    }

    pub(crate) fn damaged(&self, what: impl Into<String>, reason: impl ToString) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

fn newest_layout() -> i64 {
    i64::try_from(LAYOUTS.len()).unwrap_or(i64::MAX)
}

/// Now, as the store writes times: RFC 3339 in UTC, to the millisecond.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now).to_string()
}

#[cfg(test)]
pub(crate) fn temporary() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("study.db")).expect("a new store");
    (folder, store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    #[test]
    fn a_store_opens_again_and_refuses_the_future() {
        let (folder, store) = temporary();
        drop(store);
        let path = folder.path().join("study.db");
        let store = Store::open(&path).unwrap();
        store.with(|c| c.pragma_update(None, "user_version", 99)).unwrap();
        drop(store);
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("newer reproduceml"), "{error}");
    }

    /// A store as the first layout's program left it: one pair, marked for both kinds of reason.
    fn of_layout_1(path: &Path) {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(LAYOUTS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        for (side, invalid) in [
            (Evaluation::Buggy, "run 3 differs between the sides in hardware.cpu: \"A\" / \"B\""),
            (Evaluation::Corrected, "run 0 was asked for with seed 1, it has 2"),
        ] {
            let experiment = example(side);
            connection
                .execute(
                    "INSERT INTO experiments VALUES (?1, ?2, ?3, ?4, 2, 1, ?5, 'then')",
                    rusqlite::params![
                        experiment.id().as_str(),
                        experiment.bug.as_str(),
                        side.as_str(),
                        serde_json::to_string(&experiment).unwrap(),
                        invalid
                    ],
                )
                .unwrap();
            connection
                .execute(
                    "INSERT INTO runs VALUES (?1, 0, 1, 'finished', 5, 'a', 'b', NULL, '{}', '{}')",
                    [experiment.id().as_str()],
                )
                .unwrap();
        }
    }

    #[test]
    fn a_store_of_the_first_layout_is_renewed_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.db");
        of_layout_1(&path);
        let error = Store::open_read_only(&path).unwrap_err().to_string();
        assert!(error.contains("layout 1"), "{error}");
        let [buggy, corrected] = [Evaluation::Buggy, Evaluation::Corrected].map(example);
        for _ in 0..2 {
            let store = Store::open(&path).unwrap();
            assert_eq!(store.layout().unwrap(), 2);
            assert_eq!(store.active_experiments().unwrap().len(), 2);
            assert_eq!(store.runs(&buggy.id()).unwrap()[0].status, RunStatus::Finished);
            let reason = |e: &crate::Experiment| store.invalid_reason(&e.id()).unwrap().unwrap();
            assert!(reason(&buggy).contains("hardware.cpu"));
            assert!(reason(&corrected).contains("seed 1"));
        }
        // A difference between sides can be mended by another run, a wrong seed cannot.
        let store = Store::open(&path).unwrap();
        for side in [&buggy, &corrected] {
            store.set_unpaired(&side.id(), None).unwrap();
        }
        assert_eq!(store.invalid_reason(&buggy.id()).unwrap(), None);
        assert!(store.invalid_reason(&corrected.id()).unwrap().is_some());
        assert!(Store::open_read_only(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.db");
        std::fs::write(&path, "not a database, but long enough to be looked at as one").unwrap();
        assert!(Store::open(&path).is_err());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
    }
}
