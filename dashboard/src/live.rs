//! What changes while one looks: events that say so, and lines of logs as they are written.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use study::{ArtifactId, ExperimentId, RunKey, RunStatus};
use tokio::sync::OwnedSemaphorePermit;

use crate::ansi;
use crate::app::{App, FRESH, Version};
use crate::error::Problem;
use crate::log::{Follower, Log};
use crate::query::Parameters;

/// How often the study is looked at for a stream.
const LOOK: Duration = Duration::from_millis(700);
/// Lines of a log in one event.
const LINES: usize = 500;

type Events = Sse<
    axum::response::sse::KeepAliveStream<
        std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>,
    >,
>;

fn room(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let text = "too many pages are being followed; close some, or load this one again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

fn stream(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Events {
    let keep = KeepAlive::new().interval(Duration::from_secs(15)).text("still here");
    let boxed: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    Sse::new(boxed).keep_alive(keep)
}

/// Waits a moment; whether the dashboard goes on.
async fn pause(app: &App, moment: Duration) -> bool {
    let mut stopped = app.stopped.clone();
    tokio::select! {
        () = tokio::time::sleep(moment) => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    }
}

/// Says `change` whenever the study has changed.
pub(crate) async fn changes(State(app): State<Arc<App>>) -> Response {
    let permit = match room(&app) {
        Ok(permit) => permit,
        Err(problem) => return problem.into_response(),
    };
    let start: (Arc<App>, Option<Version>, OwnedSemaphorePermit) = (app, None, permit);
    let events = futures_util::stream::unfold(start, |(app, mut seen, permit)| async move {
        loop {
            // A store that is busy is looked at again.
            if let Ok(version) = app.work(App::version).await
                && seen != Some(version)
            {
                // A page that is loaded at this word must not be one from before the change.
                if seen.is_some() && !pause(&app, FRESH).await {
                    return None;
                }
                seen = Some(version);
                let event = Event::default().event("change").data(format!("{version:016x}"));
                return Some((Ok(event), (app, seen, permit)));
            }
            if !pause(&app, LOOK).await {
                return None;
            }
        }
    });
    stream(events).into_response()
}

/// Which log is followed.
#[derive(Clone)]
enum Followed {
    Build(ArtifactId),
    Run(RunKey),
}

impl Followed {
    fn log(&self, app: &App) -> Result<Option<Log>, Problem> {
        Ok(match self {
            Self::Build(id) => Log::of_build(&app.study, id),
            Self::Run(key) => {
                let status = app.store.run_states(&key.experiment)?;
                let status = status.iter().find(|state| state.key == *key);
                let growing = status.is_some_and(|state| state.status == RunStatus::Running);
                Log::of_run(&app.study, key, growing)
            }
        })
    }
}

/// Follows a build's log from line `from` on.
pub(crate) async fn build_log(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let followed = ArtifactId::new(id).map(Followed::Build);
    follow(
        app,
        followed.map_err(|error| Problem::missing(error.to_string())),
        query.as_deref(),
        &headers,
    )
}

/// Follows a run's log from line `from` on.
pub(crate) async fn run_log(
    State(app): State<Arc<App>>,
    Path((experiment, run)): Path<(String, u32)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let key = ExperimentId::new(experiment).map(|experiment| RunKey { experiment, run });
    let followed = key.map(Followed::Run);
    follow(
        app,
        followed.map_err(|error| Problem::missing(error.to_string())),
        query.as_deref(),
        &headers,
    )
}

struct Position {
    app: Arc<App>,
    followed: Followed,
    from: u64,
    /// The open log; none before the first look and after trouble.
    follower: Option<Follower>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

fn follow(
    app: Arc<App>,
    followed: Result<Followed, Problem>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Response {
    // A browser that lost the connection says where it was.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let started = || {
        let followed = followed?;
        let mut parameters = Parameters::read(query)?;
        let from = seen.or(parameters.number("from", 0, u64::MAX)?).unwrap_or(0);
        parameters.end("from")?;
        let permit = room(&app)?;
        Ok::<_, Problem>(Position {
            app,
            followed,
            from,
            follower: None,
            ended: false,
            _permit: permit,
        })
    };
    let start = match started() {
        Ok(start) => start,
        Err(problem) => return problem.into_response(),
    };
    let events = futures_util::stream::unfold(start, |mut at| async move {
        loop {
            if at.ended {
                return None;
            }
            let (followed, from) = (at.followed.clone(), at.from);
            let follower = at.follower.take();
            let read = at.app.work(move |app| {
                // Whether it grows is asked before it is read: what was written by then is read.
                let Some(log) = followed.log(app)? else { return Ok(None) };
                look(&log, follower, from).map(Some).map_err(Problem::internal)
            });
            match read.await {
                Ok(Some(look)) => {
                    at.from = look.follower.number();
                    at.follower = Some(look.follower);
                    if !look.lines.is_empty() {
                        let first = at.from - look.lines.len() as u64;
                        let event = Event::default()
                            .event("lines")
                            .id(at.from.to_string())
                            .data(rows(first, &look.lines, true));
                        return Some((Ok(event), at));
                    }
                    if !look.growing {
                        at.ended = true;
                        let event = Event::default().event("end").data("the log is complete");
                        return Some((Ok(event), at));
                    }
                }
                Ok(None) => {
                    at.ended = true;
                    let event = Event::default().event("end").data("there is no log");
                    return Some((Ok(event), at));
                }
                Err(_) => {}
            }
            if !pause(&at.app, LOOK).await {
                return None;
            }
        }
    });
    stream(events).into_response()
}

/// What is new in a log.
struct Look {
    growing: bool,
    lines: Vec<String>,
    follower: Follower,
}

/// Reads on where `follower` is; without one, or if the log was begun anew, from line `from` on.
fn look(log: &Log, follower: Option<Follower>, from: u64) -> std::io::Result<Look> {
    let kept = follower.and_then(|mut follower| follower.is_of(log).then_some(follower));
    let mut follower = match kept {
        Some(follower) => follower,
        None => Follower::open(log, from)?,
    };
    let mut lines = follower.lines(LINES)?;
    // Half of a line is shown when it is whole, or when the log has ended.
    if !log.growing && lines.len() < LINES {
        lines.extend(follower.rest());
    }
    Ok(Look { growing: log.growing, lines, follower })
}

/// Lines of a log as HTML, numbered from 1; if `named`, each can be linked to.
pub(crate) fn rows(first: u64, lines: &[String], named: bool) -> String {
    let mut text = String::new();
    for (number, line) in (first + 1..).zip(lines) {
        let id = if named { format!(" id=\"L{number}\"") } else { String::new() };
        text += &format!("<span class=\"l\"{id} data-n=\"{number}\">{}\n</span>", ansi::html(line));
    }
    text
}
