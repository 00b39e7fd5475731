//! Each verdict, the controls, and the rates at which they err.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::{
    Analysis, Evaluation, Kind, Options, Results, RunRow, SeedPolicy, Verdict, analyse,
};

const BUGGY: Evaluation = Evaluation::Buggy;
const CORRECTED: Evaluation = Evaluation::Corrected;

fn analysed(rows: Vec<RunRow>) -> Analysis {
    analyse(&Results::from_rows(rows).unwrap(), &Options::default())
}

fn verdict_of(rows: Vec<RunRow>) -> (Verdict, String) {
    let analysis = analysed(rows);
    (analysis.verdicts[0].verdict, analysis.verdicts[0].reason.clone())
}

fn pair(n: u32, m: u32, shift: f64) -> Vec<RunRow> {
    let mut random = Random(3);
    let mut rows = side(&mut random, "pr1", BUGGY, n, 0.70 + shift);
    rows.extend(side(&mut random, "pr1", CORRECTED, m, 0.70));
    rows
}

fn with_digests(mut rows: Vec<RunRow>) -> Vec<RunRow> {
    for row in &mut rows {
        row.fingerprints = vec![format!("init{}", row.run), format!("end{}", row.run)];
    }
    rows
}

#[test]
fn a_shift_is_different() {
    let (verdict, reason) = verdict_of(pair(30, 30, -0.02));
    assert_eq!(verdict, Verdict::Different);
    assert!(reason.contains("after Holm's correction"), "{reason}");
    assert!(reason.contains("buggy less corrected is -0.0"), "{reason}");
}

#[test]
fn many_runs_without_a_shift_are_equivalent() {
    let (verdict, reason) = verdict_of(pair(50, 50, 0.0));
    assert_eq!(verdict, Verdict::Equivalent, "{reason}");
}

#[test]
fn few_runs_are_inconclusive() {
    let (verdict, reason) = verdict_of(pair(4, 4, 0.0));
    assert_eq!(verdict, Verdict::Inconclusive, "{reason}");
    assert!(reason.contains("equivalence is not shown for accuracy"), "{reason}");
}

#[test]
fn an_empty_side_and_a_single_run_are_invalid() {
    let only = pair(5, 0, 0.0);
    assert_eq!(verdict_of(only), (Verdict::Invalid, "the corrected side has no run".to_owned()));
    let (verdict, reason) = verdict_of(pair(1, 5, 0.0));
    assert_eq!(verdict, Verdict::Invalid);
    assert!(reason.contains("the buggy side has one run"), "{reason}");
    let none = pair(0, 5, 0.0);
    assert_eq!(verdict_of(none), (Verdict::Invalid, "the buggy side has no run".to_owned()));
}

#[test]
fn equal_digests_are_identical_and_counted() {
    let (verdict, reason) = verdict_of(with_digests(pair(6, 6, 0.0)));
    assert_eq!(verdict, Verdict::Identical);
    assert!(reason.contains("all 6 pairs") && reason.contains("12 digests"), "{reason}");
}

#[test]
fn one_differing_digest_or_one_missing_is_not_identical() {
    let mut rows = with_digests(pair(6, 6, 0.0));
    rows[2].fingerprints[1] = "else".to_owned();
    let analysis = analysed(rows);
    assert_ne!(analysis.verdicts[0].verdict, Verdict::Identical);
    assert_eq!(analysis.verdicts[0].identity.unwrap().equal_pairs, 5);

    let mut rows = with_digests(pair(6, 6, 0.0));
    rows[2].fingerprints.clear();
    assert_ne!(verdict_of(rows).0, Verdict::Identical);
    // A run more on one side has no partner.
    assert_ne!(verdict_of(with_digests(pair(6, 7, 0.0))).0, Verdict::Identical);
    // Runs of different seeds are no pair.
    let mut rows = with_digests(pair(6, 6, 0.0));
    rows[0].seed = Some(8);
    assert_ne!(verdict_of(rows).0, Verdict::Identical);
}

#[test]
fn all_values_equal_is_p_1_and_said() {
    let mut rows = pair(5, 5, 0.0);
    for row in &mut rows {
        row.metrics = [("accuracy".to_owned(), 0.1)].into();
    }
    let analysis = analysed(rows);
    let test = &analysis.tests[0];
    assert_eq!(test.p_value, Some(1.0));
    assert!(test.notes.iter().any(|note| note.contains("p is 1 by definition")), "{test:?}");
    assert_eq!(analysis.verdicts[0].verdict, Verdict::Equivalent);
}

#[test]
fn metrics_that_are_no_outcomes_decide_nothing() {
    let mut rows = pair(50, 50, 0.0);
    for row in &mut rows {
        if row.evaluation == BUGGY {
            row.metrics.insert("seconds".to_owned(), 90.0 + f64::from(row.run));
        }
    }
    let analysis = analysed(rows);
    let seconds = analysis.tests.iter().find(|test| test.metric == "seconds").unwrap();
    assert!(seconds.p_holm.unwrap() < 1e-9 && !seconds.outcome);
    assert_eq!(analysis.verdicts[0].verdict, Verdict::Equivalent);
}

#[test]
fn an_artificial_side_takes_the_place_of_the_buggy_one() {
    let mut rows = pair(12, 10, -0.05);
    for row in &mut rows {
        if row.evaluation == BUGGY {
            row.evaluation = Evaluation::Artificial;
        }
    }
    let analysis = analysed(rows);
    assert_eq!(analysis.verdicts[0].kind, Kind::Artificial);
    assert_eq!((analysis.tests[0].n_buggy, analysis.tests[0].n_corrected), (12, 10));
    let detections = analysis.controls.detections;
    assert_eq!((detections.different, detections.of), (1, 1));
    assert!((detections.low - 0.025).abs() < 1e-9);
}

#[test]
fn a_fault_that_nothing_should_feel_is_no_missed_detection() {
    let mut random = Random(11);
    let mut rows = Vec::new();
    for (bug, centre) in [("felt", 0.6), ("unfelt", 0.7)] {
        rows.extend(side(&mut random, bug, Evaluation::Artificial, 20, centre));
        rows.extend(side(&mut random, bug, CORRECTED, 20, 0.7));
    }
    rows.extend(side(&mut random, "unfelt", Evaluation::Aa, 20, 0.7));
    let results = Results::from_rows(rows).unwrap();
    let counted = |unfelt: &[&str]| {
        let unfelt = unfelt.iter().map(|name| (*name).to_owned()).collect();
        let controls = analyse(&results, &Options { unfelt, ..Options::default() }).controls;
        let of = |rate: reproduceml_stats::analysis::Rate| (rate.different, rate.of);
        (of(controls.detections), of(controls.unfelt), of(controls.false_positives))
    };
    assert_eq!(counted(&[]), ((1, 2), (0, 0), (0, 1)));
    assert_eq!(counted(&["unfelt"]), ((1, 1), (0, 1), (0, 1)));
}

#[test]
fn method_alternative_and_continuity_are_used_and_stated() {
    let results = Results::from_rows(pair(20, 20, -0.002)).unwrap();
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        let analysis = analyse(&results, &options);
        let test = analysis.tests.iter().find(|test| test.metric == "f1").unwrap();
        (test.p_value.unwrap(), test.method.unwrap().name(), analysis.notes.join("\n"))
    };
    let asymptotic = |options: &mut Options| options.method = reproduceml_stats::Choice::Asymptotic;
    let (two_sided, method, notes) = with(&|_| {});
    assert_eq!(method, "exact");
    assert!(notes.contains("p-values are two-sided; exact up to 50 values a side"), "{notes}");
    let (corrected, method, _) = with(&asymptotic);
    assert_eq!(method, "asymptotic");
    let (uncorrected, method, notes) = with(&|options| {
        asymptotic(options);
        options.continuity = false;
    });
    assert_eq!(method, "asymptotic-uncorrected");
    assert!(notes.contains("without continuity correction"), "{notes}");
    assert!(uncorrected < corrected && two_sided != corrected);
    let (less, _, notes) = with(&|options| {
        options.alternative = reproduceml_stats::mann_whitney::Alternative::Less;
    });
    assert!(notes.contains("for smaller values of the buggy side"), "{notes}");
    assert!((2.0 * less - two_sided).abs() < 1e-12, "{less} {two_sided}");
    // The paper's profile leaves no choice.
    let paper = Options { continuity: false, ..Options::paper() };
    let analysis = analyse(&results, &paper);
    assert_eq!(analysis.tests[0].method.unwrap().name(), "asymptotic");
    assert!(analysis.options.continuity);
}

#[test]
fn controls_are_a_family_of_their_own() {
    let mut random = Random(11);
    let mut rows = pair(20, 20, 0.0);
    for index in 0..6 {
        let bug = format!("aa{index}");
        rows.extend(side(&mut random, &bug, Evaluation::Aa, 20, 0.7));
        rows.extend(side(&mut random, &bug, CORRECTED, 20, 0.7));
    }
    let analysis = analysed(rows);
    let family = |name: &str| analysis.families.iter().find(|one| one.name == name).unwrap().tests;
    assert_eq!((family("bugs"), family("controls"), family("other metrics")), (4, 24, 7));
    assert_eq!(analysis.controls.false_positives.of, 6);
    assert_eq!(analysis.controls.false_positive_tests.of, 24);
}

#[test]
fn missing_and_diverged_values_are_left_out_and_counted() {
    let mut rows = pair(10, 10, 0.0);
    rows[0].metrics.remove("f1");
    rows[1].metrics.insert("f1".to_owned(), f64::NAN);
    let analysis = analysed(rows);
    let f1 = analysis.tests.iter().find(|test| test.metric == "f1").unwrap();
    assert_eq!((f1.n_buggy, f1.n_corrected), (8, 10));
    let warnings = analysis.warnings.join("\n");
    assert!(warnings.contains("f1: missing in 1 of 20 runs"), "{warnings}");
    assert!(
        warnings.contains("f1: NaN or infinite in 1 of 20 runs (first in row 2)"),
        "{warnings}"
    );
}

#[test]
fn percentages_call_for_a_margin_of_their_own() {
    let mut rows = pair(10, 10, 0.0);
    for row in &mut rows {
        for value in row.metrics.values_mut() {
            *value *= 100.0;
        }
    }
    let results = Results::from_rows(rows).unwrap();
    let warnings = analyse(&results, &Options::default()).warnings;
    assert_eq!(warnings.iter().filter(|warning| warning.contains("above 1")).count(), 4);
    let margins = ["accuracy", "precision", "recall", "f1"].map(|name| (name.to_owned(), 0.5));
    let options = Options { margins: margins.into(), ..Options::default() };
    let analysis = analyse(&results, &options);
    assert!(analysis.warnings.is_empty(), "{:?}", analysis.warnings);
    assert_eq!(analysis.tests[0].equivalence.unwrap().margin, 0.5);
}

#[test]
fn the_papers_profile_cuts_says_so_and_is_asymptotic() {
    let results = Results::from_rows(pair(12, 9, 0.0)).unwrap();
    let options = Options { profile: reproduceml_stats::Profile::Paper, ..Options::default() };
    let analysis = analyse(&results, &options);
    assert_eq!((analysis.tests[0].n_buggy, analysis.tests[0].n_corrected), (9, 9));
    assert_eq!(analysis.tests[0].method.unwrap().name(), "asymptotic");
    assert_eq!(analysis.options.method, reproduceml_stats::Choice::Asymptotic);
    assert!(analysis.warnings[0].contains("12 and 9 runs"), "{:?}", analysis.warnings);
    assert_eq!((analysis.verdicts[0].runs_buggy, analysis.verdicts[0].runs_corrected), (12, 9));
}

#[test]
fn seeds_per_run_are_seen_and_paired() {
    let mut rows = pair(15, 15, 0.0);
    for row in &mut rows {
        row.seed = Some(100 + u64::from(row.run));
    }
    let analysis = analysed(rows);
    assert_eq!(analysis.verdicts[0].seed_policy, SeedPolicy::PerRun);
    assert_eq!(analysis.tests[0].paired.unwrap().pairs, 15);
    assert!(analysis.design.contains("one seed a run"), "{}", analysis.design);
    let single = analysed(pair(15, 15, 0.0));
    assert_eq!(single.verdicts[0].seed_policy, SeedPolicy::Single);
    assert!(single.tests[0].paired.is_none());
    assert!(single.design.contains("holds for that one seed"), "{}", single.design);
}

#[test]
fn the_family_wise_error_of_2000_null_studies_is_5_percent() {
    // 3 bugs, 4 outcomes (two of them equal, one with ties), 12 runs a side, nothing differs.
    let studies = 2000;
    let mut random = Random(2020);
    let mut wrong = 0;
    let mut wrong_uncorrected = 0;
    for _ in 0..studies {
        let mut rows = Vec::new();
        for bug in ["pr1", "pr2", "pr3"] {
            rows.extend(side(&mut random, bug, BUGGY, 12, 0.7));
            rows.extend(side(&mut random, bug, CORRECTED, 12, 0.7));
        }
        let analysis = analysed(rows);
        assert_eq!(analysis.families[0].tests, 12);
        let different = |one: &reproduceml_stats::BugVerdict| one.verdict == Verdict::Different;
        wrong += usize::from(analysis.verdicts.iter().any(different));
        let outcomes = analysis.tests.iter().filter(|test| test.outcome);
        wrong_uncorrected += usize::from(outcomes.clone().any(|t| t.p_value.unwrap() < 0.05));
    }
    // 5 % of 2000 is 100, with a standard deviation of 9.7: at most 119 at 97.5 %. Holm's bound is
    // an upper one: correlated outcomes and discrete p-values stay below it.
    assert!(wrong <= 119, "{wrong} of {studies}");
    assert!(wrong >= 30, "{wrong} of {studies}: too few to be a test at 5 %");
    assert!(wrong_uncorrected > 300, "{wrong_uncorrected}");
}

#[test]
fn a_shift_of_the_stated_size_is_found_with_the_stated_power() {
    let mut random = Random(80);
    let (n, sd) = (50, 1.0);
    let shift = reproduceml_stats::power::detectable_shift(n, n, sd, 0.05, 0.8).unwrap();
    let trials = 2000;
    let found = (0..trials)
        .filter(|_| {
            let x: Vec<f64> = (0..n).map(|_| random.normal() + shift).collect();
            let y: Vec<f64> = (0..n).map(|_| random.normal()).collect();
            let two_sided = reproduceml_stats::mann_whitney::Alternative::TwoSided;
            reproduceml_stats::mann_whitney::asymptotic(&x, &y, two_sided, true).unwrap().p_value
                < 0.05
        })
        .count();
    let power = found as f64 / f64::from(trials);
    assert!((power - 0.8).abs() < 0.04, "{power}");
}
