//! `doctor`: what this machine and this study have and lack, each with what to do.

mod machine;
mod of_study;

use anyhow::anyhow;
use serde::Serialize;
use study::Study;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// There.
    Ok,
    /// Not there, and only some studies need it.
    Optional,
    /// Not there, and the stages need it.
    Missing,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    advice: String,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, state: State::Ok, found: found.into(), advice: String::new() }
    }

    fn optional(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, state: State::Optional, found: found.into(), advice: advice.into() }
    }

    fn missing(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, state: State::Missing, found: found.into(), advice: advice.into() }
    }
}

/// What a study's next stages would stumble over here, in sentences with what to do, and nights
/// that are no longer called. Looks at no more than that takes: `status` is called often.
pub async fn attention(study: &Study) -> Vec<String> {
    let mut findings = machine::needed().await;
    findings.extend(of_study::needed(study));
    findings.retain(|f| f.state == State::Missing);
    findings.extend(of_study::night(study).filter(|f| f.state != State::Ok));
    findings.iter().map(|f| format!("{}: {}; {}", f.what, f.found, f.advice)).collect()
}

/// Prints findings, each with what to do.
pub async fn doctor(cli: &Cli) -> Result<(), Failure> {
    let mut findings = machine::findings().await;
    if cli.study.is_some() || std::env::current_dir().is_ok_and(|d| d.join("study.toml").exists()) {
        findings.extend(of_study::findings(cli).await);
    }
    let mut rows = Rows::new(&["what", "state", "found", "what to do"]);
    for f in &findings {
        let state = match f.state {
            State::Ok => "ok",
            State::Optional => "optional",
            State::Missing => "missing",
        };
        rows.push([f.what, state, &f.found, &f.advice]);
    }
    output::print(cli.format, &findings, &rows)?;
    let missing: Vec<&str> =
        findings.iter().filter(|f| f.state == State::Missing).map(|f| f.what).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::missing(anyhow!("missing: {}", missing.join(", "))))
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
