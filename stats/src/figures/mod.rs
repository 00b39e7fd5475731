//! Figures of an analysis, legible in print and for colour-blind readers: the sides differ in
//! colour, lightness and filling.

mod axis;
mod curves;
pub mod scene;

pub use curves::{Epoch, learning_curves};

use crate::analysis::{Analysis, Kind, Test};
use crate::input::{Evaluation, Results};
use crate::render::number::percent;
use crate::sample::{quantile_sorted, sorted};
use crate::special::beta_quantile;
use axis::Axis;
use scene::{Anchor, BUGGY, CORRECTED, FAINT, INK, Scene};

/// A metric's name with its unit, where that is known.
fn with_unit(metric: &str) -> String {
    if crate::options::OUTCOMES.contains(&metric) {
        return format!("{metric} (fraction)");
    }
    match metric {
        "seconds" => "seconds (s)".to_owned(),
        other => other.to_owned(),
    }
}

/// The side that stands in the buggy one's place.
fn evaluation(kind: Kind) -> Evaluation {
    match kind {
        Kind::Bug => Evaluation::Buggy,
        Kind::Artificial => Evaluation::Artificial,
        Kind::Aa => Evaluation::Aa,
    }
}

/// Distribution of each outcome on both sides of one comparison (the paper's Fig. 2): all runs as
/// points, with box (quartiles), median and whiskers (the furthest runs within 1.5 box lengths).
///
/// All runs that have the metric are drawn, also those that the paper's profile leaves out. Nothing
/// where the bug has no outcome with values.
pub fn distributions(
    results: &Results,
    analysis: &Analysis,
    bug: &str,
    kind: Kind,
) -> Option<Scene> {
    let metrics: Vec<&str> = analysis
        .tests
        .iter()
        .filter(|test| test.bug == bug && test.kind == kind && test.outcome)
        .filter(|test| test.n_buggy + test.n_corrected > 0)
        .map(|test| test.metric.as_str())
        .collect();
    if metrics.is_empty() {
        return None;
    }
    let side = evaluation(kind);
    let panel = 210.0;
    let title = format!("{bug}: distribution of each metric over runs, {side} and corrected");
    let mut scene = Scene::new(&title, 40.0 + panel * metrics.len().max(2) as f64, 380.0);
    for (place, metric) in metrics.iter().enumerate() {
        let sides = [(side, BUGGY, true), (Evaluation::Corrected, CORRECTED, false)].map(
            |(side, colour, filled)| (side, colour, filled, results.values(bug, side, metric)),
        );
        let left = 64.0 + panel * place as f64;
        let right = left + panel - 68.0;
        let axis = Axis::of(sides.iter().flat_map(|side| side.3.iter().copied()), (330.0, 64.0));
        axis.vertical(&mut scene, left, right);
        scene.text((left, 52.0), &with_unit(metric), 13.0, Anchor::Start);
        for (column, (name, colour, filled, values)) in sides.iter().enumerate() {
            let centre = left + (right - left) * (0.27 + 0.46 * column as f64);
            for (index, value) in values.iter().enumerate() {
                // Spread sideways by the golden ratio: even, and the same every time.
                let aside = (index as f64 * 0.618_033_988_749_895).fract() - 0.5;
                scene.circle((centre + 30.0 * aside, axis.at(*value)), 2.2, *colour, *filled);
            }
            boxplot(&mut scene, &axis, centre, &sorted(values));
            scene.text((centre, 348.0), name.name(), 11.0, Anchor::Middle);
            scene.text((centre, 363.0), &format!("n = {}", values.len()), 11.0, Anchor::Middle);
        }
    }
    Some(scene)
}

fn boxplot(scene: &mut Scene, axis: &Axis, centre: f64, values: &[f64]) {
    if values.len() < 2 {
        return;
    }
    let [q1, q2, q3] = [0.25, 0.5, 0.75].map(|p| quantile_sorted(values, p));
    let reach = 1.5 * (q3 - q1);
    let within = |value: &&f64| **value >= q1 - reach && **value <= q3 + reach;
    let low = values.iter().find(within).copied().unwrap_or(q1).min(q1);
    let high = values.iter().rev().find(within).copied().unwrap_or(q3).max(q3);
    let (left, right) = (centre - 20.0, centre + 20.0);
    let [low, q1, q2, q3, high] = [low, q1, q2, q3, high].map(|value| axis.at(value));
    scene.line(&[(left, q1), (right, q1), (right, q3), (left, q3), (left, q1)], INK, 1.2);
    scene.line(&[(left, q2), (right, q2)], INK, 2.2);
    scene.line(&[(centre, q1), (centre, low)], INK, 1.2);
    scene.line(&[(centre, q3), (centre, high)], INK, 1.2);
}

/// Standard deviation of each outcome over runs, one point an experiment (the paper's Fig. 3).
pub fn deviations(analysis: &Analysis) -> Option<Scene> {
    let points: Vec<(&Test, f64, bool)> = analysis
        .tests
        .iter()
        .filter(|test| test.outcome)
        .flat_map(|test| {
            [(test, test.buggy, true), (test, test.corrected, false)]
                .into_iter()
                .filter_map(|(test, side, buggy)| Some((test, side?.sd, buggy)))
        })
        .filter(|(_, sd, _)| sd.is_finite())
        .collect();
    let mut metrics: Vec<&str> = Vec::new();
    for (test, _, _) in &points {
        if !metrics.contains(&test.metric.as_str()) {
            metrics.push(&test.metric);
        }
    }
    if metrics.is_empty() {
        return None;
    }
    let width = 130.0 + 150.0 * metrics.len().max(3) as f64;
    let title = "Standard deviation of each metric over the runs of an experiment";
    let mut scene = Scene::new(title, width, 380.0);
    let all = points.iter().map(|point| point.1).chain([0.0]);
    let axis = Axis::of(all, (320.0, 70.0));
    axis.vertical(&mut scene, 80.0, width - 20.0);
    key(&mut scene, 80.0, 50.0);
    for (place, metric) in metrics.iter().enumerate() {
        let centre = 150.0 + 150.0 * place as f64;
        let own = points.iter().filter(|point| point.0.metric == *metric);
        let mut count = 0;
        for (index, (_, sd, buggy)) in own.enumerate() {
            let aside = (index as f64 * 0.618_033_988_749_895).fract() - 0.5;
            let column = if *buggy { -28.0 } else { 28.0 };
            let colour = if *buggy { BUGGY } else { CORRECTED };
            scene.circle((centre + column + 28.0 * aside, axis.at(*sd)), 3.0, colour, *buggy);
            count += 1;
        }
        scene.text((centre, 340.0), &with_unit(metric), 12.0, Anchor::Middle);
        scene.text((centre, 356.0), &format!("{count} experiments"), 11.0, Anchor::Middle);
    }
    Some(scene)
}

/// What the two marks mean.
fn key(scene: &mut Scene, x: f64, y: f64) {
    scene.circle((x, y - 4.0), 3.5, BUGGY, true);
    scene.text((x + 10.0, y), "buggy (or control)", 11.0, Anchor::Start);
    scene.circle((x + 150.0, y - 4.0), 3.5, CORRECTED, false);
    scene.text((x + 160.0, y), "corrected", 11.0, Anchor::Start);
}

/// Hodges-Lehmann shifts of one metric with their intervals, one row a comparison (forest plot);
/// the margin of equivalence is shaded.
pub fn forest(analysis: &Analysis, metric: &str) -> Option<Scene> {
    let rows: Vec<&Test> = analysis
        .tests
        .iter()
        .filter(|test| test.metric == metric && test.hodges_lehmann.is_some())
        .collect();
    let margin = rows.iter().find_map(|test| test.equivalence.map(|outcome| outcome.margin));
    let ends = rows.iter().filter_map(|test| test.hodges_lehmann);
    let reach: Vec<f64> = ends.flat_map(|shift| [shift.low, shift.high, 0.0]).collect();
    if rows.is_empty() {
        return None;
    }
    let height = 130.0 + 22.0 * rows.len() as f64;
    let level = percent(1.0 - analysis.options.alpha);
    let title = format!("Shift of {metric}, buggy less corrected, with {level} intervals");
    let mut scene = Scene::new(&title, 860.0, height);
    let (top, bottom) = (48.0, height - 56.0);
    let around = margin.map_or([0.0, 0.0], |margin| [-margin, margin]);
    let axis = Axis::of(reach.into_iter().chain(around), (190.0, 700.0));
    if let Some(margin) = margin {
        let (left, right) = (axis.at(-margin), axis.at(margin));
        let corners = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
        scene.area(corners, FAINT, 0.35);
    }
    axis.horizontal(&mut scene, bottom, top);
    scene.dashed((axis.at(0.0), top), (axis.at(0.0), bottom), INK);
    for (index, test) in rows.iter().enumerate() {
        let Some(shift) = test.hodges_lehmann else { continue };
        let y = top + 16.0 + 22.0 * index as f64;
        let differs = test.p_holm.is_some_and(|p| p < analysis.options.alpha);
        let colour = if differs { BUGGY } else { CORRECTED };
        scene.line(&[(axis.at(shift.low), y), (axis.at(shift.high), y)], colour, 2.0);
        scene.circle((axis.at(shift.estimate), y), 4.0, colour, differs);
        let kind = if test.kind == Kind::Bug { "" } else { test.kind.name() };
        scene.text((180.0, y + 4.0), format!("{} {kind}", test.bug).trim(), 11.0, Anchor::End);
        let sizes = format!("n = {} / {}", test.n_buggy, test.n_corrected);
        scene.text((715.0, y + 4.0), &sizes, 11.0, Anchor::Start);
    }
    let unit = format!("shift of {}", with_unit(metric));
    scene.text((445.0, height - 22.0), &unit, 11.0, Anchor::Middle);
    let legend = "filled: different after Holm's correction; shaded: margin of equivalence";
    scene.text((445.0, height - 6.0), legend, 10.0, Anchor::Middle);
    Some(scene)
}

/// p-values of the bugs' outcome tests against those of a uniform distribution (QQ), with the
/// pointwise 95 % band of independent tests.
pub fn quantiles(analysis: &Analysis) -> Option<Scene> {
    let p: Vec<f64> = analysis
        .tests
        .iter()
        .filter(|test| test.outcome && test.kind == Kind::Bug)
        .filter_map(|test| test.p_value)
        .collect();
    uniform_quantiles(&p)
}

/// The same for any p-values, such as those of the paper's Table IV.
pub fn uniform_quantiles(p: &[f64]) -> Option<Scene> {
    if p.is_empty() {
        return None;
    }
    let p = sorted(p);
    let n = p.len();
    let title = format!("p-values against the uniform distribution, {n} tests");
    let mut scene = Scene::new(&title, 560.0, 520.0);
    let across = Axis::exact((0.0, 1.0), (70.0, 530.0));
    let up = Axis::exact((0.0, 1.0), (450.0, 50.0));
    across.horizontal(&mut scene, 450.0, 50.0);
    up.vertical(&mut scene, 70.0, 530.0);
    // The i-th of n uniform values is beta(i, n − i + 1).
    let expected = |index: usize| (index as f64 + 0.5) / n as f64;
    let edge = |tail: f64| {
        (0..n).map(move |index| {
            let quantile = beta_quantile(index as f64 + 1.0, (n - index) as f64, tail);
            (across.at(expected(index)), up.at(quantile))
        })
    };
    let band: Vec<(f64, f64)> =
        edge(0.025).chain(edge(0.975).collect::<Vec<_>>().into_iter().rev()).collect();
    scene.area(band, FAINT, 0.45);
    scene.dashed((across.at(0.0), up.at(0.0)), (across.at(1.0), up.at(1.0)), INK);
    for (index, value) in p.iter().enumerate() {
        scene.circle((across.at(expected(index)), up.at(*value)), 3.0, CORRECTED, true);
    }
    let foot = "expected p-value if nothing differs (shaded: 95 % band of independent tests)";
    scene.text((300.0, 486.0), foot, 11.0, Anchor::Middle);
    scene.text((16.0, 42.0), "observed p-value", 11.0, Anchor::Start);
    Some(scene)
}
