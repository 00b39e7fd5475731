//! Single things in full.

use serde_json::{Value, json};
use study::{ArtifactId, BugId, ExperimentId, RunKey};

use super::{id, no_experiment, run_key, tables};
use crate::app::App;
use crate::error::Problem;
use crate::model::{
    BuildDetails, Compared, Side, Snapshot, attention, compare as pair_runs, factors,
};

pub(super) fn study(app: &App, snapshot: &Snapshot) -> Result<Value, Problem> {
    let config = serde_json::to_value(&app.study.config).map_err(Problem::internal)?;
    let mut toolchains: Vec<(&str, &str, &str)> = snapshot
        .all_builds()
        .map(|(_, _, r)| (r.toolchain.as_str(), r.toolchain_digest.as_str(), r.image.as_str()))
        .collect();
    toolchains.sort_unstable();
    toolchains.dedup();
    let toolchains: Vec<Value> = toolchains
        .into_iter()
        .map(|(name, digest, image)| json!({"name": name, "digest": digest, "image": image}))
        .collect();
    let arrays = crate::pages::challenge_arrays(app, snapshot)?;
    let arrays: Vec<Value> = arrays
        .into_iter()
        .map(|(experiment, run, name, digest)| {
            json!({"experiment": experiment, "run": run, "array": name, "sha256": digest})
        })
        .collect();
    Ok(json!({
        "name": app.study.config.study.name,
        "program": concat!("reproduceml ", env!("CARGO_PKG_VERSION")),
        "config": config,
        "toolchains": toolchains,
        "arrays": arrays,
        "problems": snapshot.files.problems,
    }))
}

pub(super) fn overview(snapshot: &Snapshot) -> Value {
    let running: Vec<Value> = snapshot
        .running
        .iter()
        .map(|run| {
            let state = snapshot.experiment(&run.key.experiment);
            json!({
                "experiment": run.key.experiment, "run": run.key.run, "seed": run.seed,
                "bug": state.map(|state| &state.experiment.bug),
                "epoch": run.epoch,
                "epochs": state.map(|state| state.experiment.hyperparameters.epochs),
                "started_at": run.started_at, "attempt": run.attempt,
            })
        })
        .collect();
    let building: Vec<Value> = snapshot
        .building
        .iter()
        .map(|build| json!({"artifact": build.id, "what": build.what, "since": build.since}))
        .collect();
    json!({
        "funnel": tables::funnel(&snapshot.funnel).json(),
        "running": running,
        "building": building,
        "attention": attention(snapshot).len(),
        "verdicts": tables::verdicts(snapshot).rows.len(),
    })
}

pub(super) fn bug(app: &App, snapshot: &Snapshot, bug: &BugId) -> Result<Value, Problem> {
    let row =
        snapshot.row(bug).ok_or_else(|| Problem::missing(format!("the study has no bug {bug}")))?;
    let mut value = tables::bugs(&[row]).json().pop().unwrap_or_default();
    let name = bug.as_str();
    let files = serde_json::to_value(&row.bug.files).map_err(Problem::internal)?;
    let of = |records: crate::records::Records| -> Vec<Value> {
        records.json().into_iter().filter(|item| item["bug"] == name).collect()
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("pull_requests".into(), row.bug.prs.clone().into());
        fields.insert("changed".into(), files);
        fields.insert("tests_of_the_fix".into(), row.bug.tests.clone().into());
        fields.insert("labels".into(), of(tables::labels(snapshot)).into());
        fields.insert("builds".into(), of(tables::builds(snapshot)).into());
        fields.insert("experiments".into(), of(tables::experiments(snapshot, Some(name))).into());
        fields.insert("verdicts".into(), of(tables::verdicts(snapshot)).into());
        fields.insert("tests".into(), of(tables::tests(snapshot)).into());
    }
    let _ = app;
    Ok(value)
}

pub(super) fn build(app: &App, id: &ArtifactId) -> Result<Value, Problem> {
    let record = app.store.artifact(id)?;
    let details = BuildDetails::read(&app.study, id);
    if record.is_none() && details.record.is_none() && !details.log {
        return Err(Problem::missing(format!("the study has no build {id}")));
    }
    Ok(json!({
        "artifact": id, "stored": record, "record": details.record,
        "provenance": details.provenance, "log": details.log, "problems": details.problems,
    }))
}

pub(super) fn experiment(
    app: &App,
    snapshot: &Snapshot,
    id: &ExperimentId,
) -> Result<Value, Problem> {
    let state = snapshot.experiment(id).ok_or_else(|| no_experiment(id.as_str()))?;
    Ok(json!({
        "experiment": id,
        "attributes": state.experiment,
        "active": state.active,
        "invalid": state.invalid,
        "planned_at": state.planned_at,
        "runs_asked": state.target,
        "runs": tables::runs(&app.store, &[state])?.json(),
    }))
}

pub(super) fn run(app: &App, key: &RunKey) -> Result<Value, Problem> {
    let run = app
        .store
        .run(key)?
        .ok_or_else(|| Problem::missing(format!("the study has no run {key}")))?;
    let epochs: Vec<Value> = app
        .store
        .epochs(key)?
        .into_iter()
        .map(|epoch| {
            let loss = epoch.loss_bits.map(f64::from_bits);
            let bits = epoch.loss_bits.map(|bits| format!("{bits:016x}"));
            json!({
                "epoch": epoch.epoch, "loss": loss.filter(|loss| loss.is_finite()),
                "loss_bits": bits, "digest": epoch.digest, "seconds": epoch.seconds,
            })
        })
        .collect();
    Ok(json!({
        "experiment": key.experiment, "run": key.run, "attempt": run.attempt,
        "status": run.status, "seed": run.seed, "started_at": run.started_at,
        "finished_at": run.finished_at, "reason": run.reason,
        "metrics": app.store.metrics(key, "test")?,
        "predictions": app.store.prediction_digests(key)?,
        "epochs": epochs, "manifest": run.manifest, "result": run.result,
    }))
}

/// What was asked to be compared.
pub(crate) enum Comparison {
    /// Two experiments.
    Experiments(Box<Side>, Box<Side>),
    /// Two runs of two experiments.
    Runs((Box<Side>, RunKey), (Box<Side>, RunKey)),
}

/// Reads two experiments, or two runs, by nothing but their identifiers.
pub(crate) fn comparison(
    app: &App,
    snapshot: &Snapshot,
    left: &str,
    right: &str,
) -> Result<Comparison, Problem> {
    let side = |name: &ExperimentId| -> Result<Box<Side>, Problem> {
        let state = snapshot.experiment(name).ok_or_else(|| no_experiment(name.as_str()))?;
        Ok(Box::new(Side::read(&app.store, state)?))
    };
    let run = |text: &str| -> Result<(Box<Side>, RunKey), Problem> {
        let (experiment, run) = text.rsplit_once('/').unwrap_or((text, ""));
        let key = run_key(experiment, run)?;
        let side = side(&key.experiment)?;
        if side.runs.iter().any(|state| state.key == key) {
            Ok((side, key))
        } else {
            Err(Problem::missing(format!("the study has no run {key}")))
        }
    };
    match (left.contains('/'), right.contains('/')) {
        (false, false) => Ok(Comparison::Experiments(side(&id(left)?)?, side(&id(right)?)?)),
        (true, true) => Ok(Comparison::Runs(run(left)?, run(right)?)),
        _ => Err(Problem::bad(
            "one is an experiment and the other a run; compare two of a kind \
             (a run is EXPERIMENT/NUMBER)",
        )),
    }
}

pub(super) fn compare(
    app: &App,
    snapshot: &Snapshot,
    left: &str,
    right: &str,
) -> Result<Value, Problem> {
    let outcome = |compared: Compared| match compared {
        Compared::Open => json!({"state": "open"}),
        Compared::Same => json!({"state": "same"}),
        Compared::PredictionsDiffer => json!({"state": "predictions-differ"}),
        Compared::PartIn(epoch) => json!({"state": "parted", "epoch": epoch}),
    };
    let manifests = |a: &RunKey, b: &RunKey| -> Result<Vec<Value>, Problem> {
        let manifest = |key| -> Result<Value, Problem> {
            Ok(app.store.run(key)?.and_then(|run| run.manifest).unwrap_or_default())
        };
        let all = factors(&manifest(a)?, &manifest(b)?);
        let differ = all.into_iter().filter(|factor| factor.differs());
        Ok(differ
            .map(|f| {
                json!({"factor": f.factor, "path": f.path, "left": f.left, "right": f.right,
                    "counts": f.counts})
            })
            .collect())
    };
    match comparison(app, snapshot, left, right)? {
        Comparison::Experiments(a, b) => {
            let runs: Vec<Value> = pair_runs(&a, &b)
                .into_iter()
                .map(|pair| json!({"run": pair.run, "compared": outcome(pair.compared)}))
                .collect();
            let attributes = |side: &Side| serde_json::to_value(&side.state.experiment);
            let (x, y) = (attributes(&a), attributes(&b));
            let (x, y) = (x.map_err(Problem::internal)?, y.map_err(Problem::internal)?);
            let differ: Vec<Value> = factors(&x, &y)
                .into_iter()
                .filter(|factor| factor.differs())
                .map(|f| {
                    let path = [f.factor, f.path].join(".");
                    json!({"attribute": path.trim_matches('.'), "left": f.left, "right": f.right})
                })
                .collect();
            let samples: serde_json::Map<String, Value> = a
                .metric_names()
                .into_iter()
                .map(|name| {
                    let values = |side: &Side| -> Vec<f64> {
                        side.sample(&name).into_iter().map(|value| value.1).collect()
                    };
                    let both = json!({"left": values(&a), "right": values(&b)});
                    (name, both)
                })
                .collect();
            let first = |side: &Side| side.runs.first().map(|run| run.key.clone());
            let manifests = match (first(&a), first(&b)) {
                (Some(x), Some(y)) => manifests(&x, &y)?,
                _ => Vec::new(),
            };
            Ok(json!({
                "left": a.id, "right": b.id, "attributes": differ, "runs": runs,
                "samples": samples, "factors": manifests,
            }))
        }
        Comparison::Runs((a, x), (b, y)) => {
            let compared = crate::model::compared(&a, &b, x.run, y.run);
            Ok(json!({
                "left": x.to_string(), "right": y.to_string(), "compared": outcome(compared),
                "factors": manifests(&x, &y)?,
            }))
        }
    }
}
