//! The analysis of variance against R's `aov` (see `golden/make_variance.R`).

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use reproduceml_stats::variance::{Cell, Component, Factor, decompose};
use std::collections::HashMap;

fn factors(shape: &[usize]) -> Vec<Factor> {
    ["a", "b", "c"]
        .iter()
        .zip(shape)
        .map(|(name, levels)| Factor {
            name: (*name).to_owned(),
            levels: (0..*levels).map(|level| level.to_string()).collect(),
            random: false,
        })
        .collect()
}

/// The cells of a case, by the generator of the script.
fn cells(case: u64, shape: &[usize]) -> Vec<Cell> {
    let mut state = case;
    let mut cells = Vec::new();
    for a in 0..shape[0] {
        for b in 0..shape[1] {
            for c in 0..shape[2] {
                let values = (0..shape[3]).map(|_| {
                    state = 16807 * state % 2_147_483_647;
                    (state % 1000) as f64 + (300 * (a + 1) + 50 * (b + 1) * (c + 1)) as f64
                });
                cells.push(Cell { values: values.collect(), levels: vec![a, b, c] });
            }
        }
    }
    cells
}

#[test]
fn squares_and_tests_are_those_of_aov() {
    let mut reader = csv::Reader::from_reader(include_str!("golden/variance.csv").as_bytes());
    let mut compared = 0;
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.unwrap();
        let number = |column: &str| row[column].parse::<f64>().ok();
        let whole = |column: &str| row[column].parse::<usize>().unwrap();
        let shape = ["a", "b", "c", "repetitions"].map(whole);
        let cells = cells(whole("case") as u64, &shape);
        let table = decompose(&factors(&shape[..3]), &cells, true, None).unwrap();
        let name = match row["source"].as_str() {
            "Residuals" => "repetition".to_owned(),
            "a:b:c" => "other interactions".to_owned(),
            source => source.replace(':', " × "),
        };
        let found: &Component = table.components.iter().find(|one| one.source == name).unwrap();
        assert_eq!(found.df, whole("df"), "{row:?}");
        let same = |found: Option<f64>, known: Option<f64>| match (found, known) {
            (Some(found), Some(known)) => (found / known - 1.0).abs() < 1e-9,
            (None, None) => true,
            _ => false,
        };
        assert!(same(Some(found.sum_of_squares), number("squares")), "{row:?}: {found:?}");
        assert!(
            same(found.f, number("f")) && same(found.p_value, number("p")),
            "{row:?}: {found:?}"
        );
        compared += 1;
    }
    assert!(compared >= 31, "{compared}");
}

#[test]
fn half_a_factorial_tells_the_same_of_its_factors() {
    // Half of 2 × 2 × 2, of which factor c does 2, factor a 1 and runs 0.1.
    let value = |levels: &[usize], run: usize| {
        2.0 * levels[2] as f64 + levels[0] as f64 + if run == 0 { 0.05 } else { -0.05 }
    };
    let mut half = Vec::new();
    for levels in [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]] {
        let values = (0..2).map(|run| value(&levels, run)).collect();
        half.push(Cell { levels: levels.to_vec(), values });
    }
    let table = decompose(&factors(&[2, 2, 2]), &half, false, None).unwrap();
    let squares: Vec<f64> = table.components.iter().map(|one| one.sum_of_squares).collect();
    let known = [2.0, 0.0, 8.0, 0.02];
    assert!(squares.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-12), "{table:?}");
}
