//! Logs, a page at a time or as they are written.

use maud::{Markup, html};
use study::{ArtifactId, RunKey, RunStatus};

use super::layout::Page;
use super::parts::{badge, count, log_lines};
use crate::app::App;
use crate::error::Problem;
use crate::log::Log;
use crate::model::Snapshot;
use crate::query::Parameters;

/// Lines of one page.
const LINES: usize = 2000;

pub(super) fn of_build(
    app: &App,
    snapshot: &Snapshot,
    id: &ArtifactId,
    parameters: &mut Parameters,
) -> Result<Page, Problem> {
    let log = Log::of_build(&app.study, id)
        .ok_or_else(|| Problem::missing(format!("there is no log of build {id}")))?;
    let users: Vec<_> = snapshot.all_builds().filter(|(_, _, r)| r.id == *id).collect();
    let about = html! {
        p {
            code { (id) }
            @for (bug, evaluation, record) in &users {
                " · " a href={ "/bugs/" (bug) } { (bug) } " " (evaluation) " "
                @if record.is_built() { (badge("built")) } @else { (badge("failed")) }
            }
        }
    };
    let title = format!("Build log {}", id.short());
    let raw = format!("/api/v1/builds/{id}/log");
    let events = format!("/events/builds/{id}/log");
    page(&log, &title, &about, &format!("/builds/{id}/log"), &raw, &events, parameters)
}

pub(super) fn of_run(
    app: &App,
    key: &RunKey,
    parameters: &mut Parameters,
) -> Result<Page, Problem> {
    let states = app.store.run_states(&key.experiment)?;
    let state = states.iter().find(|state| state.key == *key);
    let growing = state.is_some_and(|state| state.status == RunStatus::Running);
    let log = Log::of_run(&app.study, key, growing)
        .ok_or_else(|| Problem::missing(format!("there is no log of run {key}")))?;
    let about = html! {
        p { a href={ "/runs/" (key) } { (key) }
            @if let Some(state) = state { " " (super::parts::status(state.status)) } }
    };
    let title = format!("Run log {key}");
    let raw = format!("/api/v1/runs/{key}/log");
    let events = format!("/events/runs/{key}/log");
    page(&log, &title, &about, &format!("/runs/{key}/log"), &raw, &events, parameters)
}

fn page(
    log: &Log,
    title: &str,
    about: &Markup,
    here: &str,
    raw: &str,
    events: &str,
    parameters: &mut Parameters,
) -> Result<Page, Problem> {
    let from = parameters.number("from", 0, u64::MAX)?;
    let unreadable =
        |error: std::io::Error| Problem::internal(format!("{}: {error}", log.path.display()));
    let part = match from {
        Some(from) => log.page(from, LINES),
        None if log.growing => log.tail(LINES),
        None => log.page(0, LINES),
    };
    let part = part.map_err(unreadable)?;
    let end = part.first + part.lines.len() as u64;
    let lines = LINES as u64;
    let at = |first: u64| format!("{here}?from={first}");
    // What follows is asked for from the first line that is not on the page.
    let follow = (log.growing && end >= part.total).then(|| format!("{events}?from={end}"));
    let leaf = html! {
        nav.pager aria-label="Parts of the log" {
            @if part.first > 0 {
                a href=(at(0)) { "first" }
                a rel="prev" href=(at(part.first.saturating_sub(lines))) { "← previous" }
            }
            span { "lines " (count(part.first + u64::from(end > part.first))) "–" (count(end)) " of " (count(part.total)) }
            @if end < part.total {
                a rel="next" href=(at(end)) { "next →" }
                a href=(at(part.total.saturating_sub(lines))) { "last" }
            }
            a href=(raw) { "raw" }
        }
    };
    let body = html! {
        h1 { (title) }
        (about)
        (leaf)
        pre.log #log tabindex="0" role="log" aria-label=(title) data-follow=[follow.as_deref()] {
            (log_lines(part.first, &part.lines, true))
        }
        @if log.growing { p.quiet #follow role="status" { "Still being written." } }
        @if part.lines.len() > 40 { (leaf) }
    };
    let mut page = Page::new(title, "Bugs", body);
    page.live = log.growing;
    page.parameters = "from";
    Ok(page)
}
