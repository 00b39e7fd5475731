//! Where the processes of runs are started, as `run` and `diff --trace` are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::anyhow;
use containers::{ContainerError, Docker};
use runner::{AnyLauncher, DockerLauncher, LaunchError, LocalLauncher};
use server::{Listen, ServerConfig};
use study::Study;

use crate::cli::{Executor, Place};
use crate::failure::Failure;

/// What starts processes, and how their server is reached.
pub struct Launching {
    pub launcher: AnyLauncher,
    pub config: ServerConfig,
    /// The folder of the server's socket, which goes when this is dropped.
    _socket: Option<tempfile::TempDir>,
}

impl Launching {
    /// Finds what the place needs, and removes what a killed process left there.
    pub async fn at(place: &Place, study: &Study) -> Result<Self, Failure> {
        check(place)?;
        match place.executor {
            Executor::Docker => {
                let docker = Docker::connect().await.map_err(missing_docker)?;
                let launcher = DockerLauncher::new(docker, study_label(study));
                launcher.remove_leftovers().await.map_err(explain)?;
                // A short path: the system allows sockets about a hundred bytes of name.
                let folder = socket_folder()?;
                let listen = Listen::Unix(folder.path().join("server.sock"));
                Ok(Self {
                    launcher: AnyLauncher::Docker(Box::new(launcher)),
                    config: config(study, listen),
                    _socket: Some(folder),
                })
            }
            Executor::Local => Ok(Self::nowhere(place, study)),
            Executor::Slurm | Executor::Hosts => Err(Failure::input(anyhow!(
                "--executor {}: only `run` hands work to other machines; expected docker or local",
                if place.executor == Executor::Slurm { "slurm" } else { "hosts" }
            ))),
        }
    }

    /// Processes of this machine; also for when nothing is to be started.
    pub fn nowhere(place: &Place, study: &Study) -> Self {
        let launcher = match &place.client {
            Some(program) => LocalLauncher::program(program),
            None => LocalLauncher::new(&place.python),
        };
        Self {
            launcher: AnyLauncher::Local(launcher),
            config: config(study, Listen::Tcp(place.listen.unwrap_or(LOOPBACK))),
            _socket: None,
        }
    }

    /// Processes on other machines.
    pub fn elsewhere(launcher: AnyLauncher, config: ServerConfig) -> Self {
        Self { launcher, config, _socket: None }
    }
}

/// Refuses a client of this machine for containers.
pub fn check(place: &Place) -> Result<(), Failure> {
    if place.client.is_some() && place.executor != Executor::Local {
        return Err(Failure::input(anyhow!(
            "--client starts a program of this machine; add --executor local"
        )));
    }
    Ok(())
}

/// A free port that only this machine reaches.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub fn config(study: &Study, listen: Listen) -> ServerConfig {
    let data_dir = study.root().join("data");
    ServerConfig { listen: vec![listen], ..ServerConfig::loopback(data_dir) }
}

/// The label by which this study's containers are found: a digest of its path.
pub fn study_label(study: &Study) -> String {
    let path = study.root().to_string_lossy().into_owned();
    study::files::sha256_hex(path.as_bytes()).chars().take(16).collect()
}

fn socket_folder() -> Result<tempfile::TempDir, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let temporary = || {
        let folder = tempfile::Builder::new().prefix("reproduceml-").tempdir()?;
        // Containers run as another user; what protects a run is its ticket.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    };
    temporary().map_err(|error: std::io::Error| {
        Failure::missing(anyhow!("no folder for the server's socket: {error}"))
    })
}

/// A process that could not be started, as an exit code.
pub fn explain(error: LaunchError) -> Failure {
    match error {
        LaunchError::Container(error) => missing_docker(error),
        error => Failure::missing(error),
    }
}

/// A failure of Docker, as an exit code.
pub fn missing_docker(error: ContainerError) -> Failure {
    if error.is_missing_docker() || error.is_passing() {
        Failure::missing(error)
    } else {
        Failure::stage(error)
    }
}
