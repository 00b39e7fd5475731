//! A study as its pages show it, read from the store and from the files of the stages.

mod analysis;
mod attention;
mod bugs;
mod builds;
mod files;
mod filter;
mod labels;
mod manifest;
mod pair;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use study::funnel::{self, Funnel};
use study::selection::Choice;
use study::store::{ExperimentState, RunState};
use study::{ArtifactRecord, Bug, BugId, Evaluation, ExperimentId, Store, Study};

use crate::error::Problem;

pub(crate) use analysis::{CONTROL, Interval, Rate, Test, VerdictEntry};
pub(crate) use attention::{Attention, attention};
pub(crate) use bugs::Row;
pub(crate) use builds::{BuildDetails, Building, under_way};
pub(crate) use files::Files;
pub(crate) use filter::{Choices, Filter, PER_PAGE};
pub(crate) use labels::{Answers, criteria_of};
pub(crate) use manifest::{Factor, factors, flatten};
pub(crate) use pair::{Compared, RunPair, Side, compare, compared};

/// A study at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub files: Arc<Files>,
    version: i64,
    /// Every bug: those of the corpus in its order, then those that only the store knows.
    pub rows: Vec<Row>,
    places: HashMap<BugId, usize>,
    pub funnel: Funnel,
    /// Every experiment, those of a bug together.
    pub experiments: Vec<ExperimentState>,
    by_id: HashMap<ExperimentId, usize>,
    /// The places of each bug's experiments.
    of_bug: HashMap<BugId, Range<usize>>,
    pub builds: BTreeMap<BugId, Vec<(Evaluation, ArtifactRecord)>>,
    pub running: Vec<RunState>,
    pub building: Vec<Building>,
    choices: OnceLock<Choices>,
}

impl Snapshot {
    /// Whether nothing has changed since.
    pub fn is_of(&self, files: &Arc<Files>, version: i64) -> bool {
        // What is being built shows in no number.
        Arc::ptr_eq(&self.files, files) && self.version == version
    }

    pub fn read(
        study: &Study,
        store: &Store,
        files: Arc<Files>,
        version: i64,
        building: Vec<Building>,
    ) -> Result<Self, Problem> {
        let experiments = store.experiment_states()?;
        let by_id =
            experiments.iter().enumerate().map(|(at, state)| (state.id.clone(), at)).collect();
        let mut of_bug: HashMap<BugId, Range<usize>> = HashMap::new();
        for (at, state) in experiments.iter().enumerate() {
            of_bug.entry(state.experiment.bug.clone()).or_insert(at..at).end = at + 1;
        }
        let mut builds: BTreeMap<BugId, Vec<_>> = BTreeMap::new();
        for (bug, evaluation, record) in store.builds()? {
            builds.entry(bug).or_default().push((evaluation, record));
        }
        let running = store.runs_under_way()?;
        let verdicts = files.verdicts();
        let blind = study::reach::blind(&files.reached);
        let funnel = funnel::count(&files.corpus, &files.choices, store, &blind, &verdicts)?;
        let mut snapshot = Self {
            files,
            version,
            rows: Vec::new(),
            places: HashMap::new(),
            funnel,
            experiments,
            by_id,
            of_bug,
            builds,
            running,
            building,
            choices: OnceLock::new(),
        };
        snapshot.fill(study);
        Ok(snapshot)
    }

    fn fill(&mut self, study: &Study) {
        let files = Arc::clone(&self.files);
        let choices: HashMap<&BugId, &Choice> =
            files.choices.iter().map(|choice| (&choice.bug, choice)).collect();
        let known: std::collections::HashSet<&BugId> = files.corpus.iter().map(|b| &b.id).collect();
        let mut strangers: Vec<&BugId> = self
            .builds
            .keys()
            .chain(self.experiments.iter().filter(|s| s.active).map(|s| &s.experiment.bug))
            .filter(|b| !known.contains(*b))
            .collect();
        strangers.sort();
        strangers.dedup();
        let strangers: Vec<Arc<Bug>> = strangers
            .into_iter()
            .map(|id| Arc::new(Bug::untraced(id.clone(), &study.config.framework.name)))
            .collect();
        let mut lost: HashMap<&BugId, (&'static str, &str)> = HashMap::new();
        for (step, _, losses) in self.funnel.steps() {
            for loss in losses {
                lost.insert(&loss.bug, (step, &loss.reason));
            }
        }
        let rows = files.corpus.iter().chain(&strangers).enumerate().map(|(place, bug)| {
            let active = self.experiments_of(&bug.id).iter().filter(|state| state.active);
            let experiments: Vec<_> = active.collect();
            let builds = self.builds_of(&bug.id);
            Row::new(place, bug, &files, builds, &experiments, lost.get(&bug.id), &choices)
        });
        let rows: Vec<Row> = rows.collect();
        self.places =
            rows.iter().enumerate().map(|(place, row)| (row.bug.id.clone(), place)).collect();
        self.rows = rows;
    }

    /// What may be chosen for a list of bugs.
    pub fn choices(&self) -> &Choices {
        self.choices.get_or_init(|| Choices::new(self))
    }

    /// A bug.
    pub fn row(&self, bug: &BugId) -> Option<&Row> {
        self.rows.get(*self.places.get(bug)?)
    }

    /// Every side that was built or tried.
    pub fn all_builds(&self) -> impl Iterator<Item = (&BugId, Evaluation, &ArtifactRecord)> {
        self.builds.iter().flat_map(|(bug, sides)| {
            sides.iter().map(move |(evaluation, record)| (bug, *evaluation, record))
        })
    }

    /// The sides of a bug that were built or tried.
    pub fn builds_of(&self, bug: &BugId) -> &[(Evaluation, ArtifactRecord)] {
        self.builds.get(bug).map_or(&[], Vec::as_slice)
    }

    /// The experiments of a bug, those of the newest plan first.
    pub fn experiments_of(&self, bug: &BugId) -> &[ExperimentState] {
        let places = self.of_bug.get(bug).cloned().unwrap_or_default();
        self.experiments.get(places).unwrap_or_default()
    }

    /// One experiment.
    pub fn experiment(&self, id: &ExperimentId) -> Option<&ExperimentState> {
        self.experiments.get(*self.by_id.get(id)?)
    }
}
