//! The stage itself: notes and history to the corpus of a study.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use study::{Bug, BugId, Resolution, Study};

use crate::corpus::{self, WriteError};
use crate::gather::{Range, Tally, bugs_of, take_folder};
use crate::history::HistoryError;
use crate::notes::github::{self, GithubError};
use crate::notes::kept::Kept;
use crate::planted;
use crate::trace::{self, Traced};

/// What a run of the stage is given beside the study.
#[derive(Debug, Clone, Default)]
pub struct MineOptions {
    /// A folder of notes, one Markdown file a tag; else `framework.notes`, else GitHub.
    pub notes: Option<PathBuf>,
    /// A clone, or an address to clone from; else `framework.clone`.
    pub repo: Option<PathBuf>,
    /// Nothing is asked of the network.
    pub offline: bool,
    /// The main line where it is not called as the study says.
    pub branch: Option<String>,
    /// A token for GitHub.
    pub token: Option<String>,
    /// Another address than GitHub's programming interface.
    pub api_base: Option<String>,
}

/// What is going on, for a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Release notes received so far.
    Notes(usize),
    /// Objects of the clone received, and in total.
    Objects(usize, usize),
    /// Commits read so far.
    Commits(usize),
    /// Fixes read, and in total.
    Fixes(usize, usize),
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MineSummary {
    /// Releases whose notes were read.
    pub releases: usize,
    /// Entries of their bug-fix sections.
    pub entries: usize,
    /// Distinct pull requests that the entries name.
    pub pull_requests: usize,
    /// Bugs in the corpus.
    pub bugs: usize,
    /// Bugs by resolution.
    pub by_resolution: BTreeMap<String, usize>,
    /// Bugs by each kind of file their fixes changed; a bug counts under each of its kinds.
    pub by_scope: BTreeMap<String, usize>,
    /// The count of an earlier study beside this one, if study.toml names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What a reader must know to judge the numbers.
    pub warnings: Vec<String>,
}

/// What an earlier study counted in the same notes, and what can make the counts differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Its count.
    pub bugs: u32,
    /// The distinct pull requests counted here less that.
    pub difference: i64,
    /// How much each way of counting matters in these notes. Distinct pull requests are
    /// entries with one, and further ones of an entry, less repetitions.
    pub ways: Vec<Way>,
}

/// A choice that changes the count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What is counted.
    pub what: &'static str,
    /// How often it occurs.
    pub count: usize,
}

/// Why the stage could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum MineError {
    /// The folder of notes is none.
    #[error(
        "{path}: {found}; --notes expects a folder with one Markdown file a tag, like v2.7.0.md"
    )]
    NotesFolder {
        /// What was given.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Neither kept notes nor a way to have any.
    #[error(
        "{path} holds no release notes, and --offline asks for none; give a folder with --notes, or run once without --offline"
    )]
    NoNotes {
        /// The study's folder of notes.
        path: PathBuf,
    },
    /// A bound of the releases is no version.
    #[error("study.toml: framework.{key} is `{found}`; expected a version like 1.6.0")]
    Bound {
        /// `from` or `to`.
        key: &'static str,
        /// What stands there.
        found: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// GitHub could not be asked.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// The history could not be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The corpus as it was cannot be read.
    #[error(transparent)]
    Corpus(#[from] study::corpus::CorpusError),
    /// The corpus could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Mines the study's corpus. The caller holds the study's lock.
///
/// # Errors
/// See [`MineError`]; what the corpus held before is then untouched, and notes received so far
/// are kept.
pub async fn mine(
    study: &Study,
    options: &MineOptions,
    progress: &dyn Fn(Progress),
) -> Result<MineSummary, MineError> {
    let mut summary = MineSummary::default();
    let framework = &study.config.framework;
    let range = Range::of(study)?;
    let folder = study.notes_dir();
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| MineError::Io { path, source }
    };
    let mut kept = Kept::open(&folder).map_err(io(&folder.join("index.json")))?;
    let given = options.notes.clone();
    match given.or_else(|| framework.notes.as_ref().map(|notes| study.resolve(notes))) {
        Some(given) => take_folder(&given, &range, &mut kept, &mut summary)?,
        None if options.offline => {}
        None => {
            let (token, base) = (options.token.clone(), options.api_base.clone());
            let bound = |text: &Option<String>| text.clone().unwrap_or_default();
            let request = github::Request {
                range: format!("{}..{}", bound(&framework.from), bound(&framework.to)),
                ..github::Request::new(&framework.repository, token, base)
            };
            let wanted = |tag: &str| range.holds(tag);
            let fetched = github::fetch(&request, &mut kept, &wanted, progress).await;
            kept.save().map_err(io(&folder.join("index.json")))?;
            summary.warnings.extend(fetched?.warnings);
        }
    }
    kept.save().map_err(io(&folder.join("index.json")))?;
    let notes = kept.all().map_err(io(&folder))?;
    let only_planted = !study.config.faults.is_empty();
    if notes.is_empty() && options.offline && options.notes.is_none() && !only_planted {
        return Err(MineError::NoNotes { path: folder });
    }
    let (mut bugs, tally) = bugs_of(study, &range, notes, &mut summary);
    let before = match study::corpus::read(&study.corpus_file()) {
        Ok(before) => before,
        Err(study::corpus::CorpusError::Missing { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    // A study of planted faults alone needs no history.
    if !bugs.is_empty() || options.repo.is_some() {
        match trace::trace(study, options, &bugs, &mut summary.warnings, progress)? {
            Some(traced) => apply(&mut bugs, &traced),
            None => keep_resolutions(&mut bugs, &before),
        }
    }
    bugs.extend(planted::bugs(study));
    let kept_from_before = keep_others(&mut bugs, before, &range, &mut summary);
    let compare = |bugs| expected(bugs, &summary, &tally, kept_from_before);
    summary.expected = study.config.study.expected_bugs.map(compare);
    corpus::write(&study.corpus_dir(), &bugs)?;
    count(&bugs, &mut summary);
    Ok(summary)
}

fn apply(bugs: &mut [Bug], traced: &HashMap<u64, Traced>) {
    for bug in bugs {
        let Some(traced) = traced.get(&bug.pr) else { continue };
        bug.resolution = traced.resolution;
        let Some(change) = &traced.change else { continue };
        bug.fix = Some(change.fix.clone());
        bug.buggy = Some(change.buggy.clone());
        bug.fixed_at = Some(change.fixed_at.clone());
        bug.authored_at = Some(change.authored_at.clone());
        bug.files = change.files.clone();
        bug.lines_added = change.files.iter().fold(0, |sum, f| sum.saturating_add(f.added));
        bug.lines_removed = change.files.iter().fold(0, |sum, f| sum.saturating_add(f.removed));
        bug.scope = change.scope.kinds.clone();
        bug.python_only = change.scope.python_only;
        bug.needs_compile = change.scope.needs_compile;
        bug.needs_cuda = change.scope.needs_cuda;
        bug.not_in_artifact = change.scope.not_in_artifact;
        bug.tests = change.scope.tests.clone();
    }
}

/// Without a history what was traced before still holds.
fn keep_resolutions(bugs: &mut [Bug], before: &[Bug]) {
    let before: HashMap<&BugId, &Bug> = before.iter().map(|bug| (&bug.id, bug)).collect();
    for bug in bugs {
        let Some(old) = before.get(&bug.id).filter(|old| old.resolution != Resolution::Unresolved)
        else {
            continue;
        };
        *bug = Bug {
            framework: bug.framework.clone(),
            release: bug.release.clone(),
            section: bug.section.clone(),
            text: bug.text.clone(),
            url: bug.url.clone(),
            prs: bug.prs.clone(),
            entry: bug.entry,
            ..(*old).clone()
        };
    }
}

/// Keeps bugs that no note names, what people or older notes brought, and returns how many.
fn keep_others(
    bugs: &mut Vec<Bug>,
    before: Vec<Bug>,
    range: &Range,
    summary: &mut MineSummary,
) -> usize {
    let ids: HashSet<BugId> = bugs.iter().map(|bug| bug.id.clone()).collect();
    let others: Vec<Bug> = before
        .into_iter()
        // A fault that study.toml plants no more is gone.
        .filter(|bug| !ids.contains(&bug.id) && bug.resolution != Resolution::Planted)
        .collect();
    let mined = others.len();
    if mined > 0 {
        summary
            .warnings
            .push(format!("{mined} bugs of the corpus are in no note read now; they stay"));
    }
    bugs.extend(others);
    let key = |bug: &Bug| {
        let planted = bug.resolution == Resolution::Planted;
        let place = bug.prs.iter().position(|pr| *pr == bug.pr).unwrap_or(0);
        (
            planted,
            range.version(&bug.release),
            bug.release.clone(),
            bug.entry,
            place,
            bug.id.clone(),
        )
    };
    bugs.sort_by_cached_key(key);
    mined
}

fn expected(bugs: u32, summary: &MineSummary, tally: &Tally, kept: usize) -> Expected {
    let counted = i64::try_from(summary.pull_requests).unwrap_or(i64::MAX);
    let way = |what, count| Way { what, count };
    Expected {
        bugs,
        difference: counted.saturating_sub(i64::from(bugs)),
        ways: vec![
            way("entries that name a pull request, were entries counted", tally.with_number),
            way("further pull requests of such entries", tally.further),
            way("repetitions of a pull request, each counted once", tally.repeated),
            way("pull requests that only patch releases name", tally.patch),
            way("entries without a pull request, not counted", tally.without_number),
            way("bugs of the corpus that these notes do not name, not counted", kept),
        ],
    }
}

fn count(bugs: &[Bug], summary: &mut MineSummary) {
    summary.bugs = bugs.len();
    for bug in bugs {
        *summary.by_resolution.entry(bug.resolution.to_string()).or_default() += 1;
        for kind in &bug.scope {
            *summary.by_scope.entry(kind.clone()).or_default() += 1;
        }
    }
}
