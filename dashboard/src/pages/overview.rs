//! The overview: how far the study is, what is going on, what needs a person.

use std::collections::BTreeMap;

use maud::{Markup, html};
use study::funnel::Loss;

use super::layout::Page;
use super::parts::{badge, count, moment, prose};
use crate::model::{Attention, Rate, Snapshot, attention};
use crate::plot::bar;

/// Reasons of one step that are shown.
const REASONS: usize = 6;
/// Things that need attention, of one kind, that are shown.
const SHOWN: usize = 12;

pub(super) fn page(snapshot: &Snapshot) -> Page {
    let body = html! {
        h1 { "Overview" }
        div.columns data-live="overview" {
            section aria-labelledby="funnel" {
                h2 #funnel { "Funnel" }
                (funnel(snapshot))
            }
            div {
                section aria-labelledby="now" {
                    h2 #now { "Running now" }
                    (now(snapshot))
                }
                section aria-labelledby="attention" {
                    h2 #attention { "Needs attention" }
                    (needs(&attention(snapshot)))
                }
                section aria-labelledby="verdicts" {
                    h2 #verdicts { "Verdicts" }
                    (verdicts(snapshot))
                }
            }
        }
    };
    Page::new("Overview", "Overview", body)
}

fn funnel(snapshot: &Snapshot) -> Markup {
    let funnel = &snapshot.funnel;
    let whole = funnel.mined.max(1) as f64;
    html! {
        table.funnel {
            caption.hidden { "Bugs that came through each step, and why the others did not" }
            thead { tr { th scope="col" { "step" } th.n scope="col" { "bugs" }
                th scope="col" { span.hidden { "share" } } th scope="col" { "lost, and why" } } }
            tbody {
                @for (step, left, lost) in funnel.steps() {
                    tr {
                        th scope="row" { (step) }
                        td.n { (count(left)) }
                        td.share { (bar(&[("filled", left as f64 / whole)], &format!("{left} of {}", funnel.mined))) }
                        td { (losses(step, lost)) }
                    }
                }
            }
        }
        @if funnel.mined == 0 {
            p { "There is no corpus yet; " code { "reproduceml mine" } " reads release notes into one." }
        }
    }
}

fn losses(step: &str, lost: &[Loss]) -> Markup {
    if lost.is_empty() {
        return html! { span.quiet { "–" } };
    }
    let mut reasons: BTreeMap<&str, Vec<&Loss>> = BTreeMap::new();
    for loss in lost {
        reasons.entry(&loss.reason).or_default().push(loss);
    }
    let mut reasons: Vec<(&str, Vec<&Loss>)> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
    html! {
        ul.reasons {
            @for (reason, bugs) in reasons.iter().take(REASONS) {
                li {
                    @if let [one] = bugs.as_slice() {
                        a href={ "/bugs/" (one.bug) } { (one.bug) }
                    } @else {
                        span.n { (count(bugs.len())) }
                    }
                    " " (prose(reason))
                }
            }
        }
        @if lost.len() > 1 {
            a href={ "/bugs?lost=" (step) } {
                "all " (count(lost.len()))
                @if reasons.len() > REASONS { ", " (count(reasons.len())) " reasons" }
            }
        }
    }
}

fn now(snapshot: &Snapshot) -> Markup {
    let active: Vec<_> = snapshot.experiments.iter().filter(|state| state.active).collect();
    let sum = |of: fn(&study::store::ExperimentState) -> u32| -> u64 {
        active.iter().map(|state| u64::from(of(state))).sum()
    };
    let (finished, failed, asked) = (sum(|s| s.finished), sum(|s| s.failed), sum(|s| s.target));
    html! {
        @if asked > 0 {
            p.progress {
                (bar(&[("filled", finished as f64 / asked as f64), ("bad", failed as f64 / asked as f64)],
                    &format!("{finished} of {asked} runs finished, {failed} failed")))
                span { (count(finished)) " of " (count(asked)) " runs finished"
                    @if failed > 0 { ", " (count(failed)) " failed" } }
            }
        }
        @if snapshot.running.is_empty() && snapshot.building.is_empty() {
            p.quiet { "Nothing." }
        }
        @if !snapshot.building.is_empty() {
            table {
                caption.hidden { "Builds under way" }
                thead { tr { th scope="col" { "build" } th scope="col" { "what" } th scope="col" { "since" } } }
                tbody {
                    @for build in &snapshot.building {
                        tr {
                            td { a href={ "/builds/" (build.id) "/log" } { code { (build.id.short()) } } }
                            td { (build.what) }
                            td { (moment(&build.since)) }
                        }
                    }
                }
            }
        }
        @if !snapshot.running.is_empty() {
            table {
                caption.hidden { "Runs under way" }
                thead { tr { th scope="col" { "run" } th scope="col" { "epoch" }
                    th scope="col" { span.hidden { "progress" } } th scope="col" { "since" } } }
                tbody {
                    @for run in &snapshot.running {
                        @let state = snapshot.experiment(&run.key.experiment);
                        @let epochs = state.map_or(1, |state| state.experiment.hyperparameters.epochs);
                        @let epoch = run.epoch.unwrap_or(0);
                        tr {
                            td { a href={ "/runs/" (run.key) } { (run.key) } }
                            td.n { (epoch) "/" (epochs) }
                            td.share { (bar(&[("filled", f64::from(epoch) / f64::from(epochs.max(1)))],
                                &format!("epoch {epoch} of {epochs}"))) }
                            td { (moment(&run.started_at)) }
                        }
                    }
                }
            }
        }
    }
}

fn needs(all: &[Attention]) -> Markup {
    const KINDS: [(&str, &str); 6] = [
        ("file", "Damaged files"),
        ("invalid", "Comparisons that do not hold"),
        ("control", "False alarms of controls"),
        ("build", "Failed builds"),
        ("run", "Failed runs"),
        ("labels", "Raters who disagree"),
    ];
    html! {
        @if all.is_empty() { p.quiet { "Nothing." } }
        @for (kind, title) in KINDS {
            @let of: Vec<&Attention> = all.iter().filter(|one| one.kind == kind).collect();
            @if !of.is_empty() {
                h3 { (title) " " span.quiet { (count(of.len())) } }
                ul.attention {
                    @for one in of.iter().take(SHOWN) {
                        li {
                            @if let Some(bug) = &one.bug { a href=(one.link) { (bug) } " " }
                            span.what { (one.what) } " "
                            span.why { (one.why) }
                        }
                    }
                    @if of.len() > SHOWN { li.quiet { "and " (count(of.len() - SHOWN)) " more" } }
                }
            }
        }
    }
}

fn verdicts(snapshot: &Snapshot) -> Markup {
    let Some(analysis) = &snapshot.files.analysis else {
        return html! { p.quiet { "Not analysed yet; " code { "reproduceml stats" } " does it." } };
    };
    let of = |name: &str| {
        analysis.verdicts.iter().filter(|e| e.verdict == name && e.kind == "bug").count()
    };
    let rate = |rate: Rate| {
        html! { (rate.different) " of " (rate.of)
        @if rate.of > 0 { " (95 %: " (format!("{:.0}", 100.0 * rate.low)) "–" (format!("{:.0} %", 100.0 * rate.high)) ")" } }
    };
    html! {
        table {
            caption.hidden { "Bugs by verdict" }
            tbody {
                @for verdict in study::Verdict::ALL {
                    @let name = verdict.as_str();
                    tr { th scope="row" { a href={ "/bugs?verdict=" (name) } { (badge(name)) } }
                        td.n { (of(name)) } }
                }
            }
        }
        @if let Some(controls) = analysis.controls.filter(|c| c.detections.of + c.false_positives.of > 0) {
            p.quiet {
                "Planted faults found: " (rate(controls.detections)) ". "
                "False alarms: " (rate(controls.false_positives)) "."
            }
        }
    }
}
