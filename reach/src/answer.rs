//! What is said about a bug and a workload: an answer, its strength, and what it rests on.

use serde::{Deserialize, Serialize};
use study::BugId;
pub use study::{ReachAnswer as Answer, ReachStrength as Strength};

/// A kind of evidence, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// What kinds of files changed.
    Scope,
    /// The content of the two artifacts.
    Bytes,
    /// Changed functions and schema entries against a trace of the workload.
    Operators,
    /// Changed lines of Python, traced.
    LinesPython,
    /// Changed lines of compiled code, counted.
    LinesCpp,
    /// Digests of the parameters, batch by batch.
    Values,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it comes from.
    pub layer: Layer,
    /// The part of the change that it is about, as `path: function`; empty: all of it.
    pub part: String,
    /// What it says about that part.
    pub answer: Answer,
    /// How it is known.
    pub strength: Strength,
    /// Why, in a sentence.
    pub reason: String,
    /// What would decide it, where it is `unknown`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decides: String,
}

/// The answer for one bug and one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The bug.
    pub bug: BugId,
    /// The model.
    pub model: String,
    /// The challenge.
    pub challenge: String,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The answer.
    pub answer: Answer,
    /// What it rests on.
    pub strength: Strength,
    /// Why, in a sentence or two.
    pub reason: String,
    /// What would decide an `unknown`; else empty.
    pub decides: String,
    /// All evidence, in the order in which it was taken.
    pub evidence: Vec<Evidence>,
}

/// What several parts of one change come to: the change is seen if one part is, and is out of
/// reach only if all are. Parts whose content is known not to matter do not count.
///
/// Returns none when there are no parts.
pub fn combine(parts: &[Evidence]) -> Option<&Evidence> {
    let first = |answer| parts.iter().find(|part| part.answer == answer);
    first(Answer::MayDiffer)
        .or_else(|| first(Answer::Unknown))
        .or_else(|| first(Answer::ExecutedSame))
        .or_else(|| {
            // The answer rests on the costliest of what all parts rest on.
            parts
                .iter()
                .filter(|part| part.answer == Answer::NotExecuted)
                .max_by_key(|part| part.strength)
        })
        .or_else(|| first(Answer::NotInArtifact))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(answer: Answer, strength: Strength) -> Evidence {
        Evidence {
            layer: Layer::Operators,
            part: String::new(),
            answer,
            strength,
            reason: String::new(),
            decides: String::new(),
        }
    }

    #[test]
    fn a_change_is_out_of_reach_only_if_all_of_it_is() {
        use Answer::*;
        let of = |answers: &[Answer]| {
            let parts: Vec<_> = answers.iter().map(|a| part(*a, Strength::Traced)).collect();
            combine(&parts).map(|part| part.answer)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[NotExecuted, NotExecuted]), Some(NotExecuted));
        assert_eq!(of(&[NotExecuted, Unknown]), Some(Unknown));
        assert_eq!(of(&[Unknown, MayDiffer, NotExecuted]), Some(MayDiffer));
        assert_eq!(of(&[NotInArtifact, NotExecuted]), Some(NotExecuted));
        assert_eq!(of(&[NotInArtifact]), Some(NotInArtifact));
        let both = [part(NotExecuted, Strength::Static), part(NotExecuted, Strength::Traced)];
        assert_eq!(combine(&both).map(|p| p.strength), Some(Strength::Traced));
    }
}
