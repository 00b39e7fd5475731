//! `doctor`: what this machine has and lacks.

use std::path::Path;
use std::process::Command;

use anyhow::anyhow;
use serde::Serialize;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
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

/// Prints findings, each with what to do.
pub async fn doctor(cli: &Cli) -> Result<(), Failure> {
    let mut findings = vec![docker().await, home(), python(), gpu(), disk(), network_token()];
    if cli.study.is_some() || std::env::current_dir().is_ok_and(|d| d.join("study.toml").exists()) {
        findings.push(study(cli));
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

async fn docker() -> Finding {
    let what = "Docker";
    match containers::Docker::connect().await {
        Ok(docker) => {
            let info = docker.info();
            let found = format!("{} (API {}) at {}", info.version, info.api, info.host);
            Finding { what, state: State::Ok, found, advice: String::new() }
        }
        Err(error) => Finding {
            what,
            state: State::Missing,
            found: "no daemon to use".into(),
            advice: error.to_string(),
        },
    }
}

fn home() -> Finding {
    let what = "program data";
    match Home::find() {
        Ok(home) => {
            let found = home.toolchains().display().to_string();
            Finding { what, state: State::Ok, found, advice: String::new() }
        }
        Err(_) => Finding {
            what,
            state: State::Missing,
            found: "dockerfiles/ and clients/python/ not found".into(),
            advice: "set REPRODUCEML_HOME to the folder that holds them".into(),
        },
    }
}

/// What a command prints first, if it can be run.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
    output.status.success().then_some(line)
}

fn python() -> Finding {
    match first_line("python3", &["--version"]) {
        Some(found) => Finding { what: "Python", state: State::Ok, found, advice: String::new() },
        None => Finding {
            what: "Python",
            state: State::Optional,
            found: "none".into(),
            advice: "only `run --executor local` needs one: apt-get install python3".into(),
        },
    }
}

fn gpu() -> Finding {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    match first_line("nvidia-smi", &query) {
        Some(found) => Finding { what: "GPU", state: State::Ok, found, advice: String::new() },
        None => Finding {
            what: "GPU",
            state: State::Optional,
            found: "none".into(),
            advice: "only studies with device = \"cuda\" need an NVIDIA GPU and its driver".into(),
        },
    }
}

fn disk() -> Finding {
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
    match containers::free_bytes(&here) {
        Ok(bytes) => {
            let gib = bytes >> 30;
            let state = if gib >= 5 { State::Ok } else { State::Missing };
            let advice = match state {
                State::Ok => String::new(),
                _ => "a quick study needs 5 GiB here; make room".into(),
            };
            Finding { what: "disk", state, found: format!("{gib} GiB free here"), advice }
        }
        Err(error) => Finding {
            what: "disk",
            state: State::Missing,
            found: error.to_string(),
            advice: "the current folder must be readable".into(),
        },
    }
}

fn network_token() -> Finding {
    if std::env::var_os("GITHUB_TOKEN").is_some() {
        let found = "GITHUB_TOKEN is set".into();
        return Finding { what: "GitHub token", state: State::Ok, found, advice: String::new() };
    }
    Finding {
        what: "GitHub token",
        state: State::Optional,
        found: "none".into(),
        advice: "`mine` reads 60 pages an hour without one; set GITHUB_TOKEN for more".into(),
    }
}

fn study(cli: &Cli) -> Finding {
    let opened = crate::studies::open(cli)
        .and_then(|study| Ok((study.store()?.path().display().to_string(), study)));
    match opened {
        Ok((store, study)) => Finding {
            what: "study",
            state: State::Ok,
            found: format!("{} ({store})", study.config.study.name),
            advice: String::new(),
        },
        Err(Failure::Input(error) | Failure::Missing(error) | Failure::Stage(error)) => Finding {
            what: "study",
            state: State::Missing,
            found: "cannot be opened".into(),
            advice: error.to_string(),
        },
        Err(Failure::Interrupted) => Finding {
            what: "study",
            state: State::Missing,
            found: "interrupted".into(),
            advice: String::new(),
        },
    }
}
