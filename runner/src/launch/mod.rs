//! How a training process is started: the seam between a plan and a machine.
//!
//! A [`Launcher`] starts one client for one run, waits for its end and says how it ended. What
//! the run achieved is not its business: the server knows that.

mod docker;
mod exit;
mod hosts;
mod local;
mod slurm;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use containers::{Cancel, ContainerError};

pub use self::slurm::{SlurmLauncher, SlurmSetup};
pub use docker::DockerLauncher;
pub use exit::Exit;
pub use hosts::{HostSetup, HostsError, HostsLauncher, HostsSetup, hosts_of_bugs};
pub use local::LocalLauncher;

/// One client to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A name for people: `pr12-buggy-…/3`.
    pub name: String,
    /// The bug, whose runs are compared with each other.
    pub bug: String,
    /// The run's own folder.
    pub folder: PathBuf,
    /// The image of the artifact's toolchain (unused on this machine).
    pub image: String,
    /// The artifact's files.
    pub artifact: PathBuf,
    /// The training client, as `PYTHONPATH` takes it.
    pub client: PathBuf,
    /// Where the server listens: `unix:/path` or `tcp:host:port`.
    pub server: String,
    /// What lets the client hold exactly this run.
    pub ticket: String,
    /// A folder in which clients of one experiment find each other's arrays.
    pub cache: Option<PathBuf>,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Memory it may use, in MiB.
    pub memory_mib: u32,
    /// How long it may take.
    pub time: Duration,
    /// The GPU it may use, by the number or name that the machine gives it.
    pub gpu: Option<String>,
    /// The machine that it runs on, where there are several.
    pub host: Option<String>,
    /// A folder that it may write to, for traces.
    pub scratch: Option<PathBuf>,
}

/// Why a client could not be started at all.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Docker failed.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// A cluster could not do its part.
    #[error(transparent)]
    Slurm(#[from] ::slurm::SlurmError),
    /// Docker hosts could not do their part.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A folder that a run needs cannot be read.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The process could not be started.
    #[error(
        "{program} could not be started: {source}; name a Python with --python, or a client with --client"
    )]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A run wants a GPU and there is none.
    #[error(
        "there is no GPU that a run can be given: {detail}. A GPU needs its driver (`nvidia-smi` \
         must answer) and, for containers, the NVIDIA Container Toolkit (`docker run --gpus all` \
         must work); or train on the processor: run.device = \"cpu\" in study.toml, without \
         --gpus"
    )]
    NoGpu {
        /// What is missing.
        detail: String,
    },
    /// Its log could not be written.
    #[error("the run's log could not be written: {0}")]
    Log(io::Error),
}

/// A place for one run, free again when this is dropped.
#[derive(Default)]
pub struct Seat {
    /// The machine, where there are several.
    pub(crate) host: Option<String>,
    /// The GPU there.
    pub(crate) gpu: Option<String>,
    /// What gives the place back.
    _held: Option<Box<dyn std::any::Any + Send>>,
}

impl Seat {
    /// A place on a machine, with what gives it back.
    pub(crate) fn on(host: String, gpu: Option<String>, held: impl std::any::Any + Send) -> Self {
        Self { host: Some(host), gpu, _held: Some(Box::new(held)) }
    }
}

/// Whether a run can begin.
pub enum Seated {
    /// Here.
    Yes(Seat),
    /// Not now.
    Later,
    /// Not in this call, and why.
    Never(String),
}

/// Starts clients somewhere.
pub trait Launcher: Sync {
    /// A place for a run of a bug. Where a launcher has several machines, runs of bugs that have
    /// theirs come first; only with `fresh` is another bug given one.
    ///
    /// # Errors
    /// If no run can begin any more.
    fn seat(&self, bug: &str, fresh: bool) -> Result<Seated, LaunchError> {
        let _ = (bug, fresh);
        Ok(Seated::Yes(Seat::default()))
    }

    /// Says that a run of a bug was finished, so that its other runs have to match.
    fn finished(&self, bug: &str) {
        let _ = bug;
    }

    /// Starts one client, copies its output to `log`, waits for its end.
    ///
    /// # Errors
    /// Only if it could not be started or watched; how it ended is an [`Exit`].
    fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> impl Future<Output = Result<Exit, LaunchError>> + Send;
}

/// A launcher that is chosen when the program runs.
pub enum AnyLauncher {
    /// Containers.
    Docker(Box<DockerLauncher>),
    /// Processes of this machine.
    Local(LocalLauncher),
    /// Jobs of a cluster.
    Slurm(Box<SlurmLauncher>),
    /// Containers on several machines.
    Hosts(Box<HostsLauncher>),
}

impl AnyLauncher {
    /// Checks that each of these GPUs can be given to a run, before anything is planned on them.
    /// `image` is one that the daemon has.
    ///
    /// # Errors
    /// [`LaunchError::NoGpu`] with what is missing.
    pub async fn check_gpus(&self, image: &str, gpus: &[String]) -> Result<(), LaunchError> {
        match self {
            Self::Docker(launcher) => launcher.check_gpus(image, gpus).await,
            Self::Local(_) => local::check_gpu(),
            // The cluster was asked whether any node can take such a run.
            Self::Slurm(_) => Ok(()),
            // Each host is asked before it takes runs.
            Self::Hosts(_) => Ok(()),
        }
    }

    /// Removes what only this call needed elsewhere.
    pub async fn finish(&self) {
        if let Self::Hosts(launcher) = self {
            launcher.finish().await;
        }
    }
}

impl Launcher for AnyLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        match self {
            Self::Docker(launcher) => launcher.launch(launch, log, cancel).await,
            Self::Local(launcher) => launcher.launch(launch, log, cancel).await,
            Self::Slurm(launcher) => launcher.launch(launch, log, cancel).await,
            Self::Hosts(launcher) => launcher.launch(launch, log, cancel).await,
        }
    }

    fn seat(&self, bug: &str, fresh: bool) -> Result<Seated, LaunchError> {
        match self {
            Self::Hosts(launcher) => launcher.seat(bug, fresh),
            Self::Docker(_) | Self::Local(_) | Self::Slurm(_) => Ok(Seated::Yes(Seat::default())),
        }
    }

    fn finished(&self, bug: &str) {
        if let Self::Hosts(launcher) = self {
            launcher.finished(bug);
        }
    }
}

/// The server's address with the name by which nodes reach it.
pub(crate) fn reached_as(server: &str, name: Option<&str>) -> String {
    match (name, server.split_once(':'), server.rsplit_once(':')) {
        (Some(name), Some((scheme, _)), Some((_, port))) if scheme != "unix" => {
            format!("{scheme}:{name}:{port}")
        }
        _ => server.to_owned(),
    }
}

#[cfg(test)]
pub(crate) fn example(seconds: u64) -> Launch {
    Launch {
        name: "x".into(),
        bug: "pr1".into(),
        folder: "/".into(),
        image: "image".into(),
        artifact: "/".into(),
        client: "/nonexistent".into(),
        server: "tcp:127.0.0.1:1".into(),
        ticket: "t".into(),
        cache: None,
        env: BTreeMap::new(),
        memory_mib: 100,
        time: Duration::from_secs(seconds),
        gpu: None,
        host: None,
        scratch: None,
    }
}
