//! Pairs built from source and planted faults, in real containers.
#![allow(clippy::unwrap_used)]

mod support;

use reproduceml_builder as builder;
use std::fs;
use std::os::unix::fs::MetadataExt;

use builder::{BuildRecord, Outcome};
use study::{ArtifactStatus, Bug, BugId, ChangedFile, CommitId, Evaluation, Resolution};
use support::{Lab, failure, outcome};

const A1: &str = "int a(void) { return 1; }\n";
const A2: &str = "int a(void) { return 2; }\n";
const B: &str = "int b(void) { return 7; }\n";

#[tokio::test]
async fn a_pair_is_built_once_and_the_second_side_costs_what_its_change_touches() {
    let name = "a_pair_is_built_once_and_the_second_side_costs_what_its_change_touches";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::new();
    let buggy = lab.commit(&Lab::tree(A1, B));
    let fix = lab.commit(&Lab::tree(A2, B));
    let bug = lab.bug(1, &buggy, &fix);

    let plan = lab.build(&builder::BuildOptions { dry_run: true, ..lab.options() }).await;
    assert_eq!((plan.dry_run, plan.built, plan.bugs.len()), (true, 0, 1));
    assert_eq!(*outcome(&plan, &bug, Evaluation::Buggy), Outcome::Pending);
    assert!(!lab.study.artifacts_dir().exists());

    let first = lab.build(&lab.options()).await;
    assert_eq!((first.pairs, first.built, first.failed), (1, 2, 0), "{first:?}");
    assert_eq!(first.bugs[0].identical, Some(false));
    let sides = &first.bugs[0].sides;
    let cache: Vec<_> = sides.iter().map(|s| s.cache.unwrap()).collect();
    assert_eq!((cache[0].hits, cache[0].misses), (0, 2), "the first side compiles everything");
    assert_eq!((cache[1].hits, cache[1].misses), (1, 1), "the second only what changed");

    // The artifact's folder, as its users rely on it.
    for (side, value) in sides.iter().zip([1, 2]) {
        let id = side.artifact.clone().unwrap();
        let folder = lab.study.artifact_dir(&id);
        assert!(folder.join("files/site/toy/libtoy.so").is_file());
        let record = BuildRecord::read(&folder.join("record.json")).unwrap();
        assert_eq!(record.identity.commit, side.commit);
        assert_eq!(record.smoke.unwrap()["a"], value);
        assert_eq!(record.id, id);
        let text = fs::read_to_string(folder.join("provenance.json")).unwrap();
        let statement: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["subject"].as_array().unwrap().len(), 2);
        let log = builder::read_log(&lab.study.build_dir(&id).join("log.zst")).unwrap();
        assert!(log.contains("+ [compile]") && log.contains("+ [smoke]"), "{log}");
    }
    let builds = lab.study.store().unwrap().builds().unwrap();
    assert_eq!(builds.len(), 2);
    assert!(builds.iter().all(|(b, _, record)| *b == bug && record.is_built()));

    // The two differ in one library and nothing else, and are what was built.
    let pairs = builder::compare(&lab.study).unwrap();
    assert_eq!(pairs[0].difference.changed, ["site/toy/libtoy.so"]);
    assert_eq!((pairs[0].difference.same, pairs[0].mismatches.len()), (1, 0));
    assert!(builder::verify(&lab.study).unwrap().iter().all(|v| v.problems.is_empty()));

    // Nothing is done twice, and quickly.
    let again = lab.build(&lab.options()).await;
    assert_eq!((again.built, again.reused, again.pairs), (0, 2, 1));
    assert!(again.seconds < 2.0, "{}", again.seconds);
    // A store that is lost is filled again from what lies there whole.
    fs::remove_file(lab.study.root().join("study.db")).unwrap();
    let adopted = lab.build(&lab.options()).await;
    assert_eq!((adopted.built, adopted.reused, adopted.pairs), (0, 2, 1));
    // A changed file is found and named.
    let id = sides[0].artifact.clone().unwrap();
    fs::write(lab.study.artifact_dir(&id).join("files/site/toy/__init__.py"), "").unwrap();
    let found = builder::verify(&lab.study).unwrap();
    let bad: Vec<_> = found.iter().filter(|v| !v.problems.is_empty()).collect();
    assert_eq!((bad.len(), &bad[0].id), (1, &id));
    assert!(bad[0].problems[0].contains("__init__.py"), "{:?}", bad[0].problems);
    // The scratch folder is empty again.
    let scratch = lab.study.cache_dir().join("scratch");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
}

#[tokio::test]
async fn a_commit_of_two_bugs_is_built_once_and_a_change_outside_is_identical() {
    let name = "a_commit_of_two_bugs_is_built_once_and_a_change_outside_is_identical";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::new();
    let one = lab.commit(&Lab::tree(A1, B));
    let two = lab.commit(&Lab::tree(A2, B));
    let mut tree = Lab::tree(A2, B);
    tree.insert("README".into(), "words".into());
    let three = lab.commit(&tree);
    let first = lab.bug(1, &one, &two);
    let second = lab.bug(2, &two, &three);
    let options = builder::BuildOptions { jobs: 2, ..lab.options() };
    let summary = lab.build(&options).await;
    assert_eq!((summary.built, summary.pairs), (3, 2), "{summary:?}");
    let of = |bug| summary.bugs.iter().find(|b| b.bug == bug).unwrap();
    assert_eq!(of(first).identical, Some(false));
    assert_eq!(of(second).identical, Some(true), "bit for bit the same artifact");
}

#[tokio::test]
async fn broken_commits_are_results_with_class_line_and_place() {
    let name = "broken_commits_are_results_with_class_line_and_place";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::new();
    let good = lab.commit(&Lab::tree(A1, B));
    let cases = [
        ("compile", "unknown type name", Lab::tree("foo a(void) { return 1; }\n", B)),
        (
            "import",
            "undefined symbol",
            Lab::tree("int missing(void); int a(void) { return missing(); }\n", B),
        ),
        ("train", "it cannot train", Lab::tree("int a(void) { return -1; }\n", B)),
    ];
    let mut bugs = Vec::new();
    for (number, (class, words, tree)) in cases.into_iter().enumerate() {
        let bad = lab.commit(&tree);
        bugs.push((lab.bug(number as u64 + 1, &bad, &good), class, words));
    }
    let mut tree = Lab::tree(A1, B);
    tree.remove("__init__.py");
    let bad = lab.commit(&tree);
    bugs.push((lab.bug(20, &bad, &good), "package", "__init__.py"));
    tree.remove("Makefile");
    let bad = lab.commit(&tree);
    bugs.push((lab.bug(21, &bad, &good), "configure", "No rule to make target"));
    let gone = CommitId::new("1".repeat(40)).unwrap();
    bugs.push((lab.bug(22, &gone, &good), "checkout", "fetch it first"));

    let summary = lab.build(&lab.options()).await;
    assert_eq!((summary.pairs, summary.failed, summary.built), (0, 6, 1), "{summary:#?}");
    for (bug, class, words) in &bugs {
        let (found, line) = failure(&summary, bug, Evaluation::Buggy);
        assert_eq!(found, *class, "{bug}: {line}");
        assert!(line.contains(words), "{bug}: {line}");
        let Outcome::Failed { log, line_number, .. } = outcome(&summary, bug, Evaluation::Buggy)
        else {
            unreachable!()
        };
        let text = builder::read_log(&lab.study.root().join(log)).unwrap();
        if let Some(number) = line_number {
            let at = text.lines().nth(usize::try_from(*number).unwrap() - 1).unwrap();
            assert!(at.contains(words), "line {number} of the log is {at}");
        }
    }
    // A failure stands until it is asked to be tried again.
    let again = lab.build(&lab.options()).await;
    assert_eq!((again.built, again.failed, again.reused), (0, 6, 1));
    let id = again.bugs[0].sides[0].artifact.clone().unwrap();
    let record = lab.study.build_dir(&id).join("record.json");
    let before = fs::metadata(&record).unwrap().modified().unwrap();
    let class = builder::FailureClass::Compile;
    lab.build(&builder::BuildOptions {
        retry: Some(builder::Retry::Class(class)),
        ..lab.options()
    })
    .await;
    assert!(fs::metadata(&record).unwrap().modified().unwrap() > before);
}

#[tokio::test]
async fn a_fault_is_planted_on_what_was_compiled() {
    let Some(_) = support::docker("a_fault_is_planted_on_what_was_compiled").await else { return };
    let study = "[[fault]]\nid = \"broken\"\nfile = \"broken.py\"\ntitle = \"a is 5\"\n\
                 [[fault]]\nid = \"useless\"\nfile = \"useless.py\"\ntitle = \"cannot be used\"\n";
    let mut lab = Lab::with("", study);
    lab.commit(&Lab::tree(A1, B));
    let faults = lab.study.root().join("faults");
    fs::create_dir(&faults).unwrap();
    fs::write(faults.join("broken.py"), "def apply(toy):\n    toy.a = lambda: 5\n").unwrap();
    fs::write(faults.join("useless.py"), "def apply(toy):\n    toy.nothing.x = 1\n").unwrap();
    let broken = lab.fault("broken");
    let useless = lab.fault("useless");
    let summary = lab.build(&lab.options()).await;
    assert_eq!((summary.built, summary.pairs, summary.failed), (2, 1, 1), "{summary:#?}");
    let (class, line) = failure(&summary, &useless, Evaluation::Artificial);
    assert_eq!(class, "fault", "{line}");
    let sides = &summary.bugs.iter().find(|b| b.bug == broken).unwrap().sides;
    let artificial = sides.iter().find(|s| s.evaluation == Evaluation::Artificial).unwrap();
    let files = lab.study.artifact_dir(artificial.artifact.as_ref().unwrap()).join("files");
    assert!(files.join("fault.py").is_file() && files.join("site/toy/libtoy.so").is_file());
    let store = lab.study.store().unwrap();
    let record = store.artifact(artificial.artifact.as_ref().unwrap()).unwrap().unwrap();
    assert_eq!(record.fault.as_deref(), Some("broken.py"));
    assert!(matches!(record.status, ArtifactStatus::Built { .. }));
}

/// A library that holds the moment of its build.
const MOMENT: &str = "int b(void) { return 7; }\nlong built(void) { return BUILT; }\n";

#[tokio::test]
async fn a_build_that_embeds_a_time_is_caught_when_built_again() {
    let name = "a_build_that_embeds_a_time_is_caught_when_built_again";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::new();
    let steady = lab.commit(&Lab::tree(A1, B));
    let mut tree = Lab::tree(A2, MOMENT);
    let make = support::MAKEFILE.replace("-fPIC -c", "-fPIC -DBUILT=$$(date +%s%N) -c");
    tree.insert("Makefile".into(), make);
    let moody = lab.commit(&tree);
    lab.bug(1, &steady, &moody);
    lab.build(&lab.options()).await;

    let options = builder::BuildOptions { rebuild: true, ..lab.options() };
    let again = lab.build(&options).await;
    assert_eq!((again.rebuilt.len(), again.built, again.reused), (2, 0, 2));
    let of = |side: usize| {
        let id = again.bugs[0].sides[side].artifact.as_ref().unwrap();
        again.rebuilt.iter().find(|one| one.artifact == *id).unwrap()
    };
    assert!(of(0).same && of(0).difference.is_empty(), "{:?}", of(0));
    let other = of(1);
    assert_eq!(other.difference.changed, ["site/toy/libtoy.so"]);
    assert!(!other.same && other.describe().contains(".text"), "{}", other.describe());
    // The artifact that was there stays, and the result is kept.
    assert!(builder::verify(&lab.study).unwrap().iter().all(|one| one.problems.is_empty()));
    let kept = lab.study.build_dir(&other.artifact).join("rebuild/comparison.json");
    let kept: builder::Rebuilt = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, *other);
}

#[tokio::test]
async fn pairs_are_compared_by_section_and_what_the_fix_does_not_explain_is_flagged() {
    let name = "pairs_are_compared_by_section_and_what_the_fix_does_not_explain_is_flagged";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::new();
    let one = lab.commit(&Lab::tree(A1, B));
    let two = lab.commit(&Lab::tree(A2, B));
    let mut tree = Lab::tree(A2, B);
    tree.insert("README".into(), "words".into());
    let three = lab.commit(&tree);
    let scoped = |id: BugId, (buggy, fix): (&CommitId, &CommitId), path: &str, kind: &str| Bug {
        buggy: Some(buggy.clone()),
        fix: Some(fix.clone()),
        fixed_at: Some("2020-01-01T00:00:00Z".into()),
        files: vec![ChangedFile { path: path.into(), kind: kind.into(), added: 1, removed: 1 }],
        scope: vec![kind.into()],
        ..support::blank(id, Resolution::Unique)
    };
    let ids: Vec<BugId> = (1..=3).map(BugId::of_pull_request).collect();
    lab.keep(scoped(ids[0].clone(), (&one, &two), "a.c", "cpp-cpu"));
    lab.keep(scoped(ids[1].clone(), (&one, &two), "python/other.py", "python"));
    lab.keep(scoped(ids[2].clone(), (&two, &three), "README", "docs"));
    let summary = lab.build(&lab.options()).await;
    assert_eq!((summary.built, summary.pairs), (3, 3));

    let pairs = builder::compare(&lab.study).unwrap();
    let names: Vec<&str> =
        pairs[0].sections["site/toy/libtoy.so"].iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&".text") && !names.contains(&".dynstr"), "{names:?}");
    assert_eq!(pairs[0].unexplained, Vec::<String>::new());
    assert!(pairs[1].unexplained[0].contains("libtoy.so"), "{:?}", pairs[1].unexplained);
    assert!(pairs[2].identical && pairs[2].difference.is_empty());
    assert!(!pairs[0].identical && !pairs[1].identical);
    let same = lab.study.store().unwrap().identical_pairs().unwrap();
    assert_eq!(same.into_iter().collect::<Vec<_>>(), [ids[2].clone()]);
    let kept = lab.study.root().join("builds/pairs/pr1-buggy/comparison.json");
    let kept: builder::PairComparison = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, pairs[0]);

    // Files that two artifacts hold are one file with two names, until no artifact has them.
    let inode = |side: usize, file: &str| {
        let id = summary.bugs[2].sides[side].artifact.as_ref().unwrap();
        let path = lab.study.artifact_dir(id).join("files/site/toy").join(file);
        fs::metadata(path).unwrap().ino()
    };
    assert_eq!(inode(0, "libtoy.so"), inode(1, "libtoy.so"));
    assert!(builder::verify(&lab.study).unwrap().iter().all(|one| one.problems.is_empty()));
    assert_eq!(builder::collect_garbage(&lab.study, true).await.unwrap(), vec![]);

    // One is taken out whole, by the first characters of its identifier.
    let id = summary.bugs[0].sides[0].artifact.clone().unwrap();
    let target = lab.folder.path().join("out");
    let content = builder::export(&lab.study, id.short(), &target).unwrap();
    assert_eq!(content, builder::show(&lab.study, id.short()).unwrap().content.unwrap());
    assert!(target.join("files/site/toy/libtoy.so").is_file());
    assert!(target.join("provenance.json").is_file());
    let error = builder::export(&lab.study, id.short(), &target).unwrap_err();
    assert!(error.to_string().contains("expected an empty folder"), "{error}");
    assert_eq!(builder::entries(&lab.study).unwrap().len(), 3);
    for bug in &summary.bugs {
        for side in &bug.sides {
            let _ = fs::remove_dir_all(lab.study.artifact_dir(side.artifact.as_ref().unwrap()));
        }
    }
    let garbage = builder::collect_garbage(&lab.study, false).await.unwrap();
    assert!(
        matches!(garbage.as_slice(), [builder::Garbage::Shared { files: 2, .. }]),
        "{garbage:?}"
    );
    assert_eq!(builder::collect_garbage(&lab.study, true).await.unwrap(), vec![]);
}

#[tokio::test]
async fn every_failure_is_tried_again_when_asked() {
    let Some(_) = support::docker("every_failure_is_tried_again_when_asked").await else { return };
    let mut lab = Lab::new();
    let good = lab.commit(&Lab::tree(A1, B));
    let bad = lab.commit(&Lab::tree("oops\n", B));
    let bug = lab.bug(1, &bad, &good);
    let summary = lab.build(&lab.options()).await;
    failure(&summary, &bug, Evaluation::Buggy);
    let id = summary.bugs[0].sides[0].artifact.clone().unwrap();
    let started =
        || BuildRecord::read(&lab.study.build_dir(&id).join("record.json")).unwrap().started;
    let first = started();
    lab.build(&lab.options()).await;
    assert_eq!(started(), first, "a failure stands");
    lab.build(&builder::BuildOptions { retry: Some("all".parse().unwrap()), ..lab.options() })
        .await;
    assert_ne!(started(), first);
    let error = "nothing".parse::<builder::Retry>().unwrap_err().to_string();
    assert!(error.contains("all, checkout"), "{error}");
}
