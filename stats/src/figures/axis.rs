//! Scales with round ticks.

use super::scene::{Anchor, FAINT, INK, Scene};
use crate::render::number::significant;

/// A linear scale from values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// A scale that holds `values` with a little room, drawn between two pixels.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = 0.06 * (high - low);
        let room = if room > 0.0 { room } else { 0.01 * high.abs().max(1e-3) };
        Self { low: low - room, high: high + room, from, to }
    }

    /// A scale of exactly this range.
    pub(crate) fn exact((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high, from, to }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round numbers inside the scale, about `count` of them.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        self.spaced((self.high - self.low) / count.max(1) as f64)
    }

    /// Round numbers inside the scale, at least `rough` apart.
    fn spaced(&self, rough: f64) -> Vec<f64> {
        let decade = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .iter()
            .map(|factor| factor * decade)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        let last = (self.high / step).floor();
        if !(first.is_finite() && last.is_finite() && last - first < 100.0) {
            return Vec::new();
        }
        (0..=(last - first) as usize).map(|index| (first + index as f64) * step).collect()
    }

    fn label(&self, tick: f64) -> String {
        let span = self.high - self.low;
        let decimals = (1.0 - span.log10().floor()).clamp(0.0, 8.0) as usize;
        if tick.abs() >= 1e6 || (tick != 0.0 && decimals >= 8) {
            return significant(tick, 3);
        }
        let text = format!("{tick:.decimals$}");
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    }

    /// Draws a vertical axis at `x` with grid lines to `right`.
    pub(crate) fn vertical(&self, scene: &mut Scene, x: f64, right: f64) {
        for tick in self.ticks(6) {
            let y = self.at(tick);
            scene.line(&[(x, y), (right, y)], FAINT, 0.5);
            scene.text((x - 6.0, y + 4.0), &self.label(tick), 11.0, Anchor::End);
        }
        scene.line(&[(x, self.from), (x, self.to)], INK, 1.0);
    }

    /// Draws a horizontal axis at `y` with grid lines up to `top`.
    pub(crate) fn horizontal(&self, scene: &mut Scene, y: f64, top: f64) {
        self.across(scene, &self.ticks(6), y, top);
    }

    /// As [`Axis::horizontal`], of what is counted: ticks at whole numbers alone.
    pub(crate) fn horizontal_whole(&self, scene: &mut Scene, y: f64, top: f64) {
        let step = ((self.high - self.low) / 6.0).max(1.0);
        self.across(scene, &self.spaced(step), y, top);
    }

    fn across(&self, scene: &mut Scene, ticks: &[f64], y: f64, top: f64) {
        for tick in ticks.iter().copied() {
            let x = self.at(tick);
            scene.line(&[(x, y), (x, top)], FAINT, 0.5);
            scene.text((x, y + 16.0), &self.label(tick), 11.0, Anchor::Middle);
        }
        scene.line(&[(self.from, y), (self.to, y)], INK, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::exact((0.683, 0.712), (0.0, 100.0));
        let labels: Vec<String> = axis.ticks(6).iter().map(|tick| axis.label(*tick)).collect();
        assert_eq!(labels, ["0.685", "0.69", "0.695", "0.7", "0.705", "0.71"]);
        assert_eq!(axis.at(0.683), 0.0);
    }

    #[test]
    fn what_is_counted_has_whole_ticks() {
        for last in 1..40 {
            let axis = Axis::of([1.0, f64::from(last)], (0.0, 100.0));
            let mut scene = Scene::new("", 100.0, 100.0);
            axis.horizontal_whole(&mut scene, 50.0, 0.0);
            let step = ((axis.high - axis.low) / 6.0).max(1.0);
            let ticks = axis.spaced(step);
            assert!(!ticks.is_empty() && ticks.iter().all(|tick| tick.fract() == 0.0), "{ticks:?}");
        }
    }

    #[test]
    fn one_value_still_has_a_scale() {
        let axis = Axis::of([0.5], (0.0, 10.0));
        assert!((axis.at(0.5) - 5.0).abs() < 1e-9);
        assert!(!Axis::of([], (0.0, 1.0)).ticks(5).is_empty());
    }
}
