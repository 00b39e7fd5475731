//! Clients as jobs of a Slurm cluster.
//!
//! Runs that are handed over at the same moment become one array of jobs for each bug, in the
//! plan's order, so that its sides stay interleaved. Who starts a run again is the plan: a run that
//! lost its node gets a new ticket, which takes it from whatever may still be alive there. What a
//! killed call left in the queue is cancelled, since its clients have lost their server.

mod client;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use containers::Cancel;
use slurm::{Cluster, End, Over, Preview, Setup, Stage, Work};
use study::SlurmPolicy;

use self::client::Starter;
use super::exit::Tail;
use super::{Exit, Launch, LaunchError, Launcher, reached_as};

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
    fn jobs(&self) -> Setup {
        Setup {
            stage: Stage::Run,
            policy: self.policy.clone(),
            study: self.study.clone(),
            folder: self.study.join("slurm"),
            root: self.study.join("runs"),
            name: self.name.clone(),
            begun: self.begun.clone(),
        }
    }

    /// Where an image lies for nodes, if runs need any.
    fn archive(&self, image: &str) -> Option<PathBuf> {
        (self.policy.container != study::NodeContainer::None)
            .then(|| study::image_archive(&self.study, image))
    }

    /// What a job does that makes a run.
    fn work(&self, launch: &Launch) -> Work {
        let gpus = self.policy.gpus_for(&self.device);
        let starter = Starter { policy: &self.policy, python: &self.python, gpus };
        let server = reached_as(&launch.server, self.server.as_deref());
        Work {
            bug: launch.bug.clone(),
            kin: Vec::new(),
            folder: launch.folder.clone(),
            environment: client::environment(
                launch,
                &server,
                self.archive(&launch.image).as_deref(),
            ),
            sees: &["PYTHONPATH", "REPRODUCEML_ARTIFACT"],
            lines: starter.lines(launch),
            gpus,
            memory_mib: launch.memory_mib,
            minutes: launch.time.as_secs().div_ceil(60),
        }
    }

    /// The first job as it would be submitted, for people to look at.
    pub fn preview(&self, launch: &Launch) -> Preview {
        slurm::preview(&self.jobs(), &self.work(launch))
    }
}

/// Hands clients to a cluster as jobs.
pub struct SlurmLauncher {
    setup: SlurmSetup,
    cluster: Cluster,
}

impl SlurmLauncher {
    /// Cancels what an earlier, killed call left in the queue (their number is the second value),
    /// asks the cluster for its nodes and whether any of them can take the `first` run, and then
    /// waits for runs.
    ///
    /// # Errors
    /// [`slurm::SlurmError`] with what is missing.
    pub async fn start(
        setup: SlurmSetup,
        first: &Launch,
    ) -> Result<(Self, usize), slurm::SlurmError> {
        let (cluster, found) = Cluster::start(setup.jobs(), &setup.work(first), |_| false).await?;
        Ok((Self { setup, cluster }, found.cancelled))
    }

    /// The images that these runs need and that nodes do not find yet, with the archive to make.
    pub fn images_to_save(&self, images: &BTreeSet<String>) -> Vec<(String, PathBuf)> {
        let archive = |image: &String| Some((image.clone(), self.setup.archive(image)?));
        images.iter().filter_map(archive).filter(|(_, path)| !path.exists()).collect()
    }
}

impl Launcher for SlurmLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let over = self.cluster.carry_out(&self.setup.work(launch), cancel).await?;
        let said = std::fs::read(&over.out).unwrap_or_default();
        log.write_all(&said).map_err(LaunchError::Log)?;
        let mut tail = Tail::default();
        tail.push(&said);
        // The log has it now; a file that stays is only in the way.
        let _ = std::fs::remove_file(&over.out);
        let mut exit = exit(&over, tail.text());
        if cancel.is_cancelled() && exit.scheduler.is_some() {
            exit.scheduler = None;
            exit.cancelled = true;
        }
        Ok(exit)
    }
}

/// The last state of a job as the end of a process; `tail` is the end of its output.
fn exit(over: &Over, tail: String) -> Exit {
    let (status, signal) = over.status_or_signal();
    Exit {
        status,
        signal,
        out_of_memory: over.end == End::OutOfMemory,
        timed_out: over.end == End::TimedOut,
        cancelled: false,
        scheduler: over.scheduler(),
        seconds: over.seconds,
        tail,
    }
}
