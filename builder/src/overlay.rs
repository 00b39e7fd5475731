//! Taking a fix back out of a released package: what the fix changed in the released files becomes
//! again what it was before, everything else stays as released.

use std::collections::BTreeMap;

use git2::{MergeFileInput, Oid, Repository, merge_file};
use serde::{Deserialize, Serialize};
use study::CommitId;

/// A file of a released package without the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenBack {
    /// Path below the package's folder of Python files.
    pub path: String,
    /// What is in it; none if the fix brought the file.
    pub content: Option<Vec<u8>>,
}

/// A file that an overlay changed, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaidFile {
    /// Path below `site/`.
    pub path: String,
    /// SHA-256 as released; none if the release has no such file.
    pub released: Option<String>,
    /// SHA-256 without the fix; none if the fix brought the file.
    pub without_fix: Option<String>,
}

/// Why a fix cannot be taken back out of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The release does not have the fix, or only a part of it.
    #[error("{file}: {what}")]
    Absent {
        /// The file, as the repository names it.
        file: String,
        /// What was found in its place.
        what: &'static str,
    },
    /// The release changed the same lines again.
    #[error(
        "{file}: the release changed the same lines in another way, so the fix cannot be taken \
         back without a decision"
    )]
    Conflict {
        /// The file, as the repository names it.
        file: String,
    },
    /// The history could not be read.
    #[error("the history cannot be read: {0}")]
    History(String),
    /// The release could not be read.
    #[error("{file}: {what}")]
    Release {
        /// The file, as the release names it.
        file: String,
        /// What the file system says.
        what: String,
    },
}

/// Where the folders of a repository lie in the released package: `{"python/tinynn": "tinynn"}`.
pub(crate) type Folders = BTreeMap<String, String>;

/// The path that a file of the repository has in the package, if it is in it.
pub(crate) fn released_path(folders: &Folders, path: &str) -> Option<String> {
    folders.iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(from.trim_end_matches('/'))?.strip_prefix('/')?;
        let plain = rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        plain.then(|| format!("{}/{rest}", to.trim_end_matches('/')))
    })
}

/// What the released files are without the change from `buggy` to `fix`.
///
/// `files` pairs each changed file's path in the repository with its path in the package, and
/// `released` reads a file of the package. A file is taken back only if the release has the whole
/// change: putting the fix on again must give exactly the released file.
///
/// # Errors
/// See [`Refusal`].
pub(crate) fn take_back(
    repository: &Repository,
    (buggy, fix): (&CommitId, &CommitId),
    files: &[(String, String)],
    released: &dyn Fn(&str) -> std::io::Result<Option<Vec<u8>>>,
) -> Result<Vec<TakenBack>, Refusal> {
    let mut all = Vec::new();
    for (path, place) in files {
        let before = blob(repository, buggy, path)?;
        let after = blob(repository, fix, path)?;
        if before == after {
            continue;
        }
        let release = released(place)
            .map_err(|e| Refusal::Release { file: place.clone(), what: e.to_string() })?;
        let content = one(path, before.as_deref(), after.as_deref(), release.as_deref())?;
        all.push(TakenBack { path: place.clone(), content });
    }
    Ok(all)
}

/// One file without the fix: `before` and `after` are its versions around the fix.
fn one(
    path: &str,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
    release: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let absent = |what| Err(Refusal::Absent { file: path.to_owned(), what });
    let conflict = || Refusal::Conflict { file: path.to_owned() };
    match (before, after, release) {
        (Some(before), Some(after), Some(release)) => {
            let without = merge(after, release, before).ok_or_else(conflict)?;
            if without == release {
                return absent("the release does not have the fix's change");
            }
            match merge(before, &without, after) {
                Some(again) if again == release => Ok(Some(without)),
                _ => absent("the release has only a part of the fix's change"),
            }
        }
        (Some(_), Some(_), None) => absent("the release has no such file"),
        (None, Some(_), None) => absent("the release does not have the file that the fix brought"),
        (None, Some(after), Some(release)) if after == release => Ok(None),
        (None, Some(_), Some(_)) => Err(conflict()),
        (Some(_), None, Some(_)) => absent("the release has the file that the fix removed"),
        (Some(before), None, None) => Ok(Some(before.to_vec())),
        (None, None, _) => Ok(None),
    }
}

/// The three-way merge of a text; none if both sides changed the same lines.
fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    // Merging alone does not set libgit2 up, and without that it cannot have memory.
    let _ready = Oid::from_str("0");
    let (mut a, mut b, mut c) =
        <(MergeFileInput<'_>, MergeFileInput<'_>, MergeFileInput<'_>)>::default();
    a.content(base);
    b.content(ours);
    c.content(theirs);
    let merged = merge_file(&a, &b, &c, None).ok()?;
    merged.is_automergeable().then(|| merged.content().to_vec())
}

/// A file's content in a commit; none if it is not there.
fn blob(
    repository: &Repository,
    commit: &CommitId,
    path: &str,
) -> Result<Option<Vec<u8>>, Refusal> {
    let wrong = |e: git2::Error| Refusal::History(e.message().to_owned());
    let oid = Oid::from_str(commit.as_str()).map_err(wrong)?;
    let tree = repository.find_commit(oid).and_then(|commit| commit.tree()).map_err(wrong)?;
    let entry = match tree.get_path(std::path::Path::new(path)) {
        Ok(entry) => entry,
        Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let blob = repository.find_blob(entry.id()).map_err(wrong)?;
    Ok(Some(blob.content().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "import a\n\ndef f(x):\n    return x\n\n\ndef g(x):\n    return x\n";
    const AFTER: &str = "import a\n\ndef f(x):\n    return 2 * x\n\n\ndef g(x):\n    return x\n";

    fn back(before: &str, after: &str, release: &str) -> Result<Option<String>, Refusal> {
        one("f.py", Some(before.as_bytes()), Some(after.as_bytes()), Some(release.as_bytes()))
            .map(|bytes| bytes.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn what_the_release_changed_elsewhere_stays() {
        let release = format!("import b\n{}", AFTER.replace("g(x)", "g(x, y)"));
        let wanted = format!("import b\n{}", BEFORE.replace("g(x)", "g(x, y)"));
        assert_eq!(back(BEFORE, AFTER, &release).unwrap().unwrap(), wanted);
        assert_eq!(back(BEFORE, AFTER, AFTER).unwrap().unwrap(), BEFORE);
    }

    #[test]
    fn a_release_without_the_fix_is_no_base() {
        for release in [BEFORE.to_owned(), format!("import b\n{BEFORE}")] {
            let error = back(BEFORE, AFTER, &release).unwrap_err();
            assert!(matches!(error, Refusal::Absent { .. }), "{error}");
        }
        // Two places changed, and only one of them released.
        let after = AFTER.replace("import a", "import b");
        let error = back(BEFORE, &after, AFTER).unwrap_err();
        assert!(error.to_string().contains("only a part"), "{error}");
    }

    #[test]
    fn lines_that_changed_again_are_refused_by_name() {
        let release = AFTER.replace("2 * x", "3 * x");
        let error = back(BEFORE, AFTER, &release).unwrap_err();
        assert_eq!(error, Refusal::Conflict { file: "f.py".into() });
    }

    #[test]
    fn files_that_the_fix_brought_or_removed_go_and_come_back() {
        assert_eq!(one("n.py", None, Some(b"x"), Some(b"x")), Ok(None));
        assert!(matches!(one("n.py", None, Some(b"x"), Some(b"y")), Err(Refusal::Conflict { .. })));
        assert!(matches!(one("n.py", None, Some(b"x"), None), Err(Refusal::Absent { .. })));
        assert_eq!(one("o.py", Some(b"x"), None, None), Ok(Some(b"x".to_vec())));
        let kept = one("o.py", Some(b"x"), None, Some(b"x"));
        assert!(matches!(kept, Err(Refusal::Absent { .. })));
    }

    #[test]
    fn only_what_the_package_holds_has_a_place_in_it() {
        let folders = Folders::from([
            ("python/tinynn".to_owned(), "tinynn".to_owned()),
            ("torch".to_owned(), "torch".to_owned()),
        ]);
        let place = |path| released_path(&folders, path);
        assert_eq!(place("python/tinynn/nn/x.py").as_deref(), Some("tinynn/nn/x.py"));
        assert_eq!(place("torch/x.py").as_deref(), Some("torch/x.py"));
        for outside in ["torchgen/x.py", "tools/x.py", "torch", "torch/../x.py", "torch//x"] {
            assert_eq!(place(outside), None, "{outside}");
        }
    }
}
