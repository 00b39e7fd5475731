//! One bug: what was published, what was changed, and what came of it.

use maud::{Markup, html};
use serde_json::Value;
use study::{ArtifactRecord, ArtifactStatus, BugId, Evaluation};

use super::compare::{attributes, experiment_link, link, manifests, run_pairs, samples};
use super::layout::Page;
use super::parts::{badge, bytes, count, digest, log_lines, moment, probability, prose, seconds};
use crate::app::App;
use crate::error::Problem;
use crate::log::Log;
use crate::model::{
    Answers, BuildDetails, CONTROL, Interval, Row, Side, Snapshot, Test, VerdictEntry, criteria_of,
};
use crate::plot::number;
use crate::query::Parameters;

/// Changed files that are shown before the rest is folded away.
const FILES: usize = 25;
/// Lines of a log shown within the page.
const TAIL: usize = 12;

pub(super) fn page(
    app: &App,
    snapshot: &Snapshot,
    bug: &BugId,
    parameters: &mut Parameters,
) -> Result<Page, Problem> {
    let row =
        snapshot.row(bug).ok_or_else(|| Problem::missing(format!("the study has no bug {bug}")))?;
    let wanted = parameters.take("pair");
    let active: Vec<_> =
        snapshot.experiments_of(bug).into_iter().filter(|state| state.active).collect();
    let corrected =
        active.iter().find(|state| state.experiment.evaluation == Evaluation::Corrected);
    let mut others: Vec<_> = active
        .iter()
        .filter(|state| state.experiment.evaluation != Evaluation::Corrected)
        .collect();
    // The bug's own comparison before its controls, in whatever order they were planned.
    others.sort_by_key(|state| match state.experiment.evaluation {
        Evaluation::Buggy | Evaluation::Corrected => 0,
        Evaluation::Artificial => 1,
        Evaluation::Aa => 2,
    });
    let other = match &wanted {
        Some(name) => Some(
            others
                .iter()
                .find(|state| state.experiment.evaluation.as_str() == name)
                .ok_or_else(|| Problem::missing(format!("{bug} has no experiment `{name}`")))?,
        ),
        None => others.first(),
    };
    let kind = other.map_or("bug", |state| kind(state.experiment.evaluation));
    let analysis = snapshot.files.analysis.as_ref();
    let verdict = analysis.and_then(|a| a.verdict(bug.as_str(), kind));
    // The heading tells of the bug, whatever comparison is looked at.
    let of_bug = analysis.and_then(|a| a.verdict_of(bug.as_str()));
    let tests: Vec<&Test> =
        analysis.map(|a| a.tests(bug.as_str(), kind).collect()).unwrap_or_default();
    let pair = match (other, corrected) {
        (Some(left), Some(right)) => {
            Some((Side::read(&app.store, left)?, Side::read(&app.store, right)?))
        }
        _ => None,
    };
    let body = html! {
        (head(app, row, of_bug))
        @if others.len() > 1 {
            nav.pager aria-label="Comparisons" {
                @for state in &others {
                    @let name = state.experiment.evaluation.as_str();
                    a href={ "/bugs/" (bug) "?pair=" (name) }
                        aria-current=[(other.is_some_and(|o| o.experiment.evaluation == state.experiment.evaluation)).then_some("true")] {
                        (compared(state.experiment.evaluation))
                    }
                }
            }
        }
        div data-live="bug" {
            @if kind == CONTROL {
                p.quiet { "A control: the corrected artifact against itself, with the same design and seeds. "
                    "A difference here is a false alarm, and says nothing about the bug." }
            }
            @if let Some(entry) = verdict { (conclusion(entry, &tests)) }
            @if let Some((left, right)) = &pair {
                (samples(left, right))
                (run_pairs(left, right))
                (manifests(app, left, right, None)?)
            } @else if let Some(state) = active.first() {
                section aria-labelledby="runs" {
                    h2 #runs { "Runs" }
                    p { "Only one side is planned: " (experiment_link(&state.id)) "." }
                }
            }
            (artifacts(app, snapshot, bug))
        }
        (change(row))
        (labels(snapshot, row))
        (experiments(snapshot, bug, pair.as_ref()))
    };
    let mut page = Page::new(bug.to_string(), "Bugs", body);
    page.parameters = "pair";
    Ok(page)
}

/// What is beside each other in a comparison with the corrected side.
pub(super) fn compared(evaluation: Evaluation) -> String {
    match evaluation {
        Evaluation::Aa => "corrected against itself (A/A)".into(),
        other => format!("{other} and corrected"),
    }
}

/// The name that the analysis has for a comparison with a side.
fn kind(evaluation: Evaluation) -> &'static str {
    match evaluation {
        Evaluation::Buggy | Evaluation::Corrected => "bug",
        other => other.as_str(),
    }
}

fn head(app: &App, row: &Row, verdict: Option<&VerdictEntry>) -> Markup {
    let bug = &row.bug;
    let commit = |id: Option<&study::CommitId>| match id {
        Some(id) => {
            let repository = &app.study.config.framework.repository;
            let at = format!("https://github.com/{repository}/commit/{id}");
            html! { a href=(at) rel="noreferrer" { (digest(id.as_str())) } }
        }
        None => html! { span.quiet { "–" } },
    };
    let flags = [
        (bug.python_only, "Python only"),
        (bug.needs_compile, "needs a compiler"),
        (bug.needs_cuda, "needs CUDA"),
        (bug.not_in_artifact, "not in the artifact"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
    html! {
        h1 { (bug.id) " " @if let Some(entry) = verdict { (badge(&entry.verdict)) } }
        @if !bug.text.is_empty() {
            blockquote.entry { (prose(&bug.text)) }
        }
        dl.facts {
            @if !bug.release.is_empty() {
                dt { "published" } dd { (bug.release) @for heading in &bug.section { " › " (heading) } }
            }
            @if bug.url.starts_with("https://") || bug.url.starts_with("http://") {
                dt { "pull request" } dd { a href=(bug.url) rel="noreferrer" { "#" (bug.pr) }
                    @if bug.prs.len() > 1 { span.quiet { " of " @for pr in &bug.prs { "#" (pr) " " } } } }
            }
            dt { "resolution" } dd { (bug.resolution) }
            dt { "fix" } dd { (commit(bug.fix.as_ref())) @if let Some(at) = &bug.fixed_at { " " (moment(at)) } }
            dt { "buggy" } dd { (commit(bug.buggy.as_ref())) }
            @if !bug.scope.is_empty() { dt { "scope" } dd { (bug.scope.join(", ")) @if !flags.is_empty() { span.quiet { " (" (flags.join(", ")) ")" } } } }
            @if let Some(found) = &row.reach {
                dt { "reach" } dd { (found.answer) " " span.quiet { "(" (found.strength) ")" } ": " (found.reason) }
            }
            @if let Some(found) = &row.own_tests {
                dt { "its own tests" } dd { (badge(found.verdict.as_str())) " "
                    span.quiet { "(" (found.equal_pairs) " of " (found.pairs) " pairs equal)" } ": " (found.reason) }
            }
            @if let Some((step, reason)) = &row.lost {
                dt { "lost at" } dd { a href={ "/bugs?lost=" (step) } { (step) } ": " (reason) }
            }
        }
    }
}

fn conclusion(entry: &VerdictEntry, tests: &[&Test]) -> Markup {
    let interval = |of: Option<Interval>| match of {
        Some(Interval { estimate: Some(value), low, high }) => {
            let end = |end: Option<f64>| end.map_or("–".into(), number);
            html! { (number(value)) span.quiet { " [" (end(low)) ", " (end(high)) "]" } }
        }
        _ => html! { "–" },
    };
    html! {
        section aria-labelledby="verdict" {
            h2 #verdict { "Verdict" }
            p.lead { (badge(&entry.verdict)) " " (prose(&entry.reason)) }
            @if let Some(identity) = entry.identity {
                p.quiet { (count(identity.equal_pairs)) " of " (count(identity.pairs)) " pairs of runs are bit-identical." }
            }
            @if !tests.is_empty() {
                div.wide tabindex="0" role="group" aria-label="Tests" {
                    table {
                        caption.hidden { "Tests, by metric" }
                        thead { tr { th scope="col" { "metric" } th.n scope="col" { "n" } th.n scope="col" { "U" } th.n scope="col" { "p" }
                            th.n scope="col" { "p, Holm" } th.n scope="col" { "p, BH" } th.n scope="col" { "shift" } th.n scope="col" { "A12" }
                            th.n scope="col" { "p, equivalence" } th.n scope="col" { "detectable" } } }
                        tbody {
                            @for test in tests {
                                tr {
                                    th scope="row" { (test.metric) @if test.outcome { " " abbr title="takes part in the verdict" { "•" } } }
                                    td.n { (test.n_buggy) "/" (test.n_corrected) }
                                    td.n { (test.statistic.map_or("–".into(), |u| format!("{u}"))) }
                                    td.n { (probability(test.p_value)) }
                                    td.n { (probability(test.p_holm)) }
                                    td.n { (probability(test.p_bh)) }
                                    td.n { (interval(test.hodges_lehmann)) }
                                    td.n { (interval(test.a12)) }
                                    td.n { (probability(test.equivalence.and_then(|e| e.p_value))) }
                                    td.n { (test.detectable_shift.map_or("–".into(), number)) }
                                }
                            }
                        }
                    }
                }
                @let notes: Vec<(&str, &String)> = tests.iter().flat_map(|t| t.notes.iter().map(|n| (t.metric.as_str(), n))).collect();
                @if !notes.is_empty() {
                    ul.quiet { @for (metric, note) in notes { li { (metric) ": " (note) } } }
                }
            }
        }
    }
}

fn change(row: &Row) -> Markup {
    let bug = &row.bug;
    if bug.files.is_empty() {
        return html! {};
    }
    let (first, rest) = bug.files.split_at(bug.files.len().min(FILES));
    let table = |files: &[study::ChangedFile], caption: &str| {
        html! {
            div.wide tabindex="0" role="group" aria-label=(caption) {
                table.files {
                    caption.hidden { (caption) }
                    thead { tr { th scope="col" { "file" } th scope="col" { "kind" } th.n scope="col" { "added" } th.n scope="col" { "removed" } } }
                    tbody {
                        @for file in files {
                            tr { td { code { (file.path) } @if bug.tests.contains(&file.path) { " " span.quiet { "test of the fix" } } }
                                td { (file.kind) } td.n { "+" (file.added) } td.n { "−" (file.removed) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        section aria-labelledby="change" {
            h2 #change { "Change" }
            p { (count(bug.files.len())) " files, +" (count(bug.lines_added)) " −" (count(bug.lines_removed)) " lines." }
            (table(first, "Changed files"))
            @if !rest.is_empty() { details { summary { "The other " (count(rest.len())) " files" } (table(rest, "The other changed files")) } }
        }
    }
}

fn labels(snapshot: &Snapshot, row: &Row) -> Markup {
    let labels = &snapshot.files.labels;
    let of = labels.of(row.bug.id.as_str());
    if of.is_empty() {
        return html! {};
    }
    let answers = criteria_of(of, labels.criteria.len());
    html! {
        section aria-labelledby="labels" {
            h2 #labels { "Labels" }
            div.wide tabindex="0" role="group" aria-label="Labels" {
                table {
                    caption.hidden { "What each rater says to each criterion" }
                    thead { tr { th scope="col" { "criterion" } @for label in of { th scope="col" { (label.rater) } } th scope="col" { "together" } } }
                    tbody {
                        @for (place, criterion) in labels.criteria.iter().enumerate() {
                            @let together = answers.get(place).copied().unwrap_or(Answers::None);
                            tr.differ[together == Answers::Disputed] {
                                th scope="row" { (criterion.replace('_', " ")) }
                                @for label in of { td { (label.answers.get(place).map_or("", String::as_str)) } }
                                td { (match together {
                                    Answers::None => "", Answers::Yes => "yes", Answers::No => "no",
                                    Answers::Unsure => "unsure", Answers::Disputed => "disputed" }) }
                            }
                        }
                    }
                }
            }
            @for label in of.iter().filter(|label| !label.note.is_empty()) {
                p { strong { (label.rater) } " " (moment(&label.at)) ": " (label.note) }
            }
        }
    }
}

fn artifacts(app: &App, snapshot: &Snapshot, bug: &BugId) -> Markup {
    let builds = snapshot.builds_of(bug);
    let row = snapshot.row(bug);
    let commits = |text: &str| {
        let of = |id: Option<&study::CommitId>| id.is_some_and(|id| text.contains(id.short()));
        row.is_some_and(|row| of(row.bug.fix.as_ref()) || of(row.bug.buggy.as_ref()))
    };
    let under_way: Vec<_> =
        snapshot.building.iter().filter(|building| commits(&building.what)).collect();
    if builds.is_empty() && under_way.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="artifacts" {
            h2 #artifacts { "Artifacts" }
            @for building in under_way {
                p { "Being built since " (moment(&building.since)) ": " (building.what) ", "
                    a href={ "/builds/" (building.id) "/log" } { "follow its log" } }
            }
            div.two {
                @for (evaluation, record) in builds { (artifact(app, *evaluation, record)) }
            }
        }
    }
}

fn artifact(app: &App, evaluation: Evaluation, record: &ArtifactRecord) -> Markup {
    let details = BuildDetails::read(&app.study, &record.id);
    let text = |pointer: &str| details.get(pointer).and_then(Value::as_str).unwrap_or_default();
    let class = match evaluation {
        Evaluation::Corrected => "right",
        _ => "left",
    };
    html! {
        div {
            h3 { span class={ "key " (class) } {} (evaluation) " "
                @if record.is_built() { (badge("built")) } @else { (badge("failed")) } }
            @if let ArtifactStatus::Failed { class, line } = &record.status {
                p { strong { (class) } ": " code { (line) } }
            }
            dl {
                dt { "artifact" } dd { (digest(record.id.as_str())) @if details.log { " " a href={ "/builds/" (record.id) "/log" } { "log" } } }
                @if let Some(commit) = &record.commit { dt { "commit" } dd { (digest(commit.as_str())) } }
                dt { "strategy" } dd { (record.strategy) @if let Some(fault) = &record.fault { " " code { (fault) } } }
                dt { "toolchain" } dd { (record.toolchain) " " (digest(&record.toolchain_digest)) }
                dt { "image" } dd { (digest(&record.image)) }
                @if let ArtifactStatus::Built { content, bytes: size } = &record.status {
                    dt { "content" } dd { (digest(content)) ", " (bytes(*size)) }
                }
                dt { "time" } dd { (seconds(record.seconds)) @if !text("/started").is_empty() { ", " (moment(text("/started"))) } }
                @if let Some(cache) = details.get("/cache") {
                    dt { "compiler cache" } dd { (cache["hits"]) " hits, " (cache["misses"]) " misses" }
                }
            }
            (steps(&details))
            (tail(app, record))
            (provenance(record, &details))
            @for problem in &details.problems { p.notice { (problem) } }
        }
    }
}

fn steps(details: &BuildDetails) -> Markup {
    let Some(steps) = details.get("/steps").and_then(Value::as_array) else { return html! {} };
    html! {
        table {
            caption.hidden { "Steps of the build" }
            thead { tr { th scope="col" { "step" } th.n scope="col" { "time" } th scope="col" { "ended" } } }
            tbody {
                @for step in steps {
                    @let secs = step.pointer("/exit/duration/secs").and_then(Value::as_f64).unwrap_or_default();
                    @let nanos = step.pointer("/exit/duration/nanos").and_then(Value::as_f64).unwrap_or_default();
                    @let status = step.pointer("/exit/status").and_then(Value::as_i64);
                    tr { td { (step["name"].as_str().unwrap_or("?")) } td.n { (seconds(secs + nanos / 1e9)) }
                        td { @match status { Some(0) => "well", Some(code) => { span.differs { "status " (code) } }, None => { span.differs { "by a signal" } } } } }
                }
            }
        }
    }
}

fn tail(app: &App, record: &ArtifactRecord) -> Markup {
    let Some(log) = Log::of_build(&app.study, &record.id) else { return html! {} };
    match log.tail(TAIL) {
        Ok(page) => html! {
            details open[!record.is_built()] {
                summary { "The log's last " (page.lines.len()) " of " (count(page.total)) " lines" }
                pre.log tabindex="0" role="group" aria-label="The end of the log" { (log_lines(page.first, &page.lines, false)) }
            }
        },
        Err(error) => html! { p.notice { (log.path.display()) ": " (error) } },
    }
}

fn provenance(record: &ArtifactRecord, details: &BuildDetails) -> Markup {
    let Some(statement) = &details.provenance else { return html! {} };
    let list = |pointer: &str| statement.pointer(pointer).and_then(Value::as_array);
    let subjects = list("/subject").map_or(0, Vec::len);
    let inputs = list("/predicate/buildDefinition/resolvedDependencies");
    html! {
        details {
            summary { "Provenance: " (count(subjects)) " files of " (count(inputs.map_or(0, Vec::len))) " inputs" }
            div.wide tabindex="0" role="group" aria-label="Inputs of the build" {
                table {
                    caption.hidden { "Inputs of the build" }
                    thead { tr { th scope="col" { "input" } th scope="col" { "digest" } } }
                    tbody {
                        @for input in inputs.into_iter().flatten() {
                            tr { td { (input["name"].as_str().unwrap_or_default()) }
                                td { @for (name, value) in input["digest"].as_object().into_iter().flatten() {
                                    (name) " " (digest(value.as_str().unwrap_or_default())) " " } } }
                        }
                    }
                }
            }
            p { a href={ "/api/v1/builds/" (record.id) } { "The whole statement" } }
        }
    }
}

fn experiments(snapshot: &Snapshot, bug: &BugId, pair: Option<&(Side, Side)>) -> Markup {
    let all = snapshot.experiments_of(bug);
    if all.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="experiments" {
            h2 #experiments { "Experiments" }
            ul.plain {
                @for state in all {
                    li { (experiment_link(&state.id)) " " (state.experiment.evaluation) ", "
                        (state.finished) " of " (state.target) " runs"
                        @if !state.active { span.quiet { ", of an earlier plan" } } }
                }
            }
            @if let Some((left, right)) = pair {
                p { a href=(link(left.id.as_str(), right.id.as_str())) { "Compare the two by their identifiers" } }
                (attributes(&right.state.experiment))
            }
        }
    }
}
