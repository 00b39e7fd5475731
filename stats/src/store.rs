//! Results from a study's store: the finished runs of its active experiments.

use std::collections::{BTreeMap, BTreeSet};

use study::store::EpochRecord;
use study::{RunKey, Store, StoreError};

use crate::fingerprint::Fingerprint;
use crate::input::{Evaluation, InputError, Results, RunRow};
use crate::intake::Intake;

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

impl StudyResults {
    /// Of a study in which nothing has run.
    #[must_use]
    pub fn none() -> Self {
        Self { results: Results::none(), invalid: BTreeMap::new(), identical: BTreeSet::new() }
    }
}

/// Reads the finished runs of the active experiments: test metrics, seconds, and as fingerprints
/// the digests of the parameters at initialisation and after each epoch, then those of the
/// predictions.
///
/// # Errors
/// If the store cannot be read or holds no finished run.
pub fn read(store: &Store) -> Result<StudyResults, StudyResultsError> {
    let (mut runs, mut allowed) = (Runs::default(), Vec::new());
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
        runs.read(store, &experiment)?;
    }
    let identical: BTreeSet<String> =
        store.identical_pairs()?.into_iter().map(|bug| bug.to_string()).collect();
    if runs.rows.is_empty() && identical.is_empty() {
        return Err(StudyResultsError::NoRuns);
    }
    let mut results = if runs.rows.is_empty() { Results::none() } else { runs.results()? };
    results.warnings.extend(allowed);
    Ok(StudyResults { results, invalid, identical })
}

/// A digest of what [`read`] gave and of `rules`, the study's own part of the options: an analysis
/// that carries another one is out of date.
pub fn digest(input: &StudyResults, rules: &str) -> String {
    let head = format!(
        "reproduceml-stats inputs 1\n{rules}\n{:?}\n{:?}\n",
        input.invalid, input.identical
    );
    let rows = input.results.rows().map(|row| {
        let RunRow { bug, evaluation, run, seed, metrics, fingerprints } = row;
        format!("{bug} {evaluation} {run} {seed:?} {metrics:?} {fingerprints:?}\n")
    });
    // Row by row: of two million runs, one text of them all would be most of the memory.
    study::files::sha256_of_texts(std::iter::once(head).chain(rows))
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

/// The metrics of a finished run: those of its predictions for the test samples, its seconds, and
/// the loss of its last epoch.
///
/// # Errors
/// If the store cannot be read.
pub fn metrics_of(store: &Store, key: &RunKey) -> Result<BTreeMap<String, f64>, StoreError> {
    metrics(store, key, &store.epochs(key)?)
}

fn metrics(
    store: &Store,
    key: &RunKey,
    epochs: &[EpochRecord],
) -> Result<BTreeMap<String, f64>, StoreError> {
    let mut metrics = store.metrics(key, "test")?;
    metrics.insert("seconds".into(), epochs.iter().map(|epoch| epoch.seconds).sum());
    if let Some(bits) = epochs.last().and_then(|epoch| epoch.loss_bits) {
        metrics.insert("loss".into(), f64::from_bits(bits));
    }
    Ok(metrics)
}

/// Runs as they are read, a metric's name by its number.
#[derive(Default)]
struct Runs {
    names: BTreeMap<String, usize>,
    rows: Vec<Row>,
    /// Bug and side, and how many rows are theirs.
    sides: Vec<(String, Evaluation, usize)>,
}

struct Row {
    run: u32,
    seed: Option<u64>,
    metrics: Vec<(usize, f64)>,
    fingerprints: Vec<Fingerprint>,
}

impl Runs {
    /// Reads the finished runs of an experiment, with one question a table.
    fn read(&mut self, store: &Store, experiment: &study::Experiment) -> Result<(), StoreError> {
        let id = experiment.id();
        let finished = store.finished_runs(&id)?;
        if finished.is_empty() {
            return Ok(());
        }
        let mut epochs = store.epoch_points(&id)?.into_iter().peekable();
        let mut metrics = store.metric_points(&id)?.into_iter().peekable();
        let mut predictions = store.prediction_points(&id)?.into_iter().peekable();
        let count = finished.len();
        for (run, seed) in finished {
            let seed = seed.map(u64::from);
            let mut row = Row { run, seed, metrics: Vec::new(), fingerprints: Vec::new() };
            // The sum of no numbers is -0, as Rust has it.
            let (mut seconds, mut loss) = (-0.0, None);
            // All three come by run; those of runs that did not finish are passed over.
            while let Some(epoch) = epochs.next_if(|epoch| epoch.run <= run) {
                if epoch.run == run {
                    seconds += epoch.seconds;
                    loss = epoch.loss;
                    row.fingerprints.push(epoch.digest.as_str().into());
                }
            }
            while let Some(metric) = metrics.next_if(|metric| metric.run <= run) {
                let own = metric.name == "seconds" || (metric.name == "loss" && loss.is_some());
                if metric.run == run && metric.split == "test" && !own {
                    row.metrics.push((self.name(&metric.name), metric.value));
                }
            }
            while let Some((of, _, digest)) = predictions.next_if(|(of, ..)| *of <= run) {
                if of == run {
                    row.fingerprints.push(digest.as_str().into());
                }
            }
            row.metrics.push((self.name("seconds"), seconds));
            if let Some(loss) = loss {
                row.metrics.push((self.name("loss"), loss));
            }
            self.rows.push(row);
        }
        let side = evaluation(experiment.evaluation);
        self.sides.push((experiment.bug.to_string(), side, count));
        Ok(())
    }

    fn name(&mut self, name: &str) -> usize {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.names.insert(name.to_owned(), number);
        number
    }

    fn results(self) -> Result<Results, InputError> {
        let names: Vec<String> = self.names.keys().cloned().collect();
        let mut intake = Intake::new("the runs".to_owned(), names);
        let mut places = vec![0; self.names.len()];
        for (place, name) in intake.metrics.iter().enumerate() {
            if let Some(slot) = self.names.get(name).and_then(|number| places.get_mut(*number)) {
                *slot = place;
            }
        }
        let mut rows = self.rows.into_iter();
        for (bug, side, count) in self.sides {
            for row in rows.by_ref().take(count) {
                for (number, value) in row.metrics {
                    if let Some(place) = places.get(number) {
                        intake.set(*place, value);
                    }
                }
                intake.push(&bug, side, row.run, row.seed, row.fingerprints)?;
            }
        }
        intake.finish()
    }
}
