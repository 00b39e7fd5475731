//! The token: in a header for programs; for people a form that trades it for a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::config::Token;
use crate::error::Problem;
use crate::pages;

const COOKIE: &str = "reproduceml";
/// How long a visitor stays known.
const STAY: Duration = Duration::from_secs(12 * 3600);
/// Visitors known at once; the oldest is forgotten first.
const MOST: usize = 256;
/// Pause before a wrong token is refused, so that guessing stays slow.
const PAUSE: Duration = Duration::from_millis(400);

/// Visitors who showed the token, by random names that only their cookies hold.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Vec<(String, Instant)>>);

impl Sessions {
    fn begin(&self) -> Result<String, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        let name = hex::encode(bytes);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, since)| since.elapsed() < STAY);
        if known.len() >= MOST {
            known.remove(0);
        }
        known.push((name.clone(), Instant::now()));
        Ok(name)
    }

    fn knows(&self, name: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(other, since): &(String, Instant)| {
            since.elapsed() < STAY && bool::from(other.as_bytes().ct_eq(name.as_bytes()))
        };
        known.iter().any(same)
    }

    fn end(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(other, _)| other != name);
    }
}

/// Whether a request shows the token, or a cookie that was given for it.
pub(crate) fn is_known(app: &App, token: &Token, headers: &HeaderMap) -> bool {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some((_, given)) = bearer {
        return token.is(given.trim());
    }
    cookie(headers).is_some_and(|name| app.sessions.knows(name))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// The form's address, which leads back to `here`.
pub(crate) fn address(here: &str) -> String {
    format!("/login?next={}", crate::query::encode(here))
}

/// A place on this dashboard, whatever was asked for.
fn place(next: Option<&String>) -> &str {
    let own = |next: &&str| {
        next.starts_with('/')
            && !next.starts_with("//")
            && next.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\')
    };
    next.map(String::as_str).filter(own).unwrap_or("/")
}

/// The form.
pub(crate) async fn form(
    State(app): State<Arc<App>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let next = place(query.get("next"));
    match &app.config.token {
        Some(token) if !is_known(&app, token, &headers) => {
            pages::login(next, false).into_response()
        }
        _ => Redirect::to(next).into_response(),
    }
}

/// Takes the form.
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(token) = &app.config.token else { return Redirect::to("/").into_response() };
    if !from_here(&headers) {
        return Problem::new(StatusCode::FORBIDDEN, "the form was sent from another page")
            .into_response();
    }
    let fields = crate::query::pairs(&String::from_utf8_lossy(&body));
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, v)| v);
    let next = place(field("next"));
    if !field("token").is_some_and(|given| token.is(given.trim())) {
        tokio::time::sleep(PAUSE).await;
        return (StatusCode::UNAUTHORIZED, pages::login(next, true)).into_response();
    }
    match app.sessions.begin() {
        Ok(name) => {
            let age = STAY.as_secs();
            // Where there is TLS the name never goes out without it.
            let secure = if app.config.tls.is_some() { "; Secure" } else { "" };
            let set = format!(
                "{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"
            );
            ([(header::SET_COOKIE, set)], Redirect::to(next)).into_response()
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// Forgets a visitor.
pub(crate) async fn leave(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if from_here(&headers)
        && let Some(name) = cookie(&headers)
    {
        app.sessions.end(name);
    }
    let clear = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(header::SET_COOKIE, clear)], Redirect::to("/login")).into_response()
}

/// Whether a form was sent from a page of this dashboard, as far as the browser says.
fn from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, place)| place.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        let to = |text: &str| place(Some(&text.to_owned())).to_owned();
        assert_eq!(to("/bugs?q=x"), "/bugs?q=x");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nX: y"] {
            assert_eq!(to(bad), "/", "{bad:?}");
        }
    }
}
