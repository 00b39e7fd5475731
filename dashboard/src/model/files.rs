//! What the stages left in files. What is damaged is named on every page, and the rest is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use study::corpus::CorpusError;
use study::own_tests::{self, OwnTests};
use study::reach::{self, Reached};
use study::selection::Choice;
use study::{Bug, BugId, Study, StudyError, Verdict};

use super::analysis::Analysis;
use super::builds::Building;
use super::labels::{self, Labels};

/// Time and size of each file, by which a change is seen.
pub(crate) type Stamps = Vec<Option<(SystemTime, u64)>>;

/// The files' content.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub stamps: Stamps,
    pub corpus: Vec<Arc<Bug>>,
    pub choices: Vec<Choice>,
    pub labels: Labels,
    pub analysis: Option<Analysis>,
    pub reached: BTreeMap<BugId, Reached>,
    pub own_tests: BTreeMap<BugId, OwnTests>,
    /// What could not be read, for people.
    pub problems: Vec<String>,
}

impl Files {
    fn paths(study: &Study) -> [PathBuf; 7] {
        [
            study.corpus_file(),
            study.selection_file(),
            study.labels_file(),
            study.analysis_file(),
            reach::file(study),
            own_tests::file(study),
            study.root().join("builds"),
        ]
    }

    /// The stamps of the files and of the builds that are under way.
    pub fn stamps(study: &Study, building: &[Building]) -> Stamps {
        let stamp = |path: PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        let mut stamps: Stamps = Self::paths(study).into_iter().map(stamp).collect();
        // A build that begins or ends.
        stamps.extend(building.iter().map(|one| Some((SystemTime::UNIX_EPOCH, one.key()))));
        stamps
    }

    pub fn read(study: &Study, stamps: Stamps) -> Self {
        let mut files = Self { stamps, ..Self::default() };
        match study.corpus() {
            Ok(corpus) => files.corpus = corpus.into_iter().map(Arc::new).collect(),
            Err(StudyError::Corpus(CorpusError::Missing { .. })) => {}
            Err(error) => files.problems.push(error.to_string()),
        }
        match study::selection::read(&study.selection_file()) {
            Ok(choices) => files.choices = choices,
            Err(CorpusError::Missing { .. }) => {}
            Err(error) => files.problems.push(error.to_string()),
        }
        match labels::read(&study.labels_file()) {
            Ok(read) => files.labels = read,
            Err(error) => files.problems.push(error),
        }
        match reach::of_own_workload(study) {
            Ok(reached) => files.reached = reached,
            Err(error) => files.problems.push(error.to_string()),
        }
        match own_tests::read(study) {
            Ok(found) => {
                files.own_tests = found.into_iter().map(|one| (one.bug.clone(), one)).collect();
            }
            Err(error) => files.problems.push(error.to_string()),
        }
        match Analysis::read(&study.analysis_file()) {
            Ok(analysis) => files.analysis = analysis,
            Err(error) => files.problems.push(error),
        }
        files
    }

    /// What `stats` concluded for each bug, as the funnel counts it.
    pub fn verdicts(&self) -> BTreeMap<BugId, (Verdict, String)> {
        let entries = self.analysis.iter().flat_map(|analysis| &analysis.verdicts);
        entries
            .filter_map(|entry| {
                let bug = BugId::new(entry.bug.clone()).ok()?;
                Some((bug, (entry.verdict.parse().ok()?, entry.reason.clone())))
            })
            .collect()
    }
}

/// A small file as text; nothing if it is not there.
pub(super) fn text(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
