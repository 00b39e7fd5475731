//! Whether the two sides of a bug may be compared: their manifests must agree in every
//! non-determinism introducing factor but the artifact.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use study::{
    BugId, Evaluation, Experiment, ExperimentId, Factor, RunKey, RunRecord, RunStatus, Store,
    StoreError,
};

/// One place where two manifests differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactorDifference {
    /// The factor: `seeds`, `model`, `software`, `threads`, `runtime`, `hardware`, `data`, ….
    pub factor: String,
    /// The path below it, keys joined by dots.
    pub path: String,
    /// What the first says.
    pub left: String,
    /// What the second says.
    pub right: String,
}

impl std::fmt::Display for FactorDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.path.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}: {} / {}", self.factor, self.path, self.left, self.right)
    }
}

/// Keys that belong to the artifact or to the moment and may differ between the sides. Which of a
/// machine's GPUs a run is given is the runner's choice; what GPU it is stands under `hardware`.
const FREE_KEYS: &[&str] =
    &["artifact", "time", "process", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"];

/// The differences between two manifests, in a fixed order.
pub fn compare_manifests(left: &Value, right: &Value) -> Vec<FactorDifference> {
    let mut differences = Vec::new();
    walk(left, right, &mut Vec::new(), &mut differences);
    differences
}

fn walk(left: &Value, right: &Value, path: &mut Vec<String>, out: &mut Vec<FactorDifference>) {
    if left == right {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (left, right) {
        let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if FREE_KEYS.contains(&key.as_str()) {
                continue;
            }
            let missing = Value::Null;
            path.push(key.clone());
            walk(a.get(key).unwrap_or(&missing), b.get(key).unwrap_or(&missing), path, out);
            path.pop();
        }
        return;
    }
    if let (Some(a), Some(b)) = (named(left), named(right))
        && a.iter().map(|(name, _)| name).eq(b.iter().map(|(name, _)| name))
    {
        for ((name, a), (_, b)) in a.into_iter().zip(b) {
            path.push(name.to_owned());
            walk(a, b, path, out);
            path.pop();
        }
        return;
    }
    let mut parts = path.iter().cloned();
    out.push(FactorDifference {
        factor: parts.next().unwrap_or_default(),
        path: parts.collect::<Vec<_>>().join("."),
        left: shorten(left),
        right: shorten(right),
    });
}

/// A list of objects that each have a name of their own, such as controls.
fn named(value: &Value) -> Option<Vec<(&str, &Value)>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(|entry| Some((entry.get("name")?.as_str()?, entry))).collect()
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
}

/// Each experiment with the one of its bug that it is compared with, the corrected side.
pub(crate) fn pairs(experiments: &[(Experiment, u32)]) -> Vec<(ExperimentId, ExperimentId)> {
    let corrected: BTreeMap<&BugId, ExperimentId> = experiments
        .iter()
        .filter(|(experiment, _)| experiment.evaluation == Evaluation::Corrected)
        .map(|(experiment, _)| (&experiment.bug, experiment.id()))
        .collect();
    experiments
        .iter()
        .filter(|(experiment, _)| experiment.evaluation != Evaluation::Corrected)
        .filter_map(|(side, _)| Some((side.id(), corrected.get(&side.bug)?.clone())))
        .collect()
}

/// Where the finished runs of two experiments differ in more than the artifact, by run.
fn differences(
    store: &Store,
    side: &ExperimentId,
    corrected: &ExperimentId,
) -> Result<BTreeMap<u32, Vec<FactorDifference>>, StoreError> {
    let finished = |id| -> Result<BTreeMap<u32, RunRecord>, StoreError> {
        let runs = store.runs(id)?.into_iter();
        let runs = runs.filter(|run| run.status == RunStatus::Finished);
        Ok(runs.map(|run| (run.key.run, run)).collect())
    };
    let (left, right) = (finished(side)?, finished(corrected)?);
    let manifest = |run: &RunRecord| run.manifest.clone().unwrap_or_default();
    let compared = left.iter().filter_map(|(number, run)| {
        let found = compare_manifests(&manifest(run), &manifest(right.get(number)?));
        (!found.is_empty()).then_some((*number, found))
    });
    Ok(compared.collect())
}

fn is_allowed(difference: &FactorDifference, allowed: &BTreeSet<Factor>) -> bool {
    difference.factor.parse().is_ok_and(|factor: Factor| allowed.contains(&factor))
}

/// Says of an experiment whether its manifests differ from the corrected side's in more than the
/// artifact, and what of it was allowed. What was said before is taken back once they agree.
pub(crate) fn compare_pair(
    store: &Store,
    side: &ExperimentId,
    corrected: &ExperimentId,
) -> Result<(), StoreError> {
    let allowed = store.allowed(side)?;
    let all = differences(store, side, corrected)?;
    let mut forbidden = None;
    let mut tolerated: BTreeMap<String, usize> = BTreeMap::new();
    for (run, found) in &all {
        for difference in found {
            if is_allowed(difference, &allowed) {
                *tolerated.entry(difference.to_string()).or_default() += 1;
            } else if forbidden.is_none() {
                forbidden = Some(format!("run {run} differs between the sides in {difference}"));
            }
        }
    }
    store.set_unpaired(side, forbidden.as_deref())?;
    let told = tolerated.iter().next().map(|(first, runs)| match tolerated.len() - 1 {
        0 => format!("{first} (in {runs} runs)"),
        more => format!("{first} (in {runs} runs), and {more} more"),
    });
    store.set_tolerated(side, told.as_deref())
}

/// The finished runs that cannot be compared with those of the other side, both runs of each such
/// pair, with the reason. `allowed` stands for what the store has, if it is given.
pub(crate) fn unequal_runs(
    store: &Store,
    experiments: &[(Experiment, u32)],
    allowed: Option<&BTreeSet<Factor>>,
) -> Result<BTreeMap<RunKey, String>, StoreError> {
    let mut runs = BTreeMap::new();
    for (side, corrected) in pairs(experiments) {
        let stored = store.allowed(&side)?;
        let allowed = allowed.unwrap_or(&stored);
        for (run, found) in differences(store, &side, &corrected)? {
            let Some(first) = found.iter().find(|one| !is_allowed(one, allowed)) else { continue };
            for experiment in [&side, &corrected] {
                let key = RunKey { experiment: experiment.clone(), run };
                runs.insert(key, format!("the sides differed in {first}"));
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_factor_but_the_artifact_counts() {
        let left = json!({
            "hardware": {"cpu": "A"}, "seeds": {"python": 1},
            "software": {"artifact": {"version": "1"}, "python": "3.11"},
        });
        let mut right = left.clone();
        right["software"]["artifact"]["version"] = json!("2");
        assert_eq!(compare_manifests(&left, &right), []);
        right["hardware"]["cpu"] = json!("B");
        right["threads"] = json!({"omp": 1});
        let differences = compare_manifests(&left, &right);
        assert_eq!(
            differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["hardware.cpu: \"A\" / \"B\"", "threads: null / {\"omp\":1}"]
        );
        // In a list of named things the thing is named.
        let controls = |status: &str| json!({"controls": [{"name": "tf32", "status": status}, {"name": "x", "status": "set"}]});
        let differences = compare_manifests(&controls("set"), &controls("failed"));
        assert_eq!(differences[0].to_string(), "controls.tf32.status: \"set\" / \"failed\"");
        assert_eq!(differences.len(), 1);
    }

    /// A pair of tinynn with one finished run a side, whose manifests name these processors.
    fn pair(cpus: [&str; 2]) -> (tempfile::TempDir, Store, [ExperimentId; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("study.db")).unwrap();
        let mut ids = Vec::new();
        let mut planned = Vec::new();
        for evaluation in [Evaluation::Buggy, Evaluation::Corrected] {
            let experiment = example(evaluation);
            ids.push(experiment.id());
            planned.push((experiment, 1));
        }
        store.plan(&planned).unwrap();
        let ids = <[ExperimentId; 2]>::try_from(ids).unwrap();
        for (id, cpu) in ids.iter().zip(cpus) {
            finish(&store, id, cpu);
        }
        (folder, store, ids)
    }

    fn finish(store: &Store, id: &ExperimentId, cpu: &str) {
        let key = RunKey { experiment: id.clone(), run: 0 };
        store.begin_run(&key, 1).unwrap();
        store.put_manifest(&key, &json!({"hardware": {"cpu": cpu}})).unwrap();
        store.finish_run(&key, &json!({})).unwrap();
    }

    fn example(evaluation: Evaluation) -> Experiment {
        serde_json::from_value(json!({
            "bug": "pr1", "evaluation": evaluation, "artifact": "0".repeat(64),
            "framework": "tinynn", "toolchain": "t", "model": {"name": "mlp"},
            "challenge": {"name": "synthetic"},
            "hyperparameters": {
                "epochs": 1, "batch_size": 1, "learning_rate": 0.1, "momentum": 0.0
            },
            "seed_policy": "single", "meta_seed": 1, "device": "cpu",
        }))
        .unwrap()
    }

    #[test]
    fn a_pair_that_differs_is_invalid_until_it_is_made_again_and_agrees() {
        let (_folder, store, [buggy, corrected]) = pair(["A", "B"]);
        compare_pair(&store, &buggy, &corrected).unwrap();
        let reason = store.invalid_reason(&buggy).unwrap().unwrap();
        assert!(reason.contains("hardware.cpu: \"A\" / \"B\""), "{reason}");
        assert_eq!(store.invalid_reason(&corrected).unwrap(), None, "others may compare with it");
        let planned = [Evaluation::Buggy, Evaluation::Corrected].map(|e| (example(e), 1));
        let again = unequal_runs(&store, &planned, None).unwrap();
        assert_eq!(
            again.keys().map(|key| &key.experiment).collect::<Vec<_>>(),
            [&buggy, &corrected]
        );
        for (key, why) in &again {
            store.supersede_run(key, why).unwrap();
            finish(&store, &key.experiment, "B");
        }
        compare_pair(&store, &buggy, &corrected).unwrap();
        assert_eq!(store.invalid_reason(&buggy).unwrap(), None);
        assert!(unequal_runs(&store, &planned, None).unwrap().is_empty());
    }

    #[test]
    fn what_is_allowed_is_recorded_and_can_be_taken_back() {
        let (_folder, store, [buggy, corrected]) = pair(["A", "B"]);
        store.allow(&buggy, &BTreeSet::from([Factor::Hardware])).unwrap();
        compare_pair(&store, &buggy, &corrected).unwrap();
        assert_eq!(store.invalid_reason(&buggy).unwrap(), None);
        let told = store.tolerated(&buggy).unwrap().unwrap();
        assert!(told.contains("hardware.cpu"), "{told}");
        store.allow(&buggy, &BTreeSet::from([Factor::Data])).unwrap();
        compare_pair(&store, &buggy, &corrected).unwrap();
        assert!(store.invalid_reason(&buggy).unwrap().is_some());
        assert_eq!(store.tolerated(&buggy).unwrap(), None);
    }
}
