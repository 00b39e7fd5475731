//! `labels.csv`, as people's answers by bug: whatever criteria its header names.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The columns that are no criteria.
const OTHERS: [&str; 4] = ["bug", "rater", "note", "at"];
/// The rater whose word settles a dispute.
const CONSENSUS: &str = "consensus";

/// All labels.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub criteria: Vec<String>,
    by_bug: HashMap<String, Vec<Label>>,
}

/// What one rater says of one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub rater: String,
    /// In the order of the criteria; empty is not answered.
    pub answers: Vec<String>,
    pub note: String,
    pub at: String,
}

/// A criterion over all raters of a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Nobody answered.
    None,
    /// All say the same, or it was settled so.
    Yes,
    /// As `Yes`.
    No,
    /// As `Yes`: nobody can tell.
    Unsure,
    /// They say different things and nobody settled it.
    Disputed,
}

/// What the raters of a bug say to each criterion.
pub(crate) fn criteria_of(labels: &[Label], criteria: usize) -> Vec<Answers> {
    let one = |place: usize| {
        let answer = |label: &'_ Label| {
            let text = label.answers.get(place).map(|text| text.to_ascii_lowercase());
            text.filter(|text| !text.is_empty()).map(|text| (label.rater == CONSENSUS, text))
        };
        let answers: Vec<(bool, String)> = labels.iter().filter_map(answer).collect();
        let settled = answers.iter().find(|(consensus, _)| *consensus);
        let Some((_, first)) = settled.or(answers.first()) else { return Answers::None };
        if settled.is_none() && answers.iter().any(|(_, other)| other != first) {
            return Answers::Disputed;
        }
        match first.as_str() {
            "yes" | "y" | "1" | "true" => Answers::Yes,
            "no" | "n" | "0" | "false" => Answers::No,
            _ => Answers::Unsure,
        }
    };
    (0..criteria).map(one).collect()
}

impl Labels {
    /// What everyone says of a bug.
    pub fn of(&self, bug: &str) -> &[Label] {
        self.by_bug.get(bug).map_or(&[], Vec::as_slice)
    }

    /// All labels by bug.
    pub fn all(&self) -> BTreeMap<&str, &[Label]> {
        self.by_bug.iter().map(|(bug, labels)| (bug.as_str(), labels.as_slice())).collect()
    }
}

/// Reads the file; nothing if nobody has labelled.
pub(super) fn read(path: &Path) -> Result<Labels, String> {
    let Some(text) = super::files::text(path)? else { return Ok(Labels::default()) };
    let odd = |message: String| format!("{}: {message}", path.display());
    let bytes = text.trim_start_matches('\u{feff}').as_bytes();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|error| odd(error.to_string()))?.clone();
    let place = |name: &str| header.iter().position(|column| column.trim() == name);
    let (Some(bug), Some(rater)) = (place("bug"), place("rater")) else {
        return Err(odd("line 1: the columns `bug` and `rater` are missing".to_owned()));
    };
    let (note, at) = (place("note"), place("at"));
    let criteria: Vec<(usize, String)> = header
        .iter()
        .enumerate()
        .map(|(place, name)| (place, name.trim().to_owned()))
        .filter(|(_, name)| !OTHERS.contains(&name.as_str()))
        .collect();
    let mut by_bug: HashMap<String, Vec<Label>> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| odd(error.to_string()))?;
        let field = |place: usize| record.get(place).unwrap_or_default().trim().to_owned();
        let label = Label {
            rater: field(rater),
            answers: criteria.iter().map(|(place, _)| field(*place)).collect(),
            note: note.map(field).unwrap_or_default(),
            at: at.map(field).unwrap_or_default(),
        };
        let of = by_bug.entry(field(bug)).or_default();
        // The later row of a rater holds, as `label` reads it.
        of.retain(|other| other.rater != label.rater);
        of.push(label);
    }
    for labels in by_bug.values_mut() {
        labels.sort_by(|a, b| a.rater.cmp(&b.rater));
    }
    let criteria = criteria.into_iter().map(|(_, name)| name).collect();
    Ok(Labels { criteria, by_bug })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disputes_are_seen_and_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        let text = "bug,rater,crash,favourable,note,at\n\
                    pr1,ann,yes,no,\"a, <b>\",2026\npr1,bob,no,no,,\n\
                    pr2,ann,yes,,,\npr2,bob,no,,,\npr2,consensus,no,,,\n\
                    pr3,ann,yes,,,\npr3,ann,no,?,,\n";
        std::fs::write(&path, text).unwrap();
        let labels = read(&path).unwrap();
        assert_eq!(labels.criteria, ["crash", "favourable"]);
        let of = |bug: &str| criteria_of(labels.of(bug), 2);
        assert_eq!(of("pr1"), [Answers::Disputed, Answers::No]);
        assert_eq!(of("pr2"), [Answers::No, Answers::None]);
        assert_eq!(of("pr3"), [Answers::No, Answers::Unsure]);
        assert_eq!(labels.of("pr1")[0].note, "a, <b>");
        assert!(labels.of("pr9").is_empty());
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(read(&path).unwrap_err().contains("`bug` and `rater`"));
        assert!(read(&folder.path().join("none.csv")).unwrap().criteria.is_empty());
    }
}
