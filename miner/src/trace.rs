//! Tracing the bugs of a corpus through the history of a clone, with what was read of each fix
//! kept in the study's cache.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use study::{Bug, Resolution, Study};

use crate::history::HistoryError;
use crate::history::clone;
use crate::history::index::Index;
use crate::history::marks::Marks;
use crate::mine::{MineError, MineOptions, Progress};
use crate::resolve::{self, Change};

/// A bug's resolution with its change, if it has one.
#[derive(Debug, Clone)]
pub struct Traced {
    /// How it was traced.
    pub resolution: Resolution,
    /// What the fix changed.
    pub change: Option<Change>,
}

/// Changes with the version of the rules that judged them: other rules judge anew.
const RULES: u32 = 1;

/// Fixes read before the repository is opened anew, which gives back the memory that its packs
/// are mapped into and its objects are kept in.
const OPEN_FOR: usize = 100;

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cache {
    rules: u32,
    changes: BTreeMap<String, Change>,
}

/// Traces all bugs; `None` when there is no clone to trace them in, which is then said.
///
/// # Errors
/// If the clone given cannot be used.
pub fn trace(
    study: &Study,
    options: &MineOptions,
    bugs: &[Bug],
    warnings: &mut Vec<String>,
    progress: &dyn Fn(Progress),
) -> Result<Option<HashMap<u64, Traced>>, MineError> {
    let framework = &study.config.framework;
    let Some(mut repository) = repository(study, options, warnings, progress)? else {
        return Ok(None);
    };
    warnings.extend(clone::wrong_remote(&repository, &framework.repository));
    let marks = Marks::new(&framework.repository, &framework.pull_request_marks);
    let branch = options.branch.as_deref().unwrap_or(&framework.branch);
    let file = study.cache_dir().join("history.index");
    let commits = |count| progress(Progress::Commits(count));
    let pattern = &framework.tag_pattern;
    let (index, walked) = Index::update(&repository, branch, pattern, &marks, &file, &commits)?;
    if walked.truncated || repository.is_shallow() {
        warnings.push(format!(
            "{}: this clone is shallow and its history ends after {} commits, so older fixes are not found; `git fetch --unshallow` completes it",
            clone::place(&repository).display(),
            index.len()
        ));
    }
    let cache_file = study.cache_dir().join("changes.json");
    let mut cache = read_cache(&cache_file);
    let mut traced = HashMap::new();
    let (mut came_back, mut first, mut fresh) = (Vec::new(), Vec::new(), 0);
    for (done, bug) in bugs.iter().enumerate() {
        let resolved = resolve::resolve(&index, bug.pr);
        if resolved.taken_back {
            came_back.push(bug.id.to_string());
        }
        let change = match resolved.pair {
            None => None,
            Some((fix, buggy)) => {
                let key = resolve::commit_id(fix).map(|id| id.to_string()).unwrap_or_default();
                match cache.changes.get(&key) {
                    Some(change) => Some(change.clone()),
                    None => {
                        if fresh % OPEN_FOR == 0 {
                            repository = clone::open(repository.path())?;
                        }
                        let change = resolve::change(&repository, (fix, buggy))?;
                        fresh += 1;
                        if let Some(change) = &change {
                            cache.changes.insert(key, change.clone());
                        }
                        change
                    }
                }
            }
        };
        let found = matches!(
            resolved.resolution,
            Resolution::Unique | Resolution::Relanded | Resolution::CherryPicked
        );
        if found && change.is_none() {
            first.push(bug.id.to_string());
        }
        traced.insert(bug.pr, Traced { resolution: resolved.resolution, change });
        progress(Progress::Fixes(done + 1, bugs.len()));
    }
    if fresh > 0 {
        write_cache(&cache_file, &cache)?;
    }
    say(
        &came_back,
        "were taken back after their only landing, and no re-landing was found: the pair is sound, but the bug came back after it",
        warnings,
    );
    say(&first, "were found, but the clone lacks the commit before the fix", warnings);
    Ok(Some(traced))
}

fn say(bugs: &[String], what: &str, warnings: &mut Vec<String>) {
    if !bugs.is_empty() {
        warnings.push(format!("{} bugs {what}: {}", bugs.len(), bugs.join(", ")));
    }
}

/// The clone to trace in.
fn repository(
    study: &Study,
    options: &MineOptions,
    warnings: &mut Vec<String>,
    progress: &dyn Fn(Progress),
) -> Result<Option<git2::Repository>, HistoryError> {
    let none = |what: &str| {
        format!(
            "{what}, so no bug was traced to its fix; name a clone with --repo or as framework.clone in study.toml"
        )
    };
    let (path, text): (PathBuf, String) = match (&options.repo, &study.config.framework.clone) {
        (Some(repo), _) => (repo.clone(), repo.to_string_lossy().into_owned()),
        (None, Some(clone)) => (study.resolve(clone), clone.clone()),
        (None, None) => {
            warnings.push(none("there is no clone"));
            return Ok(None);
        }
    };
    if !clone::is_address(&text) {
        return clone::open(&path).map(Some);
    }
    let ours = clone::ours(study);
    if options.offline {
        if ours.is_dir() {
            return clone::open(&ours).map(Some);
        }
        warnings.push(none(&format!("{text} was never cloned and --offline clones nothing")));
        return Ok(None);
    }
    let objects = |received, total| progress(Progress::Objects(received, total));
    let framework = &study.config.framework;
    let branch = options.branch.as_deref().unwrap_or(&framework.branch);
    clone::mirror(&text, &ours, branch, &framework.tag_pattern, &objects).map(Some)
}

fn read_cache(file: &Path) -> Cache {
    let cache = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // A cache that does not read is only slower.
    let cache = cache.filter(|cache: &Cache| cache.rules == RULES);
    cache.unwrap_or(Cache { rules: RULES, ..Cache::default() })
}

fn write_cache(file: &Path, cache: &Cache) -> Result<(), HistoryError> {
    let fail = |source| HistoryError::Cache { path: file.to_owned(), source };
    let bytes = serde_json::to_vec(cache).map_err(|e| fail(e.into()))?;
    study::files::write_whole(file, &bytes).map_err(fail)
}
