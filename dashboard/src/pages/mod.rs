//! Pages. Every text that comes from elsewhere goes through maud, which escapes it.

mod about;
mod bug;
mod bugs;
mod compare;
mod layout;
mod logs;
mod overview;
mod parts;
mod run;

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use study::{ArtifactId, BugId};

use crate::api::{id, run_key};
use crate::app::App;
use crate::error::Problem;
use crate::model::{Filter, Snapshot};
use crate::query::Parameters;

pub(crate) use about::challenge_arrays;

type Shared = State<Arc<App>>;

/// A page as an answer.
pub(crate) struct Html(String);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], self.0).into_response()
    }
}

/// Makes a page where it may block.
async fn page(
    app: Arc<App>,
    query: Option<String>,
    work: impl FnOnce(&App, &Snapshot, &mut Parameters) -> Result<layout::Page, Problem>
    + Send
    + 'static,
) -> Response {
    let made = app.work(move |app| {
        let mut parameters = Parameters::read(query.as_deref())?;
        let snapshot = app.snapshot()?;
        let page = work(app, &snapshot, &mut parameters)?;
        parameters.end(page.parameters)?;
        Ok(Html(layout::whole(app, &snapshot, page).into_string()))
    });
    match made.await {
        Ok(html) => html.into_response(),
        Err(problem) => problem.into_response(),
    }
}

pub(crate) async fn overview(State(app): Shared, RawQuery(query): RawQuery) -> Response {
    page(app, query, |_, snapshot, _| Ok(overview::page(snapshot))).await
}

pub(crate) async fn bugs(State(app): Shared, RawQuery(query): RawQuery) -> Response {
    page(app, query, |_, snapshot, parameters| {
        let filter = Filter::read(parameters)?;
        Ok(bugs::page(snapshot, &filter))
    })
    .await
}

pub(crate) async fn bug(
    State(app): Shared,
    Path(bug): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    page(app, query, move |app, snapshot, parameters| {
        bug::page(app, snapshot, &id::<BugId>(&bug)?, parameters)
    })
    .await
}

pub(crate) async fn experiment(State(app): Shared, Path(experiment): Path<String>) -> Response {
    page(app, None, move |app, snapshot, _| run::experiment(app, snapshot, &id(&experiment)?)).await
}

pub(crate) async fn run(
    State(app): Shared,
    Path((experiment, run)): Path<(String, String)>,
) -> Response {
    page(app, None, move |app, snapshot, _| run::page(app, snapshot, &run_key(&experiment, &run)?))
        .await
}

pub(crate) async fn run_log(
    State(app): Shared,
    Path((experiment, run)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    page(app, query, move |app, _, parameters| {
        logs::of_run(app, &run_key(&experiment, &run)?, parameters)
    })
    .await
}

pub(crate) async fn build_log(
    State(app): Shared,
    Path(artifact): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    page(app, query, move |app, snapshot, parameters| {
        logs::of_build(app, snapshot, &id::<ArtifactId>(&artifact)?, parameters)
    })
    .await
}

pub(crate) async fn compare(State(app): Shared, RawQuery(query): RawQuery) -> Response {
    page(app, query, compare::page).await
}

pub(crate) async fn study(State(app): Shared, RawQuery(query): RawQuery) -> Response {
    page(app, query, |app, snapshot, _| about::page(app, snapshot)).await
}

/// The report that `report` wrote, as it is: it brings its own style and no script.
pub(crate) async fn report(State(app): Shared) -> Response {
    let read = app.work(|app| {
        let path = app.study.analysis_file().with_file_name("report.html");
        std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Problem::missing("there is no report yet; `reproduceml report` writes it")
            }
            _ => Problem::internal(format!("{}: {error}", path.display())),
        })
    });
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; \
        frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    match read.await {
        Ok(bytes) => {
            let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
            ([kind, (header::CONTENT_SECURITY_POLICY, policy)], bytes).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// A page that says what went wrong.
pub(crate) fn problem(status: StatusCode, message: &str) -> Html {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = html! {
        h1 { (status.as_u16()) " " (title) }
        p.lead { (message) }
        p { a href="/" { "To the overview" } }
    };
    Html(layout::bare(title, &body).into_string())
}

/// The form that asks for the token.
pub(crate) fn login(next: &str, wrong: bool) -> Html {
    let body: Markup = html! {
        h1 { "ReproduceML" }
        @if wrong { p.notice role="alert" { "That is not the token." } }
        form.login method="post" action="/login" {
            label for="token" { "Token" }
            input #token type="password" name="token" required autofocus
                autocomplete="current-password" spellcheck="false";
            input type="hidden" name="next" value=(next);
            button { "Enter" }
        }
        p.quiet { "It is the token that this dashboard was started with: " code { "--token-file" }
            " or " code { "REPRODUCEML_TOKEN" } "." }
    };
    Html(layout::bare("Enter", &body).into_string())
}
