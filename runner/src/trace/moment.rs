//! The moments of a run at which two runs can be compared.

use std::fmt;

use serde::Serialize;
use study::store::EpochRecord;

/// A moment of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Moment {
    /// The network is built.
    Initialisation,
    /// A step of the training.
    Batch {
        /// The epoch, from 1.
        epoch: u32,
        /// The batch within the epoch, from 0.
        batch: u32,
    },
    /// A prediction after the training.
    Prediction {
        /// `validation` or `test`.
        split: String,
        /// The sample within the split, from 0.
        sample: usize,
    },
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initialisation => f.write_str("initialisation"),
            Self::Batch { epoch, batch } => write!(f, "epoch {epoch}, batch {batch}"),
            Self::Prediction { split, sample } => {
                write!(f, "the prediction of {split} sample {sample}")
            }
        }
    }
}

impl Moment {
    /// The moment as the client is asked for it.
    pub(super) fn as_asked(&self) -> String {
        match self {
            Self::Initialisation => "init".into(),
            Self::Batch { epoch, batch } => format!("epoch {epoch} batch {batch}"),
            Self::Prediction { split, sample } => format!("{split} sample {sample}"),
        }
    }
}

/// What a traced epoch says of a batch; the rest of `extra` is nobody's business here.
#[derive(serde::Deserialize, PartialEq)]
struct Batch {
    batch: u32,
    loss_bits: String,
    parameters: String,
}

/// The first batch after which loss or parameters differ, or the initialisation.
pub(super) fn first_batch(left: &[EpochRecord], right: &[EpochRecord]) -> Option<Moment> {
    for (a, b) in left.iter().zip(right) {
        if a.epoch == 0 && a.digest != b.digest {
            return Some(Moment::Initialisation);
        }
        let (a_batches, b_batches) = (batches(a), batches(b));
        let parted = a_batches.iter().zip(&b_batches).find(|(a, b)| a != b);
        if let Some((batch, _)) = parted {
            return Some(Moment::Batch { epoch: a.epoch, batch: batch.batch });
        }
    }
    None
}

fn batches(epoch: &EpochRecord) -> Vec<Batch> {
    let listed = epoch.extra.as_ref().and_then(|extra| extra.get("batches")).cloned();
    listed.and_then(|listed| serde_json::from_value(listed).ok()).unwrap_or_default()
}

/// Bytes of one sample's predictions: every challenge has ten classes.
const SAMPLE: usize = 10 * size_of::<f32>();

/// The first sample whose predictions differ.
pub(super) fn first_sample(split: &str, left: &[u8], right: &[u8]) -> Option<Moment> {
    let mut samples = left.chunks(SAMPLE).zip(right.chunks(SAMPLE));
    let sample = samples.position(|(a, b)| a != b)?;
    Some(Moment::Prediction { split: split.to_owned(), sample })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u32, digests: &[&str]) -> EpochRecord {
        let batches: Vec<_> = digests
            .iter()
            .enumerate()
            .map(|(batch, digest)| {
                serde_json::json!({"batch": batch, "loss_bits": "0", "parameters": digest})
            })
            .collect();
        EpochRecord {
            epoch: number,
            loss_bits: None,
            digest: digests.last().unwrap().to_string(),
            seconds: 0.0,
            extra: Some(serde_json::json!({ "batches": batches })),
        }
    }

    #[test]
    fn the_first_batch_is_the_first_in_time() {
        let left = [epoch(0, &["i"]), epoch(1, &["a", "b"]), epoch(2, &["c", "d", "e"])];
        let mut right = left.clone();
        assert_eq!(first_batch(&left, &right), None);
        right[2] = epoch(2, &["c", "x", "e"]);
        assert_eq!(first_batch(&left, &right), Some(Moment::Batch { epoch: 2, batch: 1 }));
        right[0] = epoch(0, &["j"]);
        assert_eq!(first_batch(&left, &right), Some(Moment::Initialisation));
    }

    #[test]
    fn the_first_sample_is_counted_in_samples() {
        let left = vec![0; 5 * SAMPLE];
        let mut right = left.clone();
        assert_eq!(first_sample("test", &left, &right), None);
        right[3 * SAMPLE - 1] = 1;
        let found = first_sample("test", &left, &right).unwrap();
        assert_eq!(found, Moment::Prediction { split: "test".into(), sample: 2 });
        assert_eq!(found.as_asked(), "test sample 2");
    }
}
