//! Labels: the table, merging, agreement, consensus and the filter.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::path::Path;

use reproduceml_miner::labels::{
    Answer, CONSENSUS, Criterion, Label, Labels, Reason, agreement, disagreements, filter, hints,
};
use study::{Bug, BugId, Resolution};

fn bug(pr: u64) -> Bug {
    Bug {
        id: BugId::of_pull_request(pr),
        framework: "tinynn".into(),
        release: "v1.0.0".into(),
        section: vec![],
        text: "Fix crash in the backward of pools".into(),
        url: String::new(),
        pr,
        prs: vec![pr],
        entry: 0,
        resolution: Resolution::Unresolved,
        fix: None,
        buggy: None,
        fixed_at: None,
        authored_at: None,
        files: vec![],
        lines_added: 0,
        lines_removed: 0,
        scope: vec!["cpp-cpu".into()],
        python_only: false,
        needs_compile: true,
        needs_cuda: false,
        not_in_artifact: false,
        tests: vec![],
    }
}

fn label(pr: u64, rater: &str, yes: &[Criterion], at: &str) -> Label {
    let mut label = Label::new(BugId::of_pull_request(pr), rater);
    for criterion in Criterion::ALL {
        let answer = if yes.contains(criterion) { Answer::Yes } else { Answer::No };
        label.set(*criterion, Some(answer));
    }
    label.at = at.into();
    label
}

#[test]
fn what_is_written_reads_back_and_people_can_read_it() {
    let mut labels = Labels::default();
    labels.put(label(2, "zoe", &[Criterion::Crash], "2020-01-01T00:00:00Z"));
    let mut half = label(1, "ann", &[Criterion::Favourable], "2020-01-02T00:00:00Z");
    half.set(Criterion::CpuOnly, None);
    half.set(Criterion::Crash, Some(Answer::Unsure));
    half.note = "says \"no, never\",\nand more".into();
    labels.put(half);
    let csv = labels.to_csv();
    insta::assert_snapshot!(String::from_utf8(csv.clone()).unwrap());
    assert_eq!(Labels::parse(&csv, Path::new("labels.csv")).unwrap(), labels);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    assert_eq!(Labels::read(&path).unwrap(), Labels::default());
    labels.write(&path).unwrap();
    assert_eq!(Labels::read(&path).unwrap(), labels);
    let bugs = [bug(1), bug(2)];
    assert_eq!(labels.next_for(&bugs, "ann").unwrap().pr, 1, "half an answer is none");
    assert_eq!(labels.next_for(&bugs, "zoe").unwrap().pr, 1);
}

#[test]
fn wrong_tables_name_line_and_expectation() {
    let say = |text: &str| {
        Labels::parse(text.as_bytes(), Path::new("labels.csv")).unwrap_err().to_string()
    };
    assert!(say("bug,rater\n").contains("line 1: the column `compilation_error` is missing"));
    let head =
        "bug,rater,compilation_error,crash,user_code,cpu_only,no_application,favourable,note,at";
    assert!(
        say(&format!("{head}\npr1,a,maybe,,,,,,,\n"))
            .contains("line 2: `compilation_error` is `maybe`; expected yes, no")
    );
    assert!(say(&format!("{head}\n../x,a,,,,,,,,\n")).contains("line 2"));
    assert!(say(&format!("{head}\npr1,,,,,,,,,\n")).contains("`rater` is empty"));
    let bad = [head.as_bytes(), b"\npr1,\xff,,,,,,,,\n"].concat();
    assert!(Labels::parse(&bad, Path::new("l")).unwrap_err().to_string().contains("line 2"));
}

#[test]
fn merging_keeps_the_later_word() {
    let mut mine = Labels::default();
    mine.put(label(1, "ann", &[], "2020-01-01T00:00:00Z"));
    let mut other = Labels::default();
    other.put(label(1, "ann", &[Criterion::Crash], "2020-01-02T00:00:00Z"));
    other.put(label(1, "bob", &[], "2020-01-01T00:00:00Z"));
    let old = mine.clone();
    assert_eq!(mine.merge(other.clone()), 2);
    assert_eq!(mine.merge(old), 0, "older words change nothing");
    assert_eq!(mine, other);
    assert_eq!(mine.raters(), ["ann", "bob"]);
}

#[test]
fn the_filter_says_why_each_bug_is_lost() {
    let at = "2020-01-01T00:00:00Z";
    let mut labels = Labels::default();
    for rater in ["ann", "bob"] {
        labels.put(label(1, rater, &[Criterion::Favourable], at));
        labels.put(label(2, rater, &[Criterion::Crash], at));
    }
    labels.put(label(3, "ann", &[Criterion::CpuOnly], at));
    labels.put(label(3, "bob", &[], at));
    labels.put(label(5, "ann", &[Criterion::UserCode], at));
    labels.put(label(5, "bob", &[], at));
    labels.put(label(5, CONSENSUS, &[], at));
    let bugs = [bug(1), bug(2), bug(3), bug(4), bug(5)];
    let (kept, lost) = filter(&bugs, &labels);
    assert_eq!(kept.iter().map(|b| b.pr).collect::<Vec<_>>(), [1, 5]);
    let reasons: Vec<_> = lost.iter().map(|l| (l.bug.as_str(), l.reason)).collect();
    assert_eq!(
        reasons,
        [
            ("pr2", Reason::Criterion(Criterion::Crash)),
            ("pr3", Reason::Disputed(Criterion::CpuOnly)),
            ("pr4", Reason::Unlabelled),
        ]
    );
    let open = disagreements(&labels);
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((open[0].bug.as_str(), open[0].criterion), ("pr3", Criterion::CpuOnly));
    let kappa = agreement::on(&labels, &labels.raters(), Criterion::Crash).unwrap();
    assert_eq!((kappa.subjects, kappa.kappa, kappa.reading()), (4, Some(1.0), "almost perfect"));
}

#[test]
fn hints_propose_from_text_and_scope() {
    let hints = hints::hints(&bug(1));
    let about: Vec<_> = hints.iter().map(|h| h.criterion).collect();
    assert_eq!(about, [Criterion::Crash, Criterion::CpuOnly, Criterion::Favourable]);
    assert!(hints.iter().all(|hint| !hint.why.is_empty()));
}
