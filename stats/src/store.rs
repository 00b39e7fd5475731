//! Results from a study's store: the finished runs of its active experiments.

use std::collections::{BTreeMap, BTreeSet};

use study::{RunKey, RunStatus, Store, StoreError};

use crate::input::{Evaluation, InputError, Results, RunRow};

/// Why a study's results cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StudyResultsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows make no results.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Nothing has run.
    #[error("no run of this study is finished yet; run `reproduceml run` first")]
    NoRuns,
}

/// What a study holds.
#[derive(Debug)]
pub struct StudyResults {
    /// The finished runs.
    pub results: Results,
    /// By bug, the sides that may not be compared with the corrected one, with the reason.
    pub invalid: BTreeMap<String, BTreeMap<Evaluation, String>>,
    /// Bugs whose two artifacts are the same byte for byte.
    pub identical: BTreeSet<String>,
}

/// Reads the finished runs of the active experiments: test metrics, seconds, and as fingerprints
/// the digests of the parameters at initialisation and after each epoch, then those of the
/// predictions.
///
/// # Errors
/// If the store cannot be read or holds no finished run.
pub fn read(store: &Store) -> Result<StudyResults, StudyResultsError> {
    let (mut rows, mut allowed) = (Vec::new(), Vec::new());
    let mut invalid: BTreeMap<String, BTreeMap<Evaluation, String>> = BTreeMap::new();
    for (experiment, _) in store.active_experiments()? {
        let id = experiment.id();
        if let Some(reason) = store.invalid_reason(&id)? {
            let side = evaluation(experiment.evaluation);
            // Without a sound corrected side nothing can be compared with it.
            let sides = if side == Evaluation::Corrected { &ALL[..] } else { &[side] };
            let of_bug = invalid.entry(experiment.bug.to_string()).or_default();
            for side in sides {
                of_bug.entry(*side).or_insert(reason.clone());
            }
        }
        if let Some(tolerated) = store.tolerated(&id)? {
            let (bug, side) = (&experiment.bug, experiment.evaluation);
            allowed.push(format!(
                "{bug}: the {side} side differs from the corrected one in more than the artifact, \
                 which `run --allow` permits: {tolerated}"
            ));
        }
        for run in store.runs(&id)? {
            if run.status == RunStatus::Finished {
                rows.push(row(store, &experiment, &run.key, run.seed)?);
            }
        }
    }
    let identical: BTreeSet<String> =
        store.identical_pairs()?.into_iter().map(|bug| bug.to_string()).collect();
    if rows.is_empty() && identical.is_empty() {
        return Err(StudyResultsError::NoRuns);
    }
    let mut results = if rows.is_empty() { Results::none() } else { Results::from_rows(rows)? };
    results.warnings.extend(allowed);
    Ok(StudyResults { results, invalid, identical })
}

/// A digest of what [`read`] gave and of `rules`, the study's own part of the options: an analysis
/// that carries another one is out of date.
pub fn digest(input: &StudyResults, rules: &str) -> String {
    let mut text = format!(
        "reproduceml-stats inputs 1\n{rules}\n{:?}\n{:?}\n",
        input.invalid, input.identical
    );
    for row in input.results.rows() {
        let RunRow { bug, evaluation, run, seed, metrics, fingerprints } = row;
        text += &format!("{bug} {evaluation} {run} {seed:?} {metrics:?} {fingerprints:?}\n");
    }
    study::files::sha256_hex(text.as_bytes())
}

const ALL: [Evaluation; 4] =
    [Evaluation::Buggy, Evaluation::Corrected, Evaluation::Artificial, Evaluation::Aa];

/// The store's word as the analysis has it.
pub(crate) fn evaluation(stored: study::Evaluation) -> Evaluation {
    match stored {
        study::Evaluation::Buggy => Evaluation::Buggy,
        study::Evaluation::Corrected => Evaluation::Corrected,
        study::Evaluation::Artificial => Evaluation::Artificial,
        study::Evaluation::Aa => Evaluation::Aa,
    }
}

fn row(
    store: &Store,
    experiment: &study::Experiment,
    key: &RunKey,
    seed: Option<u32>,
) -> Result<RunRow, StoreError> {
    let epochs = store.epochs(key)?;
    let mut metrics = store.metrics(key, "test")?;
    metrics.insert("seconds".into(), epochs.iter().map(|epoch| epoch.seconds).sum());
    if let Some(bits) = epochs.last().and_then(|epoch| epoch.loss_bits) {
        metrics.insert("loss".into(), f64::from_bits(bits));
    }
    let predictions = store.prediction_digests(key)?;
    Ok(RunRow {
        bug: experiment.bug.to_string(),
        evaluation: evaluation(experiment.evaluation),
        run: key.run,
        seed: seed.map(u64::from),
        metrics,
        fingerprints: epochs
            .into_iter()
            .map(|epoch| epoch.digest)
            .chain(predictions.into_values())
            .collect(),
    })
}
