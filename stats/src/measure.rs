//! All statistics of one metric of one comparison.

use crate::analyse::{BUG_OUTCOMES, CONTROL_OUTCOMES, Comparison, OTHERS};
use crate::analysis::{Kind, Summary, Test};
use crate::input::Group;
use crate::mann_whitney::{self, Alternative, Choice, Method};
use crate::options::{Options, SeedPolicy};
use crate::{brunner_munzel, effect, equivalence, power, sample, shift, signed_rank, spread};
use std::collections::BTreeMap;

/// Computes all statistics of the metric at `place`; corrected p-values come later.
pub(crate) fn test(
    comparison: &Comparison<'_>,
    place: usize,
    metric: &str,
    outcome: bool,
    options: &Options,
) -> Test {
    let x = comparison.buggy.present(place, comparison.limit);
    let y = comparison.corrected.present(place, comparison.limit);
    let family = match (outcome, comparison.kind) {
        (false, _) => OTHERS,
        (true, Kind::Bug) => BUG_OUTCOMES,
        (true, Kind::Artificial | Kind::Aa) => CONTROL_OUTCOMES,
    };
    let level = 1.0 - options.alpha;
    let choice = options.effective_method();
    let mut notes = Vec::new();
    let mut kept = |error: sample::SampleError| notes.push(error.to_string());
    let main = mann_whitney::test(&x, &y, Alternative::TwoSided, choice).map_err(&mut kept).ok();
    // Where the first of these lacks values, so do the others: say so once.
    let shift = main.and_then(|_| shift::hodges_lehmann(&x, &y, level, choice).ok());
    let effects = main.and_then(|_| effect::effect(&x, &y, level).map_err(&mut kept).ok());
    let enough = effects.is_some();
    let spread = enough.then(|| spread::fligner_killeen(&x, &y).map_err(&mut kept).ok()).flatten();
    let unequal =
        enough.then(|| brunner_munzel::brunner_munzel(&x, &y).map_err(&mut kept).ok()).flatten();
    let stated = options.margins.get(metric).copied();
    let margin = stated.or(outcome.then_some(options.default_margin));
    let equivalence = margin
        .filter(|_| main.is_some())
        .and_then(|margin| equivalence::tost(&x, &y, margin, choice).ok());
    if let Some(main) = main {
        notes.extend(remark(main.method, choice, x.len(), y.len()));
    }
    let (summary_x, summary_y) = (summary(&x), summary(&y));
    Test {
        bug: comparison.bug.to_owned(),
        kind: comparison.kind,
        metric: metric.to_owned(),
        outcome,
        family: family.to_owned(),
        n_buggy: x.len(),
        n_corrected: y.len(),
        statistic: main.map(|test| test.u),
        p_value: main.map(|test| test.p_value),
        method: main.map(|test| test.method),
        p_holm: None,
        p_bh: None,
        hodges_lehmann: shift,
        a12: effects.map(|effects| effects.a12),
        cliffs_delta: effects.map(|effects| effects.cliffs_delta),
        buggy: summary_x,
        corrected: summary_y,
        brunner_munzel: unequal,
        fligner_killeen: spread,
        equivalence,
        detectable_shift: detectable(&x, &y, options.alpha),
        paired: paired(comparison, place, choice),
        notes,
    }
}

fn remark(method: Method, choice: Choice, n: usize, m: usize) -> Option<String> {
    match (method, choice) {
        (Method::Constant, _) => {
            Some("all values of both sides are equal, so p is 1 by definition".to_owned())
        }
        (Method::Asymptotic, Choice::Exact) => {
            Some(format!("{n} and {m} values are too many to enumerate, so p is asymptotic"))
        }
        _ => None,
    }
}

fn summary(values: &[f64]) -> Option<Summary> {
    if values.is_empty() {
        return None;
    }
    Some(Summary {
        mean: sample::mean(values),
        median: sample::median(values),
        sd: sample::standard_deviation(values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The detectable shift, from the standard deviation within sides.
fn detectable(x: &[f64], y: &[f64], alpha: f64) -> Option<f64> {
    let freedom = |values: &[f64]| values.len().saturating_sub(1) as f64;
    let (of_x, of_y) = (freedom(x), freedom(y));
    if of_x == 0.0 || of_y == 0.0 {
        return None;
    }
    let squares =
        of_x * sample::standard_deviation(x).powi(2) + of_y * sample::standard_deviation(y).powi(2);
    let sd = (squares / (of_x + of_y)).sqrt();
    power::detectable_shift(x.len(), y.len(), sd, alpha, power::POWER)
}

/// The paired test of the runs that both sides have, where seeds differ from run to run.
fn paired(
    comparison: &Comparison<'_>,
    place: usize,
    choice: Choice,
) -> Option<signed_rank::SignedRank> {
    if comparison.seeds != SeedPolicy::PerRun {
        return None;
    }
    let by_run = |group: &Group| -> BTreeMap<u32, f64> {
        let values = group.values.get(place).map_or(&[][..], Vec::as_slice);
        let runs = group.runs.iter().copied().zip(values.iter().copied());
        runs.take(comparison.limit).filter(|(_, value)| !value.is_nan()).collect()
    };
    let corrected = by_run(comparison.corrected);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (run, value) in by_run(comparison.buggy) {
        if let Some(other) = corrected.get(&run) {
            x.push(value);
            y.push(*other);
        }
    }
    signed_rank::signed_rank(&x, &y, choice).ok()
}
