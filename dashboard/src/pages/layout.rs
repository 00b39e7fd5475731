//! What surrounds every page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::app::App;
use crate::assets;
use crate::model::Snapshot;

/// The inside of a page.
pub(super) struct Page {
    pub title: String,
    /// The entry of the menu that it belongs to.
    pub menu: &'static str,
    pub body: Markup,
    /// Whether something on it may change while one looks.
    pub live: bool,
    /// The query parameters it knows, for messages.
    pub parameters: &'static str,
}

impl Page {
    pub fn new(title: impl Into<String>, menu: &'static str, body: Markup) -> Self {
        Self { title: title.into(), menu, body, live: true, parameters: "none" }
    }
}

const MENU: [(&str, &str); 4] =
    [("/", "Overview"), ("/bugs", "Bugs"), ("/compare", "Compare"), ("/study", "Study")];

fn head(title: &str, live: Option<bool>) -> Markup {
    let version = assets::version();
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="stylesheet" href={ "/assets/style.css?v=" (version) };
            link rel="icon" type="image/svg+xml" href={ "/assets/icon.svg?v=" (version) };
            @if let Some(busy) = live {
                script defer src={ "/assets/live.js?v=" (version) } {}
                @if busy {
                    noscript { meta http-equiv="refresh" content="15"; }
                }
            }
        }
    }
}

/// A page with its surroundings.
pub(super) fn whole(app: &App, snapshot: &Snapshot, page: Page) -> Markup {
    let study = &app.study.config.study.name;
    let busy = !snapshot.running.is_empty() || !snapshot.building.is_empty();
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&format!("{} · {study}", page.title), Some(busy && page.live)))
            body data-events=[page.live.then_some("/events")] {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.name href="/" { (study) }
                    nav aria-label="Pages" {
                        @for (href, name) in MENU {
                            a href=(href) aria-current=[(page.menu == name).then_some("page")] { (name) }
                        }
                    }
                    form.search action="/bugs" role="search" {
                        label.hidden for="search" { "Search bugs" }
                        input #search type="search" name="q" placeholder="Search bugs";
                    }
                    @if app.config.token.is_some() {
                        form method="post" action="/logout" { button.plain { "Leave" } }
                    }
                }
                main #main tabindex="-1" {
                    @if !snapshot.files.problems.is_empty() {
                        div.notice role="alert" {
                            @for problem in &snapshot.files.problems { p { (problem) } }
                        }
                    }
                    (page.body)
                }
                footer {
                    span { "reproduceml " (env!("CARGO_PKG_VERSION")) ", read-only" }
                    span { a href="/api/v1/openapi.json" { "API" } " · " a href="/metrics" { "metrics" } }
                    span #live role="status" {}
                }
            }
        }
    }
}

/// A page without a study around it.
pub(super) fn bare(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, None))
            body.bare { main #main { (PreEscaped(&body.0)) } }
        }
    }
}
