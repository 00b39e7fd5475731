//! The list of bugs.

use maud::{Markup, html};

use super::layout::Page;
use super::parts::{badge, count, prose};
use crate::model::{Filter, PER_PAGE, Row, Snapshot};

pub(super) fn page(snapshot: &Snapshot, filter: &Filter) -> Page {
    let rows = filter.select(snapshot);
    let shown = filter.page_of(&rows);
    let body = html! {
        h1 { "Bugs" }
        (form(snapshot, filter))
        div data-live="bugs" {
            p.summary role="status" {
                strong { (count(rows.len())) }
                @if filter.is_narrow() { " of " (count(snapshot.rows.len())) }
                " bugs"
                @if filter.is_narrow() { ". " a href="/bugs" { "Show all" } }
                span.exports {
                    "As "
                    @for form in ["csv", "json", "parquet"] {
                        @let query = filter.link(|f| { f.page = 1; f.per = PER_PAGE; });
                        @let sign = if query.is_empty() { "?" } else { "&" };
                        a href={ "/api/v1/bugs" (query) (sign) "format=" (form) } { (form) } " "
                    }
                }
            }
            @if shown.is_empty() {
                p { "No bug fits." }
            } @else {
                (table(filter, shown))
                (pager(filter, rows.len()))
            }
        }
    };
    let mut page = Page::new("Bugs", "Bugs", body);
    page.parameters = Filter::known();
    page
}

fn form(snapshot: &Snapshot, filter: &Filter) -> Markup {
    let choices = snapshot.choices();
    let select = |name: &str, chosen: &str, options: &[String]| {
        html! {
            div {
                label for={ "f-" (name) } { (if name == "lost" { "lost at" } else { name }) }
                select id={ "f-" (name) } name=(name) {
                    option value="" { "any" }
                    @if !chosen.is_empty() && !options.iter().any(|option| option == chosen) {
                        option value=(chosen) selected { (chosen) }
                    }
                    @for option in options {
                        option value=(option) selected[option == chosen] { (option) }
                    }
                }
            }
        }
    };
    html! {
        form.filters action="/bugs" data-filter {
            div.grow {
                label for="f-q" { "text" }
                input #f-q type="search" name="q" value=(filter.q) placeholder="words of the entry, a file, a number";
            }
            (select("release", &filter.release, &choices.releases))
            (select("section", &filter.section, &choices.sections))
            (select("scope", &filter.scope, &choices.scopes))
            (select("resolution", &filter.resolution, &choices.resolutions))
            (select("label", &filter.label, &choices.labels))
            (select("build", &filter.build, &choices.builds))
            (select("reach", &filter.reach, &choices.reach))
            (select("verdict", &filter.verdict, &choices.verdicts))
            (select("lost", &filter.lost, &choices.lost))
            @if !filter.sort.is_empty() { input type="hidden" name="sort" value=(filter.sort); }
            @if filter.per != PER_PAGE { input type="hidden" name="per" value=(filter.per); }
            div { button { "Filter" } }
        }
    }
}

const COLUMNS: [(&str, &str); 11] = [
    ("id", "bug"),
    ("release", "release"),
    ("text", "entry"),
    ("scope", "scope"),
    ("lines", "lines"),
    ("resolution", "resolution"),
    ("label", "labels"),
    ("build", "build"),
    ("reach", "reach"),
    ("runs", "runs"),
    ("verdict", "verdict"),
];

fn table(filter: &Filter, shown: &[&Row]) -> Markup {
    html! {
        div.wide tabindex="0" role="group" aria-label="Bugs" {
            table.bugs {
                caption.hidden { "Bugs; the heads of the columns sort" }
                thead { tr {
                    @for (column, name) in COLUMNS {
                        @let ascending = filter.sort == column;
                        @let descending = filter.sort.strip_prefix('-') == Some(column);
                        th scope="col" .n[matches!(column, "lines" | "runs")]
                            aria-sort=[(ascending || descending).then_some(if ascending { "ascending" } else { "descending" })] {
                            a href={ "/bugs" (filter.link(|f| {
                                f.sort = if ascending { format!("-{column}") } else { column.to_owned() };
                                f.page = 1;
                            })) } {
                                (name) @if ascending { " ↑" } @if descending { " ↓" }
                            }
                        }
                    }
                } }
                tbody { @for row in shown { (line(row)) } }
            }
        }
    }
}

fn line(row: &Row) -> Markup {
    let bug = &row.bug;
    html! {
        tr {
            th scope="row" { a href={ "/bugs/" (bug.id) } { (bug.id) } }
            td { (bug.release) }
            td.entry { (prose(&bug.text)) @if !row.heading().is_empty() { " " span.quiet { (row.heading()) } } }
            td { (bug.scope.join(" ")) }
            td.n { @if !bug.files.is_empty() { "+" (bug.lines_added) " −" (bug.lines_removed) } }
            td { (bug.resolution) }
            td { (row.labels.name()) @if !row.holds.is_empty() { " " span.quiet { (row.holds.join(", ")) } } }
            td { @if row.build.name() == "failed" { (badge("failed")) } @else { (row.build.name()) } }
            td {
                @if let Some(found) = &row.reach {
                    span title=(found.reason) { (found.answer) " " span.quiet { (found.strength) } }
                } @else { span.quiet { "–" } }
            }
            td.n {
                @if row.runs.1 > 0 { (row.runs.0) "/" (row.runs.1) }
                @if row.running > 0 { " " (badge("running")) }
                @if row.failed_runs > 0 { " " span.differs { (row.failed_runs) " failed" } }
            }
            td {
                @if let Some(verdict) = &row.verdict { span title=(row.verdict_reason) { (badge(verdict)) } }
                @else if let Some(reason) = &row.invalid { span title=(reason) { (badge("invalid")) } }
                @else if let Some((step, _)) = &row.lost { span.quiet { "lost: " (step) } }
            }
        }
    }
}

fn pager(filter: &Filter, rows: usize) -> Markup {
    let pages = filter.pages(rows);
    if pages == 1 {
        return html! {};
    }
    let link = |page: u64| format!("/bugs{}", filter.link(|f| f.page = page));
    html! {
        nav.pager aria-label="Pages of the list" {
            @if filter.page > 1 { a rel="prev" href=(link(filter.page - 1)) { "← previous" } }
            span { "page " (filter.page) " of " (pages) }
            @if filter.page < pages { a rel="next" href=(link(filter.page + 1)) { "next →" } }
        }
    }
}
