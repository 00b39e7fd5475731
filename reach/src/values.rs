//! The layer of values: the same seed on both sides, and the parameters' digests batch by batch.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Evidence, Layer, Strength};

/// What one side of an epoch came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The parameters before the first batch.
    pub initial: Option<String>,
    /// After each batch: the parameters' digest, and the batch's mean loss.
    pub batches: Vec<(String, Option<f64>)>,
}

/// Compares the two sides of one epoch.
pub fn judge(buggy: Option<&Values>, corrected: Option<&Values>) -> Evidence {
    let evidence = |answer, reason: String| Evidence {
        layer: Layer::Values,
        part: String::new(),
        answer,
        strength: Strength::Measured,
        reason,
        decides: String::new(),
    };
    let unknown = |reason: String| {
        let mut unknown = evidence(Answer::Unknown, reason);
        unknown.decides = "an epoch of both sides that ends".to_owned();
        unknown
    };
    let (buggy, corrected) = match (buggy, corrected) {
        (Some(buggy), Some(corrected)) => (buggy, corrected),
        (None, _) => return unknown("the buggy side's epoch gave no values".to_owned()),
        (_, None) => return unknown("the corrected side's epoch gave no values".to_owned()),
    };
    if buggy.initial.is_none() || corrected.initial.is_none() || buggy.batches.is_empty() {
        return unknown("an epoch gave no values".to_owned());
    }
    if buggy.initial != corrected.initial {
        return evidence(Answer::MayDiffer, "the sides differ before the first batch".to_owned());
    }
    let pairs = buggy.batches.iter().zip(&corrected.batches).enumerate();
    for (number, ((left, left_loss), (right, right_loss))) in pairs {
        if left != right || left_loss.map(f64::to_bits) != right_loss.map(f64::to_bits) {
            let size = match (left_loss, right_loss) {
                (Some(a), Some(b)) => {
                    format!("; its losses are {a:.9e} and {b:.9e}, {:.3e} apart", (a - b).abs())
                }
                _ => String::new(),
            };
            let reason = format!("the sides part at batch {} of the first epoch{size}", number + 1);
            return evidence(Answer::MayDiffer, reason);
        }
    }
    if buggy.batches.len() != corrected.batches.len() {
        return unknown("one side's epoch ended before the other's".to_owned());
    }
    let batches = buggy.batches.len();
    evidence(
        Answer::ExecutedSame,
        format!("parameters and losses are the same bit for bit in all {batches} batches"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(batches: &[(&str, f64)]) -> Values {
        Values {
            initial: Some("0".into()),
            batches: batches.iter().map(|(d, l)| ((*d).to_owned(), Some(*l))).collect(),
        }
    }

    #[test]
    fn the_first_difference_is_named_and_silence_is_unknown() {
        let one = values(&[("a", 1.0), ("b", 0.5)]);
        let same = judge(Some(&one), Some(&one));
        assert_eq!(same.answer, Answer::ExecutedSame);
        assert!(same.reason.contains("all 2 batches"), "{}", same.reason);
        let other = values(&[("a", 1.0), ("c", 0.25)]);
        let parted = judge(Some(&one), Some(&other));
        assert_eq!(parted.answer, Answer::MayDiffer);
        assert!(parted.reason.contains("batch 2"), "{}", parted.reason);
        let short = values(&[("a", 1.0)]);
        assert_eq!(judge(Some(&one), Some(&short)).answer, Answer::Unknown);
        assert_eq!(judge(None, Some(&one)).answer, Answer::Unknown);
        let none = Values::default();
        assert_eq!(judge(Some(&none), Some(&none)).answer, Answer::Unknown);
    }
}
