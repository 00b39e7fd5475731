//! Manifests as flat lists, so that two can stand side by side.

use std::collections::BTreeMap;

use serde_json::Value;

/// Parts that belong to the artifact or to the moment, which two sides need not share.
const FREE: [&str; 3] = ["artifact", "time", "process"];
/// Longest value that is shown, in characters.
const LONGEST: usize = 400;

/// One place of two manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Factor {
    /// The factor it belongs to: the first part of its path.
    pub factor: String,
    pub path: String,
    pub left: Option<String>,
    pub right: Option<String>,
    /// Whether it counts when the two differ.
    pub counts: bool,
}

impl Factor {
    pub fn differs(&self) -> bool {
        self.left != self.right
    }
}

/// All places of two manifests, by path.
pub(crate) fn factors(left: &Value, right: &Value) -> Vec<Factor> {
    let (a, b) = (flatten(left), flatten(right));
    let mut paths: Vec<&Vec<String>> = a.keys().chain(b.keys()).collect();
    paths.sort();
    paths.dedup();
    let one = |path: &Vec<String>| Factor {
        factor: path.first().cloned().unwrap_or_default(),
        path: path.get(1..).unwrap_or_default().join("."),
        left: a.get(path).cloned(),
        right: b.get(path).cloned(),
        counts: !path.iter().any(|key| FREE.contains(&key.as_str())),
    };
    paths.into_iter().map(one).collect()
}

/// The leaves of a value with their paths. Lists of plain values are one leaf.
pub(crate) fn flatten(value: &Value) -> BTreeMap<Vec<String>, String> {
    let mut out = BTreeMap::new();
    walk(value, &mut Vec::new(), &mut out);
    out
}

fn walk(value: &Value, path: &mut Vec<String>, out: &mut BTreeMap<Vec<String>, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                path.push(key.clone());
                walk(value, path, out);
                path.pop();
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (place, item) in items.iter().enumerate() {
                // A list of named things reads better by their names.
                let name = item.get("name").and_then(Value::as_str);
                path.push(name.map_or_else(|| place.to_string(), str::to_owned));
                walk(item, path, out);
                path.pop();
            }
        }
        Value::Null if path.is_empty() => {}
        leaf => {
            out.insert(path.clone(), plain(leaf));
        }
    }
}

fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_marked_and_the_artifact_may() {
        let left = json!({"hardware": {"cpu": "A", "flags": ["x", "y"]}, "artifact": {"digest": 1},
            "controls": [{"name": "tf32", "status": "set"}]});
        let mut right = left.clone();
        right["artifact"]["digest"] = json!(2);
        right["controls"][0]["status"] = json!("unavailable");
        let all = factors(&left, &right);
        let differ: Vec<_> = all.iter().filter(|f| f.differs()).collect();
        assert_eq!(differ.len(), 2);
        assert!(!differ[0].counts, "{differ:?}");
        assert_eq!(
            (differ[1].factor.as_str(), differ[1].path.as_str()),
            ("controls", "tf32.status")
        );
        assert!(all.iter().any(|f| f.path == "flags" && f.left.as_deref() == Some("x y")));
        assert_eq!(factors(&Value::Null, &Value::Null), []);
    }
}
