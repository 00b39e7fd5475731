//! The tests of significance against values of SciPy and R.
//!
//! The values were made by `golden/make_golden.py` and `golden/make_golden.R`; the samples are
//! made here by the generator that those two share.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use reproduceml_stats::mann_whitney::{self, Alternative, Choice};
use reproduceml_stats::{adjust, brunner_munzel, shift, signed_rank, spread};
use std::collections::HashMap;

type Row = HashMap<String, String>;

fn rows(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn scipy() -> Vec<Row> {
    rows(include_str!("golden/scipy.csv"))
}

fn r() -> Vec<Row> {
    rows(include_str!("golden/r.csv"))
}

fn number(row: &Row, column: &str) -> Option<f64> {
    let text = &row[column];
    if text.is_empty() { None } else { Some(text.parse().unwrap()) }
}

fn samples(case: &Row) -> (Vec<f64>, Vec<f64>) {
    let whole = |column: &str| case[column].parse::<i64>().unwrap();
    let mut state = whole("seed");
    let levels = whole("levels");
    let mut draw = |count: i64, shift: i64| -> Vec<f64> {
        (0..count)
            .map(|_| {
                state = 16807 * state % 2_147_483_647;
                (state % levels + shift) as f64
            })
            .collect()
    };
    let x = draw(whole("n"), 0);
    let y = draw(whole("m"), whole("shift"));
    (x, y)
}

/// Counts comparisons, and fails on the first one that is off by more than 1e-10 in relation.
#[derive(Default)]
struct Tally {
    compared: usize,
    worst: f64,
    smallest: Option<f64>,
}

impl Tally {
    fn add(&mut self, got: f64, expected: Option<f64>, what: &str) {
        let Some(expected) = expected else { return };
        let difference = if got == expected { 0.0 } else { ((got - expected) / expected).abs() };
        assert!(difference < 1e-10, "{what}: {got:e} instead of {expected:e}");
        self.compared += 1;
        self.worst = self.worst.max(difference);
        self.smallest = Some(self.smallest.map_or(expected, |least| least.min(expected)));
    }
}

#[test]
fn asymptotic_p_values_are_those_of_scipy_down_to_1e_300() {
    let (mut tally, mut u) = (Tally::default(), Tally::default());
    for (index, case) in scipy().iter().enumerate() {
        let (x, y) = samples(case);
        let what = format!("case {index}");
        let p = |alternative, continuity| {
            mann_whitney::asymptotic(&x, &y, alternative, continuity).unwrap()
        };
        let corrected = p(Alternative::TwoSided, true);
        u.add(corrected.u, number(case, "u"), &what);
        tally.add(corrected.p_value, number(case, "p"), &what);
        tally.add(p(Alternative::TwoSided, false).p_value, number(case, "p_uncorrected"), &what);
        tally.add(p(Alternative::Less, true).p_value, number(case, "p_less"), &what);
    }
    assert!(u.compared >= 2400 && tally.compared >= 7000, "{} {}", u.compared, tally.compared);
    assert!(tally.smallest.unwrap() < 1e-300, "{:?}", tally.smallest);
}

#[test]
fn many_at_once_are_those_of_scipy_too() {
    let cases = scipy();
    let mut tally = Tally::default();
    let mut batch = reproduceml_stats::batch::Batch::new();
    for (index, case) in cases.iter().enumerate() {
        let (mut x, mut y) = samples(case);
        // Away from 0, so that most pairs can stand side by side.
        x.iter_mut().chain(&mut y).for_each(|value| *value += 1.0);
        let pairs = [(&x[..], &y[..]); 16];
        let tests = batch.asymptotic_all(&pairs, Alternative::TwoSided, true).unwrap();
        for test in tests {
            tally.add(test.p_value, number(case, "p"), &format!("case {index}"));
        }
    }
    assert!(tally.compared >= 16 * 2400, "{}", tally.compared);
}

#[test]
fn exact_p_values_without_ties_are_those_of_scipy_and_r() {
    let mut tally = Tally::default();
    for (index, (case, from_r)) in scipy().iter().zip(r()).enumerate() {
        let (x, y) = samples(case);
        let what = format!("case {index}");
        let (two, less) = (number(case, "p_exact"), number(case, "p_exact_less"));
        if two.is_some() {
            let p = |alternative| mann_whitney::exact(&x, &y, alternative).unwrap().p_value;
            tally.add(p(Alternative::TwoSided), two, &what);
            tally.add(p(Alternative::Less), less, &what);
            tally.add(p(Alternative::TwoSided), number(&from_r, "p_exact"), &what);
        }
    }
    assert!(tally.compared >= 1500, "{}", tally.compared);
}

#[test]
fn exact_p_values_with_ties_are_those_of_coin() {
    let mut tally = Tally::default();
    for (index, (case, from_r)) in scipy().iter().zip(r()).enumerate() {
        let two = number(&from_r, "p_exact_ties");
        if two.is_none() {
            continue;
        }
        let (x, y) = samples(case);
        let what = format!("case {index}");
        let p = |alternative| mann_whitney::exact_with_ties(&x, &y, alternative).unwrap().p_value;
        tally.add(p(Alternative::TwoSided), two, &what);
        tally.add(p(Alternative::Less), number(&from_r, "p_exact_ties_less"), &what);
    }
    assert!(tally.compared >= 850, "{}", tally.compared);
}

#[test]
fn r_agrees_on_asymptotic_p_values() {
    let mut tally = Tally::default();
    for (index, (case, from_r)) in scipy().iter().zip(r()).enumerate() {
        let (x, y) = samples(case);
        let test = mann_whitney::asymptotic(&x, &y, Alternative::TwoSided, true).unwrap();
        tally.add(test.p_value, number(&from_r, "p"), &format!("case {index}"));
    }
    assert!(tally.compared >= 2400, "{}", tally.compared);
}

#[test]
fn shifts_and_their_intervals_are_those_of_r() {
    let (mut exact, mut asymptotic) = (Tally::default(), 0);
    for (index, (case, from_r)) in scipy().iter().zip(r()).enumerate() {
        let (x, y) = samples(case);
        let what = format!("case {index}");
        if let Some(low) = number(&from_r, "exact_low") {
            let shift = shift::hodges_lehmann(&x, &y, 0.95, Choice::Exact).unwrap();
            exact.add(shift.low, Some(low), &what);
            exact.add(shift.high, number(&from_r, "exact_high"), &what);
            exact.add(shift.estimate, number(&from_r, "exact_estimate"), &what);
        }
        if let (Some(low), Some(high)) = (number(&from_r, "low"), number(&from_r, "high")) {
            let shift = shift::hodges_lehmann(&x, &y, 0.95, Choice::Asymptotic).unwrap();
            // R finds the ends by a root search over a step function, to 1e-12 of the values here;
            // ours are differences of the sample, and so exact.
            let scale = x.iter().chain(&y).fold(1.0_f64, |a, b| a.max(b.abs()));
            for (got, expected) in [(shift.low, low), (shift.high, high)] {
                assert!(
                    (got - expected).abs() < 1e-6 * scale,
                    "{what}: {shift:?} not {low} {high}"
                );
            }
            asymptotic += 1;
        }
    }
    assert!(exact.compared >= 800 && asymptotic >= 1000, "{} {asymptotic}", exact.compared);
}

#[test]
fn brunner_munzel_and_fligner_killeen_are_those_of_scipy() {
    let (mut bm, mut fk) = (Tally::default(), Tally::default());
    for (index, case) in scipy().iter().enumerate() {
        let (x, y) = samples(case);
        let what = format!("case {index}");
        if let (Ok(outcome), Some(p)) =
            (brunner_munzel::brunner_munzel(&x, &y), number(case, "bm_p"))
        {
            let statistic = number(case, "bm_statistic").unwrap();
            assert!(
                (outcome.statistic - statistic).abs() <= 1e-10 * (1.0 + statistic.abs()),
                "{what}"
            );
            bm.add(outcome.p_value, Some(p), &what);
        }
        if let (Ok(outcome), Some(p)) = (spread::fligner_killeen(&x, &y), number(case, "fligner_p"))
        {
            let statistic = number(case, "fligner_statistic").unwrap();
            assert!((outcome.statistic - statistic).abs() <= 1e-10 * (1.0 + statistic), "{what}");
            fk.add(outcome.p_value, Some(p), &what);
        }
    }
    assert!(bm.compared >= 1400 && fk.compared >= 2000, "{} {}", bm.compared, fk.compared);
}

#[test]
fn signed_ranks_are_those_of_r_and_coin() {
    let (mut asymptotic, mut exact) = (Tally::default(), Tally::default());
    for (index, (case, from_r)) in scipy().iter().zip(r()).enumerate() {
        if number(&from_r, "paired_v").is_none() {
            continue;
        }
        let (mut x, mut y) = samples(case);
        let pairs = x.len().min(y.len());
        x.truncate(pairs);
        y.truncate(pairs);
        let what = format!("case {index}");
        let test = signed_rank::signed_rank(&x, &y, Choice::Asymptotic).unwrap();
        asymptotic.add(test.v, number(&from_r, "paired_v"), &what);
        asymptotic.add(test.p_value, number(&from_r, "paired_p"), &what);
        let test = signed_rank::signed_rank(&x, &y, Choice::Exact).unwrap();
        exact.add(test.p_value, number(&from_r, "paired_p_exact"), &what);
    }
    assert!(asymptotic.compared >= 4000 && exact.compared >= 1500, "{}", exact.compared);
}

#[test]
fn adjusted_p_values_are_those_of_r() {
    let rows = rows(include_str!("golden/r_adjust.csv"));
    let column = |name: &str| rows.iter().map(|row| number(row, name).unwrap()).collect::<Vec<_>>();
    let p = column("p");
    let mut tally = Tally::default();
    for (got, expected) in [
        (adjust::holm(&p), column("holm")),
        (adjust::benjamini_hochberg(&p), column("bh")),
        (adjust::bonferroni(&p), column("bonferroni")),
    ] {
        for (got, expected) in got.into_iter().zip(expected) {
            tally.add(got, Some(expected), "adjusted");
        }
    }
    assert_eq!(tally.compared, 3 * 72);
}
