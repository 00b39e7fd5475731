//! The plan: which experiments, which runs of them are missing, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use server::challenge::Known;
use sha2::{Digest, Sha256};
use study::{
    ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, ExperimentId, Factor, ModelSpec,
    RunKey, RunStatus, Store, StoreError, Study,
};

use crate::names::{self, Models};
use crate::pairing;

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
    /// Begin runs again that failed, and pairs of runs that cannot be compared.
    pub retry_failed: bool,
    /// The factors that may differ between the sides, from now on; `None` leaves what was said
    /// before.
    pub allow: Option<BTreeSet<Factor>>,
    /// The device, instead of the study's.
    pub device: Option<String>,
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
    /// Why a run that is finished is to be made again.
    pub again: Option<String>,
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
    /// Seconds that the missing runs will take one after another, as far as finished ones tell:
    /// those of the same experiment, else all of them.
    pub expected_seconds: Option<f64>,
    /// Bytes that the missing runs will take of the disk, as far as finished ones tell.
    pub expected_bytes: Option<u64>,
    /// The factors that may differ between the sides, if this call says so.
    pub allow: Option<BTreeSet<Factor>>,
}

impl Plan {
    /// Enters the experiments into the store, as the ones that are run and compared from now on.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn enter(&self, store: &Store) -> Result<(), StoreError> {
        store.plan(&self.experiments)?;
        if let Some(factors) = &self.allow {
            for (experiment, _) in &self.experiments {
                store.allow(&experiment.id(), factors)?;
            }
        }
        Ok(())
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
pub fn plan(
    study: &Study,
    store: &Store,
    overrides: &Overrides,
    models: &Models,
) -> Result<Plan, PlanError> {
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
            let experiment = experiment(study, overrides, models, bug, (*evaluation, artifact))?;
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
    let mut plan = Plan {
        experiments: experiments.iter().map(|(e, runs, _)| (e.clone(), *runs)).collect(),
        missing: Vec::new(),
        finished: 0,
        failed: 0,
        expected_seconds: None,
        expected_bytes: None,
        allow: overrides.allow.clone(),
    };
    let unequal = if overrides.retry_failed {
        pairing::unequal_runs(store, &plan.experiments, overrides.allow.as_ref())?
    } else {
        BTreeMap::new()
    };
    let mut spent = Spent::default();
    for (experiment, runs, artifact) in experiments {
        let id = experiment.id();
        let known: BTreeMap<u32, study::RunRecord> =
            store.runs(&id)?.into_iter().map(|run| (run.key.run, run)).collect();
        spent.add(study, &id, known.values());
        for run in 0..runs {
            let key = RunKey { experiment: id.clone(), run };
            let again = unequal.get(&key).cloned();
            match known.get(&run).map(|r| r.status) {
                Some(RunStatus::Finished) if again.is_none() => plan.finished += 1,
                Some(RunStatus::Failed) if !overrides.retry_failed => plan.failed += 1,
                _ if overrides.only.is_some_and(|only| only != experiment.evaluation) => {}
                _ => plan.missing.push(PlannedRun {
                    key,
                    experiment: experiment.clone(),
                    artifact: artifact.clone(),
                    again,
                }),
            }
        }
    }
    (plan.expected_seconds, plan.expected_bytes) = spent.expect(&plan.missing);
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
    // The artifacts of such a pair say all that runs could, unless somebody wants to see them.
    if overrides.bugs.is_empty() {
        let identical = store.identical_pairs()?;
        let built = sides.len();
        sides.retain(|bug, _| !identical.contains(bug));
        if sides.is_empty() && built > 0 {
            return Ok(sides);
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
    models: &Models,
    bug: &BugId,
    (evaluation, artifact): (Evaluation, &ArtifactRecord),
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
    Known::parse(&challenge.name).map_err(|error| PlanError::Value(error.to_string()))?;
    Ok(Experiment {
        bug: bug.clone(),
        evaluation,
        artifact: artifact.id.clone(),
        framework: config.framework.name.clone(),
        toolchain: artifact.toolchain.clone(),
        model: model(study, overrides, models)?,
        challenge,
        hyperparameters,
        seed_policy: config.run.seed_policy,
        meta_seed: config.study.meta_seed,
        device: overrides.device.clone().unwrap_or_else(|| config.run.device.clone()),
        conditions: None,
    })
}

/// The model: a class of the study's own file, else one that the client has.
fn model(study: &Study, overrides: &Overrides, models: &Models) -> Result<ModelSpec, PlanError> {
    let config = &study.config.model;
    let name = overrides.model.as_ref().unwrap_or(&config.name).clone();
    if let Some(file) = &config.source {
        let path = study.resolve(file);
        let source =
            std::fs::read_to_string(&path).map_err(|source| PlanError::Model { path, source })?;
        if names::defines_class(&source, &name) {
            let digest = study::files::sha256_hex(source.as_bytes());
            return Ok(ModelSpec { name, source: Some(file.clone()), source_digest: Some(digest) });
        }
        if overrides.model.is_none() || !models.has(&name) {
            return Err(models.unknown(&name, Some(file)));
        }
    }
    if models.has(&name) {
        Ok(ModelSpec { name, source: None, source_digest: None })
    } else {
        Err(models.unknown(&name, None))
    }
}

/// What finished runs took, to tell what the next ones will.
#[derive(Default)]
pub(crate) struct Spent {
    seconds: BTreeMap<ExperimentId, Vec<f64>>,
    bytes: Vec<u64>,
}

/// Finished runs whose folders are measured; more would tell nothing more.
const MEASURED: usize = 20;

impl Spent {
    pub(crate) fn add<'a>(
        &mut self,
        study: &Study,
        id: &ExperimentId,
        runs: impl Iterator<Item = &'a study::RunRecord>,
    ) {
        for run in runs {
            if let Some(seconds) = duration(run) {
                self.seconds.entry(id.clone()).or_default().push(seconds);
                if self.bytes.len() < MEASURED {
                    self.bytes.push(containers::folder_bytes(&study.run_dir(&run.key)));
                }
            }
        }
    }

    /// Seconds and bytes for these runs.
    pub(crate) fn expect(&self, missing: &[PlannedRun]) -> (Option<f64>, Option<u64>) {
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        let every: Vec<f64> = self.seconds.values().flatten().copied().collect();
        if every.is_empty() {
            return (None, None);
        }
        let overall = mean(&every);
        let own = |run: &PlannedRun| {
            self.seconds.get(&run.key.experiment).map_or(overall, |all| mean(all))
        };
        let bytes = self.bytes.iter().sum::<u64>() as f64 / self.bytes.len().max(1) as f64;
        let bytes = (bytes * missing.len() as f64).round() as u64;
        (Some(missing.iter().map(own).sum()), Some(bytes))
    }
}

/// Orders runs so that drift of the machine falls on both sides alike: run by run, the bugs in a
/// shuffled order, and within a bug the two sides in an order drawn for each run. All draws are
/// SHA-256 of the study's meta seed and the run's name, so the order is the same on every call.
pub(crate) fn interleave(runs: &mut [PlannedRun], meta_seed: u64) {
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

    pub(crate) fn planned(
        study: &Study,
        store: &Store,
        overrides: &Overrides,
    ) -> Result<Plan, PlanError> {
        let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python");
        plan(study, store, overrides, &Models::read(client.as_ref(), "tinynn")?)
    }

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
                // Two sides of the same content would need no run.
                ArtifactStatus::Built { content: format!("c{byte}"), bytes: 1 }
            } else {
                ArtifactStatus::Failed { class: "compile".into(), line: "x".into() }
            },
            seconds: 1.0,
        }
    }

    pub(crate) fn study_with(pairs: &[(u64, bool)]) -> (tempfile::TempDir, Study, Store) {
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
        let first = planned(&study, &store, &Overrides::default()).unwrap();
        assert_eq!(first.missing.len(), 2 * 2 * 4);
        let order = |plan: &Plan| -> Vec<String> {
            plan.missing.iter().map(|p| p.key.to_string()).collect()
        };
        let again = planned(&study, &store, &Overrides::default()).unwrap();
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
        let first = planned(&study, &store, &Overrides::default()).unwrap();
        assert!(store.active_experiments().unwrap().is_empty(), "planning writes nothing");
        first.enter(&store).unwrap();
        for planned in &first.missing[..3] {
            store.begin_run(&planned.key, 0).unwrap();
            store.finish_run(&planned.key, &serde_json::json!({})).unwrap();
        }
        store.begin_run(&first.missing[3].key, 0).unwrap();
        store.fail_run(&first.missing[3].key, "signal 11").unwrap();
        let second = planned(&study, &store, &Overrides::default()).unwrap();
        assert_eq!((second.missing.len(), second.finished, second.failed), (4, 3, 1));
        let more = Overrides { runs: Some(6), retry_failed: true, ..Overrides::default() };
        assert_eq!(planned(&study, &store, &more).unwrap().missing.len(), 9);
        let side = Overrides { only: Some(Evaluation::Buggy), ..Overrides::default() };
        assert!(
            planned(&study, &store, &side)
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
        let found = planned(&study, &store, &aa).unwrap();
        assert_eq!(found.missing.len(), 3 * 4);
        for run in found.missing.chunks(3) {
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
        assert_eq!(planned(&study, &store, &alone).unwrap().missing.len(), 4);
        for (only, word) in [(Evaluation::Aa, "--control"), (Evaluation::Artificial, "--only")] {
            let asked = Overrides { only: Some(only), ..Overrides::default() };
            let error = planned(&study, &store, &asked).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused_before_anything_runs() {
        let (folder, mut study, store) = study_with(&[(1, true)]);
        let refused = |study: &Study, overrides: Overrides| {
            planned(study, &store, &overrides).unwrap_err().to_string()
        };
        let asked = Overrides { model: Some("mpl".into()), ..Overrides::default() };
        assert!(refused(&study, asked).contains("expected one of: mlp"));
        let asked = Overrides { challenge: Some("imagenet".into()), ..Overrides::default() };
        assert!(refused(&study, asked).contains("cifar10"));
        // A user's own file: its classes, and the client's models still.
        std::fs::write(folder.path().join("mine.py"), "class Wide(Model):\n    pass\n").unwrap();
        study.config.model.source = Some("mine.py".into());
        assert!(refused(&study, Overrides::default()).contains("or a class in mine.py"));
        let with = |name: &str| Overrides { model: Some(name.into()), ..Overrides::default() };
        let model = |name: &str| {
            let plan = planned(&study, &store, &with(name)).unwrap();
            plan.experiments[0].0.model.clone()
        };
        assert!(model("Wide").source_digest.is_some());
        assert_eq!(model("mlp").source, None);
    }

    #[test]
    fn time_and_disk_are_told_from_what_has_run() {
        let (_folder, study, store) = study_with(&[(1, true)]);
        let first = planned(&study, &store, &Overrides::default()).unwrap();
        assert_eq!((first.expected_seconds, first.expected_bytes), (None, None));
        first.enter(&store).unwrap();
        let run = &first.missing[0];
        store.begin_run(&run.key, 0).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        store.finish_run(&run.key, &serde_json::json!({})).unwrap();
        let folder = study.run_dir(&run.key);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("log.txt"), vec![b'x'; 10_000]).unwrap();
        let next = planned(&study, &store, &Overrides::default()).unwrap();
        assert_eq!(next.missing.len(), 7);
        assert!(next.expected_seconds.unwrap() >= 7.0 * 0.03);
        assert!(next.expected_bytes.unwrap() >= 7 * 10_000);
    }

    #[test]
    fn the_number_of_runs_has_bounds() {
        let (_folder, study, store) = study_with(&[(1, true)]);
        for runs in [0, u32::MAX] {
            let asked = Overrides { runs: Some(runs), ..Overrides::default() };
            let error = planned(&study, &store, &asked).unwrap_err().to_string();
            assert!(error.contains("--runs"), "{error}");
        }
    }

    #[test]
    fn what_is_not_built_is_said() {
        let (_folder, study, store) = study_with(&[(3, false)]);
        assert!(matches!(
            planned(&study, &store, &Overrides::default()),
            Err(PlanError::NothingBuilt)
        ));
        let asked = Overrides { bugs: vec![BugId::of_pull_request(3)], ..Overrides::default() };
        let error = planned(&study, &store, &asked).unwrap_err().to_string();
        assert!(error.contains("compile"), "{error}");
    }
}
