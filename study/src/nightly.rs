//! What a study lets its nightly run do: `[nightly]` of `study.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::NightlyStage;

/// What a night may do and use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NightlyPolicy {
    /// The stages that are called.
    pub stages: Vec<NightlyStage>,
    /// Hours a night may take in all.
    pub hours: f64,
    /// GiB by which a night may reduce the disk's free space.
    pub disk_gib: f64,
    /// Hours of one GPU that a night may use. A study that trains on GPUs trains nothing at
    /// night until it is stated.
    pub gpu_hours: f64,
    /// Days after which what no result rests on is removed.
    pub keep_days: u32,
    /// Further arguments of a stage's command, such as `mine = ["--offline"]`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<NightlyStage, Vec<String>>,
}

impl Default for NightlyPolicy {
    fn default() -> Self {
        Self {
            stages: NightlyStage::ALL.to_vec(),
            hours: 8.0,
            disk_gib: 50.0,
            gpu_hours: 0.0,
            keep_days: 90,
            arguments: BTreeMap::new(),
        }
    }
}

impl NightlyPolicy {
    /// The first value out of its range: key, what stands there, what may.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        for (key, value) in [("nightly.hours", self.hours), ("nightly.disk_gib", self.disk_gib)] {
            if !(value.is_finite() && value > 0.0) {
                return Err((key, value.to_string(), "more than 0"));
            }
        }
        if !(self.gpu_hours.is_finite() && self.gpu_hours >= 0.0) {
            return Err(("nightly.gpu_hours", self.gpu_hours.to_string(), "0 or more"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_must_be_a_number_of_something() {
        assert_eq!(NightlyPolicy::default().check(), Ok(()));
        for (policy, key) in [
            (NightlyPolicy { hours: 0.0, ..Default::default() }, "nightly.hours"),
            (NightlyPolicy { disk_gib: f64::NAN, ..Default::default() }, "nightly.disk_gib"),
            (NightlyPolicy { gpu_hours: -1.0, ..Default::default() }, "nightly.gpu_hours"),
        ] {
            assert_eq!(policy.check().unwrap_err().0, key);
        }
    }
}
