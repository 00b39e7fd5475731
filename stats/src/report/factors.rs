//! The factors that can make two runs differ (NDIFs), as the manifests of the runs tell them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The seven factors, in the paper's order, by their names in a manifest.
const FACTORS: [&str; 7] = ["seeds", "model", "software", "threads", "runtime", "hardware", "data"];

/// Lists longer than this are counted, not listed.
const LISTED: usize = 10;

/// Letters of a single value that are shown.
const SHOWN: usize = 70;

/// What manifests said, run by run: of two million of them, none need be kept.
#[derive(Default)]
pub(super) struct Seen {
    first: Option<Value>,
    runs: usize,
    /// The different values of each factor that the first run has; long ones by their digest.
    kinds: BTreeMap<&'static str, BTreeSet<String>>,
    /// Runs by control, value and status.
    controls: BTreeMap<(String, String, String), usize>,
    operations: BTreeSet<String>,
}

impl Seen {
    /// Takes in the manifest of a run.
    pub(super) fn add(&mut self, manifest: &Value) {
        self.runs += 1;
        let first = self.first.get_or_insert_with(|| manifest.clone());
        for factor in FACTORS.into_iter().filter(|factor| first.get(factor).is_some()) {
            let mut kind = lasting(manifest.get(factor)).to_string();
            if kind.len() > 64 {
                kind = study::files::sha256_hex(kind.as_bytes());
            }
            self.kinds.entry(factor).or_default().insert(kind);
        }
        for entry in manifest.get("controls").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| entry.get(key).map(short).unwrap_or_default();
            // Seeds are another number in each run; the factor `seeds` tells them.
            let name = text("name");
            let value =
                if name.starts_with("seed ") { "the run's seed".into() } else { text("value") };
            *self.controls.entry((name, value, text("status"))).or_insert(0) += 1;
        }
        let operations = manifest.get("nondeterministic_operations").and_then(Value::as_array);
        for operation in operations.into_iter().flatten().filter_map(Value::as_str) {
            if !self.operations.contains(operation) {
                self.operations.insert(operation.to_owned());
            }
        }
    }

    /// Factor by factor what the runs had, then what became of each control.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let Some(first) = &self.first else { return Vec::new() };
        let mut rows = Vec::new();
        for factor in FACTORS {
            let Some(value) = first.get(factor) else { continue };
            let share = match (self.kinds.get(factor).map_or(0, BTreeSet::len), self.runs) {
                (1, runs) => format!("the same in all {runs} runs"),
                (kinds, runs) => format!("{kinds} different in {runs} runs; of the first"),
            };
            let mut parts = Vec::new();
            flatten("", value, &mut parts);
            rows.push((factor.to_owned(), format!("{share}: {}", parts.join("; "))));
        }
        for ((name, value, status), runs) in &self.controls {
            rows.push((format!("control: {name}"), format!("{value}: {status} in {runs} runs")));
        }
        rows
    }

    /// What the manifests show to be open.
    pub(super) fn threats(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, _, status) in self.controls.keys() {
            if status != "set" {
                open.entry(status).or_default().insert(name);
            }
        }
        for (status, names) in open {
            let names: Vec<&str> = names.into_iter().collect();
            lines.push(format!("Controls that were {status} in some runs: {}.", names.join(", ")));
        }
        if !self.operations.is_empty() {
            let operations: Vec<&str> = self.operations.iter().map(String::as_str).collect();
            lines.push(format!(
                "Operations without a deterministic implementation were met: {}.",
                operations.join(", ")
            ));
        }
        if self.runs == 0 {
            lines.push(
                "No run left a manifest: which factors of non-determinism were controlled is \
                 unknown."
                    .to_owned(),
            );
        }
        lines
    }
}

/// A factor without what belongs to the moment.
fn lasting(factor: Option<&Value>) -> Value {
    let mut value = factor.cloned().unwrap_or(Value::Null);
    if let Value::Object(entries) = &mut value {
        entries.retain(|key, _| !matches!(key.as_str(), "time" | "process"));
    }
    value
}

/// The leaves of a value as `path value`, long lists as their length.
fn flatten(path: &str, value: &Value, parts: &mut Vec<String>) {
    let below = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    match value {
        Value::Null => {}
        Value::Object(entries) if entries.len() > LISTED && !path.is_empty() => {
            parts.push(format!("{path}: {} entries", entries.len()));
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                flatten(&below(key), value, parts);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.len() > LISTED || items.iter().any(Value::is_object) => {
            parts.push(format!("{path}: {} entries", items.len()));
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(short).collect();
            parts.push(format!("{path} {}", items.join(", ")));
        }
        leaf => parts.push(format!("{path} {}", short(leaf))),
    }
}

/// A value as text without quotes, cut where it is long.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn factors_that_differ_are_counted() {
        let of = |cpu: &str, seed: u32| {
            json!({
                "seeds": {"seed": seed}, "hardware": {"cpu": cpu, "cpu_flags": vec!["a"; 90]},
                "controls": [
                    {"name": "seed python", "value": seed, "status": "set"},
                    {"name": "tf32 off", "value": false, "status": "unavailable"},
                ],
                "nondeterministic_operations": ["put_"],
            })
        };
        let (one, two) = (of("A", 1), of("A", 2));
        let mut seen = Seen::default();
        assert!(seen.threats()[0].contains("No run left a manifest"));
        seen.add(&one);
        seen.add(&two);
        let rows = seen.rows();
        let text: Vec<String> =
            rows.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(
            text,
            [
                "seeds 2 different in 2 runs; of the first: seed 1",
                "hardware the same in all 2 runs: cpu A; cpu_flags: 90 entries",
                "control: seed python the run's seed: set in 2 runs",
                "control: tf32 off false: unavailable in 2 runs",
            ]
        );
        let open = seen.threats().join(" ");
        assert!(open.contains("unavailable in some runs: tf32 off"), "{open}");
        assert!(open.contains("put_"), "{open}");
    }
}
