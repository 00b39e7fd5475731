//! The paper's profile reproduces Table IV from samples.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use reproduceml_stats::mann_whitney::standard_deviation_of_u;
use reproduceml_stats::paper::table_iv;
use reproduceml_stats::special::normal_sf;
use reproduceml_stats::{Evaluation, Options, Results, RunRow, Test, analyse};

/// Two samples of `n` distinct values whose U is `wanted`, out of 0..=n².
///
/// Starts with all of `x` below all of `y`, and lifts values of `x`, the highest first, over as
/// many of `y` as are still needed.
fn with_u(n: usize, wanted: usize) -> (Vec<f64>, Vec<f64>) {
    let y: Vec<f64> = (0..n).map(|i| 2.0 * i as f64).collect();
    let mut left = wanted;
    let mut x = Vec::new();
    for i in 0..n {
        let over = left.min(n);
        left -= over;
        // Above `over` values of y, and apart from the other x.
        x.push(2.0 * over as f64 - 1.0 + 1e-3 * i as f64);
    }
    (x, y)
}

fn rows(bug: &str, evaluation: Evaluation, metric: &str, values: &[f64]) -> Vec<RunRow> {
    values
        .iter()
        .enumerate()
        .map(|(run, value)| RunRow {
            bug: bug.to_owned(),
            evaluation,
            run: run as u32,
            seed: Some(1),
            metrics: [(metric.to_owned(), *value)].into(),
            fingerprints: Vec::new(),
        })
        .collect()
}

fn analyse_one(metric: &str, x: &[f64], y: &[f64]) -> Test {
    let mut all = rows("pr1", Evaluation::Buggy, metric, x);
    all.extend(rows("pr1", Evaluation::Corrected, metric, y));
    let analysis = analyse(&Results::from_rows(all).unwrap(), &Options::paper());
    analysis.tests[0].clone()
}

fn five(p: f64) -> String {
    format!("{p:.5}")
}

#[test]
fn all_54_cells_without_ties_are_reproduced_to_five_digits() {
    let mut reproduced = 0;
    for cell in table_iv().cells.iter().filter(|cell| cell.metric != "accuracy") {
        let n = cell.n;
        // n²/2 is a half for odd n, and so is the distance then.
        let u = 0.5 * (n * n) as f64 + cell.nearest_half;
        let (x, mut y) = if u.fract() == 0.0 {
            with_u(n, u as usize)
        } else {
            // One tie across the samples gives the half that is missing.
            let (x, mut y) = with_u(n, u as usize);
            let top = x.iter().copied().fold(f64::MIN, f64::max);
            let next = y.iter().position(|value| *value > top).unwrap_or(n - 1);
            y[next] = top;
            (x, y)
        };
        // The side that has more runs is cut: what comes after must not matter.
        y.extend([99.0; 7]);
        let test = analyse_one(&cell.metric, &x, &y);
        assert_eq!((test.n_buggy, test.n_corrected), (n, n));
        assert_eq!(five(test.p_value.unwrap()), five(cell.p_value), "{cell:?}");
        reproduced += 1;
    }
    assert_eq!(reproduced, 54);
}

#[test]
fn all_18_cells_of_accuracy_are_reached_by_tied_samples() {
    // Accuracies on 10,000 images are multiples of 1e-4, so runs can agree: ties lower the variance
    // of U, and p with it. For each cell some number of ties and some distance give its five digits.
    let mut reached = 0;
    for cell in table_iv().cells.iter().filter(|cell| cell.metric == "accuracy") {
        let n = cell.n;
        let found = (0..260).find_map(|ties| {
            (-6..=6).find_map(|step| {
                let distance = cell.nearest_half + 0.5 * f64::from(step);
                let sigma = standard_deviation_of_u(n, n, 6.0 * f64::from(ties));
                let p = 2.0 * normal_sf((distance - 0.5) / sigma);
                if distance < 0.5 || five(p) != five(cell.p_value) {
                    return None;
                }
                let (x, y) = tied(n, distance, ties as usize)?;
                Some(analyse_one("accuracy", &x, &y))
            })
        });
        let test = found.unwrap_or_else(|| panic!("no samples found for {cell:?}"));
        assert_eq!(five(test.p_value.unwrap()), five(cell.p_value), "{cell:?}");
        assert!(test.method.unwrap().name() == "asymptotic");
        reached += 1;
    }
    assert_eq!(reached, 18);
}

/// Samples of `n` values whose U is `distance` from n²/2 and whose tie term Σ(t³ − t) is 6·`ties`.
fn tied(n: usize, distance: f64, ties: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    // Groups of 5, 4, 3 and 2 equal values count 20, 10, 4 and 1.
    let mut left = ties;
    let mut groups = Vec::new();
    for (size, worth) in [(5, 20), (4, 10), (3, 4), (2, 1)] {
        for _ in 0..left / worth {
            groups.push(size);
        }
        left %= worth;
    }
    let used: usize = groups.iter().sum();
    groups.extend(vec![1; (2 * n).checked_sub(used)?]);
    // Twice the midrank of each value, and a value for each group.
    let mut ranks = Vec::new();
    let mut values = Vec::new();
    for (place, size) in groups.iter().enumerate() {
        let before = ranks.len();
        ranks.extend(vec![2 * before + 1 + size; *size]);
        values.extend(vec![0.7 + 1e-4 * place as f64; *size]);
    }
    // Twice U is the doubled rank sum less n(n + 1).
    let target = (n * n) as i64 + (2.0 * distance) as i64 + (n * (n + 1)) as i64;
    let mut first: Vec<bool> = (0..2 * n).map(|index| index % 2 == 0).collect();
    for _ in 0..200 {
        let sum: i64 = (0..2 * n).filter(|i| first[*i]).map(|i| ranks[i] as i64).sum();
        if sum == target {
            let of = |side: bool| -> Vec<f64> {
                (0..2 * n).filter(|i| first[*i] == side).map(|i| values[i]).collect()
            };
            return Some((of(true), of(false)));
        }
        // Swap the two values that bring the sum nearest to the target.
        let pairs = (0..2 * n).flat_map(|i| (0..2 * n).map(move |j| (i, j)));
        let (i, j) = pairs
            .filter(|(i, j)| first[*i] && !first[*j])
            .min_by_key(|(i, j)| (sum - ranks[*i] as i64 + ranks[*j] as i64 - target).abs())?;
        first.swap(i, j);
    }
    None
}
