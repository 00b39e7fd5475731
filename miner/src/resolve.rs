//! From a pull request to the commit that fixed the bug and the last commit that had it.

use git2::{ErrorCode, Oid, Repository};
use study::{ChangedFile, CommitId, Resolution};

use crate::history::HistoryError;
use crate::history::index::{Index, Name, Record};
use crate::scope::{self, Diff, Scope};

/// What the history says of one pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// How it was traced.
    pub resolution: Resolution,
    /// The fixing commit and its first parent.
    pub pair: Option<(Name, Name)>,
    /// Its only landing was taken back later and no trace of a re-landing was found. The pair is
    /// one commit apart all the same, but the bug came back after it.
    pub taken_back: bool,
}

/// Finds the fix of pull request `pr`.
///
/// Commits of the main line that land it count, reverts aside (unless the pull request *is* a
/// revert). Of several the last that still stands is the fix: `relanded` when the earlier ones
/// were taken back, `ambiguous` when several stand (parts, or a mislabelled stack). A single
/// landing that was taken back remains a valid pair: `relanded` when a later commit lands it
/// under another number, else `unique` and marked. Several landings all taken back are no fix.
/// Without any on the main line a release branch may have it: `cherry-picked`.
pub fn resolve(index: &Index, pr: u64) -> Resolved {
    let all = index.landings(pr);
    let proper: Vec<_> = all.iter().filter(|(record, _)| !record.is_revert).collect();
    let landings = if proper.is_empty() { all.iter().collect() } else { proper };
    let standing: Vec<_> = landings.iter().filter(|(_, stands)| *stands).collect();
    let found = |resolution, record: &Record| {
        // The very first commit has no parent, so no commit with the bug can be built.
        let pair = Some((record.name, record.parent)).filter(|(_, parent)| *parent != [0; 20]);
        Resolved { resolution, pair, taken_back: false }
    };
    match (landings.as_slice(), standing.last()) {
        ([_], Some((only, _))) => found(Resolution::Unique, only),
        (_, Some((last, _))) if standing.len() == 1 => found(Resolution::Relanded, last),
        (_, Some((last, _))) => found(Resolution::Ambiguous, last),
        ([(only, _)], None) => match index.landed_again(only) {
            Some(_) => found(Resolution::Relanded, only),
            None => Resolved { taken_back: true, ..found(Resolution::Unique, only) },
        },
        ([], None) => match index.side_landings(pr).iter().find(|record| !record.is_revert) {
            Some(picked) => found(Resolution::CherryPicked, picked),
            None => nothing(),
        },
        (_, None) => nothing(),
    }
}

fn nothing() -> Resolved {
    Resolved { resolution: Resolution::NotFound, pair: None, taken_back: false }
}

/// A fix with all that the corpus says of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The fixing commit.
    pub fix: CommitId,
    /// Its first parent.
    pub buggy: CommitId,
    /// When it was committed (RFC 3339, in the committer's zone).
    pub fixed_at: String,
    /// When it was written (RFC 3339, in the author's zone).
    pub authored_at: String,
    /// The files it changed, by path.
    pub files: Vec<ChangedFile>,
    /// What follows from them.
    pub scope: Scope,
}

/// Reads what a fix changed. `None` if the clone lacks one of the two commits.
///
/// # Errors
/// If the clone has the commits but not their files, or is damaged.
pub fn change(
    repository: &Repository,
    (fix, buggy): (Name, Name),
) -> Result<Option<Change>, HistoryError> {
    let find = |name: Name| match repository.find_commit(Oid::from_bytes(&name)?) {
        Ok(commit) => Ok(Some(commit)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(HistoryError::from(error)),
    };
    let (Some(commit), Some(parent)) = (find(fix)?, find(buggy)?) else { return Ok(None) };
    let (Some(fix), Some(buggy)) = (commit_id(fix), commit_id(buggy)) else { return Ok(None) };
    let mut diff = repository.diff_tree_to_tree(
        Some(&parent.tree()?),
        Some(&commit.tree()?),
        Some(git2::DiffOptions::new().context_lines(0).interhunk_lines(0)),
    )?;
    let mut renames = git2::DiffFindOptions::new();
    diff.find_similar(Some(renames.renames(true).rename_limit(400)))?;
    let mut files = Vec::new();
    for place in 0..diff.deltas().len() {
        let Some(delta) = diff.get_delta(place) else { continue };
        let path = delta.new_file().path_bytes().or(delta.old_file().path_bytes());
        let path = String::from_utf8_lossy(path.unwrap_or_default()).into_owned();
        // Binary files and submodules have no lines.
        let (_, added, removed) = match git2::Patch::from_diff(&diff, place)? {
            Some(patch) => patch.line_stats()?,
            None => (0, 0, 0),
        };
        let kind = scope::kind_of(&path).as_str().to_owned();
        let lines = |count| u32::try_from(count).unwrap_or(u32::MAX);
        files.push(ChangedFile { path, kind, added: lines(added), removed: lines(removed) });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let scope = scope::of(&Diff { files: &files, message: &message });
    let (fixed_at, authored_at) = (time(commit.time()), time(commit.author().when()));
    Ok(Some(Change { fix, buggy, fixed_at, authored_at, files, scope }))
}

/// A commit's name as the study's type.
pub fn commit_id(name: Name) -> Option<CommitId> {
    CommitId::new(Oid::from_bytes(&name).ok()?.to_string()).ok()
}

/// RFC 3339 in the zone the time was written in.
fn time(time: git2::Time) -> String {
    let offset = jiff::tz::Offset::from_seconds(time.offset_minutes().saturating_mul(60))
        .unwrap_or(jiff::tz::Offset::UTC);
    let timestamp = jiff::Timestamp::from_second(time.seconds()).unwrap_or_default();
    timestamp.display_with_offset(offset).to_string()
}
