//! A study over HTTP: pages that people read, an API that programs read, metrics for Prometheus.
//!
//! Everything is read, from the store and from the files that the stages leave, through
//! `reproduceml-study`; this crate knows no stage and changes nothing. It may therefore stand
//! beside any command that works on the study, in its process or in another.

mod ansi;
mod api;
mod app;
mod assets;
mod config;
mod error;
mod guard;
mod listen;
mod live;
mod log;
mod login;
mod model;
mod pages;
mod plot;
mod prometheus;
mod query;
mod records;
mod routes;

pub use config::{Config, DashboardError, Token};
pub use listen::{Dashboard, Handle};
pub use records::{Cell, Encoder, Kind, Records};
