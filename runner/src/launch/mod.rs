//! How a training process is started: the seam between a plan and a machine.
//!
//! A [`Launcher`] starts one client for one run, waits for its end and says how it ended. What
//! the run achieved is not its business: the server knows that.

mod docker;
mod exit;
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

/// Starts clients somewhere.
pub trait Launcher: Sync {
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
        }
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
        scratch: None,
    }
}
