//! What the machine has.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::failure::Failure;
use crate::home::Home;

/// The port on which `serve` listens unless told otherwise.
const PORT: u16 = 4747;

/// The shortest token that `serve` takes, in characters.
const TOKEN: usize = 16;

/// What every stage that builds or trains needs.
pub(super) async fn needed() -> Vec<Finding> {
    vec![home(), docker().await, disk()]
}

pub(super) async fn findings() -> Vec<Finding> {
    vec![
        Finding::ok("reproduceml", env!("CARGO_PKG_VERSION")),
        home(),
        docker().await,
        python(),
        gpu(),
        disk(),
        port(),
        github_token(),
        server_token(),
    ]
}

async fn docker() -> Finding {
    match containers::Docker::connect().await {
        Ok(docker) => {
            let info = docker.info();
            let found = format!(
                "{} (API {}) at {}, control groups {}",
                info.version, info.api, info.host, info.cgroup_version
            );
            if info.cgroup_version == "1" {
                return Finding::optional(
                    "Docker",
                    found,
                    "limits on memory and processes are told apart better by version 2 of the \
                     kernel's control groups",
                );
            }
            Finding::ok("Docker", found)
        }
        Err(error) => Finding::missing("Docker", "no daemon to use", error.to_string()),
    }
}

fn home() -> Finding {
    match Home::find() {
        Ok(home) => Finding::ok("program data", home.toolchains().display().to_string()),
        Err(failure) => {
            let why = match failure {
                Failure::Stage(error) | Failure::Input(error) | Failure::Missing(error) => {
                    error.to_string()
                }
                Failure::Interrupted => String::new(),
            };
            Finding::missing("program data", "toolchains and training client not found", why)
        }
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
        Some(found) => Finding::ok("Python", found),
        None => Finding::optional(
            "Python",
            "none",
            "only `run --executor local` needs one: apt-get install python3",
        ),
    }
}

fn gpu() -> Finding {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    match first_line("nvidia-smi", &query) {
        Some(found) if first_line("nvidia-container-cli", &["--version"]).is_some() => {
            Finding::ok("GPU", found)
        }
        Some(found) => Finding::optional(
            "GPU",
            format!("{found}; containers cannot use it"),
            "install the NVIDIA container toolkit, or use `run --executor local`",
        ),
        None => Finding::optional(
            "GPU",
            "none",
            "only studies with device = \"cuda\" need an NVIDIA GPU and its driver",
        ),
    }
}

fn disk() -> Finding {
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned());
    match containers::free_bytes(&here) {
        Ok(bytes) if bytes >> 30 >= 5 => {
            Finding::ok("disk", format!("{} GiB free here", bytes >> 30))
        }
        Ok(bytes) => Finding::missing(
            "disk",
            format!("{} free here", super::size(bytes)),
            "a quick study needs 5 GiB here; make room, or see `reproduceml gc --dry-run`",
        ),
        Err(error) => {
            Finding::missing("disk", error.to_string(), "the current folder must be readable")
        }
    }
}

fn port() -> Finding {
    match TcpListener::bind(("127.0.0.1", PORT)) {
        Ok(_) => Finding::ok("port", format!("{PORT} is free for `serve`")),
        Err(error) => Finding::optional(
            "port",
            format!("{PORT}: {error}"),
            "`serve` may be running already; --listen 127.0.0.1:0 takes any that is free",
        ),
    }
}

fn github_token() -> Finding {
    if std::env::var_os("GITHUB_TOKEN").is_some_and(|token| !token.is_empty()) {
        return Finding::ok("GitHub token", "GITHUB_TOKEN is set");
    }
    Finding::optional(
        "GitHub token",
        "none",
        "`mine` reads 60 pages an hour without one; set GITHUB_TOKEN for more",
    )
}

fn server_token() -> Finding {
    match std::env::var("REPRODUCEML_TOKEN") {
        Ok(token) if token.trim().len() >= TOKEN => {
            Finding::ok("server token", "REPRODUCEML_TOKEN is set")
        }
        Ok(_) => Finding::optional(
            "server token",
            format!("REPRODUCEML_TOKEN has fewer than {TOKEN} characters"),
            "`serve` refuses it: set a longer one",
        ),
        Err(_) => Finding::optional(
            "server token",
            "none",
            "only `serve` on an address that others reach needs one: --token-file or \
             REPRODUCEML_TOKEN",
        ),
    }
}
