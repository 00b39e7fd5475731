//! The study itself: what it asks, with what, and everything to take away.

use std::collections::BTreeSet;

use maud::{Markup, html};
use study::{ExperimentId, RunKey, RunStatus};

use super::layout::Page;
use super::parts::{bytes, count, digest, prose};
use crate::app::App;
use crate::error::Problem;
use crate::model::{Snapshot, flatten};

/// What can be taken away as a table, with its address.
const TABLES: [(&str, &str); 9] = [
    ("bugs", "/api/v1/bugs"),
    ("labels", "/api/v1/labels"),
    ("builds", "/api/v1/builds"),
    ("experiments", "/api/v1/experiments"),
    ("runs", "/api/v1/runs"),
    ("epochs", "/api/v1/epochs"),
    ("verdicts", "/api/v1/verdicts"),
    ("tests", "/api/v1/tests"),
    ("funnel", "/api/v1/funnel"),
];

pub(super) fn page(app: &App, snapshot: &Snapshot) -> Result<Page, Problem> {
    let config = &app.study.config;
    let json = serde_json::to_value(config).map_err(Problem::internal)?;
    let leaves = flatten(&json);
    let arrays = challenge_arrays(app, snapshot)?;
    let report = app.study.analysis_file().with_file_name("report.html").is_file();
    let body = html! {
        h1 { (config.study.name) }
        @if !config.study.description.is_empty() { p.lead { (prose(&config.study.description)) } }
        div.columns {
            section aria-labelledby="attributes" {
                h2 #attributes { "Attributes" }
                div.wide tabindex="0" role="group" aria-label="Attributes" {
                    table.factors {
                        caption.hidden { "study.toml, defaults included" }
                        thead { tr { th scope="col" { "key" } th scope="col" { "value" } } }
                        tbody { @for (path, value) in &leaves { tr { th scope="row" { (path.join(".")) } td { (value) } } } }
                    }
                }
            }
            div {
                section aria-labelledby="take" {
                    h2 #take { "Take away" }
                    (downloads(report))
                }
                section aria-labelledby="toolchains" {
                    h2 #toolchains { "Toolchains" }
                    (toolchains(snapshot))
                }
                section aria-labelledby="seeds" {
                    h2 #seeds { "Seeds" }
                    p { "Policy " strong { (config.run.seed_policy) } ", meta seed " strong.n { (config.study.meta_seed) } ". "
                        @match config.run.seed_policy {
                            study::SeedPolicy::Single => "All runs of a pair share one seed, as in the paper.",
                            study::SeedPolicy::PerRun => "Run i of a pair has seed i, the same on both sides.",
                        }
                    }
                }
                section aria-labelledby="challenge" {
                    h2 #challenge { "Challenge" }
                    (challenge(app, &arrays))
                }
                (remarks(snapshot))
            }
        }
    };
    Ok(Page::new("Study", "Study", body))
}

fn downloads(report: bool) -> Markup {
    html! {
        table {
            caption.hidden { "Tables in each form" }
            tbody {
                @for (name, address) in TABLES {
                    tr { th scope="row" { (name) }
                        @for form in ["csv", "parquet", "json"] { td { a href={ (address) "?format=" (form) } { (form) } } } }
                }
                tr { th scope="row" { "analysis" } td {} td {} td { a href="/api/v1/analysis" { "json" } } }
            }
        }
        @if report { p { a href="/report" { "The report" } ", one page" } }
        @else { p.quiet { "No report yet; " code { "reproduceml report" } " writes it." } }
    }
}

fn toolchains(snapshot: &Snapshot) -> Markup {
    let all: BTreeSet<(&str, &str, &str)> = snapshot
        .all_builds()
        .map(|(_, _, r)| (r.toolchain.as_str(), r.toolchain_digest.as_str(), r.image.as_str()))
        .collect();
    if all.is_empty() {
        return html! { p.quiet { "Nothing was built yet." } };
    }
    html! {
        table {
            caption.hidden { "Toolchains" }
            thead { tr { th scope="col" { "toolchain" } th scope="col" { "digest" } th scope="col" { "image" } th.n scope="col" { "builds" } } }
            tbody {
                @for (name, identity, image) in &all {
                    @let builds = snapshot.all_builds().filter(|(_, _, r)| r.toolchain_digest == *identity && r.image == *image).count();
                    tr { td { (name) } td { (digest(identity)) } td { (digest(image)) } td.n { (count(builds)) } }
                }
            }
        }
    }
}

/// An array of the challenge as a client received it: experiment, run, name, SHA-256.
type Array = (ExperimentId, u32, String, String);

/// The arrays of the challenge by digest, from the manifest of one finished run of an active
/// experiment: clients check what they receive and say what they got.
pub(crate) fn challenge_arrays(app: &App, snapshot: &Snapshot) -> Result<Vec<Array>, Problem> {
    let ended = snapshot.experiments.iter().find(|state| state.active && state.finished > 0);
    let Some(state) = ended else { return Ok(Vec::new()) };
    let id = &state.id;
    let runs = app.store.run_states(&id)?;
    let Some(run) = runs.iter().find(|run| run.status == RunStatus::Finished) else {
        return Ok(Vec::new());
    };
    let key = RunKey { experiment: id.clone(), run: run.key.run };
    let manifest = app.store.run(&key)?.and_then(|run| run.manifest).unwrap_or_default();
    let arrays = manifest.pointer("/data/arrays").and_then(serde_json::Value::as_object);
    let one = |(name, array): (&String, &serde_json::Value)| {
        let digest = array["sha256"].as_str()?;
        Some((id.clone(), run.key.run, name.clone(), digest.to_owned()))
    };
    Ok(arrays.into_iter().flatten().filter_map(one).collect())
}

fn challenge(app: &App, arrays: &[Array]) -> Markup {
    let data = &app.study.config.challenge;
    let amount = |n: u32| if n == 0 { "all".to_owned() } else { count(n) };
    // What is newest lies in the log beside the store until it is moved over.
    let part = |end: &str| {
        let mut path = app.store.path().to_owned().into_os_string();
        path.push(end);
        std::fs::metadata(path).map_or(0, |file| file.len())
    };
    let size = part("") + part("-wal");
    html! {
        p { strong { (data.name) } ": " (amount(data.train_samples)) " samples to train, "
            (count(data.validation_samples)) " to validate, " (amount(data.test_samples)) " to test." }
        @if let Some((experiment, run, _, _)) = arrays.first() {
            p.quiet { "What run " a href={ "/runs/" (experiment) "/" (run) } { (experiment) "/" (run) } " received; splits and orders follow from its seed." }
            table {
                caption.hidden { "Arrays of the challenge" }
                thead { tr { th scope="col" { "array" } th scope="col" { "SHA-256" } } }
                tbody { @for (_, _, name, sha256) in arrays { tr { td { (name) } td { (digest(sha256)) } } } }
            }
        } @else { p.quiet { "Digests of its arrays show once a run has finished." } }
        p.quiet { "The store holds " (bytes(size)) "." }
    }
}

fn remarks(snapshot: &Snapshot) -> Markup {
    let Some(analysis) = &snapshot.files.analysis else { return html! {} };
    html! {
        section aria-labelledby="analysis" {
            h2 #analysis { "Analysis" }
            @if !analysis.design.is_empty() { p { (analysis.design) } }
            @if !analysis.warnings.is_empty() { ul { @for warning in &analysis.warnings { li { (warning) } } } }
            @if !analysis.notes.is_empty() { details { summary { "How to read the numbers" } ul { @for note in &analysis.notes { li { (note) } } } } }
        }
    }
}
