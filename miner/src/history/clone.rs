//! The clone: a user's, which is only read, or one of ours, made and brought up to date from an
//! address.

use std::path::{Path, PathBuf};

use git2::{AutotagOption, FetchOptions, RemoteCallbacks, Repository};
use study::Study;

use super::HistoryError;
use super::index::Name;
use crate::version::Version;

/// Opens the clone at `path` for reading, bare or not.
///
/// # Errors
/// If there is nothing, a file, or no repository.
pub fn open(path: &Path) -> Result<Repository, HistoryError> {
    if !path.exists() {
        return Err(HistoryError::NoPath { path: path.to_owned() });
    }
    if !path.is_dir() {
        return Err(HistoryError::NotAFolder { path: path.to_owned() });
    }
    Repository::open(path)
        .map_err(|source| HistoryError::NotARepository { path: path.to_owned(), source })
}

/// Whether `clone` is an address to clone from rather than a path.
pub fn is_address(clone: &str) -> bool {
    clone.contains("://") || clone.starts_with("git@")
}

/// Where the study's own clone lies, if it ever was made.
pub fn ours(study: &Study) -> PathBuf {
    study.cache_dir().join("clone.git")
}

/// Makes the bare clone `into` from `address`, or brings it up to date: the main line, release
/// branches and release tags, oldest release first. Each release is a step that is kept, so that
/// a call after an interruption goes on from the last one. `progress` is told objects received
/// and in total, a step at a time.
///
/// # Errors
/// If the remote cannot be reached, has no such repository or no such branch; what was received
/// stays.
pub fn mirror(
    address: &str,
    into: &Path,
    branch: &str,
    tag_pattern: &str,
    progress: &dyn Fn(usize, usize),
) -> Result<Repository, HistoryError> {
    let fail = |source| HistoryError::Remote { address: address.to_owned(), source };
    let repository = match Repository::open_bare(into) {
        Ok(repository) => repository,
        Err(_) => {
            std::fs::create_dir_all(into)
                .map_err(|source| HistoryError::Cache { path: into.to_owned(), source })?;
            Repository::init_bare(into).map_err(fail)?
        }
    };
    for step in steps(&repository, address, branch, tag_pattern).map_err(fail)? {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|state| {
            progress(state.received_objects(), state.total_objects());
            true
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None);
        let mut remote = repository.remote_anonymous(address).map_err(fail)?;
        remote.fetch(&step, Some(&mut options), None).map_err(fail)?;
    }
    Ok(repository)
}

/// What to fetch, in order: each release tag we lack, then the branches.
fn steps(
    repository: &Repository,
    address: &str,
    branch: &str,
    tag_pattern: &str,
) -> Result<Vec<Vec<String>>, git2::Error> {
    let mut remote = repository.remote_anonymous(address)?;
    remote.connect(git2::Direction::Fetch)?;
    let (mut tags, mut heads) = (Vec::new(), Vec::new());
    for head in remote.list()? {
        let name = head.name();
        if let Some(tag) = name.strip_prefix("refs/tags/") {
            let version = Version::of_tag(tag, tag_pattern);
            let known = repository.refname_to_id(name).is_ok_and(|id| id == head.oid());
            tags.extend(
                version.filter(|_| !known).map(|version| (version, format!("+{name}:{name}"))),
            );
        } else if let Some(short) = name.strip_prefix("refs/heads/")
            && (short == branch || short.starts_with("release"))
        {
            heads.push(format!("+{name}:{name}"));
        }
    }
    remote.disconnect()?;
    tags.sort();
    let mut steps: Vec<Vec<String>> = tags.into_iter().map(|(_, tag)| vec![tag]).collect();
    if !heads.is_empty() {
        steps.push(heads);
    }
    Ok(steps)
}

/// The tip of `branch`: a local branch, one of a remote, or a full reference.
pub(super) fn tip(repository: &Repository, branch: &str) -> Result<Name, HistoryError> {
    let names = [format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")];
    for name in names.iter().map(String::as_str).chain(Some(branch)) {
        // A name may be no valid reference at all; then the next one counts.
        let Ok(reference) = repository.find_reference(name) else { continue };
        if let Ok(commit) = reference.peel_to_commit() {
            return Ok(bytes(commit.id()));
        }
    }
    let mut branches: Vec<String> = Vec::new();
    for reference in repository.references()?.filter_map(Result::ok) {
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        let short = name.strip_prefix("refs/heads/").or(name.strip_prefix("refs/remotes/origin/"));
        branches.extend(short.filter(|short| *short != "HEAD").map(String::from));
    }
    branches.sort_by_key(|name| (!matches!(name.as_str(), "main" | "master"), name.clone()));
    branches.dedup();
    let more = branches.len().saturating_sub(10);
    branches.truncate(10);
    let mut found = if branches.is_empty() { "none".into() } else { branches.join(", ") };
    if more > 0 {
        found.push_str(&format!(" and {more} more"));
    }
    Err(HistoryError::NoBranch { path: place(repository), branch: branch.to_owned(), found })
}

/// Release branches and tags with their commits, in the order of their names.
pub(super) fn release_refs(
    repository: &Repository,
    tag_pattern: &str,
) -> Result<Vec<(String, Name)>, HistoryError> {
    let (before, _) = tag_pattern.split_once("{version}").unwrap_or((tag_pattern, ""));
    let mut found = Vec::new();
    for reference in repository.references()?.filter_map(Result::ok) {
        let Ok(name) = std::str::from_utf8(reference.name_bytes()) else { continue };
        let branch = name.strip_prefix("refs/heads/").or_else(|| {
            name.strip_prefix("refs/remotes/").and_then(|n| Some(n.split_once('/')?.1))
        });
        let tag = name.strip_prefix("refs/tags/");
        let of_release = |short: &str| {
            short.strip_prefix(before).is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
        };
        let counts = branch.is_some_and(|b| b.starts_with("release") || of_release(b))
            || tag.is_some_and(of_release);
        if counts && let Ok(commit) = reference.peel_to_commit() {
            found.push((name.to_owned(), bytes(commit.id())));
        }
    }
    found.sort();
    Ok(found)
}

/// Where a repository lies, for messages.
pub fn place(repository: &Repository) -> PathBuf {
    repository.workdir().unwrap_or_else(|| repository.path()).to_owned()
}

/// A warning if none of the repository's remotes is `owner/name`: perhaps another project's clone.
pub fn wrong_remote(repository: &Repository, owner_name: &str) -> Option<String> {
    let remotes = repository.remotes().ok()?;
    let mut urls = Vec::new();
    for index in 0..remotes.len() {
        let Ok(Some(name)) = remotes.get(index) else { continue };
        if let Ok(remote) = repository.find_remote(name)
            && let Ok(url) = remote.url()
        {
            urls.push(url.to_owned());
        }
    }
    let name = owner_name.rsplit('/').next().unwrap_or(owner_name).to_lowercase();
    let hosted: Vec<_> = urls.iter().filter(|url| url.contains("github.com")).collect();
    let fits = |url: &String| {
        let url = url.trim_end_matches('/').to_lowercase();
        url.strip_suffix(".git").unwrap_or(&url).rsplit(['/', ':']).next() == Some(name.as_str())
    };
    if hosted.is_empty() || hosted.iter().any(|url| fits(url)) {
        return None;
    }
    let named = hosted.iter().map(|url| url.as_str()).collect::<Vec<_>>().join(", ");
    Some(format!(
        "{}: its remote is {named}, but the study is about {owner_name}; if this is the wrong clone, name the right one with --repo",
        place(repository).display()
    ))
}

fn bytes(oid: git2::Oid) -> Name {
    oid.as_bytes().try_into().unwrap_or_default()
}
