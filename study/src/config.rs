//! `study.toml`: what a person writes to define a study.
//!
//! Every table refuses keys it does not know, so that a misspelt setting is never silently the
//! default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::design::Design;
use crate::{
    BugId, Challenge, DockerPolicy, Hyperparameters, ModelSpec, NightlyPolicy, SeedPolicy,
    SlurmPolicy, Strategy,
};

/// Why `study.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "{path}: {source}; make a study with `reproduceml init DIR`, or name one with --study DIR"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// It is no TOML of the expected form. The message holds line, column and what was expected.
    #[error("{path}: {message}\nSee docs/guide/study.md for every key.")]
    Form {
        /// The file.
        path: PathBuf,
        /// The parser's message with the offending line.
        message: String,
    },
    /// A value is out of its range.
    #[error("{path}: `{key}` is {found}; expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
}

/// The most runs a side that a study may ask for.
pub const MOST_RUNS: u32 = 100_000;

/// A whole study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// Who it is.
    pub study: About,
    /// The framework under study.
    pub framework: Framework,
    /// Which bugs go on after filtering.
    #[serde(default)]
    pub select: Select,
    /// How commits become artifacts.
    pub build: Build,
    /// The data.
    pub challenge: Challenge,
    /// The model.
    pub model: ModelConfig,
    /// How it is trained and how often.
    pub run: Run,
    /// How runs are compared.
    #[serde(default)]
    pub stats: Stats,
    /// What `nightly` may do.
    #[serde(default)]
    pub nightly: NightlyPolicy,
    /// Where artifacts, predictions and notes may lie beside the study's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreConfig>,
    /// How runs become jobs of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<SlurmPolicy>,
    /// The Docker hosts that share the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerPolicy>,
    /// Planted faults: the positive controls.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// Name and seed of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// A short name.
    pub name: String,
    /// What it asks, in a sentence.
    #[serde(default)]
    pub description: String,
    /// The number from which every seed of the study is derived.
    pub meta_seed: u64,
    /// How many bugs an earlier study counted in the same notes, for `mine` to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_bugs: Option<u32>,
}

/// The framework: where its notes and history are, and how they are marked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// The client's framework layer (`pytorch`, `tinynn`) and the corpus's `framework` column.
    pub name: String,
    /// `owner/name` on GitHub.
    pub repository: String,
    /// A local clone or an address to clone from; relative paths start at the study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<String>,
    /// A folder of release notes, one Markdown file a tag; relative to the study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The main line.
    #[serde(default = "main_branch")]
    pub branch: String,
    /// How a tag is made of a version: `{version}` stands for it.
    #[serde(default = "tag_pattern")]
    pub tag_pattern: String,
    /// The first release whose notes count, as a version; none: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last release whose notes count, as a version; none: to the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Names of the section that lists bug fixes, in any case.
    #[serde(default = "sections")]
    pub sections: Vec<String>,
    /// How a commit message marks its pull request, the most trusted first; `{repository}` and
    /// `{number}` stand for themselves.
    #[serde(default = "pull_request_marks")]
    pub pull_request_marks: Vec<String>,
}

fn main_branch() -> String {
    "main".into()
}
fn tag_pattern() -> String {
    "v{version}".into()
}
fn sections() -> Vec<String> {
    ["bug fixes", "bug fix", "bugfixes", "bugfix"].map(String::from).to_vec()
}
fn pull_request_marks() -> Vec<String> {
    ["Pull Request resolved: https://github.com/{repository}/pull/{number}", "(#{number})"]
        .map(String::from)
        .to_vec()
}

/// Which filtered bugs go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Only these; empty: all whose fix changes something that goes into an artifact.
    #[serde(default)]
    pub bugs: Vec<BugId>,
}

/// How commits become artifacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The toolchain: a folder of `dockerfiles/`, or `auto` to choose one for each bug.
    pub toolchain: String,
    /// Toolchains of single bugs, instead of `toolchain`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub toolchains: std::collections::BTreeMap<BugId, String>,
    /// The strategy for mined bugs.
    pub strategy: Strategy,
    /// Flags handed to the toolchain's steps as environment variables, recorded with the artifact.
    #[serde(default)]
    pub flags: std::collections::BTreeMap<String, String>,
    /// Minutes until a build is given up.
    #[serde(default = "build_minutes")]
    pub timeout_minutes: u32,
    /// Memory a build may use, in MiB.
    #[serde(default = "build_memory")]
    pub memory_mib: u32,
}

fn build_minutes() -> u32 {
    240
}
fn build_memory() -> u32 {
    8192
}

/// The model of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A known model, or the class in `source`.
    pub name: String,
    /// A user's own model: a Python file relative to the study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How a model is trained, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Runs a side.
    pub runs: u32,
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples a step.
    pub batch_size: u32,
    /// SGD's step length.
    pub learning_rate: f64,
    /// SGD's momentum.
    #[serde(default)]
    pub momentum: f64,
    /// Leave out a last, smaller batch.
    #[serde(default)]
    pub drop_last: bool,
    /// How runs are seeded.
    pub seed_policy: SeedPolicy,
    /// `cpu` or `cuda`.
    #[serde(default = "cpu")]
    pub device: String,
    /// Minutes until a run is given up.
    #[serde(default = "run_minutes")]
    pub timeout_minutes: u32,
    /// Memory a run may use, in MiB.
    #[serde(default = "run_memory")]
    pub memory_mib: u32,
    /// Runs at the same time; 0 takes one a core.
    #[serde(default)]
    pub jobs: u32,
    /// Looks before all runs are made, instead of a fixed number of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
}

fn cpu() -> String {
    "cpu".into()
}
fn run_minutes() -> u32 {
    720
}
fn run_memory() -> u32 {
    4096
}

/// How runs are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// The family-wise error a study accepts.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// Equivalence margin of each metric, as a fraction (0.005 is half a percentage point).
    #[serde(default = "margin")]
    pub margin: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { alpha: alpha(), margin: margin() }
    }
}

fn alpha() -> f64 {
    0.05
}
fn margin() -> f64 {
    0.005
}

/// A store that several machines share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `s3://BUCKET/PREFIX` or `file:///FOLDER`. Credentials come from the environment.
    pub url: String,
    /// The address of an S3-compatible server that is not Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region, where the server has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// GiB of what was fetched that may stay in the study's `cache/`.
    #[serde(default = "cache_gib")]
    pub cache_gib: u32,
}

fn cache_gib() -> u32 {
    10
}

impl StoreConfig {
    fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        let address = |text: &str, schemes: &[&str]| {
            let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@') && !rest.contains('?'))
        };
        // What does not fit is not repeated: it may hold a password.
        if !address(&self.url, &["s3://", "file:///"]) {
            let expected = "s3://BUCKET/PREFIX or file:///FOLDER, without a user or password";
            return Err(("store.url", "another address".into(), expected));
        }
        match &self.endpoint {
            Some(endpoint) if !address(endpoint, &["https://", "http://"]) => {
                let expected = "https://HOST or http://HOST:PORT, without a user or password";
                Err(("store.endpoint", "another address".into(), expected))
            }
            _ => Ok(()),
        }
    }
}

/// A planted fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The name it has in the corpus.
    pub id: BugId,
    /// The Python file that plants it, in the study's `faults/` or the program's `data/faults/`.
    pub file: String,
    /// What it breaks, in a sentence.
    pub title: String,
    /// Whether the study's experiment is expected to feel it. A fault in something that no run uses
    /// is a negative control: `stats` keeps it out of the detection rate.
    #[serde(default = "yes")]
    pub felt: bool,
}

fn yes() -> bool {
    true
}

impl StudyConfig {
    /// Reads and checks a `study.toml`.
    ///
    /// # Errors
    /// See [`ConfigError`]: each names file, line or key, and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses and checks the text of a `study.toml`; `path` is for messages.
    ///
    /// # Errors
    /// As [`StudyConfig::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Form {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let complain = |key, found: String, expected| {
            Err(ConfigError::Value { path: path.to_owned(), key, found, expected })
        };
        let run = &self.run;
        if !(1..=MOST_RUNS).contains(&run.runs) {
            return complain("run.runs", run.runs.to_string(), "1 to 100000 runs a side");
        }
        if run.epochs == 0 {
            return complain("run.epochs", run.epochs.to_string(), "at least one epoch");
        }
        if run.batch_size == 0 {
            return complain("run.batch_size", run.batch_size.to_string(), "at least one sample");
        }
        if !(run.learning_rate.is_finite() && run.learning_rate > 0.0) {
            return complain("run.learning_rate", run.learning_rate.to_string(), "more than 0");
        }
        if !(0.0..1.0).contains(&run.momentum) {
            return complain("run.momentum", run.momentum.to_string(), "0 to below 1");
        }
        if !matches!(run.device.as_str(), "cpu" | "cuda") {
            return complain("run.device", format!("`{}`", run.device), "`cpu` or `cuda`");
        }
        if run.timeout_minutes == 0 || self.build.timeout_minutes == 0 {
            return complain("timeout_minutes", "0".into(), "at least one minute");
        }
        if let Some(Err((key, found, expected))) = run.design.as_ref().map(|d| d.check(run.runs)) {
            return complain(key, found, expected);
        }
        let fraction = self.challenge.fraction;
        if !(fraction > 0.0 && fraction <= 1.0) {
            return complain("challenge.fraction", fraction.to_string(), "more than 0, at most 1");
        }
        if !(self.stats.alpha > 0.0 && self.stats.alpha < 1.0) {
            return complain("stats.alpha", self.stats.alpha.to_string(), "between 0 and 1");
        }
        if !(self.stats.margin > 0.0 && self.stats.margin < 1.0) {
            return complain("stats.margin", self.stats.margin.to_string(), "between 0 and 1");
        }
        if let Err((key, found, expected)) = self.nightly.check() {
            return complain(key, found, expected);
        }
        if let Some(Err((key, found, expected))) = self.store.as_ref().map(StoreConfig::check) {
            return complain(key, found, expected);
        }
        if let Some(Err((key, found, expected))) = self.slurm.as_ref().map(SlurmPolicy::check) {
            return complain(key, found, expected);
        }
        if let Some(Err((key, found, expected))) = self.docker.as_ref().map(DockerPolicy::check) {
            return complain(key, found, expected);
        }
        if !self.framework.tag_pattern.contains("{version}") {
            return complain(
                "framework.tag_pattern",
                format!("`{}`", self.framework.tag_pattern),
                "a pattern with `{version}` in it",
            );
        }
        let mut names: Vec<&BugId> = self.faults.iter().map(|fault| &fault.id).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            let found = twice.first().map(ToString::to_string).unwrap_or_default();
            return complain("fault.id", found, "each fault's name only once");
        }
        Ok(())
    }

    /// The hyperparameters as experiments record them.
    pub fn hyperparameters(&self) -> Hyperparameters {
        let r = &self.run;
        Hyperparameters {
            epochs: r.epochs,
            batch_size: r.batch_size,
            learning_rate: r.learning_rate,
            momentum: r.momentum,
            drop_last: r.drop_last,
        }
    }

    /// The model as experiments record it; `source_digest` is that of the file as it is now.
    pub fn model_spec(&self, source_digest: Option<String>) -> ModelSpec {
        ModelSpec {
            name: self.model.name.clone(),
            source: self.model.source.clone(),
            source_digest,
        }
    }
}

#[cfg(test)]
pub(crate) const EXAMPLE: &str = r#"
[study]
name = "example"
meta_seed = 1

[framework]
name = "tinynn"
repository = "tinynn/tinynn"

[build]
toolchain = "debian-bookworm-tinynn"
strategy = "source"

[challenge]
name = "synthetic"
train_samples = 100

[model]
name = "mlp"

[run]
runs = 10
epochs = 2
batch_size = 16
learning_rate = 0.1
momentum = 0.5
seed_policy = "per-run"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StudyConfig, ConfigError> {
        StudyConfig::parse(text, Path::new("study.toml"))
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.framework.branch, "main");
        assert_eq!(config.stats.margin, 0.005);
        assert_eq!(config.challenge.order, crate::DataOrder::Fixed);
        let again = toml::to_string(&config).unwrap();
        assert_eq!(parse(&again).unwrap(), config, "what is written reads back the same");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse(&EXAMPLE.replace("epochs = 2", "epoch = 2")).unwrap_err().to_string();
        assert!(error.contains("line 23"), "{error}");
        assert!(error.contains("unknown field `epoch`"), "{error}");
        assert!(error.contains("epochs"), "the right key is offered: {error}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (from, to, key) in [
            ("runs = 10", "runs = 0", "run.runs"),
            ("momentum = 0.5", "momentum = 1.5", "run.momentum"),
            ("learning_rate = 0.1", "learning_rate = nan", "run.learning_rate"),
            ("batch_size = 16", "batch_size = 0", "run.batch_size"),
            ("train_samples = 100", "fraction = 0.0", "challenge.fraction"),
            ("train_samples = 100", "fraction = 1.1", "challenge.fraction"),
            ("train_samples = 100", "fraction = nan", "challenge.fraction"),
        ] {
            let error = parse(&EXAMPLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn a_stores_address_holds_no_password() {
        let with = |lines: &str| parse(&format!("{EXAMPLE}\n[store]\n{lines}"));
        let store = with("url = \"s3://bucket/a/b\"").unwrap().store.unwrap();
        assert_eq!((store.cache_gib, store.endpoint), (10, None));
        with("url = \"file:///shared/folder\"\ncache_gib = 0").unwrap();
        with("url = \"s3://bucket\"\nendpoint = \"http://127.0.0.1:9000\"").unwrap();
        for (lines, key) in [
            ("url = \"s3://me:hidden@bucket\"", "store.url"),
            ("url = \"file://relative\"", "store.url"),
            ("url = \"ftp://host\"", "store.url"),
            ("url = \"s3://b\"\nendpoint = \"https://me:hidden@host\"", "store.endpoint"),
            ("url = \"s3://b\"\nsecret = \"x\"", "unknown field `secret`"),
        ] {
            let error = with(lines).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = StudyConfig::read(Path::new("/nonexistent/study.toml")).unwrap_err();
        assert!(error.to_string().contains("reproduceml init"), "{error}");
    }
}
