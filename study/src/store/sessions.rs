//! What a training client's session writes, many sessions in one transaction.
//!
//! Who holds a run is part of the store, so that it outlives the server: every write names its
//! holder, and a holder that lost its run can change nothing more. Each write may come twice,
//! since a client that lost an answer asks again; the second time it changes nothing.

mod words;

use rusqlite::{OptionalExtension, Transaction, params};

pub use words::{Holder, SessionOutcome, SessionRefusal, SessionWrite};

use super::{EpochRecord, RunKey, Store, StoreError, now};

/// A refusal or SQLite's own error, inside a transaction.
enum Stop {
    Refused(SessionRefusal),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Applied = Result<SessionOutcome, Stop>;

impl Store {
    /// Applies many sessions' writes in their order and syncs once; a refused one leaves the
    /// others alone. When this returns, all that was stored is on disk.
    ///
    /// # Errors
    /// [`StoreError`] when nothing at all could be written. A write's own refusal is its entry.
    pub fn apply_session_writes(
        &self,
        writes: &[(Holder, SessionWrite)],
    ) -> Result<Vec<Result<SessionOutcome, SessionRefusal>>, StoreError> {
        self.transaction(|t| {
            let mut outcomes = Vec::with_capacity(writes.len());
            for (holder, write) in writes {
                t.execute_batch("SAVEPOINT session_write")?;
                let applied = apply(t, holder, write);
                if applied.is_err() {
                    t.execute_batch("ROLLBACK TO session_write")?;
                }
                t.execute_batch("RELEASE session_write")?;
                outcomes.push(match applied {
                    Ok(outcome) => Ok(outcome),
                    Err(Stop::Refused(refusal)) => Err(refusal),
                    Err(Stop::Sqlite(error)) => return Err(error),
                });
            }
            Ok(outcomes)
        })
    }

    /// The digests of arrays that a run's client acknowledged, by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn acknowledged_arrays(&self, key: &RunKey) -> Result<Vec<(String, String)>, StoreError> {
        self.with(|c| {
            c.prepare_cached(
                "SELECT name, digest FROM session_arrays
                 WHERE experiment = ?1 AND run = ?2 ORDER BY name",
            )?
            .query_map(params![key.experiment.as_str(), key.run], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect()
        })
    }
}

fn apply(t: &Transaction<'_>, holder: &Holder, write: &SessionWrite) -> Applied {
    let Holder { key, name } = holder;
    if let SessionWrite::Claim { issued, seed, expired } = write {
        return claim(t, holder, *issued, *seed, *expired);
    }
    let state: Option<(String, String)> = t
        .prepare_cached(
            "SELECT status, holder FROM runs JOIN sessions USING (experiment, run)
             WHERE experiment = ?1 AND run = ?2",
        )?
        .query_row(params![key.experiment.as_str(), key.run], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((status, _)) = state.filter(|(_, of)| of == name) else {
        return refuse(SessionRefusal::Lost(key.clone()));
    };
    match (status.as_str(), write) {
        ("running", _) => {}
        ("finished", SessionWrite::Finish { .. }) | ("failed", SessionWrite::Fail { .. }) => {
            return Ok(SessionOutcome::Known);
        }
        // What failed after its results were accepted keeps them.
        ("finished", SessionWrite::Fail { .. }) => return Ok(SessionOutcome::Known),
        _ => {
            let what = format!("the run is {status} and takes nothing more");
            return refuse(SessionRefusal::OutOfTurn(key.clone(), what));
        }
    }
    match write {
        SessionWrite::Claim { .. } => Ok(SessionOutcome::Known),
        SessionWrite::Acknowledge { array, digest } => {
            let before = text(t, "SELECT digest FROM session_arrays", "name", key, array)?;
            once(
                key,
                || format!("array {array}"),
                before.as_ref(),
                digest,
                || {
                    t.prepare_cached("INSERT INTO session_arrays VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![key.experiment.as_str(), key.run, array, digest])
                },
            )
        }
        SessionWrite::Manifest(manifest) => {
            let manifest = manifest.to_string();
            let before: Option<String> = t
                .prepare_cached("SELECT manifest FROM runs WHERE experiment = ?1 AND run = ?2")?
                .query_row(params![key.experiment.as_str(), key.run], |r| r.get(0))?;
            once(
                key,
                || "the manifest".into(),
                before.as_ref(),
                &manifest,
                || {
                    t.prepare_cached(
                        "UPDATE runs SET manifest = ?3 WHERE experiment = ?1 AND run = ?2",
                    )?
                    .execute(params![
                        key.experiment.as_str(),
                        key.run,
                        manifest
                    ])
                },
            )
        }
        SessionWrite::Epoch(epoch) => put_epoch(t, key, epoch),
        SessionWrite::Metrics { split, digest, metrics, details } => {
            let before = text(t, "SELECT digest FROM predictions", "split", key, split)?;
            once(
                key,
                || format!("predictions for {split}"),
                before.as_ref(),
                digest,
                || {
                    let id = key.experiment.as_str();
                    t.prepare_cached("INSERT INTO predictions VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![id, key.run, split, digest])?;
                    for (metric, value) in metrics {
                        t.prepare_cached("INSERT INTO metrics VALUES (?1, ?2, ?3, ?4, ?5)")?
                            .execute(params![id, key.run, split, metric, value])?;
                    }
                    t.prepare_cached("INSERT INTO session_details VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![id, key.run, split, details.to_string()])
                },
            )
        }
        SessionWrite::Finish { epochs, splits, timings } => {
            finish(t, key, *epochs, splits, timings)
        }
        SessionWrite::Fail { reason } => {
            t.prepare_cached(
                "UPDATE runs SET status = 'failed', finished_at = ?3, reason = ?4
                 WHERE experiment = ?1 AND run = ?2",
            )?
            .execute(params![key.experiment.as_str(), key.run, now(), reason])?;
            Ok(SessionOutcome::Stored)
        }
    }
}

fn refuse(refusal: SessionRefusal) -> Applied {
    Err(Stop::Refused(refusal))
}

fn claim(t: &Transaction<'_>, holder: &Holder, issued: u64, seed: u32, expired: bool) -> Applied {
    let Holder { key, name } = holder;
    let at = params![key.experiment.as_str(), key.run];
    let run: Option<(String, u32)> = t
        .prepare_cached("SELECT status, attempt FROM runs WHERE experiment = ?1 AND run = ?2")?
        .query_row(at, |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let session: Option<(String, i64)> = t
        .prepare_cached("SELECT holder, issued FROM sessions WHERE experiment = ?1 AND run = ?2")?
        .query_row(at, |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let issued = i64::try_from(issued).unwrap_or(i64::MAX);
    let attempt = match (&run, &session) {
        (Some((_, attempt)), Some((of, _))) if of == name => {
            return Ok(SessionOutcome::Claimed { attempt: *attempt, resumed: true });
        }
        (Some((status, _)), _) if status == "finished" => {
            return refuse(SessionRefusal::Finished(key.clone()));
        }
        (_, Some((_, newest))) if issued < *newest => {
            return refuse(SessionRefusal::Superseded(key.clone()));
        }
        (Some((status, _)), Some((_, newest)))
            if status == "running" && issued == *newest && !expired =>
        {
            return refuse(SessionRefusal::Held(key.clone()));
        }
        (Some((_, attempt)), _) => attempt + 1,
        (None, _) => 1,
    };
    // What the earlier attempt sent goes with its row.
    t.execute("DELETE FROM runs WHERE experiment = ?1 AND run = ?2", at)?;
    t.execute(
        "INSERT INTO runs (experiment, run, attempt, status, seed, started_at)
         VALUES (?1, ?2, ?3, 'running', ?4, ?5)",
        params![key.experiment.as_str(), key.run, attempt, seed, now()],
    )?;
    t.execute(
        "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4)",
        params![key.experiment.as_str(), key.run, name, issued],
    )?;
    Ok(SessionOutcome::Claimed { attempt, resumed: false })
}

fn put_epoch(t: &Transaction<'_>, key: &RunKey, epoch: &EpochRecord) -> Applied {
    let id = key.experiment.as_str();
    let loss = epoch.loss_bits.map(|bits| format!("{bits:016x}"));
    let before: Option<(Option<String>, String)> = t
        .prepare_cached(
            "SELECT loss_bits, digest FROM epochs
             WHERE experiment = ?1 AND run = ?2 AND epoch = ?3",
        )?
        .query_row(params![id, key.run, epoch.epoch], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    if let Some(before) = before {
        let now = (loss, epoch.digest.clone());
        return once(key, || format!("epoch {}", epoch.epoch), Some(&before), &now, || Ok(0));
    }
    let next: u32 = t
        .prepare_cached(
            "SELECT coalesce(max(epoch) + 1, 0) FROM epochs WHERE experiment = ?1 AND run = ?2",
        )?
        .query_row(params![id, key.run], |r| r.get(0))?;
    if epoch.epoch != next {
        let what = format!("epoch {} came where {next} is the next", epoch.epoch);
        return refuse(SessionRefusal::OutOfTurn(key.clone(), what));
    }
    t.prepare_cached("INSERT INTO epochs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
        params![
            id,
            key.run,
            epoch.epoch,
            loss,
            epoch.digest,
            epoch.seconds,
            epoch.extra.as_ref().map(ToString::to_string),
        ],
    )?;
    Ok(SessionOutcome::Stored)
}

fn finish(
    t: &Transaction<'_>,
    key: &RunKey,
    epochs: u32,
    splits: &[String],
    timings: &serde_json::Value,
) -> Applied {
    let at = params![key.experiment.as_str(), key.run];
    let last: Option<u32> = t
        .prepare_cached("SELECT max(epoch) FROM epochs WHERE experiment = ?1 AND run = ?2")?
        .query_row(at, |r| r.get(0))?;
    if last != Some(epochs) {
        let seen = last.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let what = format!("epoch {epochs} is the last one, but the last reported is {seen}");
        return refuse(SessionRefusal::OutOfTurn(key.clone(), what));
    }
    let details: Vec<(String, String)> = t
        .prepare_cached(
            "SELECT split, details FROM session_details
             WHERE experiment = ?1 AND run = ?2 ORDER BY split",
        )?
        .query_map(at, |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    if let Some(missing) = splits.iter().find(|s| !details.iter().any(|(split, _)| split == *s)) {
        let what = format!("there are no predictions for the {missing} split yet");
        return refuse(SessionRefusal::OutOfTurn(key.clone(), what));
    }
    let splits: serde_json::Map<String, serde_json::Value> = details
        .into_iter()
        .map(|(split, json)| (split, serde_json::from_str(&json).unwrap_or_default()))
        .collect();
    let result = serde_json::json!({ "timings": timings, "splits": splits });
    t.prepare_cached(
        "UPDATE runs SET status = 'finished', finished_at = ?3, result = ?4
         WHERE experiment = ?1 AND run = ?2",
    )?
    .execute(params![key.experiment.as_str(), key.run, now(), result.to_string()])?;
    Ok(SessionOutcome::Stored)
}

/// The text that `select` gives for a run and one more column, if there is any.
fn text(
    t: &Transaction<'_>,
    select: &str,
    column: &str,
    key: &RunKey,
    value: &str,
) -> rusqlite::Result<Option<String>> {
    t.prepare_cached(&format!("{select} WHERE experiment = ?1 AND run = ?2 AND {column} = ?3"))?
        .query_row(params![key.experiment.as_str(), key.run, value], |r| r.get(0))
        .optional()
}

/// Writes what was not written before; the same again is known, and anything else a conflict.
fn once<V: PartialEq>(
    key: &RunKey,
    what: impl FnOnce() -> String,
    before: Option<&V>,
    value: &V,
    write: impl FnOnce() -> rusqlite::Result<usize>,
) -> Applied {
    match before {
        Some(before) if before == value => Ok(SessionOutcome::Known),
        Some(_) => refuse(SessionRefusal::Conflict(key.clone(), what())),
        None => {
            write()?;
            Ok(SessionOutcome::Stored)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    fn epoch(epoch: u32) -> SessionWrite {
        let loss_bits = (epoch > 0).then_some(1);
        let digest = format!("{epoch}");
        SessionWrite::Epoch(EpochRecord { epoch, loss_bits, digest, seconds: 0.0, extra: None })
    }

    #[test]
    fn a_refused_write_leaves_the_others_of_its_transaction_alone() {
        let (_folder, store) = temporary();
        let experiment = example(Evaluation::Buggy);
        store.plan(&[(experiment.clone(), 1)]).unwrap();
        let key = RunKey { experiment: experiment.id(), run: 0 };
        let holder = |name: &str| Holder { key: key.clone(), name: name.into() };
        let claim = SessionWrite::Claim { issued: 1, seed: 5, expired: false };
        let outcomes = store
            .apply_session_writes(&[
                (holder("a"), claim.clone()),
                (holder("a"), epoch(0)),
                (holder("b"), claim),
                (holder("b"), epoch(1)),
                (holder("a"), epoch(2)),
                (holder("a"), epoch(1)),
                (holder("a"), epoch(1)),
            ])
            .unwrap();
        assert!(matches!(outcomes[0], Ok(SessionOutcome::Claimed { attempt: 1, resumed: false })));
        assert!(matches!(outcomes[1], Ok(SessionOutcome::Stored)));
        assert!(matches!(outcomes[2], Err(SessionRefusal::Held(_))));
        assert!(matches!(outcomes[3], Err(SessionRefusal::Lost(_))));
        assert!(matches!(outcomes[4], Err(SessionRefusal::OutOfTurn(..))));
        assert!(matches!(outcomes[5], Ok(SessionOutcome::Stored)));
        assert!(matches!(outcomes[6], Ok(SessionOutcome::Known)));
        let epochs = store.epochs(&key).unwrap();
        assert_eq!(epochs.iter().map(|e| e.epoch).collect::<Vec<_>>(), [0, 1]);
    }
}
