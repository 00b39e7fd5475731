//! Carrying out a plan: so many runs at a time, each followed to its end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containers::Cancel;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use server::{Server, ServerConfig, ServerError, ServerHandle};
use study::{BugId, Evaluation, ExperimentId, RunStatus, Store, StoreError, Study};

use crate::cache::ArrayCache;
use crate::launch::{Exit, Launch, LaunchError, Launcher, SERVER_LOST};
use crate::pairing::compare_manifests;
use crate::plan::{Plan, PlannedRun};

/// How runs are carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Runs at the same time.
    pub jobs: usize,
    /// The training client's folder.
    pub client: PathBuf,
}

/// What happens while a plan is carried out.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A run began.
    Began {
        /// Which.
        name: String,
    },
    /// A run ended, well or not.
    Ended {
        /// Which.
        name: String,
        /// Why it failed, if it did.
        failure: Option<String>,
        /// Seconds it took.
        seconds: f64,
        /// Runs that ended so far.
        done: usize,
        /// Runs of this call.
        total: usize,
    },
}

/// One side of one bug, after the runs.
#[derive(Debug, Clone, Serialize)]
pub struct SideSummary {
    /// The bug.
    pub bug: BugId,
    /// The side.
    pub evaluation: Evaluation,
    /// The experiment.
    pub experiment: ExperimentId,
    /// Runs asked for.
    pub asked: u32,
    /// Runs finished.
    pub finished: usize,
    /// Runs failed.
    pub failed: usize,
    /// The first failure, or why the pair may not be compared.
    pub reason: Option<String>,
}

/// What a call of `run` left.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// Each side of each bug.
    pub sides: Vec<SideSummary>,
    /// Runs that this call made.
    pub made: usize,
}

impl RunSummary {
    /// Whether every run that was asked for is finished and comparable.
    pub fn is_complete(&self) -> bool {
        self.sides.iter().all(|s| s.finished >= s.asked as usize && s.reason.is_none())
    }
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
        let here = Here { study: &study, store: &store, server: &server, cache: &cache, access };
        let result = all_runs(&here, plan, launcher, options, progress).await;
        server.shutdown().await;
        result?;
    }
    for (side, corrected) in pairs(plan) {
        compare_pair(&store, &side, &corrected)?;
    }
    Ok(RunSummary { sides: summarise(&store, plan)?, made: plan.missing.len() })
}

/// What all runs of a call share.
struct Here<'a> {
    study: &'a Study,
    store: &'a Store,
    server: &'a ServerHandle,
    cache: &'a ArrayCache,
    /// What the clients' environment says about the server.
    access: BTreeMap<String, String>,
}

/// What a client needs beside the address to be let in and to know the server.
fn access(config: &ServerConfig) -> BTreeMap<String, String> {
    let token = config.token.as_ref().map(|token| token.reveal().to_owned());
    let fingerprint = config.tls.as_ref().map(|tls| tls.fingerprint().to_string());
    [("REPRODUCEML_TOKEN", token), ("REPRODUCEML_TLS_FINGERPRINT", fingerprint)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

async fn all_runs<L: Launcher>(
    here: &Here<'_>,
    plan: &Plan,
    launcher: &L,
    options: &RunOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), RunError> {
    let total = plan.missing.len();
    let mut waiting: VecDeque<&PlannedRun> = plan.missing.iter().collect();
    let mut under_way = FuturesUnordered::new();
    let mut done = 0;
    loop {
        while under_way.len() < options.jobs.max(1)
            && let Some(planned) = waiting.pop_front()
        {
            progress(Progress::Began { name: planned.key.to_string() });
            under_way.push(one_run(here, planned, launcher, options));
        }
        let Some(ended) = under_way.next().await else { return Ok(()) };
        let (planned, failure, seconds) = ended?;
        done += 1;
        let name = planned.key.to_string();
        progress(Progress::Ended { name, failure, seconds, done, total });
    }
}

async fn one_run<'a, L: Launcher>(
    here: &Here<'_>,
    planned: &'a PlannedRun,
    launcher: &L,
    options: &RunOptions,
) -> Result<(&'a PlannedRun, Option<String>, f64), RunError> {
    let (study, server) = (here.study, here.server);
    let key = &planned.key;
    let folder = study.run_dir(key);
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Io { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    let log_path = folder.join("log.txt");
    let mut log = File::create(&log_path).map_err(io_error(&log_path))?;
    let artifact = study.artifact_dir(&planned.artifact.id).join("files");
    if !artifact.is_dir() {
        return Err(RunError::NoArtifact { id: planned.artifact.id.to_string(), path: artifact });
    }
    let address = server.addresses().first().cloned().unwrap_or_default();
    let ticket = server.ticket(&key.experiment, key.run);
    let mut env = here.access.clone();
    env.insert("REPRODUCEML_IMAGE".to_owned(), planned.artifact.image.clone());
    env.insert("REPRODUCEML_ARTIFACT_DIGEST".to_owned(), planned.artifact.id.to_string());
    let launch = Launch {
        name: key.to_string(),
        image: planned.artifact.image.clone(),
        artifact,
        client: options.client.clone(),
        server: address,
        ticket: ticket.as_str().to_owned(),
        cache: Some(here.cache.path().to_owned()),
        env,
        memory_mib: study.config.run.memory_mib,
        time: Duration::from_secs(60 * u64::from(study.config.run.timeout_minutes)),
        gpu: planned.experiment.device == "cuda",
    };
    let exit = launcher.launch(&launch, &mut log, &Cancel::new()).await?;
    let failure = settle(here.store, planned, &exit)?;
    Ok((planned, failure, exit.seconds))
}

/// Decides what became of a run whose process has ended. What the server accepted stands, however
/// the process ended afterwards.
fn settle(store: &Store, planned: &PlannedRun, exit: &Exit) -> Result<Option<String>, StoreError> {
    let key = &planned.key;
    let run = store.run(key)?;
    match run.as_ref().map(|run| run.status) {
        Some(RunStatus::Finished) => {
            if exit.status != Some(0) {
                let how = Exit { tail: String::new(), ..exit.clone() }.describe();
                store.note_run(key, &format!("after its results were accepted: {how}"))?;
            }
            Ok(None)
        }
        Some(RunStatus::Failed) => Ok(run.and_then(|run| run.reason)),
        // Without a server or by our own doing nothing is known of the run: it starts over.
        _ if exit.cancelled || exit.status == Some(SERVER_LOST) => Ok(Some(exit.describe())),
        Some(RunStatus::Running) => {
            store.fail_run(key, &exit.describe())?;
            Ok(Some(exit.describe()))
        }
        None => {
            // It ended before it ever spoke to the server.
            store.begin_run(key, planned.experiment.seed(key.run))?;
            store.fail_run(key, &exit.describe())?;
            Ok(Some(exit.describe()))
        }
    }
}

/// Each experiment with the one of its bug that it is compared with, the corrected side.
fn pairs(plan: &Plan) -> Vec<(ExperimentId, ExperimentId)> {
    let corrected: BTreeMap<&BugId, ExperimentId> = plan
        .experiments
        .iter()
        .filter(|(experiment, _)| experiment.evaluation == Evaluation::Corrected)
        .map(|(experiment, _)| (&experiment.bug, experiment.id()))
        .collect();
    plan.experiments
        .iter()
        .filter(|(experiment, _)| experiment.evaluation != Evaluation::Corrected)
        .filter_map(|(side, _)| Some((side.id(), corrected.get(&side.bug)?.clone())))
        .collect()
}

/// Says of an experiment whether its manifests differ from the corrected side's in more than the
/// artifact. What was said before is taken back once they agree.
fn compare_pair(
    store: &Store,
    side: &ExperimentId,
    corrected: &ExperimentId,
) -> Result<(), StoreError> {
    let others = store.runs(corrected)?;
    let difference = store.runs(side)?.into_iter().find_map(|run| {
        let other = others.iter().find(|other| other.key.run == run.key.run)?;
        let (Some(a), Some(b)) = (&run.manifest, &other.manifest) else { return None };
        let first = compare_manifests(a, b).into_iter().next()?;
        Some(format!("run {} differs between the sides in {first}", run.key.run))
    });
    store.set_unpaired(side, difference.as_deref())
}

fn summarise(store: &Store, plan: &Plan) -> Result<Vec<SideSummary>, StoreError> {
    let mut sides = Vec::new();
    for (experiment, asked) in &plan.experiments {
        let id = experiment.id();
        let runs = store.runs(&id)?;
        let count = |status| runs.iter().filter(|run| run.status == status).count();
        let failure = runs
            .iter()
            .find(|run| run.status == RunStatus::Failed)
            .and_then(|run| run.reason.clone());
        sides.push(SideSummary {
            bug: experiment.bug.clone(),
            evaluation: experiment.evaluation,
            asked: *asked,
            finished: count(RunStatus::Finished),
            failed: count(RunStatus::Failed),
            reason: store.invalid_reason(&id)?.or(failure),
            experiment: id,
        });
    }
    Ok(sides)
}
