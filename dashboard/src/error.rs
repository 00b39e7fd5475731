//! What goes wrong, as a page for people and as JSON for programs.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::pages;

/// Why a request gets no answer.
#[derive(Debug)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// The form that programs get (RFC 9457).
    pub fn json(self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.message,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, body.to_string()).into_response()
    }
}

impl From<study::StoreError> for Problem {
    fn from(error: study::StoreError) -> Self {
        Self::internal(error)
    }
}

/// The form that people get.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, pages::problem(self.status, &self.message)).into_response()
    }
}
