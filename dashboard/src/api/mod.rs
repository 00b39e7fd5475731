//! The read-only API: everything that the pages show, for programs.

mod details;
mod openapi;
mod tables;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value};
use study::{ArtifactId, BugId, ExperimentId, RunKey};

use crate::app::App;
use crate::error::Problem;
use crate::log::Log;
use crate::model::{Filter, Snapshot};
use crate::query::Parameters;
use crate::records::{self, Form, Records};

pub(crate) use details::{Comparison, comparison};

type Shared = State<Arc<App>>;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/openapi.json", get(describe))
        .route("/api/v1/study", get(study))
        .route("/api/v1/overview", get(overview))
        .route("/api/v1/funnel", get(funnel))
        .route("/api/v1/attention", get(attention))
        .route("/api/v1/bugs", get(bugs))
        .route("/api/v1/bugs/{bug}", get(bug))
        .route("/api/v1/labels", get(labels))
        .route("/api/v1/builds", get(builds))
        .route("/api/v1/builds/{artifact}", get(build))
        .route("/api/v1/builds/{artifact}/log", get(build_log))
        .route("/api/v1/experiments", get(experiments))
        .route("/api/v1/experiments/{experiment}", get(experiment))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{experiment}/{run}", get(run))
        .route("/api/v1/runs/{experiment}/{run}/log", get(run_log))
        .route("/api/v1/epochs", get(epochs))
        .route("/api/v1/verdicts", get(verdicts))
        .route("/api/v1/tests", get(tests))
        .route("/api/v1/analysis", get(analysis))
        .route("/api/v1/compare", get(compare))
        .route("/metrics", get(metrics))
}

/// Answers with JSON.
async fn json(
    app: Arc<App>,
    work: impl FnOnce(&App) -> Result<Value, Problem> + Send + 'static,
) -> Response {
    match app.work(work).await {
        Ok(value) => {
            ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
        }
        Err(problem) => problem.json(),
    }
}

/// Answers with a table in the form that was asked for.
async fn table(
    app: Arc<App>,
    headers: HeaderMap,
    query: Option<String>,
    name: &'static str,
    work: impl FnOnce(&App, &mut Parameters) -> Result<(Records, Map<String, Value>), Problem>
    + Send
    + 'static,
) -> Response {
    let made = app.work(move |app| {
        let mut parameters = Parameters::read(query.as_deref())?;
        let format = parameters.take("format");
        let form = Form::wanted(format.as_deref(), &headers)?;
        let (records, more) = work(app, &mut parameters)?;
        parameters.end("see /api/v1/openapi.json")?;
        let file = format!("{}-{name}", app.study.config.study.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let file: String = file.chars().map(|c| if plain(c) { c } else { '-' }).collect();
        records::answer(records, form, app.config.parquet.as_ref(), more, &file)
    });
    made.await.unwrap_or_else(Problem::json)
}

/// An identifier of an address; what is none names nothing.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Problem::missing(error.to_string()))
}

async fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document().to_string()).into_response()
}

async fn study(State(app): Shared) -> Response {
    json(app, |app| details::study(app, &*app.snapshot()?)).await
}

async fn overview(State(app): Shared) -> Response {
    json(app, |app| Ok(details::overview(&*app.snapshot()?))).await
}

async fn funnel(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work =
        |app: &App, _: &mut Parameters| Ok((tables::funnel(&app.snapshot()?.funnel), Map::new()));
    table(app, headers, query, "funnel", work).await
}

async fn attention(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work =
        |app: &App, _: &mut Parameters| Ok((tables::attention(&*app.snapshot()?), Map::new()));
    table(app, headers, query, "attention", work).await
}

async fn bugs(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    // A file holds what a page of JSON would be leafed through.
    let whole = |query: &Option<String>, headers: &HeaderMap| {
        let format = Parameters::read(query.as_deref()).ok().and_then(|mut p| p.take("format"));
        Form::wanted(format.as_deref(), headers).is_ok_and(|form| form != Form::Json)
    };
    let whole = whole(&query, &headers);
    let work = move |app: &App, parameters: &mut Parameters| {
        let snapshot = app.snapshot()?;
        let filter = Filter::read(parameters)?;
        let rows = filter.select(&snapshot);
        let shown = if whole { &rows[..] } else { filter.page_of(&rows) };
        let mut more = Map::new();
        more.insert("total".into(), rows.len().into());
        more.insert("page".into(), filter.page.into());
        more.insert("pages".into(), filter.pages(rows.len()).into());
        Ok((tables::bugs(shown), more))
    };
    table(app, headers, query, "bugs", work).await
}

async fn bug(State(app): Shared, Path(bug): Path<String>) -> Response {
    json(app, move |app| details::bug(app, &*app.snapshot()?, &id::<BugId>(&bug)?)).await
}

async fn labels(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = |app: &App, _: &mut Parameters| Ok((tables::labels(&*app.snapshot()?), Map::new()));
    table(app, headers, query, "labels", work).await
}

async fn builds(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = |app: &App, _: &mut Parameters| Ok((tables::builds(&*app.snapshot()?), Map::new()));
    table(app, headers, query, "builds", work).await
}

async fn build(State(app): Shared, Path(artifact): Path<String>) -> Response {
    json(app, move |app| details::build(app, &id::<ArtifactId>(&artifact)?)).await
}

async fn build_log(State(app): Shared, Path(artifact): Path<String>) -> Response {
    let found = app.work(move |app| {
        let log = Log::of_build(&app.study, &id(&artifact)?);
        log.ok_or_else(|| Problem::missing("this build has no log"))
    });
    raw_log(found.await).await
}

async fn experiments(
    State(app): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let work = |app: &App, parameters: &mut Parameters| {
        let bug = parameters.take("bug");
        Ok((tables::experiments(&*app.snapshot()?, bug.as_deref()), Map::new()))
    };
    table(app, headers, query, "experiments", work).await
}

async fn experiment(State(app): Shared, Path(experiment): Path<String>) -> Response {
    json(app, move |app| {
        details::experiment(app, &*app.snapshot()?, &id::<ExperimentId>(&experiment)?)
    })
    .await
}

async fn runs(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = |app: &App, parameters: &mut Parameters| {
        let snapshot = app.snapshot()?;
        let chosen = chosen(&snapshot, parameters)?;
        Ok((tables::runs(&app.store, &chosen)?, Map::new()))
    };
    table(app, headers, query, "runs", work).await
}

async fn epochs(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = |app: &App, parameters: &mut Parameters| {
        let snapshot = app.snapshot()?;
        let chosen = chosen(&snapshot, parameters)?;
        Ok((tables::epochs(&app.store, &chosen)?, Map::new()))
    };
    table(app, headers, query, "epochs", work).await
}

/// The experiments that `experiment` or `bug` name; without them the active ones.
fn chosen<'a>(
    snapshot: &'a Snapshot,
    parameters: &mut Parameters,
) -> Result<Vec<&'a study::store::ExperimentState>, Problem> {
    let (experiment, bug) = (parameters.take("experiment"), parameters.take("bug"));
    if let Some(text) = experiment {
        let experiment = snapshot.experiment(&id(&text)?);
        return Ok(vec![experiment.ok_or_else(|| no_experiment(&text))?]);
    }
    let of = |state: &&study::store::ExperimentState| {
        state.active && bug.as_ref().is_none_or(|bug| state.experiment.bug.as_str() == bug)
    };
    Ok(snapshot.experiments.iter().filter(of).collect())
}

pub(crate) fn no_experiment(id: &str) -> Problem {
    Problem::missing(format!("the study has no experiment {id}"))
}

async fn run(State(app): Shared, Path((experiment, run)): Path<(String, String)>) -> Response {
    json(app, move |app| details::run(app, &run_key(&experiment, &run)?)).await
}

async fn run_log(State(app): Shared, Path((experiment, run)): Path<(String, String)>) -> Response {
    let found = app.work(move |app| {
        let log = Log::of_run(&app.study, &run_key(&experiment, &run)?, false);
        log.ok_or_else(|| Problem::missing("this run has no log"))
    });
    raw_log(found.await).await
}

pub(crate) fn run_key(experiment: &str, run: &str) -> Result<RunKey, Problem> {
    id(&format!("{experiment}/{run}"))
}

async fn verdicts(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work =
        |app: &App, _: &mut Parameters| Ok((tables::verdicts(&*app.snapshot()?), Map::new()));
    table(app, headers, query, "verdicts", work).await
}

async fn tests(State(app): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = |app: &App, _: &mut Parameters| Ok((tables::tests(&*app.snapshot()?), Map::new()));
    table(app, headers, query, "tests", work).await
}

/// The analysis as `stats` wrote it: of a large study too much to be kept in memory.
async fn analysis(State(app): Shared) -> Response {
    let read = app.work(|app| {
        // A damaged file is named on every page; here it is no answer.
        if app.snapshot()?.files.analysis.is_none() {
            let text = "the study has not been analysed; `reproduceml stats` does it";
            return Err(Problem::missing(text));
        }
        std::fs::read(app.study.analysis_file()).map_err(Problem::internal)
    });
    match read.await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(problem) => problem.json(),
    }
}

async fn compare(State(app): Shared, RawQuery(query): RawQuery) -> Response {
    json(app, move |app| {
        let mut parameters = Parameters::read(query.as_deref())?;
        let (left, right) = (parameters.take("left"), parameters.take("right"));
        parameters.end("left, right")?;
        let (Some(left), Some(right)) = (left, right) else {
            return Err(Problem::bad("expected `left` and `right`: two experiments, or two runs"));
        };
        details::compare(app, &*app.snapshot()?, &left, &right)
    })
    .await
}

async fn metrics(State(app): Shared) -> Response {
    let page = app.work(|app| {
        let disk = std::fs::metadata(app.store.path()).ok().map(|file| file.len());
        let name = &app.study.config.study.name;
        Ok(crate::prometheus::page(name, &*app.snapshot()?, disk))
    });
    match page.await {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(problem) => problem.json(),
    }
}

/// Sends a log as it is, in pieces, however large it is.
async fn raw_log(log: Result<Log, Problem>) -> Response {
    let log = match log {
        Ok(log) => log,
        Err(problem) => return problem.json(),
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(4);
    tokio::task::spawn_blocking(move || {
        let mut reader = match log.open() {
            Ok(reader) => reader,
            Err(error) => {
                // The other end is gone: nobody waits for it.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        loop {
            let mut piece = vec![0; 64 << 10];
            let piece = match std::io::Read::read(&mut reader, &mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece)
                }
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::OK, kind, axum::body::Body::from_stream(pieces)).into_response()
}
