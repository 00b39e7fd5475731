//! Sequential designs: their boundaries against another program's, and by simulation the errors
//! that they make and the runs that they save.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::sequential::boundary::{Sides, bounds, spent};
use reproduceml_stats::sequential::{Judge, Subject, forecast};
use reproduceml_stats::special::clopper_pearson;
use reproduceml_stats::{Analysis, Evaluation, Options, Results, RunRow, analyse};
use std::collections::HashMap;
use study::Verdict;
use study::design::{Declaration, Look, Record, Spending};

fn declaration(looks: &[u32], outcomes: &[&str], family: u32) -> Declaration {
    Declaration {
        schema: 1,
        looks: looks.to_vec(),
        identical_after: Some(2),
        spending: Spending::ObrienFleming,
        alpha: 0.05,
        equivalence_alpha: 0.05,
        margin: 0.005,
        outcomes: outcomes.iter().map(|name| (*name).to_owned()).collect(),
        family,
        workload: [].into(),
    }
}

/// Values by rpact: see `golden/make_sequential.R`.
#[test]
fn boundaries_power_and_expected_runs_are_those_of_rpact() {
    let text = include_str!("golden/sequential.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let (mut compared, mut forecasts) = (0, 0);
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.unwrap();
        let number = |column: &str| row[column].parse::<f64>().unwrap();
        let list = |column: &str| -> Vec<f64> {
            row[column].split(';').map(|one| one.parse().unwrap()).collect()
        };
        let spending = match row["spending"].as_str() {
            "pocock" => Spending::Pocock,
            _ => Spending::ObrienFleming,
        };
        let (information, known) = (list("information"), list("bounds"));
        let two = row["sides"] == "2";
        let alpha = if two { 0.5 * number("alpha") } else { number("alpha") };
        let errors: Vec<f64> = information.iter().map(|t| spent(spending, alpha, *t)).collect();
        let sides = if two { Sides::Two } else { Sides::One };
        for (found, known) in bounds(&information, &errors, sides).iter().zip(&known) {
            // rpact searches for probabilities to about 1e-8, so its far bounds are the rougher,
            // and beyond them it knows only that they are far.
            let close = match *known {
                known if known < 4.0 => (found - known).abs() < 5e-5,
                known if known < 5.5 => (found - known).abs() < 1e-2,
                _ => *found > 5.5,
            };
            assert!(close, "{row:?}: {found}, not {known}");
            compared += 1;
        }
        if two {
            let looks: Vec<u32> = information.iter().map(|t| (t * 100.0).round() as u32).collect();
            let mut design = declaration(&looks, &["accuracy"], 1);
            (design.alpha, design.spending) = (number("alpha"), spending);
            // rpact's drift is theta √n; ours that of n runs a side for a shift in deviations.
            let shift = number("theta") * (2.0 * std::f64::consts::PI / 3.0).sqrt();
            let told = forecast(&design, shift, None);
            assert!((told.different - number("power")).abs() < 2e-5, "{row:?}: {told:?}");
            // Where its bounds are rough, so is what follows from them.
            assert!((told.runs / 100.0 - number("share")).abs() < 1e-4, "{row:?}: {told:?}");
            forecasts += 1;
        }
    }
    assert!(compared > 1000 && forecasts == 120, "{compared} {forecasts}");
}

/// Looks at a comparison of these rows until something ends it.
fn follow(design: &Declaration, bug: &str, rows: &[RunRow]) -> Look {
    follow_by(design, &mut Judge::new(design), bug, rows)
}

fn follow_by(design: &Declaration, judge: &mut Judge<'_>, bug: &str, rows: &[RunRow]) -> Look {
    let id = |side: &str| format!("{bug}-{side}-0123456789ab").parse().unwrap();
    let subject = Subject {
        bug: bug.parse().unwrap(),
        evaluation: study::Evaluation::Buggy,
        experiments: [id("buggy"), id("corrected")],
    };
    let mut looks: Vec<Look> = Vec::new();
    for runs in design.stops() {
        let before: Vec<&Look> = looks.iter().collect();
        let next = judge.look(&subject, &before, runs, rows).unwrap();
        let over = next.stop.is_some();
        looks.push(next);
        if over {
            break;
        }
    }
    looks.pop().unwrap()
}

/// `runs` runs a side of one metric without ties, with the buggy side `shift` higher.
fn pair(random: &mut Random, bug: &str, runs: u32, shift: f64) -> Vec<RunRow> {
    let mut rows = Vec::new();
    for (evaluation, centre) in [(Evaluation::Buggy, 0.7 + shift), (Evaluation::Corrected, 0.7)] {
        rows.extend((0..runs).map(|run| RunRow {
            bug: bug.to_owned(),
            evaluation,
            run,
            seed: None,
            metrics: [("accuracy".to_owned(), centre + 0.004 * random.normal())].into(),
            fingerprints: Vec::new(),
        }));
    }
    rows
}

/// How often `hits` happened, and whether `rate` is within its binomial interval of 99.9 %.
fn told(what: &str, hits: u64, of: u64) -> (f64, f64) {
    let (low, high) = clopper_pearson(hits, of, 0.999);
    println!("{what}: {hits} of {of}, {:.4} [{low:.4}, {high:.4}]", hits as f64 / of as f64);
    (low, high)
}

#[test]
fn the_error_of_a_difference_is_what_was_declared() {
    for spending in [Spending::ObrienFleming, Spending::Pocock] {
        let mut design = declaration(&[10, 20, 30, 40], &["accuracy"], 1);
        (design.spending, design.margin) = (spending, 1e-6);
        let (mut random, mut judge) = (Random(7), Judge::new(&design));
        let studies = 3000;
        let different = (0..studies)
            .filter(|_| {
                let rows = pair(&mut random, "pr1", 40, 0.0);
                follow_by(&design, &mut judge, "pr1", &rows).stop == Some(Verdict::Different)
            })
            .count() as u64;
        let (low, high) = told(spending.name(), different, studies);
        // Exact tests of few values are a little conservative, and never the other way.
        assert!(low <= 0.05 && high >= 0.045, "{different} of {studies}");
    }
}

#[test]
fn the_family_wise_error_over_bugs_and_outcomes_is_no_more_than_declared() {
    let outcomes = ["accuracy", "precision", "recall", "f1"];
    let mut design = declaration(&[8, 16, 24], &outcomes, 3);
    design.margin = 1e-6;
    let (mut random, mut judge) = (Random(8), Judge::new(&design));
    let studies = 700;
    let mut wrong = 0;
    for _ in 0..studies {
        let any = (0..3).any(|bug| {
            let name = format!("pr{bug}");
            let mut rows = side(&mut random, &name, Evaluation::Buggy, 24, 0.7);
            rows.extend(side(&mut random, &name, Evaluation::Corrected, 24, 0.7));
            follow_by(&design, &mut judge, &name, &rows).stop == Some(Verdict::Different)
        });
        wrong += u64::from(any);
    }
    let (low, _) = told("family of 3 bugs and 4 outcomes", wrong, studies);
    assert!(low <= 0.05, "{wrong} of {studies}");
    assert!(wrong > 0, "the simulation can see errors");
}

#[test]
fn the_error_of_equivalence_is_what_was_declared() {
    // A shift of just the margin must not be called equivalent more often than declared.
    let mut design = declaration(&[10, 20, 30, 40], &["accuracy"], 1000);
    design.spending = Spending::Pocock;
    let (mut random, mut judge) = (Random(9), Judge::new(&design));
    let studies = 3000;
    let equivalent = (0..studies)
        .filter(|_| {
            let rows = pair(&mut random, "pr1", 40, design.margin);
            follow_by(&design, &mut judge, "pr1", &rows).stop == Some(Verdict::Equivalent)
        })
        .count() as u64;
    let (low, high) = told("equivalent at the margin", equivalent, studies);
    assert!(low <= 0.05 && high >= 0.04, "{equivalent} of {studies}");
}

#[test]
fn runs_are_saved_where_there_is_nothing_and_where_there_is_much() {
    // Standard deviation 0.004: the margin is 1.25 of it.
    let design = declaration(&[10, 20, 30, 40, 50], &["accuracy"], 18);
    let (mut random, mut judge) = (Random(10), Judge::new(&design));
    let studies = 400;
    let mut mean = Vec::new();
    for (what, shift) in [("null", 0.0), ("small", 0.2), ("medium", 0.5), ("large", 2.0)] {
        let (mut runs, mut ends) = (0, HashMap::<&str, u32>::new());
        for _ in 0..studies {
            let rows = pair(&mut random, "pr1", 50, 0.004 * shift);
            let last = follow_by(&design, &mut judge, "pr1", &rows);
            runs += last.runs;
            *ends.entry(last.stop.unwrap().as_str()).or_default() += 1;
        }
        let found = f64::from(runs) / f64::from(studies);
        let expected = forecast(&design, shift, Some(1.25));
        let saved = 100.0 * (1.0 - found / 50.0);
        println!("{what} ({shift} sd): {found:.1} of 50 runs, {saved:.0} % saved; {ends:?}");
        println!("  foretold: {expected:?}");
        // Exact tests of few values reach less far into the tail than the normal of the forecast.
        assert!((found - expected.runs).abs() < 4.0, "{what}: {found} {expected:?}");
        mean.push(found);
    }
    assert!(mean[0] < 28.0 && mean[3] < 28.0, "{mean:?}");
    assert!(mean.iter().all(|runs| *runs <= 50.0));
}

#[test]
fn bit_identical_pairs_end_it_at_once_and_one_odd_pair_does_not() {
    let design =
        Declaration { identical_after: Some(5), ..declaration(&[10, 20], &["accuracy"], 1) };
    let mut random = Random(11);
    let mut rows = pair(&mut random, "pr1", 20, 0.0);
    for row in &mut rows {
        row.fingerprints = vec![format!("{}", row.run)];
    }
    let last = follow(&design, "pr1", &rows);
    assert_eq!((last.stop, last.runs, last.look), (Some(Verdict::Identical), 5, 0));
    assert_eq!((last.pairs, last.level), ([5, 5], None));
    rows[4].fingerprints[0] = "other".into();
    assert_ne!(follow(&design, "pr1", &rows).stop, Some(Verdict::Identical));
    // What comes after the look is not seen by it.
    rows[4].fingerprints[0] = "4".into();
    rows[5].fingerprints[0] = "other".into();
    assert_eq!(follow(&design, "pr1", &rows).stop, Some(Verdict::Identical));
    // A run that failed has no partner.
    rows.remove(3);
    assert_ne!(follow(&design, "pr1", &rows).stop, Some(Verdict::Identical));
}

#[test]
fn missing_runs_change_the_information_and_not_what_may_be_spent() {
    let design = Declaration { margin: 1e-6, ..declaration(&[10, 20], &["accuracy"], 1) };
    let mut random = Random(12);
    let whole = pair(&mut random, "pr1", 20, 0.0);
    let fewer: Vec<RunRow> = whole
        .iter()
        .filter(|row| row.run % 5 != 0 || row.evaluation == Evaluation::Corrected)
        .cloned()
        .collect();
    let (all, some) = (follow(&design, "pr1", &whole), follow(&design, "pr1", &fewer));
    assert_eq!((all.information, some.finished), (1.0, [16, 20]));
    assert!((some.information - 2.0 * 16.0 * 20.0 / 36.0 / 20.0).abs() < 1e-15);
    assert_eq!(some.stop, Some(Verdict::Inconclusive));
    // The same share of information at both looks: the same correlation, the same levels.
    assert!((all.level.unwrap() - some.level.unwrap()).abs() < 1e-12);
    // None at all is no difference.
    let none: Vec<RunRow> =
        whole.into_iter().filter(|row| row.evaluation == Evaluation::Corrected).collect();
    let last = follow(&design, "pr1", &none);
    assert_eq!((last.stop, last.level), (Some(Verdict::Inconclusive), None));
}

fn applied(record: &Record, rows: Vec<RunRow>) -> Analysis {
    let mut analysis = analyse(&Results::from_rows(rows).unwrap(), &Options::default());
    analysis.apply_design(record);
    analysis
}

#[test]
fn verdicts_are_those_of_the_looks_and_the_looks_are_shown() {
    // At alpha the fixed test calls these runs different; the first look's level does not.
    let declaration = declaration(&[10, 20], &["accuracy"], 1);
    let mut seed = 0;
    let rows = loop {
        seed += 1;
        let rows = pair(&mut Random(seed), "pr1", 10, 0.004);
        let fixed = analyse(&Results::from_rows(rows.clone()).unwrap(), &Options::default());
        let level = follow(&declaration, "pr1", &rows).level;
        let p = fixed.tests[0].p_value.unwrap();
        if p < 0.05 && level.is_some_and(|level| p > level) {
            assert_eq!(fixed.verdicts[0].verdict.name(), "different");
            break rows;
        }
    };
    let mut record = Record { declaration, looks: Vec::new() };
    let analysis = applied(&record, rows.clone());
    assert_eq!(analysis.verdicts[0].verdict.name(), "inconclusive");
    assert!(analysis.verdicts[0].reason.contains("no look"), "{}", analysis.verdicts[0].reason);

    let subject = Subject {
        bug: "pr1".parse().unwrap(),
        evaluation: study::Evaluation::Buggy,
        experiments: ["buggy", "corrected"]
            .map(|side| format!("pr1-{side}-0123456789ab").parse().unwrap()),
    };
    let first = Judge::new(&record.declaration).look(&subject, &[], 10, &rows).unwrap();
    record.looks.push(first);
    let analysis = applied(&record, rows);
    let reason = &analysis.verdicts[0].reason;
    assert_eq!(analysis.verdicts[0].verdict.name(), "inconclusive");
    assert!(reason.contains("the next look is after 20 runs"), "{reason}");
    assert_eq!((analysis.tests[0].p_holm, analysis.families.len()), (None, 0));
    assert!(!analysis.notes.iter().any(|note| note.contains("Holm")), "{:?}", analysis.notes);
    let text = reproduceml_stats::render::table(&analysis);
    for expected in ["Looks of the sequential design", "goes on", "obrien-fleming", "nominal"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let json = reproduceml_stats::render::json(&analysis);
    assert!(json.contains("\"sequential\""), "{json}");
}
