//! An analysis as text: for a terminal, Markdown, LaTeX, CSV and JSON.
//!
//! The same analysis gives the same bytes. CSV and JSON carry numbers in full precision, the
//! others three significant digits.

mod looks;
pub mod number;
pub mod sheet;

use crate::analysis::{Analysis, BugVerdict, Kind, Rate, Reach, Test, Verdict};
use crate::shift::Interval;
use std::io::{self, Write};

use number::{or_dash, p_text, percent, signed, significant};
use sheet::{Sheet, latex_escape};

/// The forms that tables can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Table,
    /// GitHub-flavoured Markdown.
    Markdown,
    /// LaTeX with booktabs.
    Latex,
    /// Comma-separated values.
    Csv,
    /// JSON.
    Json,
}

/// Writes an analysis in the form asked for.
pub fn render(analysis: &Analysis, format: Format) -> String {
    match format {
        Format::Table => table(analysis),
        Format::Markdown => markdown(analysis),
        Format::Latex => latex(analysis),
        Format::Csv => csv(analysis),
        Format::Json => json(analysis),
    }
}

/// For a terminal: verdicts, tests, families, controls, notes and warnings.
pub fn table(analysis: &Analysis) -> String {
    let mut parts: Vec<String> = sheets(analysis).iter().map(Sheet::text).collect();
    parts.push(summary(analysis) + "\n");
    parts.extend(list("Notes", &remarks(analysis)));
    parts.extend(list("Warnings", &analysis.warnings));
    parts.join("\n")
}

/// As Markdown.
pub fn markdown(analysis: &Analysis) -> String {
    let mut parts = vec!["## Statistics\n".to_owned(), summary(analysis) + "\n"];
    parts.extend(sheets(analysis).iter().map(Sheet::markdown));
    parts.extend(list("### Notes", &remarks(analysis)));
    parts.extend(list("### Warnings", &analysis.warnings));
    parts.join("\n")
}

/// As LaTeX tables for the `booktabs` package, notes and warnings as comments.
pub fn latex(analysis: &Analysis) -> String {
    let mut text = "% needs \\usepackage{booktabs}\n".to_owned();
    for line in remarks(analysis).iter().chain(&analysis.warnings) {
        text += &format!("% {}\n", latex_escape(line));
    }
    let tables: Vec<String> = sheets(analysis).iter().map(Sheet::latex).collect();
    text + &tables.join("\n")
}

/// As CSV: one row a test, all numbers in full precision, empty where there is none.
pub fn csv(analysis: &Analysis) -> String {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    drop(csv_to(analysis, &mut text));
    String::from_utf8(text).unwrap_or_default()
}

/// Writes what [`csv`] gives, row by row.
///
/// # Errors
/// What `out` says.
pub fn csv_to(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    let head = Sheet::new(
        "",
        &[
            "bug",
            "kind",
            "verdict",
            "metric",
            "outcome",
            "family",
            "n_buggy",
            "n_corrected",
            "statistic",
            "p_value",
            "method",
            "p_holm",
            "p_bh",
            "hl_estimate",
            "hl_low",
            "hl_high",
            "a12",
            "a12_low",
            "a12_high",
            "cliffs_delta",
            "cliffs_delta_low",
            "cliffs_delta_high",
            "mean_buggy",
            "mean_corrected",
            "median_buggy",
            "median_corrected",
            "sd_buggy",
            "sd_corrected",
            "brunner_munzel_p",
            "fligner_killeen_p",
            "margin",
            "equivalence_p",
            "detectable_shift",
            "paired_v",
            "paired_p",
            "paired_shift",
            "notes",
            "reach",
            "reach_strength",
        ],
        4,
    );
    out.write_all(head.csv().as_bytes())?;
    // Tests and verdicts are in the same order, so the verdict of a test is never far.
    let mut verdicts = analysis.verdicts.iter().peekable();
    for test in &analysis.tests {
        let own = |one: &&BugVerdict| one.bug == test.bug && one.kind == test.kind;
        while verdicts.peek().is_some_and(|one| !own(one)) {
            verdicts.next();
        }
        out.write_all(sheet::csv_line(&csv_row(verdicts.peek().copied(), test)).as_bytes())?;
    }
    Ok(())
}

fn csv_row(verdict: Option<&BugVerdict>, test: &Test) -> Vec<String> {
    let reach = verdict.and_then(|one| one.reach.as_ref());
    let full = |value: Option<f64>| match value {
        // Shortest form that reads back as the same number.
        Some(value) if value.is_finite() => format!("{value:?}"),
        _ => String::new(),
    };
    let mut row = vec![
        test.bug.clone(),
        test.kind.name().to_owned(),
        verdict.map_or("", |one| one.verdict.name()).to_owned(),
        test.metric.clone(),
        test.outcome.to_string(),
        test.family.clone(),
        test.n_buggy.to_string(),
        test.n_corrected.to_string(),
        full(test.statistic),
        full(test.p_value),
        test.method.map_or("", |method| method.name()).to_owned(),
        full(test.p_holm),
        full(test.p_bh),
    ];
    for interval in [test.hodges_lehmann, test.a12, test.cliffs_delta] {
        row.push(full(interval.map(|interval| interval.estimate)));
        row.push(full(interval.map(|interval| interval.low)));
        row.push(full(interval.map(|interval| interval.high)));
    }
    let (buggy, corrected) = (test.buggy, test.corrected);
    row.extend([
        full(buggy.map(|summary| summary.mean)),
        full(corrected.map(|summary| summary.mean)),
        full(buggy.map(|summary| summary.median)),
        full(corrected.map(|summary| summary.median)),
        full(buggy.map(|summary| summary.sd)),
        full(corrected.map(|summary| summary.sd)),
        full(test.brunner_munzel.map(|outcome| outcome.p_value)),
        full(test.fligner_killeen.map(|outcome| outcome.p_value)),
        full(test.equivalence.map(|outcome| outcome.margin)),
        full(test.equivalence.map(|outcome| outcome.p_value)),
        full(test.detectable_shift),
        full(test.paired.map(|outcome| outcome.v)),
        full(test.paired.map(|outcome| outcome.p_value)),
        full(test.paired.map(|outcome| outcome.pseudomedian)),
        test.notes.join("; "),
        reach.map_or("", |reach| reach.answer.as_str()).to_owned(),
        reach.map_or("", |reach| reach.strength.as_str()).to_owned(),
    ]);
    row
}

/// As JSON, indented; what cannot be computed, and what is not finite, is `null`.
pub fn json(analysis: &Analysis) -> String {
    // Only maps with keys that are no text, or failing serialisers, could fail: neither is here.
    serde_json::to_string_pretty(analysis).unwrap_or_default() + "\n"
}

/// Writes what [`json`] gives, piece by piece: the text of a large study is several times what it
/// is made of.
///
/// # Errors
/// What `out` says.
pub fn json_to(analysis: &Analysis, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, analysis)?;
    out.write_all(b"\n")
}

/// How many bugs got which verdict, and how many controls, in one line.
pub fn summary(analysis: &Analysis) -> String {
    let (bugs, controls): (Vec<&BugVerdict>, Vec<&BugVerdict>) =
        analysis.verdicts.iter().partition(|one| one.kind == Kind::Bug);
    let counts = |what: &str, of: &[&BugVerdict]| {
        let counts = Verdict::ALL.map(|verdict| {
            let count = of.iter().filter(|one| one.verdict == verdict).count();
            format!("{count} {}", verdict.name())
        });
        let plural = if of.len() == 1 { "" } else { "s" };
        format!("{} {what}{plural}: {}", of.len(), counts.join(", "))
    };
    // Controls are about the study itself, and are never counted among its bugs.
    match controls.len() {
        0 => counts("bug", &bugs),
        _ => format!("{}; {}", counts("bug", &bugs), counts("control", &controls)),
    }
}

/// The tables of an analysis, for people.
pub fn sheets(analysis: &Analysis) -> Vec<Sheet> {
    let mut sheets = vec![verdict_sheet(analysis)];
    sheets.extend(analysis.sequential.as_ref().map(looks::sheet));
    sheets.extend([test_sheet(analysis), effect_sheet(analysis)]);
    if analysis.tests.iter().any(|test| test.paired.is_some()) {
        sheets.push(paired_sheet(analysis));
    }
    sheets.push(family_sheet(analysis));
    sheets.extend(control_sheet(analysis));
    sheets.extend(own_test_sheet(analysis));
    sheets.extend(crate::paper::beside(analysis));
    sheets
}

fn verdict_sheet(analysis: &Analysis) -> Sheet {
    let mut head = vec!["bug", "kind", "verdict", "runs", "reason"];
    let reach = analysis.shows_reach();
    if reach {
        head.insert(4, "reach");
    }
    let mut sheet = Sheet::new("Verdicts", &head, usize::MAX);
    for verdict in &analysis.verdicts {
        let mut row = vec![
            verdict.bug.clone(),
            verdict.kind.name().to_owned(),
            verdict.verdict.name().to_owned(),
            format!("{}/{}", verdict.runs_buggy, verdict.runs_corrected),
            verdict.reason.clone(),
        ];
        if reach {
            row.insert(4, reach_words(verdict));
        }
        sheet.rows.push(row);
    }
    sheet
}

/// What `reach` found, with its strength; a dash where nothing is known.
fn reach_words(verdict: &BugVerdict) -> String {
    let words = |reach: &Reach| format!("{} ({})", reach.answer, reach.strength);
    verdict.reach.as_ref().map_or_else(|| "–".to_owned(), words)
}

fn test_sheet(analysis: &Analysis) -> Sheet {
    let head = [
        "bug",
        "metric",
        "n",
        "U",
        "p",
        "method",
        "p Holm",
        "p BH",
        "p Brunner-Munzel",
        "p spread",
        "p equivalence",
        "margin",
    ];
    let mut sheet = Sheet::new("Mann-Whitney tests, buggy against corrected", &head, 2);
    for test in &analysis.tests {
        sheet.rows.push(vec![
            test.bug.clone(),
            test.metric.clone(),
            format!("{}/{}", test.n_buggy, test.n_corrected),
            or_dash(test.statistic, |value| value.to_string()),
            or_dash(test.p_value, p_text),
            test.method.map_or("–", |method| method.name()).to_owned(),
            or_dash(test.p_holm, p_text),
            or_dash(test.p_bh, p_text),
            or_dash(test.brunner_munzel.map(|outcome| outcome.p_value), p_text),
            or_dash(test.fligner_killeen.map(|outcome| outcome.p_value), p_text),
            or_dash(test.equivalence.map(|outcome| outcome.p_value), p_text),
            or_dash(test.equivalence.map(|outcome| outcome.margin), |value| value.to_string()),
        ]);
    }
    sheet
}

fn interval(interval: Option<Interval>, text: impl Fn(f64) -> String) -> String {
    interval.map_or_else(
        || "–".to_owned(),
        |interval| {
            let mark = if interval.attained { "" } else { "*" };
            format!(
                "{} [{}, {}]{mark}",
                text(interval.estimate),
                text(interval.low),
                text(interval.high)
            )
        },
    )
}

fn effect_sheet(analysis: &Analysis) -> Sheet {
    let level = percent(1.0 - analysis.options.alpha);
    let head = [
        "bug",
        "metric",
        "median buggy",
        "median corrected",
        "sd buggy",
        "sd corrected",
        "shift",
        "A12",
        "detectable shift",
    ];
    let title = format!(
        "Effects, with {level} intervals (* too few runs for that level; detectable at 80 % power)"
    );
    let mut sheet = Sheet::new(&title, &head, 2);
    for test in &analysis.tests {
        let (buggy, corrected) = (test.buggy, test.corrected);
        let four = |value: f64| significant(value, 4);
        let three = |value: f64| significant(value, 3);
        sheet.rows.push(vec![
            test.bug.clone(),
            test.metric.clone(),
            or_dash(buggy.map(|summary| summary.median), four),
            or_dash(corrected.map(|summary| summary.median), four),
            or_dash(buggy.map(|summary| summary.sd), three),
            or_dash(corrected.map(|summary| summary.sd), three),
            interval(test.hodges_lehmann, signed),
            interval(test.a12, three),
            or_dash(test.detectable_shift, three),
        ]);
    }
    sheet
}

fn paired_sheet(analysis: &Analysis) -> Sheet {
    let head = ["bug", "metric", "pairs", "without difference", "V", "p", "method", "shift"];
    let mut sheet = Sheet::new("Wilcoxon signed-rank tests of runs with the same seed", &head, 2);
    for test in &analysis.tests {
        let Some(paired) = test.paired else { continue };
        sheet.rows.push(vec![
            test.bug.clone(),
            test.metric.clone(),
            paired.pairs.to_string(),
            paired.zeros.to_string(),
            paired.v.to_string(),
            p_text(paired.p_value),
            paired.method.name().to_owned(),
            signed(paired.pseudomedian),
        ]);
    }
    sheet
}

fn family_sheet(analysis: &Analysis) -> Sheet {
    let alpha = analysis.options.alpha;
    let head = ["family", "what is in it", "tests", "expected by chance", "p", "p Holm", "p BH"];
    let title = format!("Families of tests, and how many of each are below {alpha}");
    let mut sheet = Sheet::new(&title, &head, 2);
    for family in &analysis.families {
        sheet.rows.push(vec![
            family.name.clone(),
            family.description.clone(),
            family.tests.to_string(),
            significant(family.expected_by_chance, 3),
            family.below_alpha.to_string(),
            family.below_alpha_holm.to_string(),
            family.below_alpha_bh.to_string(),
        ]);
    }
    sheet
}

fn control_sheet(analysis: &Analysis) -> Option<Sheet> {
    let controls = &analysis.controls;
    let rates = [
        ("A/A comparisons found different (false positives)", controls.false_positives),
        ("A/A outcome tests with p below α, uncorrected", controls.false_positive_tests),
        ("planted faults found different (detections)", controls.detections),
        ("planted faults that no run should feel, found different", controls.unfelt),
    ];
    if rates.iter().all(|(_, rate)| rate.of == 0) {
        return None;
    }
    let mut sheet = Sheet::new("Controls", &["what", "different", "of", "rate", "interval"], 1);
    for (what, Rate { different, of, rate, low, high }) in rates {
        sheet.rows.push(vec![
            what.to_owned(),
            different.to_string(),
            of.to_string(),
            or_dash(rate, |rate| significant(rate, 3)),
            format!("[{}, {}]", significant(low, 3), significant(high, 3)),
        ]);
    }
    Some(sheet)
}

/// One line a bug whose fix's own tests were run.
fn own_test_sheet(analysis: &Analysis) -> Option<Sheet> {
    if analysis.own_tests.is_empty() {
        return None;
    }
    let head = ["bug", "on its own tests", "equal pairs", "tests", "evidence", "reason"];
    let mut sheet = Sheet::new("The fixes' own tests on both artifacts", &head, usize::MAX);
    for one in &analysis.own_tests {
        sheet.rows.push(vec![
            one.bug.to_string(),
            one.verdict.to_string(),
            format!("{}/{}", one.equal_pairs, one.pairs),
            one.tests.to_string(),
            if one.evidence { "yes" } else { "no" }.to_owned(),
            one.reason.clone(),
        ]);
    }
    Some(sheet)
}

fn remarks(analysis: &Analysis) -> Vec<String> {
    let mut remarks = vec![format!("design: {}", analysis.design)];
    remarks.extend(analysis.notes.iter().cloned());
    // One line a note, however many tests share it.
    let mut shared: Vec<(&str, Vec<String>)> = Vec::new();
    for test in &analysis.tests {
        for note in &test.notes {
            let place = format!("{} {}", test.bug, test.metric);
            match shared.iter_mut().find(|(known, _)| known == note) {
                Some((_, places)) => places.push(place),
                None => shared.push((note, vec![place])),
            }
        }
    }
    remarks.extend(shared.iter().map(|(note, places)| format!("{note} ({})", places.join(", "))));
    remarks
}

fn list(title: &str, lines: &[String]) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    Some(format!("{title}\n\n{lines}"))
}
