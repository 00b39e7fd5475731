//! What `stats` wrote: `stats/analysis.json`, of which this reads what it shows.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

/// The kind of comparisons of an artifact with itself.
pub(crate) const CONTROL: &str = "aa";

/// The analysis.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Analysis {
    #[serde(default)]
    pub design: String,
    pub verdicts: Vec<VerdictEntry>,
    #[serde(default)]
    pub tests: Vec<Test>,
    #[serde(default)]
    pub controls: Option<Controls>,
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where each bug's verdicts and tests are.
    #[serde(skip)]
    places: HashMap<String, Places>,
}

/// The places of what belongs to one bug.
#[derive(Debug, Clone, Default)]
struct Places {
    verdicts: Vec<usize>,
    tests: Vec<usize>,
}

/// One comparison's conclusion.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VerdictEntry {
    pub bug: String,
    #[serde(default)]
    pub kind: String,
    pub verdict: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub identity: Option<Identity>,
}

/// How many paired runs are bit for bit the same.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Identity {
    pub pairs: u64,
    pub equal_pairs: u64,
}

/// One metric's statistics.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Test {
    pub bug: String,
    #[serde(default)]
    pub kind: String,
    pub metric: String,
    #[serde(default)]
    pub outcome: bool,
    #[serde(default)]
    pub n_buggy: u64,
    #[serde(default)]
    pub n_corrected: u64,
    pub statistic: Option<f64>,
    pub p_value: Option<f64>,
    pub p_holm: Option<f64>,
    pub p_bh: Option<f64>,
    pub hodges_lehmann: Option<Interval>,
    pub a12: Option<Interval>,
    pub equivalence: Option<Equivalence>,
    pub detectable_shift: Option<f64>,
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A value with its interval.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Interval {
    #[serde(alias = "value", alias = "point")]
    pub estimate: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The test for equivalence.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Equivalence {
    pub margin: Option<f64>,
    pub p_value: Option<f64>,
}

/// What the controls say about the study.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Controls {
    pub false_positives: Rate,
    pub detections: Rate,
}

/// A rate with its interval.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Rate {
    pub different: u64,
    pub of: u64,
    pub low: f64,
    pub high: f64,
}

impl Analysis {
    /// Reads the file; nothing if `stats` has not run.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let Some(text) = super::files::text(path)? else { return Ok(None) };
        let odd = |error: serde_json::Error| {
            format!("{}: {error}; write it anew with `reproduceml stats`", path.display())
        };
        let mut analysis: Self = serde_json::from_str(&text).map_err(odd)?;
        for (at, entry) in analysis.verdicts.iter().enumerate() {
            analysis.places.entry(entry.bug.clone()).or_default().verdicts.push(at);
        }
        for (at, test) in analysis.tests.iter().enumerate() {
            analysis.places.entry(test.bug.clone()).or_default().tests.push(at);
        }
        Ok(Some(analysis))
    }

    /// The conclusion about a bug's comparison of a kind (`bug`, `artificial`, `aa`).
    pub fn verdict(&self, bug: &str, kind: &str) -> Option<&VerdictEntry> {
        self.verdicts_of(bug).find(|entry| entry.kind == kind)
    }

    /// The conclusion about a bug. What an artifact shows against itself is none.
    pub fn verdict_of(&self, bug: &str) -> Option<&VerdictEntry> {
        self.verdicts_of(bug).find(|entry| entry.kind != CONTROL)
    }

    fn verdicts_of(&self, bug: &str) -> impl Iterator<Item = &VerdictEntry> {
        let places = self.places.get(bug).map_or(&[][..], |places| &places.verdicts);
        places.iter().filter_map(|at| self.verdicts.get(*at))
    }

    /// The tests of a bug's comparison.
    pub fn tests<'a>(&'a self, bug: &str, kind: &'a str) -> impl Iterator<Item = &'a Test> {
        let places = self.places.get(bug).map_or(&[][..], |places| &places.tests);
        let of = places.iter().filter_map(|at| self.tests.get(*at));
        of.filter(move |test| test.kind == kind)
    }
}
