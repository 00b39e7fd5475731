//! Two experiments beside each other: their attributes, their runs one by one, their samples.

use std::collections::BTreeMap;

use study::store::{EpochPoint, ExperimentState, MetricPoint, RunState};
use study::{ExperimentId, RunStatus, Store};

use crate::error::Problem;

/// One experiment with its runs.
#[derive(Debug)]
pub(crate) struct Side {
    pub id: ExperimentId,
    pub state: ExperimentState,
    pub runs: Vec<RunState>,
    pub epochs: Vec<EpochPoint>,
    pub metrics: Vec<MetricPoint>,
    predictions: Vec<(u32, String, String)>,
}

impl Side {
    pub fn read(store: &Store, state: &ExperimentState) -> Result<Self, Problem> {
        let id = &state.id;
        Ok(Self {
            runs: store.run_states(&id)?,
            epochs: store.epoch_points(&id)?,
            metrics: store.metric_points(&id)?,
            predictions: store.prediction_points(&id)?,
            state: state.clone(),
            id: id.clone(),
        })
    }

    /// The values of one metric of the test split, with their runs.
    pub fn sample(&self, metric: &str) -> Vec<(u32, f64)> {
        let of = |point: &&MetricPoint| point.split == "test" && point.name == metric;
        self.metrics.iter().filter(of).map(|point| (point.run, point.value)).collect()
    }

    /// One metric of one run.
    pub fn metric(&self, run: u32, metric: &str) -> Option<f64> {
        let of = |p: &&MetricPoint| p.run == run && p.split == "test" && p.name == metric;
        self.metrics.iter().find(of).map(|point| point.value)
    }

    /// The names of its test metrics, the paper's four first.
    pub fn metric_names(&self) -> Vec<String> {
        const FIRST: [&str; 4] = ["accuracy", "precision", "recall", "f1"];
        let mut names: Vec<String> = self
            .metrics
            .iter()
            .filter(|point| point.split == "test")
            .map(|point| point.name.clone())
            .collect();
        let place = |name: &String| FIRST.iter().position(|first| first == name).unwrap_or(9);
        names.sort_by(|a, b| (place(a), a).cmp(&(place(b), b)));
        names.dedup();
        names
    }

    /// The training losses of each finished or running run, by epoch.
    pub fn curves(&self) -> BTreeMap<u32, Vec<(u32, f64)>> {
        let mut curves: BTreeMap<u32, Vec<(u32, f64)>> = BTreeMap::new();
        for point in &self.epochs {
            if let Some(loss) = point.loss {
                curves.entry(point.run).or_default().push((point.epoch, loss));
            }
        }
        curves
    }

    fn digests(&self, run: u32) -> BTreeMap<u32, &str> {
        let of = self.epochs.iter().filter(|point| point.run == run);
        of.map(|point| (point.epoch, point.digest.as_str())).collect()
    }

    fn predictions(&self, run: u32) -> BTreeMap<&str, &str> {
        let of = self.predictions.iter().filter(|(other, _, _)| *other == run);
        of.map(|(_, split, digest)| (split.as_str(), digest.as_str())).collect()
    }

    fn status(&self, run: u32) -> Option<RunStatus> {
        self.runs.iter().find(|state| state.key.run == run).map(|state| state.status)
    }
}

/// What two runs of one number have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// One of them has not ended.
    Open,
    /// All digests of parameters and predictions are equal.
    Same,
    /// The first epoch after which the parameters differ; 0 is after initialisation.
    PartIn(u32),
    /// Parameters agree throughout, predictions do not.
    PredictionsDiffer,
}

/// Two runs of one number.
#[derive(Debug, Clone)]
pub(crate) struct RunPair {
    pub run: u32,
    pub compared: Compared,
}

/// The runs of two sides, by number.
pub(crate) fn compare(left: &Side, right: &Side) -> Vec<RunPair> {
    let mut numbers: Vec<u32> =
        left.runs.iter().chain(&right.runs).map(|state| state.key.run).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let one = |run| RunPair { run, compared: compared(left, right, run, run) };
    numbers.into_iter().map(one).collect()
}

/// What two runs have in common, bit by bit.
pub(crate) fn compared(left: &Side, right: &Side, a: u32, b: u32) -> Compared {
    let (x, y) = (left.digests(a), right.digests(b));
    let parted = x.iter().find(|(epoch, digest)| y.get(epoch).is_some_and(|d| d != *digest));
    if let Some((epoch, _)) = parted {
        return Compared::PartIn(*epoch);
    }
    let done = |side: &Side, run| side.status(run) == Some(RunStatus::Finished);
    if !done(left, a) || !done(right, b) || x.is_empty() {
        return Compared::Open;
    }
    let (p, q) = (left.predictions(a), right.predictions(b));
    if p == q && x.len() == y.len() { Compared::Same } else { Compared::PredictionsDiffer }
}
