//! Many experiments on one artifact, which differ in factors of non-determinism: the runs of
//! `variance`.
//!
//! They have a folder and a store of their own below the study's, so that nothing of the study
//! takes them for a side of a comparison; artifacts, settings and a model of one's own are the
//! study's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use study::{ArtifactRecord, Experiment, RunKey, RunStatus, Store, StoreError, Study, StudyError};

use crate::plan::{Plan, PlannedRun, Spent, interleave};

/// Why the folder of a factorial cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FactorialError {
    /// The user's model lies where the folder cannot have it.
    #[error(
        "model.source is `{0}`, which lies outside of the study's folder; put the file into the \
         study"
    )]
    ModelOutside(String),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// The folder is no study.
    #[error(transparent)]
    Study(#[from] StudyError),
}

/// What the client of an experiment with conditions finds in its environment.
pub(crate) fn environment(experiment: &Experiment) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if let Some(conditions) = &experiment.conditions {
        let mut set = |name: &str, value: String| env.insert(format!("REPRODUCEML_{name}"), value);
        set("THREADS", conditions.threads.to_string());
        for (name, on) in
            [("DETERMINISTIC", conditions.deterministic), ("DROPOUT", conditions.dropout)]
        {
            set(name, if on { "on" } else { "off" }.to_owned());
        }
    }
    env
}

/// Makes the folder of a factorial below `study`, or opens the one that is there.
///
/// # Errors
/// See [`FactorialError`].
pub fn place(study: &Study, folder: &Path, model: Option<&str>) -> Result<Study, FactorialError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FactorialError::Io { path, source }
    };
    let mut files = vec!["study.toml"];
    if let Some(source) = model {
        if Path::new(source).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(FactorialError::ModelOutside(source.to_owned()));
        }
        files.push(source);
    }
    for file in files {
        let from = study.resolve(file);
        let bytes = std::fs::read(&from).map_err(io(&from))?;
        let to = folder.join(file);
        study::files::write_whole(&to, &bytes).map_err(io(&to))?;
    }
    let link = folder.join("artifacts");
    if !link.exists() {
        // One that leads nowhere: the study was moved.
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(study.artifacts_dir(), &link).map_err(io(&link))?;
    }
    Ok(Study::open(folder)?)
}

/// The plan of `repetitions` runs of each experiment on `artifact`, in an interleaved order.
/// `store` is the factorial's, if there is one yet; `like` are finished runs that tell how long
/// one takes, of the study's store.
///
/// # Errors
/// If a store cannot be read.
pub fn factorial(
    study: &Study,
    store: Option<&Store>,
    experiments: &[Experiment],
    artifact: &ArtifactRecord,
    repetitions: u32,
    retry_failed: bool,
) -> Result<Plan, StoreError> {
    let mut plan = Plan {
        experiments: experiments.iter().map(|e| (e.clone(), repetitions)).collect(),
        missing: Vec::new(),
        finished: 0,
        failed: 0,
        expected_seconds: None,
        expected_bytes: None,
        allow: None,
    };
    let mut spent = Spent::default();
    for experiment in experiments {
        let id = experiment.id();
        let known: BTreeMap<u32, study::RunRecord> = match store {
            Some(store) => store.runs(&id)?.into_iter().map(|run| (run.key.run, run)).collect(),
            None => BTreeMap::new(),
        };
        spent.add(study, &id, known.values());
        for run in 0..repetitions {
            match known.get(&run).map(|run| run.status) {
                Some(RunStatus::Finished) => plan.finished += 1,
                Some(RunStatus::Failed) if !retry_failed => plan.failed += 1,
                _ => plan.missing.push(PlannedRun {
                    key: RunKey { experiment: id.clone(), run },
                    experiment: experiment.clone(),
                    artifact: artifact.clone(),
                    again: None,
                }),
            }
        }
    }
    if plan.finished == 0 {
        // Runs of the study itself on the same artifact tell as much.
        let main = study.store()?;
        for (experiment, _) in main.active_experiments()? {
            let same = experiments.first().is_some_and(|own| {
                own.artifact == experiment.artifact
                    && own.hyperparameters == experiment.hyperparameters
            });
            if same {
                let id = experiment.id();
                spent.add(study, &id, main.runs(&id)?.iter());
            }
        }
    }
    (plan.expected_seconds, plan.expected_bytes) = spent.expect(&plan.missing);
    interleave(&mut plan.missing, study.config.study.meta_seed);
    Ok(plan)
}
