//! What `run --dry-run` says of a sequential design.

use runner::Plan;
use serde::Serialize;
use stats::sequential::{forecast, planned};
use stats::{Options, analyse};
use study::Store;
use study::design::Declaration;

use crate::failure::Failure;
use crate::output::Rows;

/// Shifts that are foretold, in standard deviations between runs.
const SHIFTS: [(&str, f64); 4] =
    [("no difference", 0.0), ("small: 0.5 sd", 0.5), ("large: 1 sd", 1.0), ("huge: 2 sd", 2.0)];

/// What a design is expected to cost, beside the fixed one of as many runs.
#[derive(Debug, Serialize)]
pub struct Costs<'a> {
    design: &'a Declaration,
    /// The nominal levels at the looks: of a difference, and of equivalence.
    levels: [Vec<f64>; 2],
    /// Standard deviation between runs, of the outcome with the largest, where runs tell it.
    deviation: Option<f64>,
    /// Mean seconds of a run, where runs tell it.
    run_seconds: Option<f64>,
    device: String,
    scenarios: Vec<Scenario>,
}

/// One thing that may be true of all bugs.
#[derive(Debug, Serialize)]
struct Scenario {
    name: String,
    /// Expected runs a side.
    runs: f64,
    /// The share of the fixed design's.
    share: f64,
    different: Option<f64>,
    equivalent: Option<f64>,
    /// Hours of all experiments, one run after another.
    hours: Option<f64>,
}

impl<'a> Costs<'a> {
    /// Of the experiments of a plan.
    pub fn of(design: &'a Declaration, plan: &Plan, store: &Store) -> Result<Self, Failure> {
        let deviation = deviation(design, store)?;
        let missing = plan.missing.len();
        let run_seconds =
            plan.expected_seconds.filter(|_| missing > 0).map(|seconds| seconds / missing as f64);
        let all = f64::from(design.runs());
        let sides = plan.experiments.len() as f64;
        let scenario = |name: &str, runs: f64, ends: Option<(f64, f64)>| Scenario {
            name: name.to_owned(),
            runs,
            share: runs / all,
            different: ends.map(|ends| ends.0),
            equivalent: ends.map(|ends| ends.1),
            hours: run_seconds.map(|seconds| runs * sides * seconds / 3600.0),
        };
        let mut scenarios = vec![scenario("fixed design", all, None)];
        if let Some(pairs) = design.identical_after {
            scenarios.push(scenario("bit-identical", f64::from(pairs), None));
        }
        let margin = deviation.filter(|sd| *sd > 0.0).map(|sd| design.margin / sd);
        for (name, shift) in SHIFTS {
            let told = forecast(design, shift, margin);
            scenarios.push(scenario(name, told.runs, Some((told.different, told.equivalent))));
        }
        let levels = planned(design);
        let device = plan.experiments.first().map(|(e, _)| e.device.clone()).unwrap_or_default();
        let levels = [levels.different, levels.equivalent];
        Ok(Self { design, levels, deviation, run_seconds, device, scenarios })
    }

    /// As a table.
    pub fn rows(&self) -> Rows {
        let hours = if self.device == "cuda" { "GPU hours" } else { "hours" };
        let head = ["if all bugs are", "runs a side", "share", "different", "equivalent", hours];
        let mut rows = Rows::new(&head);
        let or_dash = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        for one in &self.scenarios {
            rows.push([
                one.name.clone(),
                format!("{:.1}", one.runs),
                format!("{:.0} %", 100.0 * one.share),
                or_dash(one.different, 3),
                or_dash(one.equivalent, 3),
                or_dash(one.hours, 2),
            ]);
        }
        rows
    }

    /// What the table rests on, in a line.
    pub fn remark(&self) -> String {
        let looks: Vec<String> = self.design.looks.iter().map(ToString::to_string).collect();
        let margin = match self.deviation.filter(|sd| *sd > 0.0) {
            Some(sd) => format!(
                "finished runs vary by {sd:.2e}, so the margin of {} is {:.2} sd",
                self.design.margin,
                self.design.margin / sd
            ),
            None => "no runs tell yet how much they vary, so nothing is foretold to end as \
                     equivalent"
                .to_owned(),
        };
        format!(
            "sequential design, looks after {} runs a side, {}; {margin}. Means for one outcome",
            looks.join(", "),
            self.design.spending.name()
        )
    }
}

/// The standard deviation within sides, of the outcome that varies most.
fn deviation(design: &Declaration, store: &Store) -> Result<Option<f64>, Failure> {
    let input = match stats::store::read(store) {
        Ok(input) => input,
        Err(stats::store::StudyResultsError::NoRuns) => return Ok(None),
        Err(error) => return Err(Failure::input(error)),
    };
    let analysis = analyse(&input.results, &Options::default());
    let own = analysis.tests.iter().filter(|test| design.outcomes.contains(&test.metric));
    let squares = own.filter_map(|test| {
        let pooled = 0.5 * (test.buggy?.sd.powi(2) + test.corrected?.sd.powi(2));
        Some(pooled.sqrt()).filter(|sd| sd.is_finite())
    });
    Ok(squares.reduce(f64::max))
}
