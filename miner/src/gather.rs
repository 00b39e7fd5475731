//! Notes to bugs: which releases count, and what their entries name.

use std::collections::HashSet;
use std::path::Path;

use study::{Bug, BugId, Study};

use crate::mine::{MineError, MineSummary};
use crate::notes::kept::{Change as NoteChange, Kept};
use crate::notes::parse::{Origin, Rules, parse};
use crate::version::Version;

/// How the entries of all notes name pull requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Entries that name one at least.
    pub with_number: usize,
    /// Entries that name none.
    pub without_number: usize,
    /// Pull requests beyond the first of their entry.
    pub further: usize,
    /// Mentions of a pull request that was named before.
    pub repeated: usize,
    /// Pull requests first named by a patch release.
    pub patch: usize,
}

/// The releases of a study.
pub(crate) struct Range {
    pattern: String,
    from: Option<Version>,
    to: Option<Version>,
}

impl Range {
    /// That of `study.toml`.
    pub fn of(study: &Study) -> Result<Self, MineError> {
        let framework = &study.config.framework;
        let bound = |key: &'static str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match Version::parse(text) {
                Some(version) => Ok(Some(version)),
                None => Err(MineError::Bound { key, found: text.clone() }),
            },
        };
        Ok(Self {
            pattern: framework.tag_pattern.clone(),
            from: bound("from", &framework.from)?,
            to: bound("to", &framework.to)?,
        })
    }

    /// The version that a tag names.
    pub fn version(&self, tag: &str) -> Option<Version> {
        Version::of_tag(tag, &self.pattern)
    }

    /// Whether a tag's notes count.
    pub fn holds(&self, tag: &str) -> bool {
        self.version(tag).is_some_and(|version| {
            self.from.as_ref().is_none_or(|from| *from <= version)
                && self.to.as_ref().is_none_or(|to| version <= *to)
        })
    }
}

/// Keeps the notes of a folder.
///
/// # Errors
/// If it is no folder of notes or cannot be read.
pub(crate) fn take_folder(
    given: &Path,
    range: &Range,
    kept: &mut Kept,
    summary: &mut MineSummary,
) -> Result<(), MineError> {
    let wrong =
        |found: &str| MineError::NotesFolder { path: given.to_owned(), found: found.into() };
    if !given.exists() {
        return Err(wrong("there is nothing here"));
    }
    if !given.is_dir() {
        return Err(wrong("this is a file"));
    }
    let io = |source| MineError::Io { path: given.to_owned(), source };
    let found = crate::notes::folder::read(given).map_err(io)?;
    if found.is_empty() {
        return Err(wrong("no Markdown file is in it"));
    }
    for (tag, body) in found {
        if range.version(&tag).is_none() {
            summary.warnings.push(format!(
                "{}: left out, as {tag} is no tag of a release ({})",
                given.join(format!("{tag}.md")).display(),
                range.pattern
            ));
            continue;
        }
        if let NoteChange::Changed { old } = kept.keep(&tag, &body, "folder", None).map_err(io)? {
            summary.warnings.push(changed(&tag, &old));
        }
    }
    Ok(())
}

/// The warning for a note that is not what it was.
pub(crate) fn changed(tag: &str, old: &Path) -> String {
    format!(
        "{tag}: the notes changed since they were last read; the old ones are {}",
        old.display()
    )
}

/// Parses the notes in the study's range, in the order of their versions.
pub(crate) fn bugs_of(
    study: &Study,
    range: &Range,
    notes: Vec<(String, Vec<u8>)>,
    summary: &mut MineSummary,
) -> (Vec<Bug>, Tally) {
    let framework = &study.config.framework;
    let mut notes: Vec<_> = notes
        .into_iter()
        .filter(|(tag, _)| range.holds(tag))
        .filter_map(|(tag, body)| Some((range.version(&tag)?, tag, body)))
        .collect();
    notes.sort();
    let mut bugs = Vec::new();
    let mut seen = HashSet::new();
    let mut tally = Tally::default();
    for (version, release, bytes) in notes {
        let body = String::from_utf8_lossy(&bytes);
        if matches!(body, std::borrow::Cow::Owned(_)) {
            let odd = "its notes are not all UTF-8; what could not be read became \u{fffd}";
            summary.warnings.push(format!("{release}: {odd}"));
        }
        let rules = Rules {
            repository: framework.repository.clone(),
            sections: framework.sections.clone(),
            whole_note: version.is_patch(),
        };
        let parsed = parse(&body, &rules);
        summary.releases += 1;
        summary.entries += parsed.entries.len();
        if parsed.origin == Origin::Nothing {
            summary.warnings.push(format!("{release}: its notes have no section of bug fixes"));
        } else if parsed.entries.is_empty() {
            summary.warnings.push(format!("{release}: its notes name no pull request"));
        }
        for (place, entry) in parsed.entries.iter().enumerate() {
            match entry.prs.len().checked_sub(1) {
                None => tally.without_number += 1,
                Some(further) => {
                    tally.with_number += 1;
                    tally.further += further;
                }
            }
            for pr in &entry.prs {
                if !seen.insert(*pr) {
                    tally.repeated += 1;
                    continue;
                }
                tally.patch += usize::from(version.is_patch());
                bugs.push(Bug {
                    release: release.clone(),
                    section: entry.section.clone(),
                    text: entry.text.clone(),
                    url: format!("https://github.com/{}/pull/{pr}", framework.repository),
                    pr: *pr,
                    prs: entry.prs.clone(),
                    entry: u32::try_from(place).unwrap_or(u32::MAX),
                    ..Bug::untraced(BugId::of_pull_request(*pr), &framework.name)
                });
            }
        }
    }
    summary.pull_requests = bugs.len();
    if tally.repeated > 0 {
        summary.warnings.push(format!(
            "{} mentions repeat a pull request of an earlier entry or release; each counts once, where it is named first",
            tally.repeated
        ));
    }
    (bugs, tally)
}
