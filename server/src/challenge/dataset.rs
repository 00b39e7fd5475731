//! A challenge cut into its splits, as one experiment sees it.
//!
//! Splits follow from the seed of the experiment's run 0, so that all its runs share their arrays
//! and the second run moves none again; the order of the samples follows from each run's own seed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{ArrayHeader, Dtype, Order};
use study::{Challenge, Experiment};

use super::permutation::permutation;
use super::pool::Pool;
use super::{ChallengeError, Fetch, Known, synthetic};
use crate::bytes::{label_bytes, u32_bytes};
use crate::metrics::Metrics;

/// Samples a synthetic challenge has for training and validation when all are asked for.
pub const SYNTHETIC_TRAIN: u32 = 10_000;
/// Samples a synthetic challenge has for testing when all are asked for.
pub const SYNTHETIC_TEST: u32 = 2_000;

/// The splits, in the order in which they are listed.
pub const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// An array with its header.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name, such as `train/x`.
    pub name: String,
    /// Dtype, shape, length, digest.
    pub header: ArrayHeader,
    /// Its bytes.
    pub data: Arc<Vec<u8>>,
}

/// A challenge cut into its splits.
#[derive(Debug)]
pub struct Dataset {
    /// Shape of one sample: channels, height, width.
    pub shape: [u32; 3],
    /// Number of classes.
    pub classes: u8,
    arrays: Vec<Served>,
    targets: Vec<(&'static str, Vec<u8>)>,
}

impl Dataset {
    /// Cuts pools as an experiment's challenge asks.
    ///
    /// # Errors
    /// [`ChallengeError::TooFew`] when more is asked for than there is.
    pub fn cut(
        spec: &Challenge,
        constants: &[(f32, f32)],
        split_seed: u32,
        train: &Pool,
        test: &Pool,
    ) -> Result<Self, ChallengeError> {
        let seed = [u64::from(split_seed)];
        let order = permutation("reproduceml/split/train/v1", &seed, train.len());
        let held = spec.validation_samples;
        let asked = match spec.train_samples {
            0 => train.len().saturating_sub(held),
            asked => asked,
        };
        let (held, rest) = take(spec, "validation", &order, spec.share(held))?;
        let (used, _) = take(spec, "training", rest, spec.share(asked).max(1))?;
        let order = permutation("reproduceml/split/test/v1", &seed, test.len());
        let asked = if spec.test_samples == 0 { count(&order) } else { spec.test_samples };
        let (tested, _) = take(spec, "testing", &order, spec.share(asked).max(1))?;
        let mut dataset =
            Self { shape: train.shape, classes: train.classes, arrays: vec![], targets: vec![] };
        let cuts = [(train, used), (train, held), (test, tested)];
        for (split, (pool, places)) in SPLITS.into_iter().zip(cuts) {
            if places.is_empty() {
                continue;
            }
            let mut shape = vec![places.len() as u64];
            shape.extend(pool.shape.iter().map(|d| u64::from(*d)));
            dataset.add(
                format!("{split}/x"),
                Dtype::F4,
                &shape,
                pool.normalised(places, constants),
            );
            let labels = pool.labels_at(places);
            if split == "train" {
                let shape = [labels.len() as u64];
                dataset.add("train/y".to_owned(), Dtype::I8, &shape, label_bytes(&labels));
            }
            dataset.targets.push((split, labels));
        }
        Ok(dataset)
    }

    fn add(&mut self, name: String, dtype: Dtype, shape: &[u64], data: Vec<u8>) {
        // Built from these very samples, so shape and length agree.
        if let Ok(header) = ArrayHeader::describe(dtype, shape, &data) {
            self.arrays.push(Served { name, header, data: Arc::new(data) });
        }
    }

    /// The splits that are not empty.
    pub fn splits(&self) -> Vec<String> {
        self.targets.iter().map(|(split, _)| (*split).to_owned()).collect()
    }

    /// Shape that a split's predictions must have, and the split's own name.
    pub fn predictions(&self, split: &str) -> Option<(&'static str, [u64; 2])> {
        let (name, targets) = self.targets.iter().find(|(name, _)| *name == split)?;
        Some((name, [targets.len() as u64, u64::from(self.classes)]))
    }

    /// Metrics of scores for a split; `None` when they do not fit it.
    pub fn grade(&self, split: &str, scores: &[f32]) -> Option<Metrics> {
        let (_, targets) = self.targets.iter().find(|(name, _)| *name == split)?;
        Metrics::of_scores(scores, targets, usize::from(self.classes))
    }

    /// The array `name` for a run: one of the splits', or `order/<epoch>`.
    pub fn array(&self, name: &str, order: Order, seed: u32, epochs: u32) -> Option<Served> {
        let Some(epoch) = name.strip_prefix("order/") else {
            return self.arrays.iter().find(|array| array.name == name).cloned();
        };
        let epoch: u32 = epoch.parse().ok().filter(|e| (1..=epochs).contains(e))?;
        let (_, labels) = self.targets.first().filter(|(split, _)| *split == "train")?;
        let epoch = match order {
            Order::Fixed => 0,
            Order::PerEpoch => epoch,
        };
        let parts = [u64::from(seed), u64::from(epoch)];
        let places = permutation("reproduceml/order/v1", &parts, count(labels));
        let data = u32_bytes(&places);
        let header = ArrayHeader::describe(Dtype::U4, &[places.len() as u64], &data).ok()?;
        Some(Served { name: name.to_owned(), header, data: Arc::new(data) })
    }

    fn bytes(&self) -> u64 {
        self.arrays.iter().map(|array| array.header.bytes).sum()
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

fn take<'a>(
    spec: &Challenge,
    what: &'static str,
    places: &'a [u32],
    asked: u32,
) -> Result<(&'a [u32], &'a [u32]), ChallengeError> {
    places.split_at_checked(asked as usize).ok_or_else(|| ChallengeError::TooFew {
        name: spec.name.clone(),
        what,
        asked: u64::from(asked),
        there: places.len() as u64,
    })
}

/// What tells datasets apart: the challenge's name, its numbers of samples, the bits of its
/// fraction, and the seed of its splits.
type Key = (String, [u32; 3], u64, u32);

/// The datasets in use and, as far as there is room, those used last.
#[derive(Debug)]
pub struct Datasets {
    data_dir: PathBuf,
    fetch: Fetch,
    cache: u64,
    synthetic: u64,
    recent: Mutex<Vec<(Key, Arc<Dataset>)>>,
}

impl Datasets {
    /// Datasets from files in `data_dir`, those missing got by `fetch`, keeping at most `cache` bytes that nobody uses and
    /// making synthetic ones of at most `synthetic` bytes.
    pub fn new(data_dir: PathBuf, fetch: Fetch, cache: u64, synthetic: u64) -> Self {
        Self { data_dir, fetch, cache, synthetic, recent: Mutex::default() }
    }

    /// The dataset of an experiment. Takes as long as reading or making it does the first time;
    /// others wait meanwhile, since they mostly want the same one.
    ///
    /// # Errors
    /// [`ChallengeError`] when it cannot be had.
    pub fn get(&self, experiment: &Experiment) -> Result<Arc<Dataset>, ChallengeError> {
        let spec = &experiment.challenge;
        let split_seed = experiment.seed(0);
        let key = (
            spec.name.clone(),
            [spec.train_samples, spec.validation_samples, spec.test_samples],
            spec.fraction.to_bits(),
            split_seed,
        );
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(k, _)| *k == key) {
            let entry = recent.remove(at);
            let dataset = Arc::clone(&entry.1);
            recent.push(entry);
            return Ok(dataset);
        }
        let known = Known::parse(&spec.name)?;
        let (train, test) = self.pools(known, spec)?;
        let dataset = Dataset::cut(spec, known.constants(), split_seed, &train, &test)?;
        let dataset = Arc::new(dataset);
        recent.push((key, Arc::clone(&dataset)));
        let mut total: u64 = recent.iter().map(|(_, d)| d.bytes()).sum();
        while total > self.cache && recent.len() > 1 {
            let (_, oldest) = recent.remove(0);
            total = total.saturating_sub(oldest.bytes());
        }
        Ok(dataset)
    }

    fn pools(&self, known: Known, spec: &Challenge) -> Result<(Pool, Pool), ChallengeError> {
        if !known.is_synthetic() {
            return super::files::read(&self.data_dir, known, &self.fetch);
        }
        let asked = if spec.train_samples == 0 {
            u64::from(SYNTHETIC_TRAIN.max(spec.validation_samples.saturating_add(1)))
        } else {
            u64::from(spec.train_samples) + u64::from(spec.validation_samples)
        };
        let test = if spec.test_samples == 0 { SYNTHETIC_TEST } else { spec.test_samples };
        let [channels, side, _] = known.shape();
        let sample = u64::from(channels) * u64::from(side) * u64::from(side) * 4;
        let bytes = (asked + u64::from(test)) * sample;
        let too_large =
            || ChallengeError::TooLarge { name: spec.name.clone(), bytes, limit: self.synthetic };
        let train = u32::try_from(asked).map_err(|_| too_large())?;
        if bytes > self.synthetic {
            return Err(too_large());
        }
        let make = |part, count| synthetic::generate(synthetic::SEED, part, count, channels, side);
        Ok((make(synthetic::Part::Train, train), make(synthetic::Part::Test, test)))
    }
}
