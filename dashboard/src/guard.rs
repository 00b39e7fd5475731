//! Who may ask, what may be asked, and what every answer says about itself.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::app::App;
use crate::error::Problem;
use crate::login;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer that does not set them itself.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets through what may be asked.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let for_programs = is_api(request.uri().path());
    let mut response = match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Login(to)) => Redirect::to(&to).into_response(),
        Err(Refusal::Problem(problem)) if for_programs => {
            let unknown = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.json();
            if unknown {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
        Err(Refusal::Problem(problem)) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What programs ask for.
pub(crate) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

enum Refusal {
    Login(String),
    Problem(Problem),
}

fn check(app: &App, request: &Request) -> Result<(), Refusal> {
    let path = request.uri().path();
    if app.address.ip().is_loopback() && !names_this_machine(request.headers()) {
        // A page elsewhere may have its own name resolved to this machine and read along.
        return Err(Refusal::Problem(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this dashboard answers at localhost and 127.0.0.1 alone; open it under one of them",
        )));
    }
    let session = path == "/login" || path == "/logout";
    let allowed = matches!(*request.method(), Method::GET | Method::HEAD)
        || (session && request.method() == Method::POST);
    if !allowed {
        return Err(Refusal::Problem(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "the dashboard only shows: GET and HEAD",
        )));
    }
    let Some(token) = &app.config.token else { return Ok(()) };
    let open = path == "/login" || path.starts_with("/assets/");
    if open || login::is_known(app, token, request.headers()) {
        return Ok(());
    }
    if is_api(path) || request.method() == Method::POST {
        return Err(Refusal::Problem(Problem::new(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`",
        )));
    }
    let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
    Err(Refusal::Login(login::address(here)))
}

/// Whether the request was addressed to this machine by a name that means it everywhere.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_names() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            names_this_machine(&headers)
        };
        for good in ["localhost", "LOCALHOST:80", "127.0.0.1:4748", "[::1]:4748", "127.0.0.9"] {
            assert!(named(good), "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "10.0.0.1",
            "localhost@evil.example",
            "",
            "[::2]",
            "a b",
        ] {
            assert!(!named(bad), "{bad}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
        let mut twice = HeaderMap::new();
        twice.append(header::HOST, HeaderValue::from_static("localhost"));
        twice.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!names_this_machine(&twice));
    }
}
