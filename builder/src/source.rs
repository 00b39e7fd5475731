//! What strategy `source` needs around its containers: the commit's whole tree, the steps, and what
//! the compiler cache did.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use study::CommitId;

use crate::checkout::{self, CheckoutError};
use crate::error::BuildError;
use crate::failure::FailureClass;
use crate::patches;
use crate::record::CacheUse;
use crate::submodules::{self, Submodule};
use crate::toolchain::{Recipe, Step};

/// Where the step that reads ninja's dependency records leaves them, in `/record`.
pub(crate) const NINJA_DEPS: &str = "ninja.deps";

/// A commit's tree to lay out.
pub(crate) struct Order {
    pub clone: PathBuf,
    pub commit: CommitId,
    /// The study's mirrors.
    pub mirrors: PathBuf,
    pub recipe: Recipe,
    /// An empty folder.
    pub target: PathBuf,
}

/// What was laid out.
pub(crate) struct LaidOut {
    pub tree: String,
    pub submodules: Vec<Submodule>,
    pub patches: Vec<String>,
}

/// Why a tree was not laid out.
pub(crate) enum LayOutError {
    /// The commit is at fault: a result.
    Commit(String),
    /// The machine or the study is.
    Study(BuildError),
}

impl From<CheckoutError> for LayOutError {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Io { path, source } => Self::Study(BuildError::Io { path, source }),
            other => Self::Commit(other.to_string()),
        }
    }
}

impl Order {
    /// Writes the tree, fills the submodules, makes the placeholders, applies the patches.
    pub(crate) fn lay_out(&self) -> Result<LaidOut, LayOutError> {
        let tree = checkout::export(&self.clone, &self.commit, &self.target)?.tree;
        let sources = &self.recipe.sources;
        let mirror = |one: &Submodule| self.mirrors.join(format!("{}.git", one.mirror_name()));
        let submodules =
            submodules::wanted(&self.clone, &self.commit, &sources.submodules, &mirror)?;
        submodules::fill(&mirror, &submodules, &self.target)?;
        for name in &sources.placeholders {
            placeholder(&self.target, name).map_err(LayOutError::Study)?;
        }
        let day = commit_day(&self.clone, &self.commit);
        let patches =
            patches::apply(&self.recipe.patches, day, &self.target).map_err(LayOutError::Study)?;
        Ok(LaidOut { tree, submodules, patches })
    }
}

/// Writes a commit's tree into an empty folder as a build gets it: with its submodules, from the
/// study's mirrors, and the recipe's placeholders and patches.
///
/// # Errors
/// If the commit or a mirror is not at hand, or the file system refuses.
pub fn lay_out_tree(
    study: &study::Study,
    clone: &Path,
    commit: &CommitId,
    recipe: &Recipe,
    target: &Path,
) -> Result<(), BuildError> {
    let order = Order {
        clone: clone.to_owned(),
        commit: commit.clone(),
        mirrors: submodules::mirrors_dir(study),
        recipe: recipe.clone(),
        target: target.to_owned(),
    };
    match order.lay_out() {
        Ok(_) => Ok(()),
        Err(LayOutError::Commit(text)) => Err(BuildError::Request(text)),
        Err(LayOutError::Study(error)) => Err(error),
    }
}

/// An empty file where there is nothing yet. A link on its way could lead out of the tree: then
/// nothing is made.
fn placeholder(tree: &Path, name: &str) -> Result<(), BuildError> {
    let mut place = tree.to_owned();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let there = fs::symlink_metadata(&place).ok();
        if parts.peek().is_none() {
            if there.is_none() {
                fs::write(&place, b"").map_err(BuildError::io(&place))?;
            }
        } else {
            match there {
                None => fs::create_dir(&place).map_err(BuildError::io(&place))?,
                Some(metadata) if metadata.is_dir() => {}
                Some(_) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// The day of a commit, in UTC.
fn commit_day(clone: &Path, commit: &CommitId) -> Option<Date> {
    let repository = git2::Repository::open(clone).ok()?;
    let oid = git2::Oid::from_str(commit.as_str()).ok()?;
    let seconds = repository.find_commit(oid).ok()?.time().seconds();
    Some(Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC).date())
}

/// The recipe's steps, and those that follow from its other settings.
pub(crate) fn steps(recipe: &Recipe) -> Vec<Step> {
    let mut steps = artifact_steps(recipe);
    if let Some(folder) = &recipe.sources.ninja {
        // Records of costs are a convenience: an artifact does not fail for want of them.
        let run = format!("ninja -C /src/{folder} -t deps > /record/{NINJA_DEPS} || true");
        steps.push(Step { name: "costs".into(), kind: FailureClass::Package, run });
    }
    steps
}

/// The steps that lead from a tree in `/src` to an artifact in `/out`: the recipe's, and one that
/// unpacks the wheel that they leave.
#[must_use]
pub fn artifact_steps(recipe: &Recipe) -> Vec<Step> {
    let mut steps = recipe.steps.clone();
    if let Some(pattern) = &recipe.artifact {
        // Exactly one wheel: `set` counts what the pattern finds.
        let run = format!(
            "cd /src; set -- {pattern}; [ $# -eq 1 ] && [ -f \"$1\" ] || {{ echo \"error: \
             expected one file {pattern}, found: $*\"; exit 1; }}; mkdir -p /out/site; python3 -m \
             zipfile -e \"$1\" /out/site"
        );
        steps.push(Step { name: "unpack".into(), kind: FailureClass::Package, run });
    }
    steps
}

/// What the compiler cache did, as its logs in `/record` say.
pub(crate) fn cache_use(record: &Path) -> CacheUse {
    let read = |name: &str| {
        fs::read(record.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    match read("ccache.log") {
        Ok(text) => CacheUse::from_stats_log(&text),
        Err(_) => CacheUse::from_debug_log(&read("ccache.debug").unwrap_or_default()),
    }
}

/// Submodules that the commits of a plan need and no mirror has.
pub(crate) fn missing_mirrors(
    study: &study::Study,
    clone: &Path,
    commits: &BTreeMap<CommitId, &Recipe>,
) -> Result<(), BuildError> {
    let mut missing: Vec<Submodule> = Vec::new();
    for (commit, recipe) in commits {
        let wanted = &recipe.sources.submodules;
        if wanted.is_empty() {
            continue;
        }
        let place = |one: &Submodule| one.mirror(study);
        // A commit that is not in the clone is a result of its build, not of this check.
        let Ok(found) = submodules::wanted(clone, commit, wanted, &place) else { continue };
        missing.extend(submodules::missing(study, &found));
    }
    missing.sort();
    missing.dedup();
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(BuildError::NoMirror {
            count: missing.len(),
            first: format!("{} at {} from {}", first.path, first.commit.short(), first.url),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_fill_gaps_and_follow_no_links() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        placeholder(tree.path(), "a/b/CMakeLists.txt").unwrap();
        assert_eq!(fs::read(at("a/b/CMakeLists.txt")).unwrap(), b"");
        fs::write(at("a/file"), "kept").unwrap();
        placeholder(tree.path(), "a/file").unwrap();
        assert_eq!(fs::read(at("a/file")).unwrap(), b"kept");
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), at("link")).unwrap();
        placeholder(tree.path(), "link/file").unwrap();
        assert!(!outside.path().join("file").exists());
    }

    #[test]
    fn settings_become_steps() {
        let text = "name = \"t\"\ndescription = \"d\"\nbase = \"b\"\nartifact = \
                    \"dist/*.whl\"\n[[steps]]\nname = \"s\"\nrun = \"true\"\n[sources]\nninja = \
                    \"build\"\n[smoke]\nrun = \"true\"\n";
        let recipe: Recipe = toml::from_str(text).unwrap();
        let steps = steps(&recipe);
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["s", "unpack", "costs"]);
        assert!(steps[1].run.contains("set -- dist/*.whl;"), "{}", steps[1].run);
        assert!(steps[2].run.contains("ninja -C /src/build -t deps"), "{}", steps[2].run);
    }
}
