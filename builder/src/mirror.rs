//! `build mirror`: the submodules that a study's builds need, fetched once, so that no build needs
//! the network.

use std::path::{Path, PathBuf};

use git2::{AutotagOption, FetchOptions, Oid, RemoteCallbacks, Repository};
use serde::Serialize;
use study::{CommitId, Study};

use crate::error::BuildError;
use crate::options::BuildOptions;
use crate::submodules::{self, Submodule};
use crate::{plan, queue, suits};

/// A pinned submodule and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mirrored {
    /// The submodule.
    #[serde(flatten)]
    pub submodule: Submodule,
    /// What was done.
    pub outcome: MirrorOutcome,
}

/// What became of a submodule's pinned commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum MirrorOutcome {
    /// The mirror had it.
    There,
    /// It was copied from a repository on this machine.
    Copied {
        /// The repository.
        from: PathBuf,
    },
    /// It was fetched from its address.
    Fetched,
    /// It would be fetched (dry run).
    Wanted,
    /// It cannot be had.
    Missing {
        /// Why, and what to do.
        why: String,
    },
}

/// Fetches the submodules of all commits that the study builds from source into the study's
/// mirrors. Repositories below the folders `from` are asked first, under the names
/// `<owner>+<name>`, `<owner>/<name>` and `<name>`, each with or without `.git`.
///
/// # Errors
/// As [`build`](crate::build). That one of them cannot be had is a result.
pub async fn mirror(
    study: &Study,
    options: &BuildOptions,
    from: &[PathBuf],
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Mirrored>, BuildError> {
    let _lock = study.lock()?;
    let bugs = plan::bugs(study, options)?;
    let clone = queue::find_clone(study, options)
        .ok_or_else(|| plan::no_clone(study, "its commits say which submodules they need"))?;
    let suited = suits::for_bugs(study, options, Some(&clone), &bugs)?;
    let mut done: Vec<Mirrored> = Vec::new();
    for (bug, suited) in bugs.iter().zip(&suited) {
        let wanted = &suited.toolchain.recipe.sources.submodules;
        for commit in bug.fix.iter().chain(&bug.buggy) {
            // Once more for every level of submodules inside submodules that has become known.
            loop {
                if options.cancel.is_cancelled() {
                    return Err(BuildError::Interrupted);
                }
                let place = |one: &Submodule| one.mirror(study);
                let found = submodules::wanted(&clone, commit, wanted, &place)
                    .map_err(|e| BuildError::Request(e.to_string()))?;
                let new: Vec<Submodule> = found
                    .into_iter()
                    .filter(|one| done.iter().all(|known| known.submodule != *one))
                    .collect();
                if new.is_empty() {
                    break;
                }
                for submodule in new {
                    let outcome = get(study, &submodule, options, from, progress).await?;
                    done.push(Mirrored { submodule, outcome });
                }
            }
        }
    }
    done.sort_by(|a, b| a.submodule.cmp(&b.submodule));
    Ok(done)
}

async fn get(
    study: &Study,
    submodule: &Submodule,
    options: &BuildOptions,
    from: &[PathBuf],
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<MirrorOutcome, BuildError> {
    let place = submodule.mirror(study);
    if submodules::has(&place, &submodule.commit) {
        return Ok(MirrorOutcome::There);
    }
    if options.dry_run {
        return Ok(MirrorOutcome::Wanted);
    }
    progress(&format!("{} {} from {}", submodule.path, submodule.commit.short(), submodule.url));
    let local =
        candidates(submodule, from).into_iter().find(|place| is_in(place, &submodule.commit));
    let (wanted, source) = (submodule.clone(), local.clone());
    let work = tokio::task::spawn_blocking(move || match source {
        Some(source) => copy(&source, &wanted.commit, &place),
        None => fetch(&wanted, &place),
    });
    let result = match work.await {
        Ok(result) => result,
        Err(error) => Err(error.to_string()),
    };
    Ok(match (result, local) {
        (Ok(()), Some(from)) => MirrorOutcome::Copied { from },
        (Ok(()), None) => MirrorOutcome::Fetched,
        (Err(why), _) => MirrorOutcome::Missing { why },
    })
}

/// Where a repository may lie below the folders that the caller named.
fn candidates(submodule: &Submodule, from: &[PathBuf]) -> Vec<PathBuf> {
    let joined = submodule.mirror_name();
    let (owner, name) = joined.split_once('+').unwrap_or(("", &joined));
    let mut names = vec![joined.clone(), format!("{owner}/{name}"), name.to_owned()];
    names.retain(|name| name.split('/').all(|part| !matches!(part, "" | "." | "..")));
    from.iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .flat_map(|place| {
            let git = PathBuf::from(format!("{}.git", place.display()));
            [place.clone(), place.join("repo"), git]
        })
        .collect()
}

fn is_in(repository: &Path, commit: &CommitId) -> bool {
    let Ok(repository) = Repository::open(repository) else { return false };
    Oid::from_str(commit.as_str()).is_ok_and(|oid| repository.find_commit(oid).is_ok())
}

fn open(place: &Path) -> Result<Repository, git2::Error> {
    Repository::open_bare(place).or_else(|_| Repository::init_bare(place))
}

/// Copies one commit with its tree, and nothing of its history.
fn copy(from: &Path, commit: &CommitId, place: &Path) -> Result<(), String> {
    let work = || -> Result<(), git2::Error> {
        let source = Repository::open(from)?;
        let oid = Oid::from_str(commit.as_str())?;
        let mut pack = source.packbuilder()?;
        pack.insert_commit(oid)?;
        let target = open(place)?;
        let database = target.odb()?;
        let mut writer = database.packwriter()?;
        let mut written = Ok(());
        pack.foreach(|bytes| {
            written = std::io::Write::write_all(&mut writer, bytes);
            written.is_ok()
        })?;
        written.map_err(|e| git2::Error::from_str(&e.to_string()))?;
        writer.commit()?;
        pin(&target, oid)
    };
    work().map_err(|error| format!("{}: {}", from.display(), error.message()))
}

/// Fetches all of a repository, and the pinned commit by its name where no branch leads to it.
fn fetch(submodule: &Submodule, place: &Path) -> Result<(), String> {
    let url = &submodule.url;
    if !url.starts_with("https://") {
        return Err(format!(
            "its address is {url}, and only https:// is fetched; clone it by hand and name its \
             folder with --from"
        ));
    }
    let work = || -> Result<bool, git2::Error> {
        let target = open(place)?;
        let oid = Oid::from_str(submodule.commit.as_str())?;
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        fetch_refs(&target, url, &all)?;
        if target.find_commit(oid).is_err() {
            let one = format!("+{oid}:refs/pins/{oid}");
            // A server need not give out what no reference leads to.
            let _ = fetch_refs(&target, url, &[one.as_str()]);
        }
        if target.find_commit(oid).is_err() {
            return Ok(false);
        }
        pin(&target, oid)?;
        Ok(true)
    };
    match work() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "{url} has no commit {}; clone a fork that has it and name its folder with --from",
            submodule.commit
        )),
        Err(error) => Err(format!(
            "{url}: {}; where this machine has no network, bring the repository and name its \
             folder with --from",
            error.message()
        )),
    }
}

fn fetch_refs(target: &Repository, url: &str, refs: &[&str]) -> Result<(), git2::Error> {
    let mut options = FetchOptions::new();
    options.remote_callbacks(RemoteCallbacks::new()).download_tags(AutotagOption::None);
    target.remote_anonymous(url)?.fetch(refs, Some(&mut options), None)
}

/// Keeps a commit from being taken for garbage.
fn pin(repository: &Repository, commit: Oid) -> Result<(), git2::Error> {
    repository.reference(&format!("refs/pins/{commit}"), commit, true, "pinned").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Signature;

    #[test]
    fn a_pinned_commit_is_copied_without_its_history() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("owner+lib/repo");
        let repository = Repository::init(&source).unwrap();
        let who = Signature::now("a", "a@b").unwrap();
        let mut parents: Vec<Oid> = Vec::new();
        for text in ["one", "two"] {
            let mut tree = repository.treebuilder(None).unwrap();
            tree.insert("f", repository.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
            let tree = repository.find_tree(tree.write().unwrap()).unwrap();
            let above: Vec<_> =
                parents.iter().map(|id| repository.find_commit(*id).unwrap()).collect();
            let above: Vec<_> = above.iter().collect();
            let id = repository.commit(None, &who, &who, text, &tree, &above).unwrap();
            parents = vec![id];
        }
        let submodule = Submodule {
            path: "lib".into(),
            url: "https://host/owner/lib.git".into(),
            commit: CommitId::new(parents[0].to_string()).unwrap(),
        };
        let found = candidates(&submodule, &[folder.path().to_owned()])
            .into_iter()
            .find(|place| is_in(place, &submodule.commit))
            .unwrap();
        assert_eq!(found, source);
        let place = folder.path().join("mirror.git");
        copy(&found, &submodule.commit, &place).unwrap();
        assert!(submodules::has(&place, &submodule.commit));
        let mirror = Repository::open_bare(&place).unwrap();
        let commit = mirror.find_commit(parents[0]).unwrap();
        assert!(commit.parent(0).is_err(), "the history stays where it is");
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        crate::checkout::export(&place, &submodule.commit, &out).unwrap();
        assert_eq!(std::fs::read_to_string(out.join("f")).unwrap(), "two");
    }

    #[test]
    fn only_encrypted_addresses_are_fetched() {
        let submodule = Submodule {
            path: "lib".into(),
            url: "file:///etc".into(),
            commit: CommitId::new("1".repeat(40)).unwrap(),
        };
        let why = fetch(&submodule, Path::new("/no/such/folder")).unwrap_err();
        assert!(why.contains("only https://") && why.contains("--from"), "{why}");
    }
}
