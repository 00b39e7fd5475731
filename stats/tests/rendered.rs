//! What people and programs see.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::{
    Analysis, Evaluation, Options, Results, analyse,
    paper::table_iv_report,
    render::{self, Format},
};
use std::collections::BTreeMap;
use study::reach::Reached;
use study::{BugId, ReachAnswer, ReachStrength};

fn study() -> Analysis {
    let mut random = Random(42);
    let mut rows = Vec::new();
    for (bug, shift) in [("pr1", -0.03), ("pr2_x", 0.0)] {
        rows.extend(side(&mut random, bug, Evaluation::Buggy, 12, 0.7 + shift));
        rows.extend(side(&mut random, bug, Evaluation::Corrected, 10, 0.7));
    }
    rows.extend(side(&mut random, "planted", Evaluation::Artificial, 8, 0.6));
    rows.extend(side(&mut random, "planted", Evaluation::Corrected, 8, 0.7));
    rows.extend(side(&mut random, "same", Evaluation::Aa, 8, 0.7));
    rows.extend(side(&mut random, "same", Evaluation::Corrected, 8, 0.7));
    rows.extend(side(&mut random, "single", Evaluation::Buggy, 1, 0.7));
    rows.extend(side(&mut random, "single", Evaluation::Corrected, 3, 0.7));
    for row in &mut rows {
        row.seed = Some(u64::from(row.run));
    }
    let mut analysis = analyse(&Results::from_rows(rows).unwrap(), &Options::default());
    let found = |bug: &str, answer, strength| {
        let bug = BugId::new(bug).unwrap();
        let (model, challenge) = ("lenet".to_owned(), "mnist".to_owned());
        let (device, reason) = ("cpu".to_owned(), "so".to_owned());
        (bug.clone(), Reached { bug, model, challenge, device, answer, strength, reason })
    };
    analysis.add_reach(&BTreeMap::from([
        found("pr1", ReachAnswer::MayDiffer, ReachStrength::Measured),
        found("pr2_x", ReachAnswer::NotExecuted, ReachStrength::Traced),
        // Of the bug, not of the control that has its name.
        found("same", ReachAnswer::NotExecuted, ReachStrength::Traced),
    ]));
    analysis
}

#[test]
fn on_a_terminal() {
    insta::assert_snapshot!(render::table(&study()));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(render::markdown(&study()));
}

#[test]
fn as_latex() {
    insta::assert_snapshot!(render::latex(&study()));
}

#[test]
fn as_csv() {
    let text = render::csv(&study());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().len();
    assert_eq!(columns, 39);
    assert_eq!(
        reader.records().map(|row| row.unwrap().len()).filter(|n| *n == columns).count(),
        25
    );
    insta::assert_snapshot!(text);
}

#[test]
fn as_json() {
    let analysis = study();
    let text = render::json(&analysis);
    assert_eq!(text, render::json(&study()));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["verdicts"][0]["bug"], "planted");
    assert_eq!(value["verdicts"][0]["kind"], "artificial");
    assert_eq!(value["verdicts"][0]["verdict"], "different");
    assert_eq!(value["verdicts"][0]["reach"], serde_json::Value::Null);
    assert_eq!(value["verdicts"][1]["reach"]["answer"], "may-differ");
    assert_eq!(value["verdicts"][1]["reach"]["strength"], "measured");
    for test in value["tests"].as_array().unwrap() {
        for field in ["bug", "metric", "n_buggy", "n_corrected", "statistic", "p_value", "method"] {
            assert!(test.get(field).is_some(), "{field}");
        }
        assert_ne!(test["p_value"], 0.0);
    }
    // Single runs have no standard deviation: null, and no NaN anywhere.
    assert!(text.contains("\"sd\": null") && !text.contains("NaN"));
}

#[test]
fn table_iv_in_all_forms() {
    insta::assert_snapshot!("table_iv_text", table_iv_report(Format::Table));
    insta::assert_snapshot!("table_iv_csv", table_iv_report(Format::Csv));
    let json: serde_json::Value = serde_json::from_str(&table_iv_report(Format::Json)).unwrap();
    assert_eq!(json["cells"].as_array().unwrap().len(), 72);
    assert!(table_iv_report(Format::Latex).contains("\\toprule"));
    assert!(table_iv_report(Format::Markdown).starts_with("## Table IV"));
}

#[test]
fn the_papers_table_stands_beside_a_study_of_its_bugs() {
    let mut random = Random(1);
    let mut rows = side(&mut random, "pr31433", Evaluation::Buggy, 5, 0.7);
    rows.extend(side(&mut random, "pr31433", Evaluation::Corrected, 5, 0.7));
    let analysis = analyse(&Results::from_rows(rows).unwrap(), &Options::paper());
    let text = render::table(&analysis);
    assert!(text.contains("The paper's Table IV beside this study"));
    assert!(text.contains("0.00243"), "{text}");
    assert!(!render::table(&study()).contains("beside this study"));
}
