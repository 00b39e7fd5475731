//! Whether the two sides of a bug may be compared: their manifests must agree in every
//! non-determinism introducing factor but the artifact.

use serde::Serialize;
use serde_json::Value;

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
        write!(f, "{}.{}: {} / {}", self.factor, self.path, self.left, self.right)
    }
}

/// Keys that belong to the artifact or to the moment and may differ between the sides.
const FREE_KEYS: &[&str] = &["artifact", "time", "process"];

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
    let mut parts = path.iter().cloned();
    out.push(FactorDifference {
        factor: parts.next().unwrap_or_default(),
        path: parts.collect::<Vec<_>>().join("."),
        left: shorten(left),
        right: shorten(right),
    });
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(79).chain(['…']).collect() }
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
            ["hardware.cpu: \"A\" / \"B\"", "threads.: null / {\"omp\":1}"]
        );
    }
}
