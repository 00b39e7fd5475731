//! One self-contained HTML page about a study, readable without network and without scripts; its
//! tables also as Markdown and LaTeX, its figures also alone.
//!
//! This crate knows runs and what follows from them. What the other stages know (the funnel, the
//! attributes of the study, factors of non-determinism, commands, digests) comes in as [`Context`].

use crate::analysis::{Analysis, Kind, Verdict};
use crate::figures::{self, scene::Scene};
use crate::input::Results;
use crate::options::SeedPolicy;
use crate::render::sheet::{Sheet, html_escape};
use crate::render::{sheets, summary};
use std::fmt::Write;

mod excerpt;
mod factors;
mod gather;

pub use gather::{GatherError, gather};

/// What a report says beside the analysis. Empty parts are left out of the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// Title of the page.
    pub title: String,
    /// Attributes of the study: name and value.
    pub attributes: Vec<(String, String)>,
    /// Steps of the funnel: name, bugs that are left, and what was lost and why.
    pub funnel: Vec<(String, usize, String)>,
    /// Factors of non-determinism: factor and how it was controlled.
    pub factors: Vec<(String, String)>,
    /// Commands that repeat the study, in order.
    pub commands: Vec<String>,
    /// Digests of inputs and outputs: name and digest.
    pub digests: Vec<(String, String)>,
    /// Threats to validity that the analysis cannot see.
    pub threats: Vec<String>,
    /// Further figures, such as learning curves, each with a name that a file may have.
    pub figures: Vec<(String, Scene)>,
}

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0; font-size: 0.87rem }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #e2e2e2; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.s { min-width: 16rem; overflow-wrap: anywhere }
svg { max-width: 100%; height: auto } pre { background: #f4f4f4; padding: 0.8rem; overflow-x: auto }
nav a { margin-right: 1rem } .lead { font-size: 1.05rem }
@media print { nav { display: none } body { max-width: none; margin: 0 } figure, table { break-inside: avoid } }
";

/// Writes the report.
pub fn html(results: &Results, analysis: &Analysis, context: &Context) -> String {
    let title = title(context);
    let part = excerpt::excerpt(analysis, excerpt::LISTED);
    let (listed, said) = match &part {
        Some((part, said)) => (part, format!("<p>{}</p>\n", html_escape(said))),
        None => (analysis, String::new()),
    };
    let table = |sheet: Option<Sheet>| sheet.map_or_else(String::new, |sheet| wide(&sheet));
    let sections: Vec<(&str, &str, String)> = vec![
        ("funnel", "Funnel", table(funnel(context))),
        ("study", "Study", table(attributes(context))),
        ("verdicts", "Verdicts and tests", said + &tables(listed)),
        ("figures", "Figures", drawings(results, analysis, context)),
        ("controls", "Controls", controls(listed)),
        ("factors", "Factors of non-determinism", table(factors(context))),
        ("threats", "Threats that remain", list(&threats(analysis, context))),
        ("notes", "Notes and warnings", list(&remarks(analysis))),
        ("repeat", "How to repeat it", repeat(context)),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|section| !section.2.is_empty()).collect();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n\
         <p class=\"lead\">{1}.</p>\n<nav>",
        html_escape(&title),
        html_escape(&summary(analysis))
    );
    // Writing to a string does not fail.
    for (id, name, _) in &shown {
        let _ = write!(page, "<a href=\"#{id}\">{name}</a> ");
    }
    page += "</nav>\n";
    for (id, name, body) in &shown {
        let _ = writeln!(page, "<section id=\"{id}\">\n<h2>{name}</h2>\n{body}</section>");
    }
    page + "</body>\n</html>\n"
}

fn wide(table: &Sheet) -> String {
    format!("<div class=\"wide\">\n{}</div>\n", table.html())
}

fn pairs(title: &str, head: [&str; 2], rows: &[(String, String)]) -> Option<Sheet> {
    let mut sheet = Sheet::new(title, &head, usize::MAX);
    sheet.rows = rows.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
    (!rows.is_empty()).then_some(sheet)
}

fn funnel(context: &Context) -> Option<Sheet> {
    let head = ["step", "lost, and why", "bugs"];
    let mut sheet = Sheet::new("From release notes to verdicts", &head, 2);
    for (step, left, lost) in &context.funnel {
        sheet.rows.push(vec![step.clone(), lost.clone(), left.to_string()]);
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}

fn attributes(context: &Context) -> Option<Sheet> {
    pairs("Attributes of the study", ["attribute", "value"], &context.attributes)
}

fn factors(context: &Context) -> Option<Sheet> {
    pairs("Factors and how they were controlled", ["factor", "what the runs had"], &context.factors)
}

fn digests(context: &Context) -> Option<Sheet> {
    pairs("Digests", ["what", "digest"], &context.digests)
}

/// All tables of the report, in their order.
fn all_tables(analysis: &Analysis, context: &Context) -> Vec<Sheet> {
    let part = excerpt::excerpt(analysis, excerpt::LISTED);
    let listed = part.as_ref().map_or(analysis, |(part, _)| part);
    let before = funnel(context).into_iter().chain(attributes(context));
    let after = factors(context).into_iter().chain(digests(context));
    before.chain(sheets(listed)).chain(after).collect()
}

/// All tables of the report as Markdown, with threats, notes and commands as text.
pub fn markdown(analysis: &Analysis, context: &Context) -> String {
    let mut parts = vec![format!("# {}\n", title(context)), format!("{}.\n", summary(analysis))];
    parts.extend(excerpt::excerpt(analysis, excerpt::LISTED).map(|(_, said)| said + "\n"));
    parts.extend(all_tables(analysis, context).iter().map(Sheet::markdown));
    let mut list = |name: &str, lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
        parts.push(format!("### {name}\n\n{lines}"));
    };
    list("Threats that remain", &threats(analysis, context));
    list("Notes and warnings", &remarks(analysis));
    if !context.commands.is_empty() {
        let commands = context.commands.join("\n");
        parts.push(format!("### How to repeat it\n\n```sh\n{commands}\n```\n"));
    }
    parts.join("\n")
}

/// All tables of the report as LaTeX for the `booktabs` package.
pub fn latex(analysis: &Analysis, context: &Context) -> String {
    let tables: Vec<String> = all_tables(analysis, context).iter().map(Sheet::latex).collect();
    format!("% {}\n% needs \\usepackage{{booktabs}}\n{}", title(context), tables.join("\n"))
}

fn title(context: &Context) -> String {
    let line = context.title.lines().next().unwrap_or_default().trim();
    if line.is_empty() { "Report".to_owned() } else { line.to_owned() }
}

fn is_control(sheet: &Sheet) -> bool {
    sheet.title == "Controls"
}

fn tables(analysis: &Analysis) -> String {
    sheets(analysis).iter().filter(|sheet| !is_control(sheet)).map(wide).collect()
}

fn controls(analysis: &Analysis) -> String {
    match sheets(analysis).iter().find(|sheet| is_control(sheet)) {
        Some(sheet) => wide(sheet),
        None => "<p>This study has no controls: its own false-positive and detection rates are \
                 unknown.</p>\n"
            .to_owned(),
    }
}

/// All figures of the report in their order, each with a name that a file may have.
pub fn figures(results: &Results, analysis: &Analysis, context: &Context) -> Vec<(String, Scene)> {
    let mut scenes: Vec<(String, Scene)> = Vec::new();
    let outcomes = results
        .metrics()
        .iter()
        .filter(|metric| analysis.tests.iter().any(|test| test.outcome && test.metric == **metric));
    for metric in outcomes {
        let scene = figures::forest(analysis, metric);
        scenes.extend(scene.map(|scene| (format!("shifts-{metric}"), scene)));
    }
    scenes.extend(figures::quantiles(analysis).map(|scene| ("p-values".to_owned(), scene)));
    scenes.extend(figures::deviations(analysis).map(|scene| ("deviations".to_owned(), scene)));
    for one in analysis.verdicts.iter().take(gather::DRAWN) {
        let scene = figures::distributions(results, analysis, &one.bug, one.kind);
        let name = format!("distributions-{}-{}", one.bug, one.kind.name());
        scenes.extend(scene.map(|scene| (name, scene)));
    }
    scenes.extend(context.figures.iter().cloned());
    for (place, (name, _)) in scenes.iter_mut().enumerate() {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        // The number keeps names apart that differ in other letters only.
        *name = format!("{:02}-{}", place + 1, name.chars().map(plain).collect::<String>());
    }
    scenes
}

fn drawings(results: &Results, analysis: &Analysis, context: &Context) -> String {
    let each = figures(results, analysis, context);
    each.iter().map(|(_, scene)| format!("<figure>\n{}</figure>\n", scene.svg())).collect()
}

fn list(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String =
        lines.iter().map(|line| format!("<li>{}</li>\n", html_escape(line))).collect();
    format!("<ul>\n{lines}</ul>\n")
}

fn remarks(analysis: &Analysis) -> Vec<String> {
    let mut lines = analysis.warnings.clone();
    lines.push(analysis.design.clone());
    lines.extend(analysis.notes.iter().cloned());
    lines
}

/// What the analysis itself shows to be open, and what the caller adds.
fn threats(analysis: &Analysis, context: &Context) -> Vec<String> {
    let mut lines = Vec::new();
    let verdicts = || analysis.verdicts.iter();
    let count = |verdict| verdicts().filter(|one| one.verdict == verdict).count();
    if verdicts().any(|one| one.seed_policy == SeedPolicy::Single) {
        lines.push(
            "All runs of a comparison repeat one seed, so what they show holds for that seed."
                .to_owned(),
        );
    }
    if !verdicts().any(|one| one.kind == Kind::Artificial) {
        lines.push(
            "No fault was planted, so it is not shown that this study would find one.".to_owned(),
        );
    }
    if !verdicts().any(|one| one.kind == Kind::Aa) {
        lines.push(
            "No artifact was run against itself, so the rate of false positives was not observed."
                .to_owned(),
        );
    }
    if verdicts().any(|one| one.identity.is_none()) {
        lines.push(
            "Some runs have no digests: whether they are bit for bit the same is unknown."
                .to_owned(),
        );
    }
    let inconclusive = count(Verdict::Inconclusive);
    if inconclusive > 0 {
        lines.push(format!(
            "{inconclusive} comparison(s) are inconclusive: more runs, or a wider margin chosen \
             beforehand, could decide them."
        ));
    }
    lines.push(
        "Tests of shift and equivalence assume that the sides differ in place and not in shape; the \
         tests of spread and of Brunner and Munzel stand beside them."
            .to_owned(),
    );
    lines.extend(context.threats.iter().cloned());
    lines
}

fn repeat(context: &Context) -> String {
    let mut text = String::new();
    if !context.commands.is_empty() {
        let _ = writeln!(text, "<pre>{}</pre>", html_escape(&context.commands.join("\n")));
    }
    text + &digests(context).map_or_else(String::new, |sheet| wide(&sheet))
}
