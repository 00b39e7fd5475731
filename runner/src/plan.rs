//! The plan: which experiments, which runs of them are missing, and in which order.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use study::{
    ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, RunKey, RunStatus, Store,
    StoreError, Study,
};

/// What a call changes of what `study.toml` says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Only these bugs; empty: all that are built.
    pub bugs: Vec<BugId>,
    /// Runs a side.
    pub runs: Option<u32>,
    /// Passes over the training data.
    pub epochs: Option<u32>,
    /// The model.
    pub model: Option<String>,
    /// The data.
    pub challenge: Option<String>,
    /// Only this side.
    pub only: Option<Evaluation>,
    /// Run a control beside each bug's two sides.
    pub control: Option<Control>,
    /// Begin failed runs again.
    pub retry_failed: bool,
}

/// A control that a study runs to know how far its own verdicts can be trusted. (Planted faults,
/// the positive controls, are bugs of the corpus.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The corrected artifact against itself, with the same design: the negative control.
    Aa,
}

/// One run to make.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Which run.
    pub key: RunKey,
    /// Its experiment.
    pub experiment: Experiment,
    /// What it runs on.
    pub artifact: ArtifactRecord,
}

/// What is to be done, in its order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All experiments with their number of runs.
    pub experiments: Vec<(Experiment, u32)>,
    /// The runs that are missing.
    pub missing: Vec<PlannedRun>,
    /// Runs that are finished already.
    pub finished: usize,
    /// Runs that failed and are not begun again.
    pub failed: usize,
    /// Seconds a run of each experiment has taken so far, where one is known.
    pub seconds_a_run: Option<f64>,
}

impl Plan {
    /// Enters the experiments into the store, as the ones that are run and compared from now on.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn enter(&self, store: &Store) -> Result<(), StoreError> {
        store.plan(&self.experiments)
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nothing is built.
    #[error("no bug of this study has both its artifacts yet; run `reproduceml build` first")]
    NothingBuilt,
    /// A bug that was asked for has no pair.
    #[error("{bug} has no pair of artifacts: {reason}")]
    NotBuilt {
        /// The bug.
        bug: BugId,
        /// Why.
        reason: String,
    },
    /// A value is out of its range.
    #[error("{0}")]
    Value(String),
    /// The user's model cannot be read.
    #[error("{path}: {source}; study.toml names it as model.source")]
    Model {
        /// The file.
        path: std::path::PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Plans the runs of a study. Nothing is written: see [`Plan::enter`].
///
/// # Errors
/// See [`PlanError`].
pub fn plan(study: &Study, store: &Store, overrides: &Overrides) -> Result<Plan, PlanError> {
    let pairs = pairs(store, overrides)?;
    let runs = overrides.runs.unwrap_or(study.config.run.runs);
    if !(1..=study::config::MOST_RUNS).contains(&runs) {
        let most = study::config::MOST_RUNS;
        return Err(PlanError::Value(format!(
            "--runs is {runs}; expected 1 to {most} runs a side"
        )));
    }
    let mut experiments = Vec::new();
    for (bug, sides) in &pairs {
        for (evaluation, artifact) in sides {
            let experiment = experiment(study, overrides, bug, *evaluation, artifact)?;
            experiments.push((experiment, runs, artifact.clone()));
        }
    }
    if let Some(only) = overrides.only
        && !experiments.iter().any(|(experiment, _, _)| experiment.evaluation == only)
    {
        return Err(PlanError::Value(match only {
            Evaluation::Aa => "--only aa: expected `--control aa` beside it".to_owned(),
            only => format!("--only {only}: no bug that is to be run has that side"),
        }));
    }
    let planned: Vec<(Experiment, u32)> =
        experiments.iter().map(|(experiment, runs, _)| (experiment.clone(), *runs)).collect();
    let mut plan = Plan {
        experiments: planned,
        missing: Vec::new(),
        finished: 0,
        failed: 0,
        seconds_a_run: None,
    };
    let mut seconds = Vec::new();
    for (experiment, runs, artifact) in experiments {
        let id = experiment.id();
        let known: BTreeMap<u32, study::RunRecord> =
            store.runs(&id)?.into_iter().map(|run| (run.key.run, run)).collect();
        seconds.extend(known.values().filter_map(duration));
        for run in 0..runs {
            match known.get(&run).map(|r| r.status) {
                Some(RunStatus::Finished) => plan.finished += 1,
                Some(RunStatus::Failed) if !overrides.retry_failed => plan.failed += 1,
                _ if overrides.only.is_some_and(|only| only != experiment.evaluation) => {}
                _ => plan.missing.push(PlannedRun {
                    key: RunKey { experiment: id.clone(), run },
                    experiment: experiment.clone(),
                    artifact: artifact.clone(),
                }),
            }
        }
    }
    if !seconds.is_empty() {
        plan.seconds_a_run = Some(seconds.iter().sum::<f64>() / seconds.len() as f64);
    }
    interleave(&mut plan.missing, study.config.study.meta_seed);
    Ok(plan)
}

type Sides = Vec<(Evaluation, ArtifactRecord)>;

/// The bugs both of whose sides are built.
fn pairs(store: &Store, overrides: &Overrides) -> Result<BTreeMap<BugId, Sides>, PlanError> {
    let mut sides: BTreeMap<BugId, Sides> = BTreeMap::new();
    for (bug, evaluation, record) in store.builds()? {
        sides.entry(bug).or_default().push((evaluation, record));
    }
    for bug in &overrides.bugs {
        let reason = match sides.get(bug) {
            None => Some("it has not been built".to_owned()),
            Some(sides) => sides.iter().find_map(|(evaluation, record)| match &record.status {
                ArtifactStatus::Built { .. } => None,
                ArtifactStatus::Failed { class, line } => {
                    Some(format!("its {evaluation} side failed: {class}: {line}"))
                }
            }),
        };
        if let Some(reason) = reason {
            return Err(PlanError::NotBuilt { bug: bug.clone(), reason });
        }
    }
    sides.retain(|bug, sides| {
        sides.len() == 2
            && sides.iter().all(|(_, record)| record.is_built())
            && (overrides.bugs.is_empty() || overrides.bugs.contains(bug))
    });
    if overrides.control == Some(Control::Aa) {
        for sides in sides.values_mut() {
            let corrected = sides.iter().find(|(side, _)| *side == Evaluation::Corrected);
            let control = corrected.map(|(_, record)| (Evaluation::Aa, record.clone()));
            sides.extend(control);
        }
    }
    if sides.is_empty() { Err(PlanError::NothingBuilt) } else { Ok(sides) }
}

fn experiment(
    study: &Study,
    overrides: &Overrides,
    bug: &BugId,
    evaluation: Evaluation,
    artifact: &ArtifactRecord,
) -> Result<Experiment, PlanError> {
    let config = &study.config;
    let mut hyperparameters = config.hyperparameters();
    if let Some(epochs) = overrides.epochs {
        if epochs == 0 {
            return Err(PlanError::Value("--epochs is 0; expected at least one".into()));
        }
        hyperparameters.epochs = epochs;
    }
    let mut challenge = config.challenge.clone();
    if let Some(name) = &overrides.challenge {
        challenge.name.clone_from(name);
    }
    let digest = match &config.model.source {
        Some(source) => {
            let path = study.resolve(source);
            let digest = study::files::sha256_file(&path)
                .map_err(|source| PlanError::Model { path, source })?;
            Some(digest)
        }
        None => None,
    };
    let mut model = config.model_spec(digest);
    if let Some(name) = &overrides.model {
        model.name.clone_from(name);
    }
    Ok(Experiment {
        bug: bug.clone(),
        evaluation,
        artifact: artifact.id.clone(),
        framework: config.framework.name.clone(),
        toolchain: artifact.toolchain.clone(),
        model,
        challenge,
        hyperparameters,
        seed_policy: config.run.seed_policy,
        meta_seed: config.study.meta_seed,
        device: config.run.device.clone(),
    })
}

/// Orders runs so that drift of the machine falls on both sides alike: run by run, the bugs in a
/// shuffled order, and within a bug the two sides in an order drawn for each run. All draws are
/// SHA-256 of the study's meta seed and the run's name, so the order is the same on every call.
fn interleave(runs: &mut [PlannedRun], meta_seed: u64) {
    let draw = |text: &str| -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"reproduceml/order/v1\0");
        hasher.update(meta_seed.to_be_bytes());
        hasher.update(text.as_bytes());
        hasher.finalize().into()
    };
    runs.sort_by_cached_key(|planned| {
        let bug = &planned.experiment.bug;
        let run = planned.key.run;
        (run, draw(&format!("{bug}/{run}")), draw(&format!("{}/{run}", planned.key.experiment)))
    });
}

fn duration(run: &study::RunRecord) -> Option<f64> {
    let begin: jiff::Timestamp = run.started_at.parse().ok()?;
    let end: jiff::Timestamp = run.finished_at.as_ref()?.parse().ok()?;
    (run.status == RunStatus::Finished).then(|| end.duration_since(begin).as_secs_f64())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use study::{ArtifactId, Strategy};

    pub(crate) const CONFIG: &str = r#"
[study]
name = "example"
meta_seed = 1
[framework]
name = "tinynn"
repository = "tinynn/tinynn"
[build]
toolchain = "t"
strategy = "source"
[challenge]
name = "synthetic"
[model]
name = "mlp"
[run]
runs = 4
epochs = 2
batch_size = 16
learning_rate = 0.1
seed_policy = "per-run"
"#;

    fn artifact(byte: u8, built: bool) -> ArtifactRecord {
        ArtifactRecord {
            id: ArtifactId::from_digest([byte; 32]),
            repository: "tinynn/tinynn".into(),
            commit: None,
            toolchain: "t".into(),
            toolchain_digest: "d".into(),
            image: "i".into(),
            strategy: Strategy::Source,
            fault: None,
            status: if built {
                ArtifactStatus::Built { content: "c".into(), bytes: 1 }
            } else {
                ArtifactStatus::Failed { class: "compile".into(), line: "x".into() }
            },
            seconds: 1.0,
        }
    }

    fn study_with(pairs: &[(u64, bool)]) -> (tempfile::TempDir, Study, Store) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.toml"), CONFIG).unwrap();
        let study = Study::open(folder.path()).unwrap();
        let store = study.store().unwrap();
        for (index, (pr, built)) in pairs.iter().enumerate() {
            let bug = BugId::of_pull_request(*pr);
            for (side, evaluation) in [Evaluation::Buggy, Evaluation::Corrected].iter().enumerate()
            {
                let record = artifact((2 * index + side) as u8, *built || side == 1);
                store.put_artifact(&record).unwrap();
                store.assign_artifact(&bug, *evaluation, &record.id).unwrap();
            }
        }
        (folder, study, store)
    }

    #[test]
    fn runs_are_interleaved_and_the_order_is_the_same_each_time() {
        let (_folder, study, store) = study_with(&[(1, true), (2, true), (3, false)]);
        let first = plan(&study, &store, &Overrides::default()).unwrap();
        assert_eq!(first.missing.len(), 2 * 2 * 4);
        let order = |plan: &Plan| -> Vec<String> {
            plan.missing.iter().map(|p| p.key.to_string()).collect()
        };
        let again = plan(&study, &store, &Overrides::default()).unwrap();
        assert_eq!(order(&first), order(&again));
        for (index, planned) in first.missing.iter().enumerate() {
            assert_eq!(planned.key.run as usize, index / 4, "run by run");
        }
        for pair in first.missing.chunks(2) {
            assert_eq!(pair[0].experiment.bug, pair[1].experiment.bug, "sides are neighbours");
            assert_ne!(pair[0].experiment.evaluation, pair[1].experiment.evaluation);
        }
        let buggy_first = first
            .missing
            .chunks(2)
            .filter(|pair| pair[0].experiment.evaluation == Evaluation::Buggy)
            .count();
        assert!((1..8).contains(&buggy_first), "neither side always comes first");
    }

    #[test]
    fn finished_runs_stay_and_more_runs_add_the_missing() {
        let (_folder, study, store) = study_with(&[(1, true)]);
        let first = plan(&study, &store, &Overrides::default()).unwrap();
        assert!(store.active_experiments().unwrap().is_empty(), "planning writes nothing");
        first.enter(&store).unwrap();
        for planned in &first.missing[..3] {
            store.begin_run(&planned.key, 0).unwrap();
            store.finish_run(&planned.key, &serde_json::json!({})).unwrap();
        }
        store.begin_run(&first.missing[3].key, 0).unwrap();
        store.fail_run(&first.missing[3].key, "signal 11").unwrap();
        let second = plan(&study, &store, &Overrides::default()).unwrap();
        assert_eq!((second.missing.len(), second.finished, second.failed), (4, 3, 1));
        let more = Overrides { runs: Some(6), retry_failed: true, ..Overrides::default() };
        assert_eq!(plan(&study, &store, &more).unwrap().missing.len(), 9);
        let side = Overrides { only: Some(Evaluation::Buggy), ..Overrides::default() };
        assert!(
            plan(&study, &store, &side)
                .unwrap()
                .missing
                .iter()
                .all(|p| p.experiment.evaluation == Evaluation::Buggy)
        );
    }

    #[test]
    fn the_negative_control_is_the_corrected_artifact_with_the_same_design() {
        let (_folder, study, store) = study_with(&[(1, true)]);
        let aa = Overrides { control: Some(Control::Aa), ..Overrides::default() };
        let planned = plan(&study, &store, &aa).unwrap();
        assert_eq!(planned.missing.len(), 3 * 4);
        for run in planned.missing.chunks(3) {
            let side = |wanted| {
                run.iter().find(|planned| planned.experiment.evaluation == wanted).unwrap()
            };
            let (control, corrected) = (side(Evaluation::Aa), side(Evaluation::Corrected));
            assert_eq!(control.artifact, corrected.artifact);
            assert_eq!(control.experiment.pair_key(), corrected.experiment.pair_key());
            assert_ne!(control.key.experiment, corrected.key.experiment);
            assert_eq!(control.key.run, corrected.key.run, "interleaved with the sides");
        }
        let alone = Overrides { only: Some(Evaluation::Aa), ..aa };
        assert_eq!(plan(&study, &store, &alone).unwrap().missing.len(), 4);
        for (only, word) in [(Evaluation::Aa, "--control"), (Evaluation::Artificial, "--only")] {
            let asked = Overrides { only: Some(only), ..Overrides::default() };
            let error = plan(&study, &store, &asked).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_number_of_runs_has_bounds() {
        let (_folder, study, store) = study_with(&[(1, true)]);
        for runs in [0, u32::MAX] {
            let asked = Overrides { runs: Some(runs), ..Overrides::default() };
            let error = plan(&study, &store, &asked).unwrap_err().to_string();
            assert!(error.contains("--runs"), "{error}");
        }
    }

    #[test]
    fn what_is_not_built_is_said() {
        let (_folder, study, store) = study_with(&[(3, false)]);
        assert!(matches!(
            plan(&study, &store, &Overrides::default()),
            Err(PlanError::NothingBuilt)
        ));
        let asked = Overrides { bugs: vec![BugId::of_pull_request(3)], ..Overrides::default() };
        let error = plan(&study, &store, &asked).unwrap_err().to_string();
        assert!(error.contains("compile"), "{error}");
    }
}
