//! What a study's store and folder say beside the results: the [`Context`] of its report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

use study::funnel::{Funnel, Loss};
use study::store::{ArtifactStatus, RunStatus};
use study::{Experiment, Store, StoreError, Study};

use super::{Context, factors};
use crate::figures::{Epoch, learning_curves};

/// Bugs that have figures of their own: a page with more of them is of no use to anybody.
pub(super) const DRAWN: usize = 200;

/// Bugs that are named where many were lost for one reason.
const NAMED: usize = 12;

/// Why the surroundings of a study cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file whose digest belongs into the report cannot be read.
    #[error("{path}: {error}; check the permissions")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
}

/// One side of one bug, with what became of its runs.
struct Side {
    experiment: Experiment,
    /// Runs asked for.
    target: u32,
    runs: Vec<RunSeen>,
}

/// What a report says of a run.
struct RunSeen {
    run: u32,
    status: RunStatus,
    attempt: u32,
}

/// Reads what a report says beside the analysis. `rules` are the options of `stats` and `report`
/// that repeat the analysis, empty for the defaults.
///
/// # Errors
/// If the store or a file of the study cannot be read.
pub fn gather(
    study: &Study,
    store: &Store,
    funnel: &Funnel,
    rules: &str,
) -> Result<Context, GatherError> {
    let (mut sides, mut seen) = (Vec::new(), factors::Seen::default());
    for (experiment, target) in store.active_experiments()? {
        let mut runs = Vec::new();
        for run in store.runs(&experiment.id())? {
            if let Some(manifest) =
                run.manifest.as_ref().filter(|_| run.status == RunStatus::Finished)
            {
                seen.add(manifest);
            }
            runs.push(RunSeen { run: run.key.run, status: run.status, attempt: run.attempt });
        }
        sides.push(Side { experiment, target, runs });
    }
    let mut threats = threats(funnel, &sides);
    threats.extend(seen.threats());
    Ok(Context {
        title: format!("Report of the study {}", study.config.study.name),
        attributes: attributes(study, &sides),
        funnel: steps(funnel),
        factors: seen.rows(),
        commands: commands(study, &sides, rules),
        digests: digests(study, store)?,
        threats,
        figures: curves(store, &sides)?,
    })
}

fn steps(funnel: &Funnel) -> Vec<(String, usize, String)> {
    let step = |(name, left, losses): (&str, usize, &[Loss])| {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for loss in losses {
            let place = *places.entry(&loss.reason).or_insert_with(|| {
                reasons.push((&loss.reason, Vec::new()));
                reasons.len() - 1
            });
            reasons[place].1.push(loss.bug.as_str());
        }
        let lost: Vec<String> = reasons
            .iter()
            .map(|(reason, bugs)| {
                let named = bugs.get(..NAMED).unwrap_or(bugs).join(", ");
                let more = bugs.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{} ({named}{more}): {reason}", bugs.len())
            })
            .collect();
        (name.to_owned(), left, lost.join("; "))
    };
    funnel.steps().map(step).into()
}

/// The different values of `of`, in the order of the sides.
fn distinct<T: Display>(sides: &[Side], of: impl Fn(&Side) -> T) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for value in sides.iter().map(|side| of(side).to_string()) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn attributes(study: &Study, sides: &[Side]) -> Vec<(String, String)> {
    let config = &study.config;
    let (framework, build) = (&config.framework, &config.build);
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push((name.to_owned(), value));
        }
    };
    let amount = |samples: u32| if samples == 0 { "all".to_owned() } else { samples.to_string() };
    add("question", config.study.description.clone());
    add("framework", format!("{}, repository {}", framework.name, framework.repository));
    let end = |version: &Option<String>, open: &str| version.clone().unwrap_or_else(|| open.into());
    let (from, to) = (end(&framework.from, "the first"), end(&framework.to, "the newest"));
    add("releases", format!("{from} to {to}"));
    add("toolchain", build.toolchain.clone());
    add("strategy", build.strategy.to_string());
    let flags = build.flags.iter().map(|(name, value)| format!("{name}={value}"));
    add("build flags", flags.collect::<Vec<_>>().join(" "));
    // From here on as it was run, which options of `run` may have changed.
    let mut ran = |name: &str, values: Vec<String>| add(name, values.join("; "));
    ran("model", distinct(sides, |side| side.experiment.model.name.clone()));
    ran("data", distinct(sides, |side| side.experiment.challenge.name.clone()));
    ran(
        "samples",
        distinct(sides, |side| {
            let data = &side.experiment.challenge;
            let validation = data.validation_samples;
            let (train, test) = (amount(data.train_samples), amount(data.test_samples));
            format!("{train} to train, {validation} to validate, {test} to test")
        }),
    );
    ran(
        "order of samples",
        distinct(sides, |side| match side.experiment.challenge.order {
            study::DataOrder::Fixed => "one permutation for all epochs",
            study::DataOrder::PerEpoch => "a new permutation each epoch",
        }),
    );
    ran("epochs", distinct(sides, |side| side.experiment.hyperparameters.epochs));
    ran(
        "optimiser",
        distinct(sides, |side| {
            let h = &side.experiment.hyperparameters;
            let (rate, momentum) = (h.learning_rate, h.momentum);
            format!("SGD, learning rate {rate}, momentum {momentum}, batches of {}", h.batch_size)
        }),
    );
    ran("runs a side", distinct(sides, |side| side.target));
    ran(
        "seeds",
        distinct(sides, |side| match side.experiment.seed_policy {
            study::SeedPolicy::Single => "one for all runs (single)",
            study::SeedPolicy::PerRun => "one a run, the same on both sides (per-run)",
        }),
    );
    ran("meta seed", distinct(sides, |side| side.experiment.meta_seed));
    ran("device", distinct(sides, |side| side.experiment.device.clone()));
    let bugs: BTreeSet<&str> = sides.iter().map(|side| side.experiment.bug.as_str()).collect();
    if bugs.len() > DRAWN {
        let text = format!("of the first {DRAWN} of {} bugs; the dashboard has all", bugs.len());
        ran("figures of single bugs", vec![text]);
    }
    rows
}

/// Commands that repeat the study from its study.toml, with the options it was run with.
fn commands(study: &Study, sides: &[Side], rules: &str) -> Vec<String> {
    let config = &study.config;
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let controlled: BTreeSet<&str> = sides
        .iter()
        .filter(|side| side.experiment.evaluation == study::Evaluation::Aa)
        .map(|side| side.experiment.bug.as_str())
        .collect();
    for side in sides {
        let experiment = &side.experiment;
        // A sequential design says itself how many runs there are.
        let mut options = match &config.run.design {
            Some(_) => String::new(),
            None => format!(" --runs {}", side.target),
        };
        if experiment.hyperparameters.epochs != config.run.epochs {
            options += &format!(" --epochs {}", experiment.hyperparameters.epochs);
        }
        if experiment.model.name != config.model.name {
            options += &format!(" --model {}", experiment.model.name);
        }
        if experiment.challenge.name != config.challenge.name {
            options += &format!(" --challenge {}", experiment.challenge.name);
        }
        if controlled.contains(experiment.bug.as_str()) {
            options += " --control aa";
        }
        groups.entry(options).or_default().insert(experiment.bug.as_str());
    }
    let mut lines = vec![
        "# In a new folder, from the study.toml whose digest stands below:".to_owned(),
        "reproduceml init repeated --from FOLDER-OF-STUDY.TOML".to_owned(),
        "cd repeated".to_owned(),
        "reproduceml mine".to_owned(),
        "reproduceml build".to_owned(),
    ];
    let one = groups.len() == 1;
    lines.extend(groups.iter().map(|(options, bugs)| {
        let bugs: String =
            if one { String::new() } else { bugs.iter().map(|bug| format!(" {bug}")).collect() };
        format!("reproduceml run{bugs}{options}")
    }));
    lines.extend(["stats", "report"].map(|stage| format!("reproduceml {stage}{rules}")));
    lines
}

fn digest_of(path: &Path) -> Result<Option<String>, GatherError> {
    match study::files::sha256_file(path) {
        Ok(digest) => Ok(Some(format!("sha256:{digest}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(GatherError::File { path: path.display().to_string(), error }),
    }
}

fn digests(study: &Study, store: &Store) -> Result<Vec<(String, String)>, GatherError> {
    let analysis = study.analysis_file();
    let mut rows =
        vec![("program".to_owned(), format!("reproduceml {}", env!("CARGO_PKG_VERSION")))];
    for (name, path) in [
        ("study.toml", study.root().join("study.toml")),
        ("corpus/bugs.jsonl", study.corpus_file()),
        ("labels.csv", study.labels_file()),
        ("reach/findings.jsonl", study::reach::file(study)),
        ("own-tests/findings.jsonl", study::own_tests::file(study)),
        ("stats/results.csv", analysis.with_file_name("results.csv")),
        ("stats/tests.csv", analysis.with_file_name("tests.csv")),
    ] {
        rows.extend(digest_of(&path)?.map(|digest| (name.to_owned(), digest)));
    }
    if let Some(source) = &study.config.model.source {
        rows.extend(digest_of(&study.resolve(source))?.map(|digest| (source.clone(), digest)));
    }
    let builds = store.builds()?;
    let mut shared = BTreeSet::new();
    for (_, _, record) in &builds {
        shared.insert((format!("toolchain {}", record.toolchain), record.toolchain_digest.clone()));
        shared.insert(("image".to_owned(), record.image.clone()));
    }
    rows.extend(shared);
    rows.extend(builds.iter().map(|(bug, evaluation, record)| {
        let commit = record.commit.as_ref().map_or("no commit", |commit| commit.as_str());
        let content = match &record.status {
            ArtifactStatus::Built { content, .. } => format!("content {content}"),
            ArtifactStatus::Failed { class, .. } => format!("failed: {class}"),
        };
        let strategy = record.strategy;
        let value = format!("{}, {content}, from {commit} by {strategy}", record.id);
        (format!("artifact of {bug}, {evaluation}"), value)
    }));
    Ok(rows)
}

/// What the store shows to be open.
fn threats(funnel: &Funnel, sides: &[Side]) -> Vec<String> {
    let mut lines = Vec::new();
    let lost = funnel.selected.saturating_sub(funnel.analysed);
    if lost > 0 {
        lines.push(format!(
            "{lost} of {} selected bugs have no sound verdict (the funnel says why): what holds \
             for the others need not hold for them.",
            funnel.selected
        ));
    }
    let asked: usize = sides.iter().map(|side| side.target as usize).sum();
    let finished =
        |side: &Side| side.runs.iter().filter(|run| run.status == RunStatus::Finished).count();
    let missing: usize =
        sides.iter().map(|side| (side.target as usize).saturating_sub(finished(side))).sum();
    if missing > 0 {
        lines.push(format!(
            "{missing} of {asked} runs did not finish and are missing from the tests: if one side \
             loses runs more often, the others are no fair sample of it."
        ));
    }
    let again = sides.iter().flat_map(|side| &side.runs).filter(|run| run.attempt > 1).count();
    if again > 0 {
        lines.push(format!("{again} run(s) were begun more than once, each time with their seed."));
    }
    if !sides.is_empty() {
        let models = distinct(sides, |side| side.experiment.model.name.clone()).join(", ");
        let data = distinct(sides, |side| side.experiment.challenge.name.clone()).join(", ");
        lines.push(format!(
            "The runs train {models} on {data}: what changes nothing there may change other \
             models, data or sizes."
        ));
        lines.push(
            "Equal runs say that a fix changed nothing here, not that its code was reached: most \
             fixes change code that one model never executes."
                .to_owned(),
        );
    }
    lines
}

fn curves(
    store: &Store,
    sides: &[Side],
) -> Result<Vec<(String, crate::figures::scene::Scene)>, StoreError> {
    let mut by_bug: BTreeMap<&str, Vec<Epoch>> = BTreeMap::new();
    let all: BTreeSet<&str> = sides.iter().map(|side| side.experiment.bug.as_str()).collect();
    let drawn: BTreeSet<&str> = all.into_iter().take(DRAWN).collect();
    for side in sides.iter().filter(|side| drawn.contains(side.experiment.bug.as_str())) {
        let evaluation = crate::store::evaluation(side.experiment.evaluation);
        let epochs = by_bug.entry(side.experiment.bug.as_str()).or_default();
        let finished = |number: u32| {
            let place = side.runs.binary_search_by_key(&number, |run| run.run).ok();
            place.is_some_and(|place| side.runs[place].status == RunStatus::Finished)
        };
        let points = store.epoch_points(&side.experiment.id())?;
        epochs.extend(points.into_iter().filter(|point| finished(point.run)).filter_map(|point| {
            Some(Epoch { evaluation, run: point.run, epoch: point.epoch, value: point.loss? })
        }));
    }
    let curve = |(bug, epochs): (&str, Vec<Epoch>)| {
        let scene = learning_curves(bug, "training loss", &epochs)?;
        Some((format!("learning-{bug}"), scene))
    };
    Ok(by_bug.into_iter().filter_map(curve).collect())
}
