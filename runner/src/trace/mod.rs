//! Where two runs part: the first batch, and in it the first tensor.
//!
//! Both runs are made again, in a scratch copy of the study, so that nothing of the study changes.
//! The first time they tell the digest of their parameters after each batch, up to the epoch that
//! is known to differ; that gives the batch. The second time they write every tensor of this one
//! batch, and the tensors are compared in the order in which they came to be.

mod moment;
mod tensors;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containers::Cancel;
use serde::Serialize;
use server::{Event, Server, ServerConfig, ServerError};
use study::store::EpochRecord;
use study::{ArtifactRecord, Experiment, RunKey, Store, StoreError, Study, StudyError};

use crate::difference::RunDifference;
use crate::launch::{Exit, LaunchError, Launcher};
use crate::launching::{Launching, access};

pub use moment::Moment;
pub use tensors::{TensorDifference, TensorError};

/// Where two runs part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// The first moment at which they differ; none if the runs made again do not differ.
    pub moment: Option<Moment>,
    /// The tensors of this moment that differ, in the order of their computation: the first one
    /// is where they part.
    pub tensors: Vec<TensorDifference>,
    /// Tensors of this moment that were compared.
    pub compared: usize,
    /// Where the two went different ways altogether: what each computed next, once their modules
    /// no longer came in the same order.
    pub other_order: Option<(String, String)>,
    /// The first epoch after which the first run, made again, was not what was recorded of it.
    pub left_departs: Option<u32>,
    /// The same of the second run.
    pub right_departs: Option<u32>,
}

/// Why runs cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// An artifact or an experiment is gone.
    #[error("{run}: its {what} is not there any more; `reproduceml build` and `run` make it again")]
    Gone {
        /// The run.
        run: RunKey,
        /// What is missing.
        what: &'static str,
    },
    /// The user's model lies where a scratch copy of the study cannot have it.
    #[error(
        "model.source is `{0}`, which lies outside of the study's folder; put the file into the \
         study to trace its runs"
    )]
    ModelOutside(String),
    /// A run that was made again ended before the moment it should have shown.
    #[error("{run}, made again, ended before {moment}: {how}")]
    Ended {
        /// The run.
        run: RunKey,
        /// What was waited for.
        moment: String,
        /// How it ended.
        how: String,
    },
    /// What a client wrote cannot be read.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Predictions cannot be read.
    #[error("{path}: {source}; without the predictions they cannot be told apart")]
    Predictions {
        /// The run's folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A scratch file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The server could not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A client could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The scratch copy of the study failed.
    #[error(transparent)]
    Study(#[from] StudyError),
}

/// What a trace works with.
pub struct Tracer<'a, L> {
    /// The study.
    pub study: &'a Study,
    /// Its store.
    pub store: &'a Store,
    /// What starts clients.
    pub launcher: &'a L,
    /// Where the server listens, and where the data lies.
    pub config: ServerConfig,
    /// The training client's folder.
    pub client: PathBuf,
    /// The GPU that runs on `cuda` get.
    pub gpu: Option<String>,
    /// Is told what is being done.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// A run that was made again.
struct Again {
    epochs: Vec<EpochRecord>,
    folder: tempfile::TempDir,
    exit: Exit,
    failure: Option<String>,
}

impl Again {
    fn trace_folder(&self) -> PathBuf {
        self.folder.path().join("trace")
    }
}

impl<L: Launcher> Tracer<'_, L> {
    /// Finds where the two runs of `told` part.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub async fn trace(&self, told: &RunDifference) -> Result<Trace, TraceError> {
        let mut trace = Trace {
            moment: None,
            tensors: Vec::new(),
            compared: 0,
            other_order: None,
            left_departs: None,
            right_departs: None,
        };
        let (left, right) = (&told.left, &told.right);
        trace.moment = match told.first_epoch {
            Some(0) => Some(Moment::Initialisation),
            Some(epoch) => {
                let until = format!("the end of epoch {epoch}");
                let mut both = Vec::new();
                for (key, departs) in
                    [(left, &mut trace.left_departs), (right, &mut trace.right_departs)]
                {
                    (self.tell)(&format!("{key}: digests after each batch to {until}"));
                    let again = self.again(key, Some(epoch), None).await?;
                    if again.epochs.last().is_none_or(|last| last.epoch < epoch) {
                        return Err(ended(key, until, again));
                    }
                    *departs = self.departs(key, &again.epochs)?;
                    both.push(again.epochs);
                }
                let [a, b] = [both.first(), both.last()].map(|e| e.map_or(&[][..], Vec::as_slice));
                moment::first_batch(a, b)
            }
            None => self.first_sample(told)?,
        };
        let Some(moment) = trace.moment.clone() else { return Ok(trace) };
        let mut both = Vec::new();
        for (key, departs) in [(left, &mut trace.left_departs), (right, &mut trace.right_departs)] {
            (self.tell)(&format!("{key}: all tensors of {moment}"));
            let again = self.again(key, None, Some(&moment)).await?;
            let Some(tensors) = tensors::read(&again.trace_folder())? else {
                return Err(ended(key, moment.to_string(), again));
            };
            *departs = departs.or(self.departs(key, &again.epochs)?);
            both.push((again, tensors));
        }
        let (Some((a, left)), Some((b, right))) = (both.first(), both.last()) else {
            return Ok(trace);
        };
        let (a, b) = (a.trace_folder(), b.trace_folder());
        for (left, right) in left.iter().zip(right) {
            let what = |t: &tensors::Tensor| format!("{} of {}", t.stage, place(&t.name));
            if (&left.stage, &left.name) != (&right.stage, &right.name) {
                trace.other_order = Some((what(left), what(right)));
                break;
            }
            trace.compared += 1;
            trace.tensors.extend(tensors::compare((&a, left), (&b, right))?);
        }
        Ok(trace)
    }

    /// The first epoch of a run made again that is not what was recorded of the run.
    fn departs(&self, key: &RunKey, again: &[EpochRecord]) -> Result<Option<u32>, StoreError> {
        let recorded = self.store.epochs(key)?;
        let parted = recorded.iter().zip(again).find(|(a, b)| a.digest != b.digest);
        Ok(parted.map(|(epoch, _)| epoch.epoch))
    }

    /// The first sample whose predictions differ, of runs whose parameters never do.
    fn first_sample(&self, told: &RunDifference) -> Result<Option<Moment>, TraceError> {
        let Some(split) = told.same_predictions.iter().find(|(_, same)| !**same) else {
            return Ok(None);
        };
        let split = split.0;
        let read = |key: &RunKey| {
            let path = self.study.run_dir(key);
            let digest = self.store.prediction_digests(key)?.remove(split).unwrap_or_default();
            server::read_predictions(&path, split, &digest)
                .map_err(|source| TraceError::Predictions { path, source })
        };
        let (a, b) = (read(&told.left)?, read(&told.right)?);
        Ok(moment::first_sample(split, &a, &b))
    }

    fn planned(&self, key: &RunKey) -> Result<(Experiment, ArtifactRecord), TraceError> {
        let gone = |what| TraceError::Gone { run: key.clone(), what };
        let experiment =
            self.store.experiment(&key.experiment)?.ok_or_else(|| gone("experiment"))?;
        let artifact =
            self.store.artifact(&experiment.artifact)?.ok_or_else(|| gone("artifact"))?;
        Ok((experiment, artifact))
    }

    /// Makes a run again: to the end of an epoch with digests after each batch, or to a moment
    /// with all its tensors.
    async fn again(
        &self,
        key: &RunKey,
        until: Option<u32>,
        moment: Option<&Moment>,
    ) -> Result<Again, TraceError> {
        let (experiment, artifact) = self.planned(key)?;
        let folder = self.scratch(&experiment)?;
        let study = Arc::new(Study::open(folder.path())?);
        let store = Arc::new(study.store()?);
        store.plan(&[(experiment.clone(), key.run.saturating_add(1))])?;
        let config = ServerConfig { trace: true, ..self.config.clone() };
        let access = access(&config);
        let server = Server::start(Arc::clone(&store), Arc::clone(&study), config).await?;
        let launching = Launching {
            study: self.study,
            server: &server,
            client: &self.client,
            access,
            cache: None,
        };
        let mut launch = launching
            .launch(
                key,
                &experiment.bug,
                &artifact,
                self.gpu.clone().filter(|_| experiment.device == "cuda"),
            )
            .ok_or_else(|| TraceError::Gone { run: key.clone(), what: "artifact" })?;
        if let Some(moment) = moment {
            launch.scratch = Some(folder.path().join("trace"));
            launch.env.insert("REPRODUCEML_TRACE_AT".into(), moment.as_asked());
        }
        let cancel = Cancel::new();
        let mut log = io::sink();
        let mut events = server.events();
        let reached = async {
            while let Ok(event) = events.recv().await {
                if let (Event::Epoch { number, .. }, Some(until)) = (event, until)
                    && number >= until
                {
                    return;
                }
            }
        };
        let work = self.launcher.launch(&launch, &mut log, &cancel);
        tokio::pin!(work);
        let exit = tokio::select! {
            exit = &mut work => exit,
            () = reached => {
                cancel.cancel();
                work.await
            }
        };
        server.shutdown().await;
        let (epochs, failure) = (store.epochs(key)?, store.run(key)?.and_then(|run| run.reason));
        Ok(Again { epochs, folder, exit: exit?, failure })
    }

    /// A copy of the study with no runs and no artifacts, which goes when it is dropped.
    fn scratch(&self, experiment: &Experiment) -> Result<tempfile::TempDir, TraceError> {
        let root = self.study.root();
        let folder = tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(root)
            .map_err(|source| TraceError::Io { path: root.to_owned(), source })?;
        let copy = |from: &Path, to: &Path| {
            let made = to.parent().map_or(Ok(()), std::fs::create_dir_all);
            made.and_then(|()| std::fs::copy(from, to).map(|_| ()))
                .map_err(|source| TraceError::Io { path: to.to_owned(), source })
        };
        copy(&root.join("study.toml"), &folder.path().join("study.toml"))?;
        if let Some(source) = &experiment.model.source {
            use std::path::Component;
            if Path::new(source).components().any(|part| !matches!(part, Component::Normal(_))) {
                return Err(TraceError::ModelOutside(source.clone()));
            }
            copy(&self.study.resolve(source), &folder.path().join(source))?;
        }
        // The client in its container is another user: it may write here and nowhere else.
        use std::os::unix::fs::PermissionsExt;
        let trace = folder.path().join("trace");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        };
        std::fs::create_dir(&trace)
            .and_then(|()| open(&trace, 0o777))
            .and_then(|()| open(folder.path(), 0o755))
            .map_err(|source| TraceError::Io { path: trace, source })?;
        Ok(folder)
    }
}

/// How the names of scratch folders in a study begin.
const SCRATCH: &str = ".trace-";

/// Removes scratch folders that a killed process left. The caller has the study's lock.
///
/// # Errors
/// If one cannot be removed.
pub fn remove_scratch(study: &Study) -> Result<(), TraceError> {
    let root = study.root();
    let io = |source| TraceError::Io { path: root.to_owned(), source };
    for entry in std::fs::read_dir(root).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            std::fs::remove_dir_all(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// A module's or parameter's name, for people.
pub fn place(name: &str) -> &str {
    if name.is_empty() { "the network" } else { name }
}

fn ended(key: &RunKey, moment: String, again: Again) -> TraceError {
    let how = again.failure.unwrap_or_else(|| again.exit.describe());
    let how = how.lines().next().unwrap_or_default().to_owned();
    TraceError::Ended { run: key.clone(), moment, how }
}
