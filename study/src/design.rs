//! Sequential designs: looks at a comparison before all its runs are made, declared before the
//! first of them and never changed after it.
//!
//! What `[run.design]` of study.toml says is a [`Design`]. With all that the error rates rest on it
//! becomes a [`Declaration`], which is written to `design/design.json` before the first run; each
//! look at the runs then becomes a line of `design/looks.jsonl`, which carries the declaration's
//! digest. What a boundary is, and what a look concludes, the crate `stats` knows.

mod record;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::record::{Look, LookTest, Record, RecordError};
use crate::{StudyConfig, files};

/// The most looks a design may have.
pub const MOST_LOOKS: u32 = 50;

/// The metrics that a design may rest its verdicts on: those that the server computes.
pub const OUTCOMES: [&str; 4] = ["accuracy", "precision", "recall", "f1"];

/// `[run.design]` of study.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// When there is a look.
    pub looks: Looks,
    /// So many pairs of runs, all bit for bit the same, end a comparison as `identical`; none:
    /// that is asked at the looks alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identical_after: Option<u32>,
    /// How the error is spent over the looks.
    #[serde(default)]
    pub spending: Spending,
    /// The family-wise error of `different`, over all bugs and outcomes; `stats.alpha` if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The error of `equivalent` of each comparison; `stats.alpha` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalence_alpha: Option<f64>,
    /// The metrics that decide.
    #[serde(default = "outcomes")]
    pub outcomes: Vec<String>,
    /// How many bugs the error is shared among; if not given, as many as are built when the design
    /// is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<u32>,
}

fn outcomes() -> Vec<String> {
    OUTCOMES.map(String::from).to_vec()
}

/// When there is a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of looks, or a list of runs a side such as [10, 20, 50]")]
pub enum Looks {
    /// So many, as evenly spaced as whole runs allow.
    Count(u32),
    /// After these numbers of runs a side.
    After(Vec<u32>),
}

/// How an error is spent over the looks, as a function of the share of runs made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spending {
    /// Next to nothing early, nearly all at the end.
    #[default]
    ObrienFleming,
    /// More evenly.
    Pocock,
}

impl Spending {
    /// The name used in study.toml and in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::ObrienFleming => "obrien-fleming",
            Self::Pocock => "pocock",
        }
    }
}

impl Design {
    /// The numbers of runs a side after which there is a look, of a study of `runs`.
    pub fn looks(&self, runs: u32) -> Vec<u32> {
        match &self.looks {
            Looks::After(list) => list.clone(),
            Looks::Count(count) => {
                let (runs, count) = (u64::from(runs), u64::from(*count).max(1));
                // At most `runs`, since a look is never after the last.
                (1..=count).map(|look| (runs * look).div_ceil(count) as u32).collect()
            }
        }
    }

    /// Key, finding and expectation of the first thing that is wrong.
    pub(crate) fn check(&self, runs: u32) -> Result<(), (&'static str, String, &'static str)> {
        let key = "run.design.looks";
        let count = match &self.looks {
            Looks::Count(count) => *count as usize,
            Looks::After(list) => list.len(),
        };
        if !(1..=MOST_LOOKS as usize).contains(&count) {
            return Err((key, count.to_string(), "1 to 50 looks"));
        }
        let looks = self.looks(runs);
        let found = || format!("{looks:?}");
        if looks.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err((key, found(), "numbers of runs that rise from look to look"));
        }
        if looks.first().is_none_or(|first| *first < 2) {
            return Err((key, found(), "a first look after at least 2 runs a side"));
        }
        if looks.last() != Some(&runs) {
            return Err((key, found(), "a last look after run.runs runs a side"));
        }
        if let Some(after) = self.identical_after
            && !(2..=looks.first().copied().unwrap_or(runs)).contains(&after)
        {
            let expected = "at least 2 runs, and no more than at the first look";
            return Err(("run.design.identical_after", after.to_string(), expected));
        }
        for (key, alpha) in [
            ("run.design.alpha", self.alpha),
            ("run.design.equivalence_alpha", self.equivalence_alpha),
        ] {
            if let Some(alpha) = alpha.filter(|alpha| !(*alpha > 0.0 && *alpha < 0.5)) {
                return Err((key, alpha.to_string(), "more than 0 and less than 0.5"));
            }
        }
        let known = |name: &String| OUTCOMES.contains(&name.as_str());
        let mut names = self.outcomes.clone();
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() < self.outcomes.len() || !names.iter().all(known) {
            let expected = "some of accuracy, precision, recall and f1, each once";
            return Err(("run.design.outcomes", format!("{:?}", self.outcomes), expected));
        }
        if self.family == Some(0) {
            return Err(("run.design.family", "0".into(), "at least one bug"));
        }
        Ok(())
    }
}

/// All that the error rates of a sequential design rest on, as it stood before the first run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The version of this form.
    pub schema: u32,
    /// Runs a side after which there is a look; the last is all of them.
    pub looks: Vec<u32>,
    /// Pairs of runs that end a comparison as `identical`.
    pub identical_after: Option<u32>,
    /// How the errors are spent.
    pub spending: Spending,
    /// The family-wise error of `different`.
    pub alpha: f64,
    /// The error of `equivalent` of each comparison.
    pub equivalence_alpha: f64,
    /// The margin of equivalence of every outcome.
    pub margin: f64,
    /// The metrics that decide.
    pub outcomes: Vec<String>,
    /// How many bugs `alpha` is shared among.
    pub family: u32,
    /// What is trained and how, by key of study.toml.
    pub workload: BTreeMap<String, Value>,
}

impl Declaration {
    /// What `config` declares, with `workload` by key and `family` bugs unless it states their
    /// number itself. Nothing where it has no design.
    pub fn of(
        config: &StudyConfig,
        family: u32,
        workload: BTreeMap<String, Value>,
    ) -> Option<Self> {
        let design = config.run.design.as_ref()?;
        Some(Self {
            schema: 1,
            looks: design.looks(config.run.runs),
            identical_after: design.identical_after,
            spending: design.spending,
            alpha: design.alpha.unwrap_or(config.stats.alpha),
            equivalence_alpha: design.equivalence_alpha.unwrap_or(config.stats.alpha),
            margin: config.stats.margin,
            outcomes: design.outcomes.clone(),
            family: design.family.unwrap_or(family.max(1)),
            workload,
        })
    }

    /// The error of one test of `different`: `alpha` shared evenly among all bugs and outcomes, as
    /// Bonferroni does.
    pub fn alpha_each(&self) -> f64 {
        self.alpha / (f64::from(self.family) * self.outcomes.len() as f64)
    }

    /// Runs a side at the end.
    pub fn runs(&self) -> u32 {
        self.looks.last().copied().unwrap_or(0)
    }

    /// Runs a side after which anything is looked at: after `identical_after`, and at the looks.
    pub fn stops(&self) -> Vec<u32> {
        let mut stops: Vec<u32> = self.identical_after.into_iter().collect();
        stops.extend(self.looks.iter().filter(|look| Some(**look) != self.identical_after));
        stops
    }

    /// The first key of study.toml in which `other` differs, with what stands here and there.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let key = |name: &str| match name {
            "margin" => "stats.margin".to_owned(),
            name => format!("run.design.{name}"),
        };
        let (Ok(Value::Object(left)), Ok(Value::Object(right))) =
            (serde_json::to_value(self), serde_json::to_value(other))
        else {
            return None;
        };
        let told = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
        let names = left.keys().filter(|name| *name != "workload");
        let mut own = names.filter(|name| left.get(*name) != right.get(*name));
        if let Some(name) = own.next() {
            return Some((key(name), told(left.get(name)), told(right.get(name))));
        }
        let mut names: Vec<&String> = self.workload.keys().chain(other.workload.keys()).collect();
        names.sort();
        let (mine, theirs) = (&self.workload, &other.workload);
        let name = names.into_iter().find(|name| mine.get(*name) != theirs.get(*name))?;
        Some((name.clone(), told(mine.get(name)), told(theirs.get(name))))
    }

    /// The bytes that are written, and that the digest is of.
    fn bytes(&self) -> Vec<u8> {
        // A map with keys of text cannot fail to be written.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text.into_bytes()
    }

    /// SHA-256 of what is written.
    pub fn digest(&self) -> String {
        files::sha256_hex(&self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use crate::{Evaluation, Study};

    fn config(design: &str) -> Result<StudyConfig, crate::ConfigError> {
        let text = format!("{EXAMPLE}\n[run.design]\n{design}");
        StudyConfig::parse(&text, "study.toml".as_ref())
    }

    fn declared(design: &str) -> Declaration {
        Declaration::of(&config(design).unwrap(), 3, BTreeMap::new()).unwrap()
    }

    #[test]
    fn looks_are_spaced_evenly_or_as_they_are_listed() {
        assert_eq!(declared("looks = 5").looks, [2, 4, 6, 8, 10]);
        assert_eq!(declared("looks = 3").looks, [4, 7, 10]);
        assert_eq!(declared("looks = [4, 10]").looks, [4, 10]);
        let design = declared("looks = [4, 10]\nidentical_after = 3");
        assert_eq!(design.stops(), [3, 4, 10]);
        assert_eq!(declared("looks = [4, 10]\nidentical_after = 4").stops(), [4, 10]);
        assert!((design.alpha_each() - 0.05 / 12.0).abs() < 1e-15);
    }

    #[test]
    fn what_cannot_be_a_design_is_refused_by_key() {
        for (design, expected) in [
            ("looks = 0", "run.design.looks"),
            ("looks = 11", "run.design.looks"),
            ("looks = 51", "1 to 50"),
            ("looks = [4, 4, 10]", "rise"),
            ("looks = [1, 10]", "at least 2"),
            ("looks = [4, 9]", "run.runs"),
            ("looks = \"often\"", "a number of looks, or a list"),
            ("looks = 2\nidentical_after = 1", "run.design.identical_after"),
            ("looks = 2\nidentical_after = 6", "run.design.identical_after"),
            ("looks = 2\nalpha = 0.0", "run.design.alpha"),
            ("looks = 2\nequivalence_alpha = nan", "run.design.equivalence_alpha"),
            ("looks = 2\noutcomes = []", "run.design.outcomes"),
            ("looks = 2\noutcomes = [\"loss\"]", "run.design.outcomes"),
            ("looks = 2\nfamily = 0", "run.design.family"),
            ("looks = 2\nspending = \"haybittle\"", "obrien-fleming"),
            ("spending = \"pocock\"", "looks"),
            ("looks = 2\nlook = 3", "unknown field"),
        ] {
            let error = config(design).unwrap_err().to_string();
            assert!(error.contains(expected), "{design}: {error}");
        }
    }

    #[test]
    fn the_first_key_that_differs_is_named() {
        let base = declared("looks = 2");
        assert_eq!(base.difference(&base), None);
        let other = declared("looks = 2\nalpha = 0.1");
        assert_eq!(
            base.difference(&other),
            Some(("run.design.alpha".into(), "0.05".into(), "0.1".into()))
        );
        let mut other = base.clone();
        other.workload.insert("run.epochs".into(), 3.into());
        assert_eq!(
            base.difference(&other),
            Some(("run.epochs".into(), "nothing".into(), "3".into()))
        );
    }

    fn look(declaration: &Declaration, number: u32) -> Look {
        let id = |side: &str| format!("pr1-{side}-0123456789ab").parse().unwrap();
        Look {
            design: declaration.digest(),
            bug: "pr1".parse().unwrap(),
            evaluation: Evaluation::Buggy,
            experiments: [id("buggy"), id("corrected")],
            look: number,
            runs: 5 * number,
            finished: [5, 5],
            pairs: [5, 0],
            information: 0.1 + 0.2,
            level: Some(1e-300),
            equivalence_level: None,
            tests: [(
                "f1".into(),
                LookTest { p_value: Some(0.3), equivalence_p: None, shift: None },
            )]
            .into(),
            stop: None,
            reason: "it goes on".into(),
            results: "00".into(),
        }
    }

    #[test]
    fn what_was_declared_and_looked_at_reads_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.toml"), EXAMPLE).unwrap();
        let study = Study::open(folder.path()).unwrap();
        assert_eq!(Record::read(&study).unwrap(), None);
        let mut record = Record::declare(&study, declared("looks = 2")).unwrap();
        assert_eq!(Record::read(&study).unwrap().as_ref(), Some(&record));
        for number in [1, 2] {
            let next = look(&record.declaration, number);
            record.add(&study, vec![next]).unwrap();
        }
        let back = Record::read(&study).unwrap().unwrap();
        assert_eq!(back, record);
        let (bug, side) = ("pr1".parse().unwrap(), Evaluation::Buggy);
        assert_eq!(back.last(&bug, side).map(|look| look.look), Some(2));
        assert_eq!(back.last(&bug, Evaluation::Aa), None);

        // A design that was edited by hand, and looks of another, are refused.
        let file = study.design_file();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("0.005", "0.05")).unwrap();
        let error = Record::read(&study).unwrap_err().to_string();
        assert!(error.contains("line 1: it is of another design"), "{error}");
        std::fs::write(&file, text.replace("  ", " ")).unwrap();
        assert!(Record::read(&study).unwrap_err().to_string().contains("design.json"));
    }
}
