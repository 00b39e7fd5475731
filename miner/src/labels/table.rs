//! `labels.csv`: read, merged, written whole, sorted by bug and rater so that git merges it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use study::BugId;
use study::files::write_whole;

use super::{Answer, Criterion, Label};

/// Why labels cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// The header is not that of labels.
    #[error("{path}, line 1: the column `{column}` is missing; expected {expected}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is missing.
        column: &'static str,
        /// All columns.
        expected: String,
    },
    /// A value is none of its column.
    #[error("{path}, line {line}: {message}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong and what was expected.
        message: String,
    },
}

/// All labels of a study, at most one a rater and bug.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    rows: BTreeMap<(BugId, String), Label>,
}

fn columns() -> Vec<&'static str> {
    let criteria = Criterion::ALL.iter().map(|criterion| criterion.as_str());
    ["bug", "rater"].into_iter().chain(criteria).chain(["note", "at"]).collect()
}

impl Labels {
    /// Reads labels; a file that is not there yet holds none.
    ///
    /// # Errors
    /// See [`LabelError`]; each names the line and what was expected.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&bytes, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(LabelError::Io { path: path.to_owned(), source }),
        }
    }

    /// Parses labels; `path` is for messages. Of two rows for one rater and bug the later holds.
    ///
    /// # Errors
    /// As [`Labels::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LabelError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let odd = |line, message: String| LabelError::Row { path: path.to_owned(), line, message };
        let header = reader.headers().map_err(|e| odd(1, e.to_string()))?.clone();
        let mut places = Vec::new();
        for column in columns() {
            let place = header.iter().position(|name| name.trim() == column);
            let expected = columns().join(", ");
            let missing = || LabelError::Header { path: path.to_owned(), column, expected };
            places.push(place.ok_or_else(missing)?);
        }
        let mut labels = Self::default();
        for record in reader.records() {
            let record = record
                .map_err(|e| odd(e.position().map_or(0, csv::Position::line), e.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |column: usize| {
                places.get(column).and_then(|place| record.get(*place)).unwrap_or("").trim()
            };
            let bug = BugId::new(field(0)).map_err(|e| odd(line, e.to_string()))?;
            if field(1).is_empty() {
                return Err(odd(line, "`rater` is empty; expected who gave this label".into()));
            }
            let mut label = Label::new(bug, field(1));
            for (place, criterion) in Criterion::ALL.iter().enumerate() {
                let text = field(place + 2).to_ascii_lowercase();
                let answer = match text.as_str() {
                    "" => None,
                    text => Some(parse_answer(text).ok_or_else(|| {
                        let column = criterion.as_str();
                        odd(
                            line,
                            format!("`{column}` is `{text}`; expected yes, no, unsure or nothing"),
                        )
                    })?),
                };
                label.set(*criterion, answer);
            }
            label.note = field(8).to_owned();
            label.at = field(9).to_owned();
            labels.put(label);
        }
        Ok(labels)
    }

    /// The file's bytes: sorted by bug and rater, the same for the same labels.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail.
        let _ = writer.write_record(columns());
        for label in self.rows.values() {
            let answers = label.answers.iter().map(|a| a.map_or("", Answer::as_str));
            let head = [label.bug.as_str(), label.rater.as_str()].into_iter();
            let row = head.chain(answers).chain([label.note.as_str(), label.at.as_str()]);
            let _ = writer.write_record(row);
        }
        writer.into_inner().unwrap_or_default()
    }

    /// Writes the labels whole.
    ///
    /// # Errors
    /// If the file system refuses; the old labels then stay.
    pub fn write(&self, path: &Path) -> Result<(), LabelError> {
        write_whole(path, &self.to_csv())
            .map_err(|source| LabelError::Io { path: path.to_owned(), source })
    }

    /// Puts a label in place of the same rater's earlier one of the bug.
    pub fn put(&mut self, label: Label) {
        self.rows.insert((label.bug.clone(), label.rater.clone()), label);
    }

    /// Takes in other labels; of two for one rater and bug the later holds. Returns how many are
    /// new or other than before.
    pub fn merge(&mut self, other: Self) -> usize {
        let mut changed = 0;
        for (key, label) in other.rows {
            let newer =
                self.rows.get(&key).is_none_or(|mine| *mine != label && mine.at <= label.at);
            if newer {
                changed += 1;
                self.rows.insert(key, label);
            }
        }
        changed
    }

    /// What `rater` says of `bug`.
    pub fn get(&self, bug: &BugId, rater: &str) -> Option<&Label> {
        self.rows.get(&(bug.clone(), rater.to_owned()))
    }

    /// What everyone says of `bug`, by rater.
    pub fn of(&self, bug: &BugId) -> impl Iterator<Item = &Label> {
        let from = (bug.clone(), String::new());
        self.rows.range(from..).map(|(_, label)| label).take_while(move |label| label.bug == *bug)
    }

    /// All labels, by bug and rater.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.rows.values()
    }

    /// Everyone who labelled something, settled disagreements aside.
    pub fn raters(&self) -> Vec<String> {
        let mut raters: Vec<String> = self.rows.values().map(|label| label.rater.clone()).collect();
        raters.retain(|rater| rater != super::CONSENSUS);
        raters.sort();
        raters.dedup();
        raters
    }

    /// The first of `bugs`, in their order, that `rater` has not answered in full.
    pub fn next_for<'a>(&self, bugs: &'a [study::Bug], rater: &str) -> Option<&'a study::Bug> {
        bugs.iter().find(|bug| !self.get(&bug.id, rater).is_some_and(Label::is_complete))
    }
}

fn parse_answer(text: &str) -> Option<Answer> {
    match text {
        "y" | "1" | "true" => Some(Answer::Yes),
        "n" | "0" | "false" => Some(Answer::No),
        "?" => Some(Answer::Unsure),
        word => Answer::ALL.iter().copied().find(|answer| answer.as_str() == word),
    }
}
