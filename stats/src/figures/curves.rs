//! Learning curves of both sides of a bug.

use super::axis::Axis;
use super::scene::{Anchor, BUGGY, CORRECTED, INK, Scene};
use crate::input::Evaluation;
use crate::sample::median;
use std::collections::BTreeMap;

/// A metric of one run after one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Which artifact the run was made with.
    pub evaluation: Evaluation,
    /// Index of the run.
    pub run: u32,
    /// Epoch, from 1.
    pub epoch: u32,
    /// The metric, in its unit.
    pub value: f64,
}

/// Median of a metric over runs after each epoch, with the range of all runs, for both sides.
///
/// Values that are not finite are left out; nothing where none is left.
pub fn learning_curves(bug: &str, metric: &str, epochs: &[Epoch]) -> Option<Scene> {
    let epochs: Vec<&Epoch> = epochs.iter().filter(|epoch| epoch.value.is_finite()).collect();
    let last = epochs.iter().map(|epoch| epoch.epoch).max()?;
    let first = epochs.iter().map(|epoch| epoch.epoch).min()?;
    let title =
        format!("{bug}: {} after each epoch, median and range of runs", super::with_unit(metric));
    let mut scene = Scene::new(&title, 720.0, 420.0);
    let across = Axis::of([f64::from(first), f64::from(last)], (80.0, 690.0));
    let up = Axis::of(epochs.iter().map(|epoch| epoch.value), (350.0, 70.0));
    across.horizontal_whole(&mut scene, 350.0, 70.0);
    up.vertical(&mut scene, 80.0, 690.0);
    scene.text((385.0, 386.0), "epoch", 11.0, Anchor::Middle);
    let mut x = 80.0;
    for evaluation in Evaluation::NAMES.map(|(evaluation, _)| evaluation) {
        let mut by_epoch: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        let mut runs: Vec<u32> = Vec::new();
        for epoch in epochs.iter().filter(|epoch| epoch.evaluation == evaluation) {
            by_epoch.entry(epoch.epoch).or_default().push(epoch.value);
            runs.push(epoch.run);
        }
        if by_epoch.is_empty() {
            continue;
        }
        runs.sort_unstable();
        runs.dedup();
        let corrected = evaluation == Evaluation::Corrected;
        let colour = if corrected { CORRECTED } else { BUGGY };
        let curve = |of: &dyn Fn(&[f64]) -> f64| -> Vec<(f64, f64)> {
            let point = |(epoch, values): (&u32, &Vec<f64>)| {
                (across.at(f64::from(*epoch)), up.at(of(values)))
            };
            by_epoch.iter().map(point).collect()
        };
        let low = curve(&|values| values.iter().copied().fold(f64::INFINITY, f64::min));
        let high = curve(&|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        scene.area(low.into_iter().chain(high.into_iter().rev()).collect(), colour, 0.2);
        let middle = curve(&median);
        scene.line(&middle, colour, if corrected { 1.5 } else { 2.5 });
        for point in middle {
            scene.circle(point, 3.0, colour, !corrected);
        }
        scene.circle((x, 48.0), 3.5, colour, !corrected);
        let label = format!("{evaluation}, n = {}", runs.len());
        scene.text((x + 10.0, 52.0), &label, 11.0, Anchor::Start);
        x += 180.0;
    }
    scene.line(&[(80.0, 350.0), (690.0, 350.0)], INK, 1.0);
    Some(scene)
}
