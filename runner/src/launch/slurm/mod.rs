//! Clients as jobs of a Slurm cluster.
//!
//! Runs that are handed over at the same moment become one array of jobs for each bug, in the
//! plan's order, so that its sides stay interleaved. One look at the queue every few seconds
//! follows all jobs. Who starts a run again is the plan, never the scheduler: a job is submitted
//! without `--requeue`, and a run that lost its node gets a new ticket, which takes it from
//! whatever may still be alive there.
//!
//! Nothing is left behind: what ends this program in order cancels its jobs; of one that was killed
//! the next call finds the jobs by their name and by the journal, and cancels them.

mod commands;
mod dispatch;
mod job;
mod journal;
mod nodes;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use containers::Cancel;
use study::SlurmPolicy;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::commands::Commands;
use self::dispatch::{Dispatcher, Over, Request};
use self::job::JobId;
use self::journal::Journal;
pub(super) use self::script::image_archive;
use super::exit::Tail;
use super::placed::PlacedError;
use super::{Exit, Launch, LaunchError, Launcher};

/// Why a cluster could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// A command is not there.
    #[error(
        "{program} could not be started: {source}; call this on a machine that submits to the \
         cluster, where Slurm's commands are on the PATH, or use --executor docker or local"
    )]
    NoCommand {
        /// The command.
        program: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A command did not do its work.
    #[error("{program} said: {said}; `[slurm]` of study.toml says what is asked of the cluster")]
    Refused {
        /// The command.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A command said something that is not understood.
    #[error("{program} answered {said:?}, expected the number of a job")]
    Strange {
        /// The command.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// No node can take the runs.
    #[error(
        "no node of the cluster can take a run as `[slurm]` of study.toml asks for it{said}; \
         `sinfo` lists what there is"
    )]
    NoClass {
        /// What `sbatch` says of it.
        said: String,
    },
    /// The class of nodes that a bug's runs were made on is gone.
    #[error(
        "the runs of {bug} were made on nodes that the cluster has no more, or does not let take \
         them: {class}. Runs on others could not be compared with them. Wait for these nodes, or \
         take {bug} out of {path} and make its runs again: `run --retry-failed`"
    )]
    ClassGone {
        /// The bug.
        bug: String,
        /// What its nodes have in common.
        class: String,
        /// Where it is recorded.
        path: PathBuf,
    },
    /// A node does not see what it should.
    #[error(
        "{said}; the study's folder must lie on a file system that the nodes share, at the same \
         path (docs/guide/cluster.md)"
    )]
    NotShared {
        /// Which node, and what it does not see.
        said: String,
    },
    /// A node lacks a program.
    #[error(
        "{said}; install it on the nodes, name another with --python, or load it with \
         slurm.setup in study.toml"
    )]
    NoProgram {
        /// Which node, and what it lacks.
        said: String,
    },
    /// A file of the study is damaged.
    #[error("{path}: {source}; remove the file if no job of this study is in the queue")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of the study cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Nobody follows the jobs any more.
    #[error("what follows the cluster's jobs has ended; call the same command again to go on")]
    Ended,
}

impl From<PlacedError> for SlurmError {
    fn from(error: PlacedError) -> Self {
        match error {
            PlacedError::Damaged { path, source } => Self::Damaged { path, source },
            PlacedError::Io { path, source } => Self::Io { path, source },
        }
    }
}

/// What a study's jobs need to know.
#[derive(Debug, Clone)]
pub struct SlurmSetup {
    /// What `[slurm]` of `study.toml` says.
    pub policy: SlurmPolicy,
    /// The study's folder, which the nodes must see.
    pub study: PathBuf,
    /// The name of all of the study's jobs.
    pub name: String,
    /// The Python of the nodes, for jobs without a container.
    pub python: String,
    /// What the runs train on: `cpu` or `cuda`.
    pub device: String,
    /// Bugs that have runs, whose class of nodes is fixed.
    pub begun: BTreeSet<String>,
    /// The name by which nodes reach the server, where it is not the one it listens on.
    pub server: Option<String>,
}

impl SlurmSetup {
    /// Where jobs, classes and scripts are recorded in the study.
    fn folder(&self) -> PathBuf {
        self.study.join("slurm")
    }

    /// Where images lie for nodes, if runs need any.
    fn images(&self) -> Option<PathBuf> {
        (self.policy.container != study::NodeContainer::None)
            .then(|| self.study.join("cache/images"))
    }

    /// The options and the script of a first job, for people to look at; the nodes that a bug's
    /// runs are kept on are known only to the cluster.
    pub fn preview(&self, launch: &Launch) -> (Vec<String>, String) {
        let gpus = self.policy.gpus_for(&self.device);
        let batch = script::Batch {
            policy: &self.policy,
            study: &self.study,
            python: &self.python,
            gpus,
            nonce: "MARK",
            placement: &[],
        };
        let name = dispatch::below_runs(&self.study, &launch.folder);
        let script = batch.script(&self.study.join("runs"), &[name], launch);
        (batch.options(launch, 1), script)
    }
}

/// Hands clients to a cluster as jobs.
pub struct SlurmLauncher {
    setup: SlurmSetup,
    commands: Commands,
    requests: mpsc::UnboundedSender<Request>,
    dispatcher: JoinHandle<()>,
}

/// How long the last moment of a program may take.
const LAST_MOMENT: Duration = Duration::from_millis(1200);

impl SlurmLauncher {
    /// Cancels what an earlier, killed call left in the queue (their number is the second value),
    /// asks the cluster for its nodes and whether any of them can take the `first` run, and then
    /// waits for runs.
    ///
    /// # Errors
    /// [`SlurmError`] with what is missing.
    pub async fn start(setup: SlurmSetup, first: &Launch) -> Result<(Self, usize), SlurmError> {
        let commands = Commands::new(setup.name.clone());
        Self::start_with(setup, commands, first).await
    }

    async fn start_with(
        setup: SlurmSetup,
        commands: Commands,
        first: &Launch,
    ) -> Result<(Self, usize), SlurmError> {
        let mut journal = Journal::read(&setup.folder())?;
        let left = cancel_leftovers(&commands, &mut journal).await?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher::new(setup.clone(), commands.clone(), journal, first).await?;
        let dispatcher = tokio::spawn(dispatcher.follow(receiver));
        Ok((Self { setup, commands, requests, dispatcher }, left))
    }

    /// The images that these runs need and that nodes do not find yet, with the archive to make.
    pub fn images_to_save(&self, images: &BTreeSet<String>) -> Vec<(String, PathBuf)> {
        let Some(folder) = self.setup.images() else { return Vec::new() };
        let archives =
            images.iter().map(|image| (image.clone(), image_archive(&folder, image)));
        archives.filter(|(_, path)| !path.exists()).collect()
    }
}

/// Cancels every job of the study and takes back its runs; how many jobs there were.
async fn cancel_leftovers(commands: &Commands, journal: &mut Journal) -> Result<usize, SlurmError> {
    journal.withdraw();
    // Also of a study that was moved since, whose jobs had another name.
    let written = journal.jobs().into_iter().map(|job| JobId { job, task: None });
    let written: Vec<JobId> = written.collect();
    let active = |seen: &job::Seen| !matches!(seen.state, job::State::Ended(_));
    let queue = commands.queue().await?;
    let mut left: Vec<JobId> = queue.iter().filter(|seen| active(seen)).map(|s| s.id).collect();
    let found = left.len();
    left.extend(written.into_iter().filter(|job| queue.iter().all(|seen| seen.id.job != job.job)));
    if !left.is_empty() {
        commands.cancel(&left).await?;
    }
    if found > 0 {
        // They are given a moment to leave their nodes; the new tickets shut them out anyway.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            if !commands.queue().await?.iter().any(active) {
                break;
            }
        }
    }
    journal.clear()?;
    Ok(found)
}

impl Drop for SlurmLauncher {
    /// Nothing of this call stays in the queue.
    fn drop(&mut self) {
        self.dispatcher.abort();
        if let Ok(mut journal) = Journal::read(&self.setup.folder())
            && !journal.is_empty()
        {
            journal.withdraw();
            self.commands.cancel_all_now(LAST_MOMENT);
            // What was not cancelled in this moment is found by its name.
            if let Err(error) = journal.clear() {
                tracing::warn!("{error}");
            }
        }
    }
}

impl Launcher for SlurmLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let (done, over) = oneshot::channel();
        let request = Request { launch: launch.clone(), cancel: cancel.clone(), done };
        self.requests.send(request).map_err(|_| SlurmError::Ended)?;
        let Over { seen, end, status, seconds, out } =
            over.await.map_err(|_| SlurmError::Ended)??;
        let said = std::fs::read(&out).unwrap_or_default();
        log.write_all(&said).map_err(LaunchError::Log)?;
        let mut tail = Tail::default();
        tail.push(&said);
        // The log has it now; a file that stays is only in the way.
        let _ = std::fs::remove_file(&out);
        let mut exit = job::exit(&seen, end, status, tail.text(), seconds);
        if cancel.is_cancelled() && exit.scheduler.is_some() {
            exit.scheduler = None;
            exit.cancelled = true;
        }
        Ok(exit)
    }
}
