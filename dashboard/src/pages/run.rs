//! One experiment, and one run.

use maud::{Markup, html};
use serde_json::Value;
use study::{ExperimentId, RunKey};

use super::compare::{attributes, experiment_link, link};
use super::layout::Page;
use super::parts::{count, digest, moment, seconds, status};
use crate::api::no_experiment;
use crate::app::App;
use crate::error::Problem;
use crate::model::{Side, Snapshot, flatten};
use crate::plot::{Group, bar, curves, number, strip};

pub(super) fn experiment(
    app: &App,
    snapshot: &Snapshot,
    id: &ExperimentId,
) -> Result<Page, Problem> {
    let state = snapshot.experiment(id).ok_or_else(|| no_experiment(id.as_str()))?;
    let side = Side::read(&app.store, state)?;
    let experiment = &state.experiment;
    let partners: Vec<_> = snapshot
        .experiments_of(&experiment.bug)
        .into_iter()
        .filter(|other| other.id != *id)
        .collect();
    let metrics = side.metric_names();
    let group = |metric: &str| Group {
        name: experiment.evaluation.to_string(),
        class: "left",
        values: side.sample(metric),
    };
    let lines = Group {
        name: experiment.evaluation.to_string(),
        class: "left",
        values: side.curves().into_values().collect(),
    };
    let body = html! {
        h1 { (id) }
        p { a href={ "/bugs/" (experiment.bug) } { (experiment.bug) } ", " (experiment.evaluation)
            @if !state.active { ", of an earlier plan" } ". Planned " (moment(&state.planned_at)) "." }
        @if let Some(reason) = &state.invalid { p.notice { "Its runs cannot be compared: " (reason) } }
        (attributes(experiment))
        @if !partners.is_empty() {
            p { "Compare with "
                @for other in partners {
                    a href=(link(id.as_str(), other.id.as_str())) { (other.experiment.evaluation) @if !other.active { " (earlier plan)" } } " "
                } }
        }
        div data-live="experiment" {
            section aria-labelledby="runs" {
                h2 #runs { "Runs" }
                p { (state.finished) " of " (state.target) " finished, " (state.failed) " failed, " (state.running) " under way." }
                (runs(&side, &metrics))
            }
            section aria-labelledby="distributions" {
                h2 #distributions { "Distributions and learning curves" }
                div.plots {
                    @for metric in &metrics {
                        @if let Some(plot) = strip(&format!("{metric}, test split"), &[group(metric)]) { (plot) }
                    }
                    @if let Some(plot) = curves("training loss after each epoch", &[lines]) { (plot) }
                }
            }
        }
    };
    Ok(Page::new(id.to_string(), "Bugs", body))
}

fn runs(side: &Side, metrics: &[String]) -> Markup {
    let epochs = side.state.experiment.hyperparameters.epochs;
    let metrics = metrics.get(..4).unwrap_or(metrics);
    html! {
        div.wide tabindex="0" role="group" aria-label="Runs" {
            table {
                caption.hidden { "Runs" }
                thead { tr { th scope="col" { "run" } th.n scope="col" { "seed" } th scope="col" { "status" } th.n scope="col" { "epoch" }
                    @for metric in metrics { th.n scope="col" { (metric) } }
                    th.n scope="col" { "time" } th scope="col" { "began" } th scope="col" { "reason" } } }
                tbody {
                    @for run in &side.runs {
                        tr { th scope="row" { a href={ "/runs/" (run.key) } { (run.key.run) } }
                            td.n { @if let Some(seed) = run.seed { (seed) } }
                            td { (status(run.status)) } td.n { (run.epoch.unwrap_or(0)) "/" (epochs) }
                            @for metric in metrics { td.n { (side.metric(run.key.run, metric).map_or("–".into(), number)) } }
                            td.n { (seconds(run.seconds)) } td { (moment(&run.started_at)) }
                            td { @if let Some(reason) = &run.reason { (reason) } } }
                    }
                }
            }
        }
    }
}

pub(super) fn page(app: &App, snapshot: &Snapshot, key: &RunKey) -> Result<Page, Problem> {
    let missing = || Problem::missing(format!("the study has no run {key}"));
    let run = app.store.run(key)?.ok_or_else(missing)?;
    let state = snapshot.experiment(&key.experiment).ok_or_else(missing)?;
    let experiment = &state.experiment;
    let epochs = app.store.epochs(key)?;
    let metrics = app.store.metrics(key, "test")?;
    let asked = experiment.hyperparameters.epochs;
    let at = epochs.last().map_or(0, |epoch| epoch.epoch);
    let line: Vec<(u32, f64)> = epochs
        .iter()
        .filter_map(|epoch| Some((epoch.epoch, f64::from_bits(epoch.loss_bits?))))
        .collect();
    let line = Group { name: "this run".into(), class: "left", values: vec![line] };
    let partners: Vec<_> = snapshot
        .experiments_of(&experiment.bug)
        .into_iter()
        .filter(|other| other.active && other.id != key.experiment)
        .collect();
    let body = html! {
        h1 { (key) }
        div data-live="run" {
            p.progress {
                (status(run.status)) " "
                (bar(&[("filled", f64::from(at) / f64::from(asked.max(1)))], &format!("epoch {at} of {asked}")))
                span { "epoch " (at) " of " (asked) }
            }
            @if let Some(reason) = &run.reason { p.notice { (reason) } }
            dl.facts {
                dt { "bug" } dd { a href={ "/bugs/" (experiment.bug) } { (experiment.bug) } ", " (experiment.evaluation) }
                dt { "experiment" } dd { (experiment_link(&key.experiment)) }
                dt { "seed" } dd { @if let Some(seed) = run.seed { (seed) } }
                dt { "attempt" } dd { (run.attempt) ", began " (moment(&run.started_at)) @if let Some(end) = &run.finished_at { ", ended " (moment(end)) } }
                dt { "log" } dd { a href={ "/runs/" (key) "/log" } { "what the process said" } }
                @if !partners.is_empty() {
                    dt { "compare" } dd { @for other in partners {
                        a href=(link(&key.to_string(), &format!("{}/{}", other.id, key.run))) { "with run " (key.run) " of " (other.experiment.evaluation) } " " } }
                }
            }
            @if !metrics.is_empty() {
                section aria-labelledby="metrics" {
                    h2 #metrics { "Metrics of the test split" }
                    table { caption.hidden { "Metrics" }
                        tbody { @for (name, value) in &metrics { tr { th scope="row" { (name) } td.n { (number(*value)) } } } } }
                    (classes(run.result.as_ref()))
                }
            }
            section aria-labelledby="epochs" {
                h2 #epochs { "Epochs" }
                @if let Some(plot) = curves("training loss after each epoch", &[line]) { (plot) }
                div.wide tabindex="0" role="group" aria-label="Epochs" {
                    table { caption.hidden { "Epochs" }
                        thead { tr { th scope="col" { "epoch" } th.n scope="col" { "loss" } th.n scope="col" { "time" } th scope="col" { "parameters" } } }
                        tbody { @for epoch in &epochs {
                            tr { th scope="row" { (epoch.epoch) }
                                td.n { (epoch.loss_bits.map_or("–".into(), |bits| number(f64::from_bits(bits)))) }
                                td.n { (seconds(epoch.seconds)) } td { (digest(&epoch.digest)) } } } } }
                }
            }
            @if let Some(manifest) = &run.manifest { (manifest_of(manifest)) }
        }
    };
    Ok(Page::new(key.to_string(), "Bugs", body))
}

/// Precision and recall of each class, where the server computed them.
fn classes(result: Option<&Value>) -> Markup {
    let classes = result.and_then(|r| r.pointer("/splits/test/classes")).and_then(Value::as_array);
    let Some(classes) = classes.filter(|classes| classes.len() <= 200) else { return html! {} };
    let value = |class: &Value, name: &str| class[name].as_f64().map_or("–".into(), number);
    html! {
        details { summary { "By class (" (count(classes.len())) ")" }
            table { caption.hidden { "Metrics by class" }
                thead { tr { th scope="col" { "class" } @for name in ["precision", "recall", "f1"] { th.n scope="col" { (name) } } th.n scope="col" { "samples" } } }
                tbody { @for class in classes {
                    tr { th scope="row" { (class["class"]) } @for name in ["precision", "recall", "f1"] { td.n { (value(class, name)) } } td.n { (class["support"]) } } } } }
        }
    }
}

fn manifest_of(manifest: &Value) -> Markup {
    let leaves = flatten(manifest);
    let mut last = "";
    let rows: Vec<(bool, &str, String, &String)> = leaves
        .iter()
        .map(|(path, value)| {
            let factor = path.first().map_or("", String::as_str);
            let new = factor != last;
            last = factor;
            (new, factor, path.get(1..).unwrap_or_default().join("."), value)
        })
        .collect();
    html! {
        section aria-labelledby="manifest" {
            h2 #manifest { "Manifest" }
            details { summary { (count(rows.len())) " values" }
                div.wide tabindex="0" role="group" aria-label="Manifest" {
                    table.factors { caption.hidden { "Manifest" }
                        thead { tr { th scope="col" { "factor" } th scope="col" { "value" } th scope="col" { "what it was" } } }
                        tbody { @for (new, factor, path, value) in rows {
                            tr { th scope="row" { @if new { (factor) } } td { (path) } td { (value) } } } } }
                }
            }
        }
    }
}
