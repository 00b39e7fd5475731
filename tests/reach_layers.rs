//! Every layer of `reach` on every bug of tinynn, with one thing after the other taken away from
//! what it rests on: it may then say `unknown`, and never something that is not true.
//!
//! What epochs showed was watched once in containers (tests/fixtures/tinynn/README.md says how);
//! `reach.rs` watches some of it again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{TestStudy, root};
use reach::lines::{self, Covered, FileCounts};
use reach::values::{self, Values};
use reach::{Answer, Change, Dictionary, Evidence, combine};
use serde::Deserialize;
use serde_json::Value;
use study::Study;

#[derive(Clone, Deserialize)]
struct Side {
    lines: Option<FileCounts>,
    values: Option<Values>,
}

#[derive(Clone, Deserialize)]
struct Watched {
    buggy: Side,
    corrected: Side,
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/fixtures/tinynn").join(name)).unwrap()
}

/// What one kind of evidence is known to come to, by bug.
fn truth(evidence: &str) -> BTreeMap<String, String> {
    let truth: BTreeMap<String, Value> = serde_json::from_str(&fixture("truth.json")).unwrap();
    let of = |known: &Value| Some(known["reach"].get(evidence)?.as_str()?.to_owned());
    truth.into_iter().filter_map(|(bug, known)| Some((bug, of(&known)?))).collect()
}

/// The change of each bug that has commits, and what was watched of it.
fn bugs(study: &TestStudy) -> (Dictionary, Vec<(String, Change, Watched)>) {
    let dictionary = Dictionary::read(&root().join("data/operators/tinynn.toml")).unwrap();
    let clone = reach::Clone::open(&study.path().join("upstream/tinynn")).unwrap();
    let mut watched: BTreeMap<String, Watched> =
        serde_json::from_str(&fixture("watched.json")).unwrap();
    let corpus = Study::open(&study.path()).unwrap().corpus().unwrap();
    let found = corpus.iter().filter_map(|bug| {
        let change = clone.change(bug).unwrap()?;
        Some((bug.id.to_string(), change, watched.remove(bug.id.as_str())?))
    });
    let found: Vec<_> = found.collect();
    assert!(watched.is_empty(), "watched and not in the corpus: {:?}", watched.keys());
    (dictionary, found)
}

fn lines_answer(change: &Change, seen: &Watched, dictionary: &Dictionary) -> Option<Answer> {
    let (buggy, corrected) = (seen.buggy.lines.clone(), seen.corrected.lines.clone());
    let parts = lines::judge(change, &Covered { buggy, corrected }, dictionary);
    for part in parts.iter().filter(|part| part.answer == Answer::Unknown) {
        assert!(!part.decides.is_empty() && !part.reason.is_empty(), "{part:?}");
    }
    combine(&parts).map(|part: &Evidence| part.answer)
}

type Break = (&'static str, fn(&mut Watched));

#[test]
fn lines_of_every_bug_with_every_part_of_them_missing() {
    let study = TestStudy::tinynn(&[]);
    let (dictionary, bugs) = bugs(&study);
    let known = truth("lines");
    assert_eq!(bugs.len(), known.len());
    for (bug, change, seen) in &bugs {
        let answer = lines_answer(change, seen, &dictionary).unwrap();
        assert_eq!(answer.as_str(), known[bug], "{bug}, with everything there");
    }
    fn each(seen: &mut Watched, change: fn(&mut FileCounts)) {
        for side in [&mut seen.buggy, &mut seen.corrected] {
            if let Some(counts) = &mut side.lines {
                change(counts);
            }
        }
    }
    let breaks: [Break; 8] = [
        ("the buggy side's epoch does not end", |seen| seen.buggy.lines = None),
        ("the corrected side's does not", |seen| seen.corrected.lines = None),
        ("neither does", |seen| (seen.buggy.lines, seen.corrected.lines) = (None, None)),
        ("no file was counted", |seen| each(seen, FileCounts::clear)),
        ("files are counted without a line", |seen| {
            each(seen, |counts| counts.values_mut().for_each(BTreeMap::clear));
        }),
        ("every second line is lost", |seen| {
            each(seen, |counts| {
                counts.values_mut().for_each(|lines| lines.retain(|line, _| line % 2 == 0));
            });
        }),
        ("the last half of each file is lost", |seen| {
            each(seen, |counts| {
                for lines in counts.values_mut() {
                    let keep = lines.len() / 2;
                    let last = lines.keys().nth(keep).copied().unwrap_or(0);
                    lines.retain(|line, _| *line < last);
                }
            });
        }),
        ("counts carry the name of another file", |seen| {
            each(seen, |counts| {
                *counts = std::mem::take(counts)
                    .into_iter()
                    .map(|(path, lines)| (format!("another/{path}"), lines))
                    .collect();
            });
        }),
    ];
    let mut hurt: BTreeMap<&str, usize> = BTreeMap::new();
    for (what, spoil) in breaks {
        let mut doubts = 0;
        for (bug, change, seen) in &bugs {
            let mut broken = seen.clone();
            spoil(&mut broken);
            // No part to judge is no answer either.
            let answer = lines_answer(change, &broken, &dictionary).unwrap_or(Answer::Unknown);
            let answer = answer.as_str();
            assert!(answer == "unknown" || answer == known[bug], "{what}: {bug} is {answer}");
            if answer == "unknown" && known[bug] != "unknown" {
                doubts += 1;
                *hurt.entry(bug).or_default() += 1;
            }
        }
        // A function of which half the lines are left is still known to have run or not.
        assert!(doubts > 0 || what.contains("second"), "{what}: and nothing came of it");
    }
    for (bug, answer) in &known {
        assert!(answer == "unknown" || hurt.contains_key(bug.as_str()), "nothing hurts {bug}");
    }
}

#[test]
fn values_of_every_bug_with_every_part_of_them_missing() {
    let study = TestStudy::tinynn(&[]);
    let (_, bugs) = bugs(&study);
    let known = truth("values");
    let judge = |seen: &Watched| {
        let part = values::judge(seen.buggy.values.as_ref(), seen.corrected.values.as_ref());
        assert_eq!(part.answer == Answer::Unknown, !part.decides.is_empty(), "{part:?}");
        part.answer.as_str()
    };
    for (bug, _, seen) in &bugs {
        assert_eq!(judge(seen), known[bug], "{bug}, with everything there");
    }
    fn each(seen: &mut Watched, change: fn(&mut Values)) {
        for side in [&mut seen.buggy, &mut seen.corrected] {
            if let Some(values) = &mut side.values {
                change(values);
            }
        }
    }
    fn shorten(side: &mut Side) {
        if let Some(values) = &mut side.values {
            values.batches.pop();
        }
    }
    let breaks: [Break; 7] = [
        ("the buggy side gives no values", |seen| seen.buggy.values = None),
        ("the corrected side gives none", |seen| seen.corrected.values = None),
        ("neither does", |seen| (seen.buggy.values, seen.corrected.values) = (None, None)),
        ("no initial digest was taken", |seen| each(seen, |values| values.initial = None)),
        ("no batch was digested", |seen| each(seen, |values| values.batches.clear())),
        ("the buggy side's epoch breaks off", |seen| shorten(&mut seen.buggy)),
        ("the corrected side's breaks off", |seen| shorten(&mut seen.corrected)),
    ];
    for (what, spoil) in breaks {
        let mut doubts = 0;
        for (bug, _, seen) in &bugs {
            let mut broken = seen.clone();
            spoil(&mut broken);
            let answer = judge(&broken);
            assert!(answer == "unknown" || answer == known[bug], "{what}: {bug} is {answer}");
            doubts += usize::from(answer == "unknown" && known[bug] != "unknown");
        }
        assert!(doubts > 0, "{what}: and nothing came of it");
    }
}

#[test]
fn traces_that_are_missing_or_garbled_are_refused_or_tell_nothing() {
    let study = TestStudy::tinynn(&[]);
    let path = study.path().join("trace.json");
    let ask = |text: &str| {
        std::fs::write(&path, text).unwrap();
        study.call(&["reach", "--trace", path.to_str().unwrap()])
    };
    let whole =
        std::fs::read_to_string(root().join("data/traces/pytorch-1.7-lenet-mnist-cpu.json"));
    let whole = whole.unwrap();
    for (what, text) in [
        ("an empty file", String::new()),
        ("half a file", whole[..whole.len() / 2].to_owned()),
        ("another form", whole.replace("reproduceml-trace/1", "reproduceml-trace/9")),
        ("another framework's", whole.clone()),
        ("operators that are no list", whole.replace("\"operators\": [", "\"operators\": [7, ")),
    ] {
        let told = ask(&text).expect(&[2]);
        assert!(told.err.contains("trace"), "{what}: {}", told.err);
        assert!(!study.path().join("reach/findings.jsonl").exists(), "{what}: no answer is kept");
    }
    study.call(&["reach", "--trace", "/no/such/trace.json"]).expect(&[2, 3]);
    // Without a clone, names cannot be read: only the kinds of files are left.
    let moved = study.path().join("elsewhere");
    std::fs::rename(study.path().join("upstream"), &moved).unwrap();
    assert!(Path::new(&moved).exists());
    let told = study.call(&["--format", "json", "reach"]).expect(&[0]).json();
    for finding in told["findings"].as_array().unwrap() {
        let expected = if finding["bug"] == "pr41" { "not-in-artifact" } else { "unknown" };
        assert_eq!(finding["answer"], expected, "{finding}");
    }
}
