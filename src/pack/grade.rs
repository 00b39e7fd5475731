//! Metrics again, from the predictions of a pack.

use std::collections::BTreeSet;
use std::path::Path;

use server::challenge::{Datasets, Fetch};
use study::{Experiment, RunKey, RunStatus, Store, Study};

use super::check::Finding;
use crate::failure::Failure;

/// Bytes of data sets that are kept at the same time, and of a synthetic one.
const CACHE: u64 = 1 << 30;

/// Predictions whose shape is not known are not read beyond this.
const LONGEST: u64 = 4 << 30;

/// What was computed again.
#[derive(Debug, Default)]
pub struct Graded {
    /// Splits of runs whose metrics were computed again.
    pub splits: usize,
    /// Splits of runs without predictions in the pack.
    pub without: usize,
    /// Data sets that are not here, with why.
    pub unknown: BTreeSet<String>,
}

/// Computes the metrics of every finished run again whose predictions lie in the study's folder.
pub fn all(
    study: &Study,
    store: &Store,
    data: &Path,
    problems: &mut Vec<Finding>,
) -> Result<Graded, Failure> {
    let datasets = Datasets::new(data.to_owned(), Fetch::Never, CACHE, CACHE);
    let mut graded = Graded::default();
    for state in store.experiment_states()? {
        let experiment = &state.experiment;
        for run in store.run_states(&experiment.id())? {
            if run.status == RunStatus::Finished {
                one(study, store, experiment, &run.key, &datasets, &mut graded, problems)?;
            }
        }
    }
    Ok(graded)
}

fn one(
    study: &Study,
    store: &Store,
    experiment: &Experiment,
    key: &RunKey,
    datasets: &Datasets,
    graded: &mut Graded,
    problems: &mut Vec<Finding>,
) -> Result<(), Failure> {
    for (split, digest) in store.prediction_digests(key)? {
        let folder = study.run_dir(key);
        if !server::predictions_file(&folder, &split, &digest).is_file() {
            graded.without += 1;
            continue;
        }
        let place = |what: &str| format!("{what} of {key}, split {split}");
        let dataset = datasets.get(experiment);
        let shape = dataset.as_ref().ok().and_then(|dataset| dataset.predictions(&split));
        // Four bytes a score.
        let bytes = shape.map(|(_, [samples, classes])| samples * classes * 4);
        let limit = bytes.unwrap_or(LONGEST);
        let data = match server::read_predictions_within(&folder, &split, &digest, limit) {
            Ok(data) => data,
            Err(error) => {
                problems.push(Finding::new(place("the predictions"), error.to_string()));
                continue;
            }
        };
        let dataset = match dataset {
            Ok(dataset) => dataset,
            Err(error) => {
                graded.unknown.insert(format!("{}: {error}", experiment.challenge.name));
                continue;
            }
        };
        let scores: Vec<f32> = data
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap_or_default()))
            .collect();
        let Some(metrics) = dataset.grade(&split, &scores) else {
            let what = "they do not have the shape of the targets".to_owned();
            problems.push(Finding::new(place("the predictions"), what));
            continue;
        };
        graded.splits += 1;
        let stored = store.metrics(key, &split)?;
        for (name, value) in metrics.headline() {
            let there = stored.get(name).copied();
            if there.map(f64::to_bits) != Some(value.to_bits()) {
                let there = there.map_or("nothing".to_owned(), |value| value.to_string());
                problems.push(Finding::new(
                    format!("rows/metrics.jsonl: {}", place(name)),
                    format!("packed {there}, the predictions give {value}"),
                ));
            }
        }
    }
    Ok(())
}
