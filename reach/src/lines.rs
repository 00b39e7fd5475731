//! The layer of lines: changed lines against lines that one epoch executed, on both sides.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::answer::{Answer, Evidence, Layer, Strength};
use crate::change::{Change, FileChange, Side};
use crate::dictionary::Dictionary;
use crate::index::{is_header, is_source};
use crate::units::{Symbols, UnitKind};
use crate::{cpp, python};

/// How often each line that can run did: by line, from 1.
pub type Counts = BTreeMap<u32, u64>;

/// What was counted on one side: by file, as the repository names it. A file that is not in it was
/// not counted.
pub type FileCounts = BTreeMap<String, Counts>;

/// What was counted on both sides.
#[derive(Debug, Clone, Default)]
pub struct Covered {
    /// In the buggy artifact; none if its epoch could not be watched.
    pub buggy: Option<FileCounts>,
    /// In the corrected artifact.
    pub corrected: Option<FileCounts>,
}

/// The parts of a change for which lines can tell: Python of the package, and compiled sources.
pub fn is_countable(file: &FileChange, dictionary: &Dictionary) -> Option<Layer> {
    if !crate::scope::is_in_artifact(&file.kind) {
        return None;
    }
    if file.path.ends_with(".py") && dictionary.installed(&file.path).is_some() {
        return Some(Layer::LinesPython);
    }
    (is_source(&file.path) && dictionary.is_source(&file.path)).then_some(Layer::LinesCpp)
}

/// The evidence of lines for each file of a change that they can tell about.
pub fn judge(change: &Change, covered: &Covered, dictionary: &Dictionary) -> Vec<Evidence> {
    let mut found = Vec::new();
    for file in &change.files {
        let Some(layer) = is_countable(file, dictionary) else { continue };
        found.push(judge_file(file, layer, covered));
    }
    found
}

fn judge_file(file: &FileChange, layer: Layer, covered: &Covered) -> Evidence {
    let evidence = |answer, reason: String| Evidence {
        layer,
        part: file.path.clone(),
        answer,
        strength: Strength::Covered,
        reason,
        decides: match answer {
            Answer::Unknown => "comparing the values of both sides (--up-to values)".to_owned(),
            _ => String::new(),
        },
    };
    let mut told = 0;
    for (name, side, counts) in
        [("buggy", &file.buggy, &covered.buggy), ("corrected", &file.corrected, &covered.corrected)]
    {
        let lines = speaking(&file.path, side, layer);
        if lines.is_empty() {
            continue;
        }
        let Some(counts) = counts else {
            let reason = format!("no epoch of the {name} side could be watched");
            return evidence(Answer::Unknown, reason);
        };
        let Some(counts) = counts.get(&file.path) else {
            let reason = format!("no line of it was counted on the {name} side");
            return evidence(Answer::Unknown, reason);
        };
        for (line, within) in lines {
            match count_of(counts, line, within) {
                Some(0) => told += 1,
                Some(times) => {
                    let reason = match layer {
                        Layer::LinesPython => format!("line {line} of the {name} side runs"),
                        _ => format!("line {line} of the {name} side runs {times} times"),
                    };
                    return evidence(Answer::MayDiffer, reason);
                }
                None => {
                    let reason =
                        format!("line {line} of the {name} side is no line that is counted");
                    return evidence(Answer::Unknown, reason);
                }
            }
        }
    }
    match told {
        0 => {
            let mut none = evidence(Answer::NotInArtifact, "only comments changed".to_owned());
            none.strength = Strength::Static;
            none
        }
        _ => evidence(
            Answer::NotExecuted,
            format!("none of its {told} changed lines runs on either side"),
        ),
    }
}

/// The lines among which a line may find the one that it belongs to.
type Within = (u32, u32);

/// The changed lines that say something, each with the function around it; what is in none stands
/// for itself.
fn speaking(path: &str, side: &Side, layer: Layer) -> Vec<(u32, Within)> {
    let Some(content) = &side.content else { return Vec::new() };
    let lines = side.lines.iter().copied();
    match layer {
        Layer::LinesPython => {
            let file = python::read(content);
            let within = |line: u32| match (file.runs_in(line), file.head_of(line)) {
                (_, Some(head)) => (head.first, head.body.saturating_sub(1)),
                (Some(function), None) => (function.body, function.last),
                (None, None) => {
                    let before = file.functions.iter().map(|function| function.last);
                    (before.filter(|last| *last < line).max().unwrap_or(0) + 1, line)
                }
            };
            lines.filter(|line| !file.is_silent(*line)).map(|line| (line, within(line))).collect()
        }
        _ => {
            let units = cpp::read(content, &Dictionary::default(), &mut Symbols::default());
            let lines = lines.filter(|line| !units.is_silent(*line));
            // A directive runs nowhere itself; that of a header may change every line after it.
            let directive = |line: &u32| units.includes.iter().any(|(at, _)| at == line);
            let within = |line: u32| match units.at(line) {
                Some(unit) if unit.kind == UnitKind::Function => (unit.first, unit.last),
                _ => (line, line),
            };
            lines
                .filter(|line| is_header(path) || !directive(line))
                .map(|line| (line, within(line)))
                .collect()
        }
    }
}

/// How often a line ran. A line on which nothing begins belongs to the one before it in its
/// function on which something does (the rest of a statement), or is the function's head. A
/// function of which no line is counted tells nothing: it was not compiled, or its lines are lost.
fn count_of(counts: &Counts, line: u32, (first, last): Within) -> Option<u64> {
    let before = counts.range(first..=line).next_back();
    before.or_else(|| counts.range(line..=last.max(line)).next()).map(|(_, count)| *count)
}

/// Reads what `gcov --json-format --stdout` prints: a JSON document a line. `root` is where the
/// tree lay when it was compiled. A line that several objects hold counts for all of them.
///
/// Returns none when a line is no such document.
pub fn from_gcov(text: &str, root: &str) -> Option<FileCounts> {
    #[derive(Deserialize)]
    struct Document {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        file: String,
        lines: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        line_number: u32,
        count: u64,
    }
    let mut found = FileCounts::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let document: Document = serde_json::from_str(line).ok()?;
        for file in document.files {
            let path = file.file.trim_start_matches(root).trim_start_matches(['/', '.']).to_owned();
            let counts = found.entry(path).or_default();
            for line in file.lines {
                *counts.entry(line.line_number).or_default() += line.count;
            }
        }
    }
    Some(found)
}

/// Counts of Python: the lines that can run, and those that did.
pub fn from_python(possible: &[u32], executed: &[u32]) -> Counts {
    let mut counts: Counts = possible.iter().map(|line| (*line, 0)).collect();
    for line in executed {
        counts.insert(*line, 1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, buggy: (&str, &[u32]), corrected: (&str, &[u32])) -> Change {
        let side = |(text, lines): (&str, &[u32])| Side {
            content: Some(text.as_bytes().to_vec()),
            lines: lines.to_vec(),
        };
        Change {
            files: vec![FileChange {
                path: path.into(),
                kind: "cpp-cpu".into(),
                buggy: side(buggy),
                corrected: side(corrected),
            }],
        }
    }

    fn dictionary() -> Dictionary {
        Dictionary { sources: vec!["src/".into()], ..Dictionary::default() }
    }

    const CODE: &str =
        "int f(int x)\n{\n    int y = x +\n        1;\n    // a comment\n    return y;\n}\n";

    fn both(counts: &[(u32, u64)]) -> Covered {
        let side: FileCounts =
            [("src/a.c".to_owned(), counts.iter().copied().collect())].into_iter().collect();
        Covered { buggy: Some(side.clone()), corrected: Some(side) }
    }

    #[test]
    fn a_line_that_runs_on_either_side_is_seen() {
        let fix = change("src/a.c", (CODE, &[4]), (CODE, &[4, 5]));
        let judge = |covered: &Covered| judge(&fix, covered, &dictionary()).remove(0);
        // The fourth line is the rest of the statement on the third.
        assert_eq!(judge(&both(&[(1, 2), (3, 2), (6, 2)])).answer, Answer::MayDiffer);
        assert_eq!(judge(&both(&[(1, 2), (3, 0), (6, 2)])).answer, Answer::NotExecuted);
        let half = Covered { buggy: None, ..both(&[(3, 0)]) };
        assert_eq!(judge(&half).answer, Answer::Unknown);
        assert_eq!(judge(&both(&[])).answer, Answer::Unknown);
        let other = Covered { corrected: Some(FileCounts::new()), ..both(&[(3, 0)]) };
        assert_eq!(judge(&other).answer, Answer::Unknown);
    }

    #[test]
    fn a_comment_is_no_change() {
        let fix = change("src/a.c", (CODE, &[5]), (CODE, &[5]));
        let found = judge(&fix, &Covered::default(), &dictionary());
        assert_eq!(found.first().map(|e| e.answer), Some(Answer::NotInArtifact));
    }

    #[test]
    fn counts_of_several_objects_add_up() {
        let document =
            r#"{"files":[{"file":"src/a.h","lines":[{"line_number":3,"count":2,"x":1}]}]}"#;
        let found = from_gcov(&format!("{document}\n{document}\n"), "/src").unwrap();
        assert_eq!(found["src/a.h"][&3], 4);
        assert!(from_gcov("no JSON", "/src").is_none());
        assert!(from_gcov("", "/src").is_some_and(|found| found.is_empty()));
    }

    #[test]
    fn lines_of_python_that_did_not_run_are_zero() {
        let counts = from_python(&[1, 3], &[3]);
        assert_eq!(count_of(&counts, 2, (1, 4)), Some(0));
        assert_eq!(count_of(&counts, 4, (1, 4)), Some(1));
    }

    #[test]
    fn a_line_belongs_to_no_other_function() {
        let counts = Counts::from([(1, 0), (2, 0), (12, 5)]);
        assert_eq!(count_of(&counts, 8, (7, 9)), None, "no line of its own function is counted");
        assert_eq!(count_of(&counts, 11, (10, 14)), Some(5), "the head of a function that is");
        assert_eq!(count_of(&counts, 20, (20, 20)), None, "at file scope nothing is counted");
        let code = "int f(void)\n{\n    return 1;\n}\nint table[] = {1, 2};\n";
        let fix = change("src/a.c", (code, &[5]), (code, &[5]));
        let found = judge(&fix, &both(&[(1, 0), (3, 0)]), &dictionary());
        assert_eq!(found.first().map(|part| part.answer), Some(Answer::Unknown));
    }
}
