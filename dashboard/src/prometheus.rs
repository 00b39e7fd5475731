//! `/metrics`: the study in numbers, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::Snapshot;

/// The page.
pub(crate) fn page(study: &str, snapshot: &Snapshot, disk: Option<u64>) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(Vec<(&str, String)>, f64)>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP reproduceml_{name} {help}");
        let _ = writeln!(out, "# TYPE reproduceml_{name} {kind}");
        for (labels, value) in rows {
            let labels: Vec<String> = std::iter::once(("study", study.to_owned()))
                .chain(labels)
                .map(|(label, text)| format!("{label}=\"{}\"", escape(&text)))
                .collect();
            let _ = writeln!(out, "reproduceml_{name}{{{}}} {value}", labels.join(","));
        }
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    family("info", "gauge", "The program.", vec![(vec![("version", version)], 1.0)]);
    let steps = snapshot.funnel.steps();
    family(
        "bugs",
        "gauge",
        "Bugs that came through each step of the funnel.",
        steps.iter().map(|s| (vec![("step", s.0.to_owned())], s.1 as f64)).collect(),
    );
    family(
        "bugs_lost",
        "gauge",
        "Bugs that each step of the funnel lost.",
        steps.iter().skip(1).map(|s| (vec![("step", s.0.to_owned())], s.2.len() as f64)).collect(),
    );
    let mut builds: BTreeMap<String, usize> = BTreeMap::new();
    let mut counted = std::collections::BTreeSet::new();
    for (_, _, record) in snapshot.all_builds() {
        if counted.insert(&record.id) {
            let status = match &record.status {
                study::ArtifactStatus::Built { .. } => "built".to_owned(),
                study::ArtifactStatus::Failed { class, .. } => class.clone(),
            };
            *builds.entry(status).or_default() += 1;
        }
    }
    family(
        "artifacts",
        "gauge",
        "Artifacts by how their build ended.",
        builds.into_iter().map(|(k, n)| (vec![("outcome", k)], n as f64)).collect(),
    );
    family(
        "builds_running",
        "gauge",
        "Builds under way.",
        vec![(Vec::new(), snapshot.building.len() as f64)],
    );
    let active = || snapshot.experiments.iter().filter(|state| state.active);
    let sum = |of: fn(&study::store::ExperimentState) -> u32| -> f64 {
        active().map(|state| f64::from(of(state))).sum()
    };
    family(
        "runs",
        "gauge",
        "Runs of active experiments by status.",
        vec![
            (vec![("status", "asked".to_owned())], sum(|s| s.target)),
            (vec![("status", "finished".to_owned())], sum(|s| s.finished)),
            (vec![("status", "failed".to_owned())], sum(|s| s.failed)),
            (vec![("status", "running".to_owned())], sum(|s| s.running)),
        ],
    );
    family(
        "experiments",
        "gauge",
        "Active experiments, and those whose runs cannot be compared.",
        vec![
            (vec![("state", "active".to_owned())], active().count() as f64),
            (
                vec![("state", "invalid".to_owned())],
                active().filter(|state| state.invalid.is_some()).count() as f64,
            ),
        ],
    );
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in snapshot.files.analysis.iter().flat_map(|analysis| &analysis.verdicts) {
        *verdicts.entry(entry.verdict.clone()).or_default() += 1;
    }
    family(
        "verdicts",
        "gauge",
        "Comparisons by verdict.",
        verdicts.into_iter().map(|(k, n)| (vec![("verdict", k)], n as f64)).collect(),
    );
    if let Some(bytes) = disk {
        let rows = vec![(Vec::new(), bytes as f64)];
        family("store_bytes", "gauge", "Size of the store.", rows);
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
