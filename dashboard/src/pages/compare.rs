//! Two experiments, or two runs, compared by nothing but their identifiers.

use maud::{Markup, html};
use study::{Evaluation, ExperimentId, RunKey, RunStatus};

use super::layout::Page;
use super::parts::{compared, count, digest, prose, seconds, side_by_side, status};
use crate::api::{Comparison, comparison};
use crate::app::App;
use crate::error::Problem;
use crate::model::{BuildDetails, RunPair, Side, Snapshot, compare as pair_runs, factors};
use crate::plot::{Group, curves, number, strip};
use crate::query::{Parameters, encode};

/// Runs of a pair that a page lists before it folds the rest away.
const SHOWN: usize = 60;
/// Identifiers that the form offers.
const OFFERED: usize = 2000;

pub(super) fn page(
    app: &App,
    snapshot: &Snapshot,
    parameters: &mut Parameters,
) -> Result<Page, Problem> {
    let left = parameters.take("left").unwrap_or_default();
    let right = parameters.take("right").unwrap_or_default();
    let form = form(snapshot, &left, &right);
    let (title, content) = if left.is_empty() || right.is_empty() {
        let text = html! {
            p { "Name two experiments, or two runs, by their identifiers: everything else is read from the store." }
            (suggestions(snapshot))
        };
        ("Compare".to_owned(), text)
    } else {
        let content = match comparison(app, snapshot, &left, &right)? {
            Comparison::Experiments(a, b) => experiments(app, &a, &b)?,
            Comparison::Runs((a, x), (b, y)) => runs(app, (&a, &x), (&b, &y))?,
        };
        (format!("{left} and {right}"), content)
    };
    let body = html! {
        h1 { "Compare" }
        (form)
        div data-live="compare" { (content) }
    };
    let mut page = Page::new(title, "Compare", body);
    page.parameters = "left, right";
    Ok(page)
}

fn form(snapshot: &Snapshot, left: &str, right: &str) -> Markup {
    let field = |name: &str, value: &str| {
        html! {
            div.grow {
                label for={ "c-" (name) } { (name) }
                input id={ "c-" (name) } name=(name) value=(value) list="experiments" required
                    spellcheck="false" autocomplete="off" placeholder="pr16-buggy-0123456789ab or …/0 for a run";
            }
        }
    };
    html! {
        form.filters action="/compare" {
            (field("left", left)) (field("right", right))
            div { button { "Compare" } }
        }
        datalist #experiments {
            @for state in snapshot.experiments.iter().take(OFFERED) { option value=(state.id) {} }
        }
    }
}

fn suggestions(snapshot: &Snapshot) -> Markup {
    let pairs: Vec<_> = snapshot
        .experiments
        .iter()
        .filter(|state| state.active && state.experiment.evaluation != Evaluation::Corrected)
        .filter_map(|state| {
            let of_bug = snapshot.experiments_of(&state.experiment.bug);
            let corrected = of_bug.iter().find(|other| {
                other.active && other.experiment.evaluation == Evaluation::Corrected
            })?;
            Some((state, state.id.clone(), corrected.id.clone()))
        })
        .collect();
    html! {
        @if !pairs.is_empty() {
            h2 { "The pairs of this study" }
            ul.plain {
                @for (state, left, right) in &pairs {
                    li { a href=(link(left.as_str(), right.as_str())) { (state.experiment.bug) ", " (super::bug::compared(state.experiment.evaluation)) }
                        " " span.quiet { (state.finished) "/" (state.target) " runs" } }
                }
            }
        }
    }
}

pub(super) fn link(left: &str, right: &str) -> String {
    format!("/compare?left={}&right={}", encode(left), encode(right))
}

/// What two sides are called: their evaluations, or their identifiers where those are alike.
fn names(left: &Side, right: &Side) -> [String; 2] {
    let (a, b) = (&left.state.experiment, &right.state.experiment);
    if a.bug == b.bug && a.evaluation != b.evaluation {
        [a.evaluation.to_string(), b.evaluation.to_string()]
    } else if a.bug != b.bug {
        [format!("{} {}", a.bug, a.evaluation), format!("{} {}", b.bug, b.evaluation)]
    } else {
        [left.id.to_string(), right.id.to_string()]
    }
}

fn experiments(app: &App, left: &Side, right: &Side) -> Result<Markup, Problem> {
    let names = names(left, right);
    let heads = [names[0].as_str(), names[1].as_str()];
    let json =
        |side: &Side| serde_json::to_value(&side.state.experiment).map_err(Problem::internal);
    let mut attributes = factors(&json(left)?, &json(right)?);
    for attribute in attributes.iter_mut().filter(|attribute| attribute.factor == "evaluation") {
        attribute.counts = false;
    }
    Ok(html! {
        table.sides {
            caption.hidden { "The two experiments" }
            tbody {
                @for (class, side) in [("left", left), ("right", right)] {
                    tr {
                        th scope="row" { span class={ "key " (class) } {} a href={ "/experiments/" (side.id) } { (side.id) } }
                        td { a href={ "/bugs/" (side.state.experiment.bug) } { (side.state.experiment.bug) } " " (side.state.experiment.evaluation) }
                        td { (side.state.finished) " of " (side.state.target) " runs finished" }
                        td { @if let Some(reason) = &side.state.invalid { span.differs { (reason) } } }
                    }
                }
            }
        }
        section aria-labelledby="attributes" {
            h2 #attributes { "Attributes" }
            (side_by_side(&attributes, heads, "Attributes"))
        }
        (samples(left, right))
        (run_pairs(left, right))
        (manifests(app, left, right, None)?)
        (builds(app, left, right))
    })
}

/// Distributions and learning curves of both sides.
pub(super) fn samples(left: &Side, right: &Side) -> Markup {
    let names = names(left, right);
    let groups =
        |metric: &str| {
            [(left, "left", &names[0]), (right, "right", &names[1])].map(|(side, class, name)| {
                Group { name: name.clone(), class, values: side.sample(metric) }
            })
        };
    let mut metrics = left.metric_names();
    for name in right.metric_names() {
        if !metrics.contains(&name) {
            metrics.push(name);
        }
    }
    let lines =
        [(left, "left", &names[0]), (right, "right", &names[1])].map(|(side, class, name)| Group {
            name: name.clone(),
            class,
            values: side.curves().into_values().collect(),
        });
    html! {
        section aria-labelledby="distributions" {
            h2 #distributions { "Distributions and learning curves" }
            p.legend {
                span class="key left" {} (names[0]) " "
                span class="key right" {} (names[1])
                span.quiet { " Every run is a dot and a line; the tall mark is the median, the bar below it the middle half." }
            }
            @if metrics.is_empty() { p.quiet { "No run has finished." } }
            div.plots {
                @for metric in &metrics {
                    @if let Some(plot) = strip(&format!("{metric}, test split"), &groups(metric)) { (plot) }
                }
                @if let Some(plot) = curves("training loss after each epoch", &lines) { (plot) }
            }
        }
    }
}

/// The runs of both sides, number by number.
pub(super) fn run_pairs(left: &Side, right: &Side) -> Markup {
    let pairs = pair_runs(left, right);
    let same = pairs.iter().filter(|p| p.compared == crate::model::Compared::Same).count();
    let open = pairs.iter().filter(|p| p.compared == crate::model::Compared::Open).count();
    let (first, rest) = pairs.split_at(pairs.len().min(SHOWN));
    html! {
        section aria-labelledby="runs" {
            h2 #runs { "Runs" }
            @if pairs.is_empty() { p.quiet { "None has begun." } } @else {
                p {
                    (count(same)) " of " (count(pairs.len() - open)) " pairs of ended runs are bit-identical"
                    @if open > 0 { "; " (count(open)) " are open" } "."
                }
                (pair_table(left, right, first, "Runs of both sides"))
                @if !rest.is_empty() {
                    details { summary { "The other " (count(rest.len())) " runs" }
                        (pair_table(left, right, rest, "The other runs of both sides")) }
                }
            }
        }
    }
}

fn pair_table(left: &Side, right: &Side, pairs: &[RunPair], caption: &str) -> Markup {
    let names = names(left, right);
    let metric = |side: &Side| side.metric_names().into_iter().next();
    let metric = metric(left).or_else(|| metric(right)).unwrap_or_else(|| "accuracy".into());
    let cells = |side: &Side, run: u32| {
        let Some(state) = side.runs.iter().find(|state| state.key.run == run) else {
            return html! { td.quiet colspan="4" { "not begun" } };
        };
        let epochs = side.state.experiment.hyperparameters.epochs;
        html! {
            td { a href={ "/runs/" (state.key) } { (status(state.status)) }
                @if state.attempt > 1 { span.quiet { " attempt " (state.attempt) } } }
            td.n { (state.epoch.unwrap_or(0)) "/" (epochs) }
            td.n {
                @if let Some(value) = side.metric(run, &metric) { (number(value)) }
                @else if let Some(reason) = &state.reason { span.why title=(reason) { (reason) } }
            }
            td.n { (seconds(state.seconds)) }
        }
    };
    html! {
        div.wide tabindex="0" role="group" aria-label=(caption) {
            table.pairs {
                caption.hidden { (caption) }
                thead {
                    tr { th rowspan="2" scope="col" { "run" } th rowspan="2" scope="col" .n { "seed" }
                        th colspan="4" scope="colgroup" { span class="key left" {} (names[0]) }
                        th colspan="4" scope="colgroup" { span class="key right" {} (names[1]) }
                        th rowspan="2" scope="col" { "parameters part" } }
                    tr { @for _ in 0..2 { th scope="col" { "status" } th.n scope="col" { "epoch" } th.n scope="col" { (metric) } th.n scope="col" { "time" } } }
                }
                tbody {
                    @for pair in pairs {
                        @let seed = |side: &Side| side.runs.iter().find(|r| r.key.run == pair.run).and_then(|r| r.seed);
                        @let (a, b) = (seed(left), seed(right));
                        tr {
                            th scope="row" { (pair.run) }
                            td.n {
                                @match (a, b) {
                                    (Some(a), Some(b)) if a != b => span.differs { (a) " / " (b) },
                                    (Some(seed), _) | (None, Some(seed)) => (seed),
                                    (None, None) => "–",
                                }
                            }
                            (cells(left, pair.run)) (cells(right, pair.run))
                            td {
                                @if left.runs.iter().any(|r| r.key.run == pair.run) && right.runs.iter().any(|r| r.key.run == pair.run) {
                                    a href=(link(&format!("{}/{}", left.id, pair.run), &format!("{}/{}", right.id, pair.run))) { (compared(pair.compared)) }
                                } @else { (compared(pair.compared)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The manifests of one run of each side, with what differs marked.
pub(super) fn manifests(
    app: &App,
    left: &Side,
    right: &Side,
    runs: Option<(u32, u32)>,
) -> Result<Markup, Problem> {
    let pick = |side: &Side| {
        let ended = side.runs.iter().find(|run| run.status == RunStatus::Finished);
        ended.or(side.runs.first()).map(|run| run.key.run)
    };
    let runs = runs.or_else(|| {
        let ended = |side: &Side, run| {
            side.runs.iter().any(|r| r.key.run == run && r.status == RunStatus::Finished)
        };
        let both =
            left.runs.iter().map(|r| r.key.run).find(|r| ended(left, *r) && ended(right, *r));
        both.map(|run| (run, run)).or_else(|| Some((pick(left)?, pick(right)?)))
    });
    let names = names(left, right);
    let content = match runs {
        None => html! { p.quiet { "No run of one of the sides has begun." } },
        Some((a, b)) => {
            let manifest = |side: &Side, run| -> Result<serde_json::Value, Problem> {
                let key = RunKey { experiment: side.id.clone(), run };
                Ok(app.store.run(&key)?.and_then(|run| run.manifest).unwrap_or_default())
            };
            let all = factors(&manifest(left, a)?, &manifest(right, b)?);
            let heads = [format!("{} {a}", names[0]), format!("{} {b}", names[1])];
            html! { (side_by_side(&all, [&heads[0], &heads[1]], "Manifests")) }
        }
    };
    Ok(html! {
        section aria-labelledby="manifests" {
            h2 #manifests { "Manifests" }
            (content)
        }
    })
}

fn builds(app: &App, left: &Side, right: &Side) -> Markup {
    let one = |side: &Side| {
        let id = &side.state.experiment.artifact;
        let details = BuildDetails::read(&app.study, id);
        let text = |pointer: &str| {
            details.get(pointer).and_then(serde_json::Value::as_str).unwrap_or("–").to_owned()
        };
        html! {
            dl {
                dt { "artifact" } dd { (digest(id.as_str())) @if details.log { " " a href={ "/builds/" (id) "/log" } { "log" } } }
                dt { "commit" } dd { (digest(&text("/identity/commit"))) }
                dt { "strategy" } dd { (text("/identity/strategy")) }
                dt { "content" } dd { (digest(&text("/content"))) }
            }
        }
    };
    let names = names(left, right);
    html! {
        section aria-labelledby="artifacts" {
            h2 #artifacts { "Artifacts" }
            div.two {
                div { h3 { span class="key left" {} (names[0]) } (one(left)) }
                div { h3 { span class="key right" {} (names[1]) } (one(right)) }
            }
        }
    }
}

fn runs(app: &App, left: (&Side, &RunKey), right: (&Side, &RunKey)) -> Result<Markup, Problem> {
    let ((a, x), (b, y)) = (left, right);
    let outcome = crate::model::compared(a, b, x.run, y.run);
    let table = epochs(a, x.run, b, y.run);
    let mut metrics = a.metric_names();
    metrics.extend(b.metric_names());
    metrics.dedup();
    metrics.truncate(12);
    let curves_of = |side: &Side, run: u32| side.curves().remove(&run).into_iter().collect();
    let lines = [
        Group { name: x.to_string(), class: "left", values: curves_of(a, x.run) },
        Group { name: y.to_string(), class: "right", values: curves_of(b, y.run) },
    ];
    Ok(html! {
        p.lead { span class="key left" {} a href={ "/runs/" (x) } { (x) } " and "
            span class="key right" {} a href={ "/runs/" (y) } { (y) } ": parameters part "
            (compared(outcome)) "." }
        section aria-labelledby="epochs" {
            h2 #epochs { "Epoch by epoch" }
            (table)
            @if let Some(plot) = curves("training loss after each epoch", &lines) { (plot) }
        }
        section aria-labelledby="metrics" {
            h2 #metrics { "Metrics of the test split" }
            table {
                caption.hidden { "Metrics" }
                thead { tr { th scope="col" { "metric" } th.n scope="col" { "left" } th.n scope="col" { "right" } th.n scope="col" { "difference" } } }
                tbody {
                    @for metric in &metrics {
                        @let (p, q) = (a.metric(x.run, metric), b.metric(y.run, metric));
                        tr { th scope="row" { (metric) }
                            td.n { (p.map_or("–".into(), number)) } td.n { (q.map_or("–".into(), number)) }
                            td.n { @if let (Some(p), Some(q)) = (p, q) { (number(p - q)) } } }
                    }
                }
            }
        }
        (manifests(app, a, b, Some((x.run, y.run)))?)
    })
}

fn epochs(a: &Side, x: u32, b: &Side, y: u32) -> Markup {
    let of = |side: &Side, run: u32| -> std::collections::BTreeMap<u32, (Option<f64>, String)> {
        let points = side.epochs.iter().filter(|p| p.run == run);
        points.map(|p| (p.epoch, (p.loss, p.digest.clone()))).collect()
    };
    let (left, right) = (of(a, x), of(b, y));
    let mut numbers: Vec<u32> = left.keys().chain(right.keys()).copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut parted = false;
    let rows: Vec<_> = numbers
        .into_iter()
        .map(|epoch| {
            let (p, q) = (left.get(&epoch), right.get(&epoch));
            let differs = matches!((p, q), (Some(p), Some(q)) if p.1 != q.1);
            let first = differs && !parted;
            parted |= differs;
            (epoch, p, q, differs, first)
        })
        .collect();
    let loss =
        |one: Option<&(Option<f64>, String)>| one.and_then(|one| one.0).map_or("–".into(), number);
    html! {
        div.wide tabindex="0" role="group" aria-label="Epochs" {
            table {
                caption.hidden { "Losses and digests of the parameters" }
                thead { tr { th scope="col" { "epoch" } th.n scope="col" { "loss, left" } th.n scope="col" { "loss, right" }
                    th scope="col" { "parameters, left" } th scope="col" { "parameters, right" } th scope="col" { "" } } }
                tbody {
                    @for (epoch, p, q, differs, first) in &rows {
                        tr.differ[*differs] {
                            th scope="row" { (epoch) }
                            td.n { (loss(*p)) } td.n { (loss(*q)) }
                            td { @if let Some(p) = p { (digest(&p.1)) } }
                            td { @if let Some(q) = q { (digest(&q.1)) } }
                            td { @if *first { "they part here" } @else if !differs && p.is_some() && q.is_some() { span.same { "same" } } }
                        }
                    }
                }
            }
        }
    }
}

/// One experiment by its attributes, in words.
pub(super) fn attributes(side: &study::Experiment) -> Markup {
    let h = &side.hyperparameters;
    let amount = |n: u32| if n == 0 { "all".to_owned() } else { count(n) };
    let data = &side.challenge;
    html! {
        dl {
            dt { "model" } dd { (prose(&side.model.name)) @if let Some(source) = &side.model.source { " from " code { (source) } } }
            dt { "data" } dd { (data.name) ", " (amount(data.train_samples)) " to train, "
                (count(data.validation_samples)) " to validate, " (amount(data.test_samples)) " to test" }
            dt { "training" } dd { (h.epochs) " epochs, batches of " (h.batch_size) ", learning rate " (h.learning_rate) ", momentum " (h.momentum) }
            dt { "seeds" } dd { (side.seed_policy) ", meta seed " (side.meta_seed) }
            dt { "device" } dd { (side.device) }
            dt { "toolchain" } dd { (side.toolchain) }
            dt { "artifact" } dd { (digest(side.artifact.as_str())) }
        }
    }
}

/// An experiment's identifier as a link.
pub(super) fn experiment_link(id: &ExperimentId) -> Markup {
    html! { a href={ "/experiments/" (id) } { (id) } }
}
