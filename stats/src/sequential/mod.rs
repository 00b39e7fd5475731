//! Sequential designs: looks at a comparison before all its runs are made.
//!
//! [`Declaration`] says what was declared; a [`Judge`] takes one look at one comparison, a
//! [`Subject`]; [`Analysis::apply_design`] makes the verdicts of an analysis those of the looks.
//! Boundaries are in [`boundary`], what a design may be expected to cost in [`forecast()`].

pub mod boundary;
mod forecast;
mod levels;
mod look;

use std::collections::BTreeMap;

use serde::Serialize;
use study::design::{Declaration, Look, Record};

use crate::analyse::{BUG_OUTCOMES, CONTROL_OUTCOMES, controls};
use crate::analysis::{Analysis, Kind, Verdict};

pub use forecast::{Forecast, forecast};
pub use levels::{Levels, nominal, planned};
pub use look::{Judge, Subject};

/// The design of an analysis and the looks that its verdicts rest on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sequential {
    /// What was declared.
    pub design: Declaration,
    /// SHA-256 of the declaration.
    pub digest: String,
    /// The error of each test of `different`.
    pub alpha_each: f64,
    /// The nominal levels of all looks if every run finishes, of a difference and of equivalence.
    pub levels: BTreeMap<&'static str, Vec<f64>>,
    /// The looks that were taken.
    pub looks: Vec<Look>,
}

impl Sequential {
    fn of(record: &Record) -> Self {
        let design = record.declaration.clone();
        let Levels { different, equivalent } = planned(&design);
        Self {
            digest: design.digest(),
            alpha_each: design.alpha_each(),
            levels: [("different", different), ("equivalent", equivalent)].into(),
            looks: record.looks.clone(),
            design,
        }
    }
}

/// The store's word for what a comparison is.
pub(crate) fn evaluation(kind: Kind) -> study::Evaluation {
    match kind {
        Kind::Bug => study::Evaluation::Buggy,
        Kind::Artificial => study::Evaluation::Artificial,
        Kind::Aa => study::Evaluation::Aa,
    }
}

fn verdict(stored: study::Verdict) -> Verdict {
    match stored {
        study::Verdict::Identical => Verdict::Identical,
        study::Verdict::Equivalent => Verdict::Equivalent,
        study::Verdict::Different => Verdict::Different,
        study::Verdict::Inconclusive => Verdict::Inconclusive,
        study::Verdict::Invalid => Verdict::Invalid,
    }
}

impl Analysis {
    /// Makes the verdicts those of the looks that were taken. What the analysis has beside them
    /// describes the runs as they are; its p-values are nominal, and corrections that know of no
    /// looks are taken out.
    pub fn apply_design(&mut self, record: &Record) {
        let design = &record.declaration;
        for one in &mut self.verdicts {
            let marked = self.options.invalid.get(&one.bug);
            let side = crate::store::evaluation(evaluation(one.kind));
            if marked.is_some_and(|sides| sides.contains_key(&side)) {
                continue;
            }
            let last = one.bug.parse().ok().and_then(|bug| record.last(&bug, evaluation(one.kind)));
            (one.verdict, one.reason) = match last {
                Some(Look { stop: Some(stop), reason, .. }) => (verdict(*stop), reason.clone()),
                Some(look) => {
                    let next = design.looks.iter().find(|runs| **runs > look.runs);
                    let next = next.copied().unwrap_or_else(|| design.runs());
                    let reason = format!("{}; the next look is after {next} runs", look.reason);
                    (Verdict::Inconclusive, reason)
                }
                None => {
                    let first = design.stops().first().copied().unwrap_or_default();
                    let reason = format!("no look was taken yet; the first is after {first} runs");
                    (Verdict::Inconclusive, reason)
                }
            };
        }
        for test in &mut self.tests {
            if test.family == BUG_OUTCOMES || test.family == CONTROL_OUTCOMES {
                (test.p_holm, test.p_bh) = (None, None);
            }
        }
        self.families
            .retain(|family| family.name != BUG_OUTCOMES && family.name != CONTROL_OUTCOMES);
        self.controls = controls(&self.verdicts, &self.tests, &self.options);
        self.notes.retain(|note| !note.starts_with("`different` needs"));
        self.notes.extend(notes(design));
        self.sequential = Some(Sequential::of(record));
    }
}

fn notes(design: &Declaration) -> [String; 2] {
    let looks: Vec<String> = design.looks.iter().map(ToString::to_string).collect();
    [
        format!(
            "sequential design: looks after {} runs a side, {} spending; `different` at a \
             family-wise error of {}, shared evenly among {} bug(s) and {} outcome(s); \
             `equivalent` at an error of {} each",
            looks.join(", "),
            design.spending.name(),
            design.alpha,
            design.family,
            design.outcomes.len(),
            design.equivalence_alpha
        ),
        "p-values are nominal and held against the level of their look, not against alpha; shifts \
         and intervals are of the runs that were made, and after an early stop they tend to \
         overstate a difference"
            .to_owned(),
    ]
}
