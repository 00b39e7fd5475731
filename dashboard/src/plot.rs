//! Figures as inline SVG: every run a dot or a line, so that nothing hides behind a summary.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 720.0;
/// Space for the names of groups, in the drawing's units.
const LEFT: f64 = 96.0;
const RIGHT: f64 = 20.0;
/// Half the width of a dot.
const DOT: f64 = 3.2;
/// Runs of a side that learning curves draw one by one.
const MOST_CURVES: usize = 200;

/// One group of a figure.
#[derive(Debug, Clone)]
pub(crate) struct Group<T> {
    pub name: String,
    /// Its colour: `left` or `right`.
    pub class: &'static str,
    pub values: Vec<T>,
}

/// Each value of each group as a dot over one axis, with the median and the quartiles.
pub(crate) fn strip(title: &str, groups: &[Group<(u32, f64)>]) -> Option<Markup> {
    let all: Vec<f64> =
        groups.iter().flat_map(|g| &g.values).map(|v| v.1).filter(|v| v.is_finite()).collect();
    let (low, high) = bounds(&all)?;
    let axis = Axis::new(low, high, LEFT, WIDTH - RIGHT);
    let mut body = String::new();
    let mut top = 8.0;
    for group in groups {
        let mut values: Vec<(u32, f64)> =
            group.values.iter().copied().filter(|v| v.1.is_finite()).collect();
        values.sort_by(|a, b| a.1.total_cmp(&b.1));
        let columns = stack(&values, &axis);
        let tallest = columns.iter().map(|(_, level, _)| *level).max().unwrap_or(0);
        let height = f64::from(tallest.min(8) + 1) * 2.0 * DOT;
        let height = height.max(26.0);
        let base = top + height;
        let _ = write!(
            body,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 10.0,
            base - 4.0,
            escape(&group.name)
        );
        let _ = write!(
            body,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{base:.1}\" y2=\"{base:.1}\"/>",
            WIDTH - RIGHT
        );
        // More dots than fit above each other are drawn closer.
        let pitch = (2.0 * DOT).min((height - DOT) / f64::from(tallest.max(1)));
        for (x, level, (run, value)) in &columns {
            let y = base - DOT - 1.0 - f64::from(*level) * pitch;
            let _ = write!(
                body,
                "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{DOT}\"><title>run {run}: {}</title></circle>",
                group.class,
                number(*value)
            );
        }
        if let Some(median) = quantile(&values, 0.5) {
            let x = axis.at(median);
            let _ = write!(
                body,
                "<line class=\"median {}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                group.class,
                base - height,
                base + 7.0
            );
        }
        if let (Some(a), Some(b)) = (quantile(&values, 0.25), quantile(&values, 0.75)) {
            let _ = write!(
                body,
                "<line class=\"box {0}\" x1=\"{1:.1}\" x2=\"{2:.1}\" y1=\"{3:.1}\" y2=\"{3:.1}\"/>",
                group.class,
                axis.at(a),
                axis.at(b),
                base + 4.0
            );
        }
        top = base + 14.0;
    }
    let bottom = top;
    axis.horizontal(&mut body, bottom);
    let count = |g: &Group<(u32, f64)>| format!("{}: {} runs", g.name, g.values.len());
    let label = format!("{title}. {}", groups.iter().map(count).collect::<Vec<_>>().join(", "));
    Some(figure(title, &label, bottom + 26.0, &body))
}

/// The losses of every run over its epochs, and the median of each side.
pub(crate) fn curves(title: &str, groups: &[Group<Vec<(u32, f64)>>]) -> Option<Markup> {
    const HEIGHT: f64 = 230.0;
    let finite = |(_, value): &&(u32, f64)| value.is_finite();
    let points: Vec<(u32, f64)> =
        groups.iter().flat_map(|g| g.values.iter().flatten().filter(finite)).copied().collect();
    let (low, high) = bounds(&points.iter().map(|p| p.1).collect::<Vec<_>>())?;
    let first = points.iter().map(|p| p.0).min()?;
    let last = points.iter().map(|p| p.0).max()?;
    let (left, top, bottom) = (64.0, 10.0, HEIGHT - 34.0);
    let y = Axis::new(low, high, bottom, top);
    let span = f64::from(last - first).max(1.0);
    let x =
        |epoch: u32| left + f64::from(epoch - first) / span * (WIDTH - RIGHT - left - 10.0) + 5.0;
    let mut body = String::new();
    for tick in &y.ticks {
        let at = y.at(*tick);
        let _ = write!(
            body,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            left - 8.0,
            at + 4.0,
            y.label(*tick)
        );
    }
    let step = (last - first).div_ceil(15).max(1);
    for epoch in (first..=last).step_by(step as usize) {
        let _ = write!(
            body,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{epoch}</text>",
            x(epoch),
            bottom + 18.0
        );
    }
    let _ = write!(
        body,
        "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">epoch</text>",
        WIDTH - RIGHT,
        bottom + 32.0
    );
    let path = |values: &[(u32, f64)]| {
        let mut text = String::new();
        let mut pen = 'M';
        for (epoch, value) in values {
            if value.is_finite() {
                let _ = write!(text, "{pen}{:.1} {:.1}", x(*epoch), y.at(*value));
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        text
    };
    for group in groups {
        for values in group.values.iter().take(MOST_CURVES) {
            let _ = write!(body, "<path class=\"run {}\" d=\"{}\"/>", group.class, path(values));
        }
    }
    for group in groups {
        let medians: Vec<(u32, f64)> = (first..=last)
            .filter_map(|epoch| {
                let at = group.values.iter().flatten().filter(|p| p.0 == epoch && p.1.is_finite());
                let mut at: Vec<(u32, f64)> = at.copied().collect();
                at.sort_by(|a, b| a.1.total_cmp(&b.1));
                Some((epoch, quantile(&at, 0.5)?))
            })
            .collect();
        let _ = write!(body, "<path class=\"mid {}\" d=\"{}\"/>", group.class, path(&medians));
        if let [(epoch, value)] = medians.as_slice() {
            let _ = write!(
                body,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                group.class,
                x(*epoch),
                y.at(*value)
            );
        }
    }
    let count = |g: &Group<Vec<(u32, f64)>>| format!("{}: {} runs", g.name, g.values.len());
    let label = format!("{title}. {}", groups.iter().map(count).collect::<Vec<_>>().join(", "));
    Some(figure(title, &label, HEIGHT, &body))
}

/// A bar of parts of a whole, each with a class and a share from 0 to 1.
pub(crate) fn bar(parts: &[(&str, f64)], label: &str) -> Markup {
    let mut body = String::new();
    let mut at = 0.0;
    for (class, share) in parts {
        let width = (share * 100.0).clamp(0.0, 100.0 - at);
        let _ = write!(
            body,
            "<rect class=\"{class}\" x=\"{at:.2}%\" width=\"{width:.2}%\" height=\"100%\"/>"
        );
        at += width;
    }
    html! { svg.bar role="img" aria-label=(label) { (PreEscaped(body)) } }
}

fn figure(title: &str, label: &str, height: f64, body: &str) -> Markup {
    html! {
        figure.plot {
            figcaption { (title) }
            div.wide tabindex="0" role="group" aria-label=(title) {
                svg role="img" aria-label=(label) viewBox=(format!("0 0 {WIDTH} {height:.0}")) {
                    (PreEscaped(body))
                }
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Where each value stands, and how many stand below it at the same place.
fn stack(values: &[(u32, f64)], axis: &Axis) -> Vec<(f64, u32, (u32, f64))> {
    let mut placed: Vec<(f64, u32, (u32, f64))> = Vec::with_capacity(values.len());
    for value in values {
        let x = axis.at(value.1);
        // Values come in order: only the last ones can touch this one.
        let level = match placed
            .iter()
            .rev()
            .find(|(other, level, _)| *level == 0 && x - other < 2.0 * DOT)
        {
            Some((start, _, _)) => {
                let same = placed.iter().rev().take_while(|(other, _, _)| other >= start);
                u32::try_from(same.count()).unwrap_or(u32::MAX)
            }
            None => 0,
        };
        placed.push((x, level, *value));
    }
    placed
}

fn bounds(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().filter(|v| v.is_finite()).reduce(f64::min)?;
    let high = values.iter().copied().filter(|v| v.is_finite()).reduce(f64::max)?;
    if low < high {
        return Some((low, high));
    }
    // One value alone: show some of what lies around it.
    let around = (low.abs() * 0.01).max(1e-3);
    Some((low - around, low + around))
}

fn quantile(sorted: &[(u32, f64)], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q * last as f64;
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low.1 + (high.1 - low.1) * place.fract())
}

struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// An axis over `low` to `high`, drawn between `from` and `to`, with round numbers on it.
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let raw = (high - low) / 5.0;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let margin = (high - low) * 0.03;
        let (low, high) = (low - margin, high + margin);
        let first = (low / step).ceil();
        let ticks: Vec<f64> = (0..12)
            .map(|place| (first + f64::from(place)) * step)
            .take_while(|tick| *tick <= high)
            .collect();
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        Self { low, high, from, to, ticks, decimals }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn label(&self, tick: f64) -> String {
        let text = format!("{:.*}", self.decimals, tick);
        if text.len() > 12 { format!("{tick:e}") } else { text }
    }

    fn horizontal(&self, body: &mut String, y: f64) {
        for tick in &self.ticks {
            let x = self.at(*tick);
            let _ = write!(
                body,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                y + 16.0,
                self.label(*tick)
            );
        }
    }
}

/// A number with as many digits as tell it apart, for tables and hints.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        value.to_string()
    } else if size != 0.0 && !(1e-4..1e7).contains(&size) {
        format!("{value:.3e}")
    } else if size >= 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.5}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(values: &[f64]) -> Group<(u32, f64)> {
        let values = (0..).zip(values.iter().copied()).collect();
        Group { name: "buggy <x>".into(), class: "left", values }
    }

    #[test]
    fn every_run_is_a_dot_and_odd_numbers_break_nothing() {
        let text = strip("accuracy", &[group(&[0.5, 0.5, 0.6, f64::NAN])]).unwrap().into_string();
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(text.contains("buggy &lt;x&gt;") && !text.contains("NaN"), "{text}");
        for odd in [vec![0.0], vec![1e300, -1e300], vec![1e-300, 2e-300], vec![0.776; 500]] {
            let text = strip("m", &[group(&odd)]).unwrap().into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        assert!(strip("m", &[group(&[f64::NAN])]).is_none());
        assert!(strip("m", &[]).is_none());
    }

    #[test]
    fn curves_have_a_line_a_run_and_one_for_the_median() {
        let values = vec![vec![(1, 2.0), (2, 1.0)], vec![(1, 2.5), (2, f64::INFINITY), (3, 0.5)]];
        let group = Group { name: "buggy".into(), class: "left", values };
        let text = curves("training loss", &[group]).unwrap().into_string();
        assert_eq!(text.matches("class=\"run left\"").count(), 2);
        assert_eq!(text.matches("class=\"mid left\"").count(), 1);
        assert!(!text.contains("inf"), "{text}");
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::new(0.761, 0.839, 0.0, 100.0);
        let labels: Vec<String> = axis.ticks.iter().map(|t| axis.label(*t)).collect();
        assert_eq!(labels, ["0.76", "0.78", "0.80", "0.82", "0.84"]);
    }
}
