//! Two runs told apart: which factor differs, and the first epoch where their numbers part.

use std::collections::BTreeMap;

use serde::Serialize;
use study::{RunKey, RunRecord, Store, StoreError};

use crate::pairing::{FactorDifference, compare_manifests};

/// What tells two runs apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunDifference {
    /// The first run.
    pub left: RunKey,
    /// The second run.
    pub right: RunKey,
    /// Where their manifests differ in more than the artifact.
    pub factors: Vec<FactorDifference>,
    /// Epochs that both have, the state after initialisation included.
    pub epochs: usize,
    /// The first epoch after which their parameters differ; 0 is after initialisation.
    pub first_epoch: Option<u32>,
    /// Their training losses in that epoch.
    pub losses: Option<(f64, f64)>,
    /// Whether their predictions are the same bit for bit, by split.
    pub same_predictions: BTreeMap<String, bool>,
}

/// Why two runs cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceError {
    /// There is no such run.
    #[error("{0}: the study has no such run; `reproduceml run --dry-run` lists its experiments")]
    NoRun(RunKey),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares two runs of a study: manifests factor by factor, then the digests of the parameters
/// epoch by epoch, then the predictions.
///
/// # Errors
/// If one of them is not in the store, or it cannot be read.
pub fn difference(
    store: &Store,
    left: &RunKey,
    right: &RunKey,
) -> Result<RunDifference, DifferenceError> {
    let manifest = |run: RunRecord| run.manifest.unwrap_or_default();
    let find = |key: &RunKey| -> Result<RunRecord, DifferenceError> {
        store.run(key)?.ok_or_else(|| DifferenceError::NoRun(key.clone()))
    };
    let factors = compare_manifests(&manifest(find(left)?), &manifest(find(right)?));
    let (a, b) = (store.epochs(left)?, store.epochs(right)?);
    let parted = a.iter().zip(&b).find(|(a, b)| a.digest != b.digest);
    let loss = |bits: Option<u64>| bits.map(f64::from_bits);
    let others = store.prediction_digests(right)?;
    let same_predictions = store
        .prediction_digests(left)?
        .into_iter()
        .filter_map(|(split, digest)| {
            let same = *others.get(&split)? == digest;
            Some((split, same))
        })
        .collect();
    Ok(RunDifference {
        left: left.clone(),
        right: right.clone(),
        factors,
        epochs: a.len().min(b.len()),
        first_epoch: parted.map(|(a, _)| a.epoch),
        losses: parted.and_then(|(a, b)| Some((loss(a.loss_bits)?, loss(b.loss_bits)?))),
        same_predictions,
    })
}
