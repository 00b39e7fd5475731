//! Submodules: where a commit says they come from, their local mirrors, and their trees.
//!
//! A build has no network, and its tree has no `.git`: the folders of the submodules that the
//! toolchain asks for are filled beforehand from bare repositories below the study's
//! `cache/mirrors/`, each at the commit that the tree pins. `build mirror` fetches them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use git2::{Config, ObjectType, Oid, Repository, TreeWalkMode, TreeWalkResult};
use serde::{Deserialize, Serialize};
use study::{CommitId, Study};

use crate::checkout::{self, CheckoutError};

/// A submodule that a tree pins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Submodule {
    /// Its folder below the commit's tree.
    pub path: String,
    /// Where it comes from, as `.gitmodules` says.
    pub url: String,
    /// The commit that is pinned.
    pub commit: CommitId,
}

impl Submodule {
    /// Name of its mirror: the last two parts of its address, `pybind+pybind11`.
    #[must_use]
    pub fn mirror_name(&self) -> String {
        mirror_name(&self.url)
    }

    /// Where the study keeps its mirror.
    #[must_use]
    pub fn mirror(&self, study: &Study) -> PathBuf {
        mirrors_dir(study).join(format!("{}.git", self.mirror_name()))
    }
}

/// Where a study's mirrors lie.
#[must_use]
pub fn mirrors_dir(study: &Study) -> PathBuf {
    study.cache_dir().join("mirrors")
}

fn mirror_name(url: &str) -> String {
    let bare = url.trim_end_matches('/');
    let bare = bare.strip_suffix(".git").unwrap_or(bare);
    let mut parts = bare.rsplit(['/', ':']);
    let name = parts.next().unwrap_or_default();
    let owner = parts.next().unwrap_or_default();
    let clean = |text: &str| -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.chars().map(|c| if plain(c) { c } else { '_' }).collect()
    };
    format!("{}+{}", clean(owner), clean(name))
}

/// The submodules of a commit that are `wanted` (by path), as far as the commit has them, with
/// those that lie in other submodules where these are at hand.
///
/// # Errors
/// If the clone cannot be read, or pins one that `.gitmodules` gives no address for.
pub(crate) fn wanted(
    clone: &Path,
    commit: &CommitId,
    wanted: &[String],
    mirror: &dyn Fn(&Submodule) -> PathBuf,
) -> Result<Vec<Submodule>, CheckoutError> {
    let mut found = Vec::new();
    let mut open = vec![(clone.to_owned(), commit.clone(), String::new())];
    while let Some((repository, commit, above)) = open.pop() {
        for mut submodule in pinned(&repository, &commit)? {
            submodule.path = format!("{above}{}", submodule.path);
            if !wanted.contains(&submodule.path) {
                continue;
            }
            let inside = format!("{}/", submodule.path);
            if wanted.iter().any(|path| path.starts_with(&inside)) {
                let place = mirror(&submodule);
                if has(&place, &submodule.commit) {
                    open.push((place, submodule.commit.clone(), inside));
                }
            }
            found.push(submodule);
        }
    }
    found.sort();
    Ok(found)
}

/// All submodules that a commit pins.
fn pinned(clone: &Path, commit: &CommitId) -> Result<Vec<Submodule>, CheckoutError> {
    let git = |error: git2::Error| CheckoutError::Clone {
        clone: clone.to_owned(),
        what: error.message().to_owned(),
    };
    let repository = Repository::open(clone).map_err(git)?;
    let missing = || CheckoutError::NoCommit { clone: clone.to_owned(), commit: commit.clone() };
    let oid = Oid::from_str(commit.as_str()).map_err(git)?;
    let tree = repository.find_commit(oid).map_err(|_| missing())?.tree().map_err(git)?;
    let mut links = Vec::new();
    tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() == Some(ObjectType::Commit)
            && let Ok(name) = entry.name()
        {
            links.push((format!("{folder}{name}"), entry.id().to_string()));
        }
        TreeWalkResult::Ok
    })
    .map_err(git)?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let text = tree
        .get_name(".gitmodules")
        .and_then(|entry| repository.find_blob(entry.id()).ok())
        .map(|blob| blob.content().to_owned())
        .unwrap_or_default();
    let urls = urls(&text).map_err(|what| CheckoutError::Clone {
        clone: clone.to_owned(),
        what: format!(".gitmodules of {commit}: {what}"),
    })?;
    Ok(links
        .into_iter()
        .filter_map(|(path, commit)| {
            // A link without an address cannot be fetched by anyone; git itself skips it too.
            let url = urls.get(&path)?.clone();
            Some(Submodule { path, url, commit: CommitId::new(commit).ok()? })
        })
        .collect())
}

/// Addresses by path, as `.gitmodules` has them.
fn urls(text: &[u8]) -> Result<BTreeMap<String, String>, String> {
    // libgit2 reads this form from files alone.
    let mut file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    std::io::Write::write_all(&mut file, text).map_err(|e| e.to_string())?;
    let git = |error: git2::Error| error.message().to_owned();
    let config = Config::open(file.path()).map_err(git)?;
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    let mut entries = config.entries(Some(r"^submodule\..*")).map_err(git)?;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(git)?;
        let (Ok(name), Ok(value)) = (entry.name(), entry.value()) else { continue };
        if let Some(name) = name.strip_suffix(".path") {
            paths.insert(name.to_owned(), value.trim_end_matches('/').to_owned());
        } else if let Some(name) = name.strip_suffix(".url") {
            urls.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(paths
        .into_iter()
        .filter_map(|(name, path)| Some((path, urls.get(&name)?.clone())))
        .collect())
}

/// Whether a mirror has a commit with its whole tree's root.
pub(crate) fn has(mirror: &Path, commit: &CommitId) -> bool {
    let Ok(repository) = Repository::open_bare(mirror) else { return false };
    let Ok(oid) = Oid::from_str(commit.as_str()) else { return false };
    repository.find_commit(oid).is_ok_and(|commit| commit.tree().is_ok())
}

/// Those of the submodules that no mirror holds, each pin once.
pub(crate) fn missing(study: &Study, all: &[Submodule]) -> BTreeSet<Submodule> {
    all.iter().filter(|one| !has(&one.mirror(study), &one.commit)).cloned().collect()
}

/// Fills the folders of the submodules in a tree that was laid out. Their folders are there and
/// empty, outer ones come before those inside them.
pub(crate) fn fill(
    study_mirror: &dyn Fn(&Submodule) -> PathBuf,
    submodules: &[Submodule],
    tree: &Path,
) -> Result<(), CheckoutError> {
    for submodule in submodules {
        checkout::export(&study_mirror(submodule), &submodule.commit, &tree.join(&submodule.path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: &str = "\
[submodule \"third_party/pybind11\"]
	path = third_party/pybind11
	url = https://github.com/pybind/pybind11.git
[submodule \"third-party/a b\"]
	path = deep/a b/
	url = git@host:some one/else
";

    #[test]
    fn addresses_are_read_by_path() {
        let urls = urls(MODULES.as_bytes()).unwrap();
        assert_eq!(urls["third_party/pybind11"], "https://github.com/pybind/pybind11.git");
        assert_eq!(urls["deep/a b"], "git@host:some one/else");
        assert!(super::urls(b"[submodule").is_err());
        assert!(super::urls(b"").unwrap().is_empty());
    }

    #[test]
    fn a_mirror_is_named_after_owner_and_project() {
        for (url, name) in [
            ("https://github.com/pybind/pybind11.git", "pybind+pybind11"),
            ("https://github.com/shibatch/sleef", "shibatch+sleef"),
            ("git@github.com:a/b.git", "a+b"),
            ("https://x/../..", "..+.."),
            ("x", "+x"),
        ] {
            assert_eq!(mirror_name(url), name, "{url}");
            assert!(!mirror_name(url).contains('/'));
        }
    }
}
