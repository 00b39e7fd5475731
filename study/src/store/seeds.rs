//! Seeds, written before they are handed out.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, now};
use crate::Experiment;
use crate::seed::seed_index;

impl Store {
    /// The seed of run `run` of `experiment`, on disk when this returns. Asked again it gives the
    /// same seed, to whichever side of the bug asks.
    ///
    /// # Errors
    /// [`StoreError::SeedConflict`] if another seed is stored for this run, or if writing fails.
    pub fn issue_seed(&self, experiment: &Experiment, run: u32) -> Result<u32, StoreError> {
        let pair = experiment.pair_key();
        let index = seed_index(experiment.seed_policy, run);
        let given = experiment.seed(run);
        let stored = self.transaction(|t| {
            t.execute(
                "INSERT INTO seeds VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![pair, index, given, now()],
            )?;
            t.query_row(
                "SELECT seed FROM seeds WHERE pair_key = ?1 AND seed_index = ?2",
                params![pair, index],
                |row| row.get::<_, u32>(0),
            )
        })?;
        if stored == given {
            Ok(stored)
        } else {
            Err(StoreError::SeedConflict { pair, index, stored, given })
        }
    }

    /// The seed that was issued for a run, if one was.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn issued_seed(
        &self,
        experiment: &Experiment,
        run: u32,
    ) -> Result<Option<u32>, StoreError> {
        let index = seed_index(experiment.seed_policy, run);
        self.with(|c| {
            c.query_row(
                "SELECT seed FROM seeds WHERE pair_key = ?1 AND seed_index = ?2",
                params![experiment.pair_key(), index],
                |row| row.get(0),
            )
            .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    #[test]
    fn both_sides_get_the_seed_that_was_written_first() {
        let (folder, store) = temporary();
        let seed = store.issue_seed(&example(Evaluation::Buggy), 4).unwrap();
        drop(store);
        let store = Store::open(&folder.path().join("study.db")).unwrap();
        let corrected = example(Evaluation::Corrected);
        assert_eq!(store.issued_seed(&corrected, 4).unwrap(), Some(seed));
        assert_eq!(store.issue_seed(&corrected, 4).unwrap(), seed);
        assert_eq!(store.issued_seed(&corrected, 5).unwrap(), None);
    }

    #[test]
    fn another_seed_for_the_same_run_is_a_conflict() {
        let (_folder, store) = temporary();
        let experiment = example(Evaluation::Buggy);
        store.issue_seed(&experiment, 0).unwrap();
        store.with(|c| c.execute("UPDATE seeds SET seed = seed + 1", [])).unwrap();
        let error = store.issue_seed(&experiment, 0).unwrap_err();
        assert!(matches!(error, StoreError::SeedConflict { .. }), "{error}");
    }
}
