//! Every address of the dashboard.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::error::Problem;
use crate::{api, assets, guard, live, login, pages};

/// Longest form that is read: a token and an address.
const FORM: usize = 8 << 10;

pub(crate) fn router(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(pages::overview))
        .route("/bugs", get(pages::bugs))
        .route("/bugs/{bug}", get(pages::bug))
        .route("/experiments/{experiment}", get(pages::experiment))
        .route("/runs/{experiment}/{run}", get(pages::run))
        .route("/runs/{experiment}/{run}/log", get(pages::run_log))
        .route("/builds/{artifact}/log", get(pages::build_log))
        .route("/compare", get(pages::compare))
        .route("/study", get(pages::study))
        .route("/report", get(pages::report))
        .route("/login", get(login::form).post(login::enter))
        .route("/logout", post(login::leave));
    let live = Router::new()
        .route("/events", get(live::changes))
        .route("/events/builds/{artifact}/log", get(live::build_log))
        .route("/events/runs/{experiment}/{run}/log", get(live::run_log));
    pages
        .merge(live)
        .merge(api::router())
        .route("/assets/{name}", get(assets::asset))
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(FORM))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

async fn nothing(request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}"));
    if guard::is_api(path) { problem.json() } else { problem.into_response() }
}
