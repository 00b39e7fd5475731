//! Small changes that let commits of another time build with today's compilers and Pythons.
//!
//! They are part of the toolchain's folder and so of its identity, they are applied to both sides
//! of a pair alike, and a build's record names those that took hold: a pair whose sides differ in
//! that is refused.

use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::error::BuildError;

/// One change of one file: a text that must be there exactly once, and what stands there instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Its name in records.
    pub name: String,
    /// What it is for, in a sentence.
    pub why: String,
    /// The file, below the commit's tree.
    pub file: String,
    /// The text that is replaced.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
    /// The first day (of the commit) on which it is tried.
    #[serde(default)]
    pub from: Option<String>,
    /// The last day on which it is tried.
    #[serde(default)]
    pub to: Option<String>,
}

impl Patch {
    /// Whether it is meant for commits of that day.
    fn covers(&self, day: Option<Date>) -> bool {
        let parse = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Date>().ok());
        let Some(day) = day else { return self.from.is_none() && self.to.is_none() };
        parse(&self.from).is_none_or(|from| from <= day)
            && parse(&self.to).is_none_or(|to| day <= to)
    }
}

/// Applies the patches that are for commits of that day to the tree, and names those that took
/// hold. A file that is missing, or in which the text is not exactly once, is left as it is: the
/// commit is older or newer than what the patch is for.
pub(crate) fn apply(
    patches: &[Patch],
    day: Option<Date>,
    tree: &Path,
) -> Result<Vec<String>, BuildError> {
    let mut applied = Vec::new();
    for patch in patches.iter().filter(|patch| patch.covers(day)) {
        let file = tree.join(&patch.file);
        // A link could lead out of the tree.
        let plain = std::fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file());
        let inside = plain
            && std::fs::canonicalize(&file)
                .ok()
                .zip(std::fs::canonicalize(tree).ok())
                .is_some_and(|(file, tree)| file.starts_with(tree));
        if !inside {
            continue;
        }
        let text = std::fs::read(&file).map_err(BuildError::io(&file))?;
        let Ok(text) = String::from_utf8(text) else { continue };
        if text.matches(&patch.find).count() != 1 {
            continue;
        }
        let text = text.replacen(&patch.find, &patch.replace, 1);
        std::fs::write(&file, text).map_err(BuildError::io(&file))?;
        applied.push(patch.name.clone());
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(find: &str) -> Patch {
        Patch {
            name: "p".into(),
            why: "because".into(),
            file: "f".into(),
            find: find.into(),
            replace: "new".into(),
            from: Some("2020-01-01".into()),
            to: Some("2020-01-31".into()),
        }
    }

    #[test]
    fn a_patch_takes_hold_once_and_in_its_time() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("f");
        let day = |text: &str| Some(text.parse::<Date>().unwrap());
        std::fs::write(&file, "an old thing, old and old").unwrap();
        let apply = |find: &str, on| apply(&[patch(find)], on, tree.path()).unwrap();
        assert!(apply("old", day("2020-01-05")).is_empty());
        assert!(apply("an old", day("2020-02-01")).is_empty());
        assert!(apply("an old", None).is_empty());
        assert_eq!(apply("an old", day("2020-01-31")), ["p"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new thing, old and old");
    }

    #[test]
    fn a_link_is_not_followed_and_a_missing_file_is_no_error() {
        let tree = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "old").unwrap();
        let patch = Patch { from: None, to: None, ..patch("old") };
        assert!(apply(std::slice::from_ref(&patch), None, tree.path()).unwrap().is_empty());
        std::os::unix::fs::symlink(outside.path(), tree.path().join("f")).unwrap();
        assert!(apply(&[patch], None, tree.path()).unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(outside.path()).unwrap(), "old");
    }
}
