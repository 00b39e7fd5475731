//! All statistics of one metric of one comparison.

use crate::analyse::{BUG_OUTCOMES, CONTROL_OUTCOMES, Comparison, OTHERS};
use crate::analysis::{Kind, Summary, Test};
use crate::mann_whitney::{self, Choice, Method, Ranked, Settings};
use crate::options::{Options, SeedPolicy};
use crate::{brunner_munzel, effect, equivalence, power, sample, shift, signed_rank, spread};

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
    let settings = options.settings();
    let choice = settings.choice;
    let mut notes = Vec::new();
    let mut kept = |error: sample::SampleError| notes.push(error.to_string());
    // Sorted and ranked once, for all that follows.
    let (ascending_x, ascending_y) = (sample::sorted(&x), sample::sorted(&y));
    let ranked = match (x.len(), y.len()) {
        (1.., 1..) => Some(Ranked::of_sorted(&ascending_x, &ascending_y)),
        // Says which side is empty.
        _ => Ranked::new(&x, &y).map_err(&mut kept).ok(),
    };
    let ranked = ranked.as_ref();
    let main = ranked.map(|ranked| mann_whitney::test_ranked(ranked, settings));
    let both = (&ascending_x[..], &ascending_y[..]);
    let shift = ranked.map(|ranked| shift::hodges_lehmann_ranked(ranked, both, level, choice));
    // Where the first of these lacks values, so do the others: say so once.
    let two = ranked.filter(|_| {
        let first = sample::check(&x, "first", "Cliff's delta", 2);
        first.and(sample::check(&y, "second", "Cliff's delta", 2)).map_err(&mut kept).is_ok()
    });
    let effects = two.map(|ranked| effect::effect_ranked(ranked, level));
    let spread = two.and_then(|_| {
        spread::fligner_killeen_sorted(&ascending_x, &ascending_y).map_err(&mut kept).ok()
    });
    let unequal = two
        .and_then(|ranked| brunner_munzel::brunner_munzel_ranked(ranked).map_err(&mut kept).ok());
    let stated = options.margins.get(metric).copied();
    let margin = stated.or(outcome.then_some(options.default_margin));
    let equivalence = margin.filter(|margin| margin.is_finite() && ranked.is_some());
    let equivalence = equivalence
        .map(|margin| equivalence::tost_sorted(&ascending_x, &ascending_y, margin, choice));
    if let Some(main) = main {
        notes.extend(remark(main.method, choice, x.len(), y.len()));
    }
    let (summary_x, summary_y) = (summary(&x, &ascending_x), summary(&y, &ascending_y));
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
        paired: paired(comparison, place, settings),
        notes,
    }
}

fn remark(method: Method, choice: Choice, n: usize, m: usize) -> Option<String> {
    match (method, choice) {
        (Method::Constant, _) => {
            Some("all values of both sides are equal, so p is 1 by definition".to_owned())
        }
        (Method::Asymptotic | Method::AsymptoticUncorrected, Choice::Exact) => {
            Some(format!("{n} and {m} values are too many to enumerate, so p is asymptotic"))
        }
        _ => None,
    }
}

fn summary(values: &[f64], ascending: &[f64]) -> Option<Summary> {
    let (min, max) = (*ascending.first()?, *ascending.last()?);
    Some(Summary {
        mean: sample::mean(values),
        median: sample::median_sorted(ascending),
        sd: sample::standard_deviation(values),
        min,
        max,
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
    settings: Settings,
) -> Option<signed_rank::SignedRank> {
    if comparison.seeds != SeedPolicy::PerRun {
        return None;
    }
    let (buggy, corrected) = (comparison.buggy, comparison.corrected);
    let (of_x, of_y) = (buggy.values.get(place)?, corrected.values.get(place)?);
    let limit = comparison.limit;
    let (x, y): (Vec<f64>, Vec<f64>) = buggy
        .shared(corrected)
        .filter(|(index, other)| *index < limit && *other < limit)
        .map(|(index, other)| (of_x[index], of_y[other]))
        .filter(|(a, b)| !a.is_nan() && !b.is_nan())
        .unzip();
    signed_rank::signed_rank(&x, &y, settings).ok()
}
