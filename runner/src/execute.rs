//! Carrying out a plan: so many runs at a time, each followed to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containers::Cancel;
use futures_util::stream::{FuturesUnordered, StreamExt};
use server::{Event, Server, ServerConfig, ServerError};
use study::{BugId, Ending, RunKey, Store, StoreError, Study};

use crate::cache::ArrayCache;
use crate::factorial;
use crate::launch::{LaunchError, Launcher, Seat, Seated};
use crate::launching::{Launching, access};
use crate::pairing;
use crate::plan::{Plan, PlannedRun};
use crate::settle::{Failed, settle};
use crate::summary::{RunSummary, summarise};

/// How runs are carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Runs at the same time.
    pub jobs: usize,
    /// The training client's folder.
    pub client: PathBuf,
    /// The GPUs that runs on `cuda` are given, one each; no more of them run at a time. None on a
    /// cluster, which gives each run its own.
    pub gpus: Vec<String>,
}

/// What happens while a plan is carried out.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A run began.
    Began {
        /// Which.
        name: String,
    },
    /// A run's node was lost to it, and it starts over.
    Again {
        /// Which.
        name: String,
        /// How it ended.
        lost: Failed,
    },
    /// A run reported an epoch.
    Epoch {
        /// Which.
        name: String,
        /// The epoch; 0 is the state after initialisation.
        epoch: u32,
        /// Its mean training loss.
        loss: Option<f64>,
        /// Seconds it took.
        seconds: f64,
    },
    /// A run ended, well or not.
    Ended {
        /// Which.
        name: String,
        /// Why it failed, if it did.
        failure: Option<Failed>,
        /// Seconds it took.
        seconds: f64,
        /// Runs that ended so far.
        done: usize,
        /// Runs of this call.
        total: usize,
    },
}

/// Why runs could not be carried out. Runs that fail are no error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server could not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A client could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the study could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A planned artifact is gone.
    #[error("artifact {id} is not in {path}; run `reproduceml build` again")]
    NoArtifact {
        /// Its identity.
        id: String,
        /// Where it should be.
        path: PathBuf,
    },
}

/// Carries out the missing runs of `plan` with a server of its own, and compares the manifests of
/// the two sides of each bug.
///
/// # Errors
/// See [`RunError`]. What was finished before stays finished.
pub async fn execute<L: Launcher>(
    study: Arc<Study>,
    store: Arc<Store>,
    plan: &Plan,
    launcher: &L,
    config: ServerConfig,
    options: &RunOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RunSummary, RunError> {
    if !plan.missing.is_empty() {
        let access = access(&config);
        let cache =
            ArrayCache::make(&study).map_err(|(path, source)| RunError::Io { path, source })?;
        let server = Server::start(store.clone(), study.clone(), config).await?;
        let launching = Launching {
            study: &study,
            server: &server,
            client: &options.client,
            access,
            cache: Some(cache.path().to_owned()),
        };
        let work = Work { study: &study, store: &store, launcher, launching, options };
        let result = work.all(plan, progress).await;
        server.shutdown().await;
        result?;
    }
    for (side, corrected) in pairing::pairs(&plan.experiments) {
        pairing::compare_pair(&store, &side, &corrected)?;
    }
    Ok(summarise(&store, plan)?)
}

/// What every run of a plan is made with.
struct Work<'a, L> {
    study: &'a Study,
    store: &'a Store,
    launcher: &'a L,
    launching: Launching<'a>,
    options: &'a RunOptions,
}

/// How often a run that lost its node starts over in one call; after that, at the next.
const AGAIN: u32 = 5;

/// How long until runs are tried again that found no place.
const WAIT: Duration = Duration::from_millis(500);

/// A run that is over.
struct Over<'a> {
    planned: &'a PlannedRun,
    gpu: Option<String>,
    failure: Option<Failed>,
    seconds: f64,
}

/// What is left to begin.
struct Waiting<'a> {
    runs: VecDeque<&'a PlannedRun>,
    gpus: VecDeque<String>,
    /// How often a run lost its node.
    lost: BTreeMap<&'a RunKey, u32>,
}

/// What comes next.
enum Next<'a> {
    Begin(&'a PlannedRun, Option<String>, Seat),
    /// It cannot be made in this call.
    Skip(&'a PlannedRun, String),
    /// Nothing, until something ends.
    Nothing,
}

impl<L: Launcher> Work<'_, L> {
    async fn all(&self, plan: &Plan, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), RunError> {
        let total = plan.missing.len();
        let mut waiting = Waiting {
            runs: plan.missing.iter().collect(),
            gpus: self.options.gpus.iter().cloned().collect(),
            lost: BTreeMap::new(),
        };
        let mut under_way = FuturesUnordered::new();
        let mut events = self.launching.server.events();
        let mut done = 0;
        loop {
            while under_way.len() < self.options.jobs.max(1) && !waiting.runs.is_empty() {
                match self.next(&mut waiting, under_way.is_empty())? {
                    Next::Begin(planned, gpu, seat) => {
                        progress(Progress::Began { name: planned.key.to_string() });
                        under_way.push(self.once(planned, gpu, seat));
                    }
                    Next::Skip(planned, reason) => {
                        done += 1;
                        let name = planned.key.to_string();
                        let failure = Some(Failed { ending: Ending::NodeLost, reason });
                        progress(Progress::Ended { name, failure, seconds: 0.0, done, total });
                    }
                    Next::Nothing => break,
                }
            }
            if under_way.is_empty() && waiting.runs.is_empty() {
                return Ok(());
            }
            let over = tokio::select! {
                Some(over) = under_way.next() => over,
                event = events.recv() => {
                    if let Ok(Event::Epoch { key, number, loss, seconds }) = event {
                        let name = key.to_string();
                        progress(Progress::Epoch { name, epoch: number, loss, seconds });
                    }
                    continue;
                }
                () = tokio::time::sleep(WAIT), if !waiting.runs.is_empty() => continue,
            };
            let Over { planned, gpu, failure, seconds } = over?;
            waiting.gpus.extend(gpu);
            let name = planned.key.to_string();
            if let Some(lost) = failure.as_ref().filter(|lost| lost.is_of_node()) {
                let times = waiting.lost.entry(&planned.key).or_default();
                *times += 1;
                if *times <= AGAIN {
                    // The next one has a new ticket, which takes the run from a node that is not
                    // as dead as it seems.
                    progress(Progress::Again { name, lost: lost.clone() });
                    waiting.runs.push_front(planned);
                    continue;
                }
            }
            if failure.is_none() {
                self.launcher.finished(planned.experiment.bug.as_str());
            }
            done += 1;
            progress(Progress::Ended { name, failure, seconds, done, total });
        }
    }

    /// The run that begins next: the first in the plan's order that has a place. A bug that has its
    /// machine is carried on before another one is begun.
    fn next<'p>(&self, waiting: &mut Waiting<'p>, idle: bool) -> Result<Next<'p>, RunError> {
        for fresh in [false, true] {
            let mut asked: BTreeSet<&BugId> = BTreeSet::new();
            for at in 0..waiting.runs.len() {
                let Some(planned) = waiting.runs.get(at).copied() else { break };
                let bug = &planned.experiment.bug;
                if !asked.insert(bug) {
                    continue;
                }
                match self.launcher.seat(bug.as_str(), fresh)? {
                    Seated::Later => {}
                    Seated::Never(reason) => {
                        waiting.runs.remove(at);
                        return Ok(Next::Skip(planned, reason));
                    }
                    Seated::Yes(mut seat) => {
                        // Where none is named, a cluster gives each run its own.
                        let wants =
                            planned.experiment.device == "cuda" && !self.options.gpus.is_empty();
                        let gpu = if wants { waiting.gpus.pop_front() } else { None };
                        if wants && gpu.is_none() && !idle {
                            return Ok(Next::Nothing); // One comes back with a run under way.
                        }
                        waiting.runs.remove(at);
                        let gpu = gpu.or_else(|| seat.gpu.take());
                        return Ok(Next::Begin(planned, gpu, seat));
                    }
                }
            }
        }
        Ok(Next::Nothing)
    }

    async fn once<'p>(
        &self,
        planned: &'p PlannedRun,
        gpu: Option<String>,
        seat: Seat,
    ) -> Result<Over<'p>, RunError> {
        let key = &planned.key;
        let folder = self.study.run_dir(key);
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Io { path, source }
        };
        std::fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        let log_path = folder.join("log.txt");
        let mut log = File::create(&log_path).map_err(io_error(&log_path))?;
        let mut launch = self
            .launching
            .launch(key, &planned.experiment.bug, &planned.artifact, gpu.clone())
            .ok_or_else(|| RunError::NoArtifact {
                id: planned.artifact.id.to_string(),
                path: self.study.artifact_dir(&planned.artifact.id),
            })?;
        launch.host.clone_from(&seat.host);
        launch.env.extend(factorial::environment(&planned.experiment));
        if let Some(reason) = &planned.again {
            self.store.supersede_run(key, reason)?;
        }
        let exit = self.launcher.launch(&launch, &mut log, &Cancel::new()).await?;
        let failure = settle(self.store, planned, &exit)?;
        // Only now may another run have its place.
        drop(seat);
        // A GPU of this machine comes back with the run; one of another has come back with the seat.
        let gpu = gpu.filter(|gpu| self.options.gpus.contains(gpu));
        Ok(Over { planned, gpu, failure, seconds: exit.seconds })
    }
}
