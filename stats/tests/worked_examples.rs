//! The worked examples of docs/statistics.md: what it says is what comes out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use reproduceml_stats::mann_whitney::{
    Alternative, Choice, asymptotic, exact, exact_with_ties, standard_deviation_of_u,
};
use reproduceml_stats::sequential::boundary;
use reproduceml_stats::variance::{Cell, Factor, decompose};
use reproduceml_stats::{
    adjust, brunner_munzel, effect, equivalence, power, shift, signed_rank, special, spread,
};
use study::design::Spending;

const TWO: Alternative = Alternative::TwoSided;

/// Fails unless the page says this, however its lines are broken.
#[track_caller]
fn said(text: &str) {
    let page = include_str!("../../docs/statistics.md");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(page).contains(&words(text)), "docs/statistics.md does not say: {text}");
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[test]
fn mann_whitney() {
    let test = exact(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], TWO).unwrap();
    said("Buggy {1, 2, 3}, corrected {4, 5, 6}: U = 0, nm/2 = 4.5.");
    said("U = 0 and U = 9: p = 0.1.");
    assert_eq!((test.u, rounded(test.p_value, 12)), (0.0, 0.1));
    let (x, y) = ([1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]);
    let test = asymptotic(&x, &y, TWO, true).unwrap();
    said("buggy {1, 2, 2, 3}, corrected {2, 3, 4, 5}: U = 2.5");
    said(
        "σ² = 16/12 · (9 − (24 + 6)/56) = 11.286, z = (5.5 − 0.5)/3.359 = 1.488, asymptotic p = 0.137",
    );
    let sigma = standard_deviation_of_u(4, 4, 30.0);
    assert_eq!((test.u, rounded(sigma * sigma, 3), rounded(sigma, 3)), (2.5, 11.286, 3.359));
    assert_eq!((rounded(5.0 / sigma, 3), rounded(test.p_value, 3)), (1.488, 0.137));
    let test = asymptotic(&x, &y, TWO, false).unwrap();
    said("without continuity correction z = 5.5/3.359 = 1.637 and p = 0.102");
    assert_eq!((rounded(5.5 / sigma, 3), rounded(test.p_value, 3)), (1.637, 0.102));
    let test = exact_with_ties(&x, &y, TWO).unwrap();
    said("14 of the 70 choices of four of the eight values are as extreme: exact-ties p = 0.2");
    assert_eq!(rounded(70.0 * test.p_value, 9), 14.0);
}

#[test]
fn hodges_lehmann() {
    let (x, y) = ([1.1, 2.2, 3.4, 4.7], [0.1, 0.3, 0.6, 1.0]);
    let shift = shift::hodges_lehmann(&x, &y, 0.95, Choice::Auto).unwrap();
    said("the middle ones of 16 differences are 2.1 and 2.4; the shift is 2.25");
    assert_eq!(rounded(shift.estimate, 12), 2.25);
    said("its interval is [0.1, 4.6], from the smallest to the largest difference");
    assert_eq!((rounded(shift.low, 12), rounded(shift.high, 12)), (0.1, 4.6));
    assert!(shift.attained);
}

#[test]
fn a12_and_cliffs_delta() {
    let effect = effect::effect(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], 0.95).unwrap();
    said("one win and two ties of 9 pairs, A12 = 2/9 and δ = −5/9");
    assert_eq!(rounded(effect.a12.estimate, 12), rounded(2.0 / 9.0, 12));
    assert_eq!(rounded(effect.cliffs_delta.estimate, 12), rounded(-5.0 / 9.0, 12));
}

#[test]
fn brunner_munzel_and_fligner_killeen() {
    let test = brunner_munzel::brunner_munzel(&[1., 2., 1., 3.], &[2., 3., 4., 4.]).unwrap();
    said("{1, 2, 1, 3} against {2, 3, 4, 4}: the statistic is 3, p = 0.0240");
    assert_eq!((rounded(test.statistic, 9), rounded(test.p_value, 4)), (3.0, 0.024));
    let test = spread::fligner_killeen(&[1., 2., 3., 4., 5.], &[1., 5., 9., 13., 17.]).unwrap();
    said("{1, 2, 3, 4, 5} against {1, 5, 9, 13, 17}: the statistic is 3.33, p = 0.0680");
    assert_eq!((rounded(test.statistic, 2), rounded(test.p_value, 4)), (3.33, 0.068));
}

#[test]
fn equivalence() {
    let (x, y) = ([0.700, 0.701, 0.702, 0.703], [0.7005, 0.7015, 0.7025, 0.7035]);
    let outcome = equivalence::tost(&x, &y, 0.005, Choice::Auto).unwrap();
    said("Each side has exact p = 1/70, so p = 0.0143");
    assert_eq!(rounded(70.0 * outcome.p_lower, 9), 1.0);
    assert_eq!((rounded(outcome.p_upper * 70.0, 9), rounded(outcome.p_value, 4)), (1.0, 0.0143));
    let narrow = equivalence::tost(&x, &y, 0.001, Choice::Auto).unwrap();
    said("though the same runs say little about a shift of 0.001");
    assert!(narrow.p_value > 0.1);
}

#[test]
fn detectable_effects() {
    let shift = power::detectable_shift(50, 50, 0.01, 0.05, 0.8).unwrap();
    said("50 runs a side with sd 0.01: (1.960 + 0.842) · 0.01 · √(0.04 · π/3) = 0.00573");
    assert_eq!(rounded(shift, 5), 0.00573);
    let a12 = 0.5 + power::detectable_a12(50, 50, 0.05, 0.8).unwrap();
    said("50 runs a side find an A12 of 0.662");
    assert_eq!(rounded(a12, 3), 0.662);
}

#[test]
fn paired() {
    let (x, y) = ([1., 2., 3., 0., 5., 6.], [0., 0., 0., 4., 0., 0.]);
    let test = signed_rank::signed_rank(&x, &y, Choice::Auto).unwrap();
    said("differences {1, 2, 3, −4, 5, 6}: the ranks of the positive ones add up to V = 17 of 21");
    said("14 of the 64 choices of signs are as extreme, p = 0.219");
    assert_eq!((test.v, test.p_value, rounded(test.p_value, 3)), (17.0, 14.0 / 64.0, 0.219));
}

#[test]
fn corrections() {
    let p = [0.01, 0.04, 0.03];
    said(
        "0.01, 0.04, 0.03 become 0.03, 0.06, 0.06 with Holm, and 0.03, 0.04, 0.04 with Benjamini and Hochberg",
    );
    let nine = |values: Vec<f64>| values.into_iter().map(|p| rounded(p, 9)).collect::<Vec<_>>();
    assert_eq!(nine(adjust::holm(&p)), [0.03, 0.06, 0.06]);
    assert_eq!(nine(adjust::benjamini_hochberg(&p)), [0.03, 0.04, 0.04]);
    said("Bonferroni's would be 0.03, 0.12, 0.09");
    assert_eq!(nine(adjust::bonferroni(&p)), [0.03, 0.12, 0.09]);
}

#[test]
fn rates_of_controls() {
    let (low, high) = special::clopper_pearson(1, 10, 0.95);
    said("1 of 10 A/A comparisons found different is a rate of 0.1 with interval [0.0025, 0.445]");
    assert_eq!((rounded(low, 4), rounded(high, 3)), (0.0025, 0.445));
}

#[test]
fn sequential_designs() {
    let information = [0.2, 0.4, 0.6, 0.8, 1.0];
    let spent = information.map(|t| boundary::spent(Spending::ObrienFleming, 0.025, t));
    let found = boundary::bounds(&information, &spent, boundary::Sides::Two);
    said("five looks, two-sided 5 %: critical values 4.877, 3.357, 2.680, 2.290, 2.031");
    let rounded: Vec<f64> = found.into_iter().map(|bound| rounded(bound, 3)).collect();
    assert_eq!(rounded, [4.877, 3.357, 2.680, 2.290, 2.031]);
    // The chance of one of five looks below 5 %: what is spent if every bound is that of 5 %.
    said("five looks at 5 % are wrong 14 % of the time");
    let within = |spent: [f64; 5]| boundary::bounds(&information, &spent, boundary::Sides::Two);
    let whole = within([0.025, 0.0415, 0.0537, 0.0631, 0.0710]);
    assert!(whole.iter().all(|bound| (bound - 1.96).abs() < 0.01), "{whole:?}");
}

#[test]
fn variance() {
    let levels = vec!["a".to_owned(), "b".to_owned()];
    let factor = Factor { name: "order".into(), levels, random: false };
    let cells = [vec![1.0, 3.0], vec![5.0, 7.0]];
    let cells = [0, 1].map(|at| Cell { levels: vec![at], values: cells[at].clone() });
    let table = decompose(&[factor], &cells, true, None).unwrap();
    said("one factor with two levels, runs {1, 3} and {5, 7}: the means 2 and 6 lie 2 from 4");
    said("so the factor has 4 · 2² = 16 of the 20, 80 %");
    let [factor, repetition] = &table.components[..] else { panic!("{table:?}") };
    assert_eq!((factor.sum_of_squares, repetition.sum_of_squares), (16.0, 4.0));
    assert_eq!(factor.share, Some(0.8));
}
