//! What a commit needs beside its own files: submodules from mirrors, placeholders, patches.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use builder::{BuildError, BuildRecord, MirrorOutcome};
use git2::{Repository, Signature};
use reproduceml_builder as builder;
use study::Evaluation;
use support::Lab;

const SETTINGS: &str = r#"
[sources]
submodules = ["lib", "never"]
placeholders = ["other/deep/CMakeLists.txt"]
[[patch]]
name = "old-interface"
why = "the tests want something to patch"
file = "a.c"
find = "OLD_INTERFACE"
replace = "30"
[[patch]]
name = "of-another-time"
why = "it must not take hold"
file = "a.c"
find = "return"
replace = "oops"
to = "2001-01-01"
"#;

const MAKEFILE: &str = "\
all: other/deep/CMakeLists.txt
\t$(CC) -O1 -fPIC -c a.c -o a.o
\t$(CC) -O1 -fPIC -c lib/b.c -o b.o
\t$(CC) -shared -Wl,--build-id=none -o libtoy.so a.o b.o
install:
\tmkdir -p $(DESTDIR)/site/toy
\tcp libtoy.so __init__.py $(DESTDIR)/site/toy/
";

/// A repository with one file `b.c`, as a user would have it beside others, and its commit.
fn library(folder: PathBuf) -> String {
    let repository = Repository::init(folder).unwrap();
    let blob = repository.blob(b"int b(void) { return 7; }\n").unwrap();
    let mut tree = repository.treebuilder(None).unwrap();
    tree.insert("b.c", blob, 0o100_644).unwrap();
    let tree = repository.find_tree(tree.write().unwrap()).unwrap();
    let who = Signature::now("a", "a@b").unwrap();
    repository.commit(Some("HEAD"), &who, &who, "m", &tree, &[]).unwrap().to_string()
}

#[tokio::test]
async fn submodules_come_from_mirrors_and_patches_hold_on_both_sides() {
    let name = "submodules_come_from_mirrors_and_patches_hold_on_both_sides";
    let Some(_) = support::docker(name).await else { return };
    let mut lab = Lab::with(SETTINGS, "");
    let repositories = lab.folder.path().join("repositories");
    let pinned = library(repositories.join("owner/lib"));
    let tree = |a: &str| {
        let mut tree = Lab::tree(a, "");
        tree.remove("b.c");
        tree.insert("Makefile".into(), MAKEFILE.into());
        tree.insert("lib".into(), format!("gitlink {pinned}"));
        let modules =
            "[submodule \"lib\"]\n\tpath = lib\n\turl = https://x.invalid/owner/lib.git\n";
        tree.insert(".gitmodules".into(), modules.into());
        tree
    };
    let buggy = lab.commit(&tree("int a(void) { return OLD_INTERFACE; }\n"));
    let fix = lab.commit(&tree("int a(void) { return OLD_INTERFACE + 1; }\n"));
    let bug = lab.bug(1, &buggy, &fix);

    // Without a mirror the stage says what is missing and how to get it, and makes nothing.
    let error = builder::build(&lab.study, &lab.options(), &|_| {}).await.unwrap_err();
    assert!(matches!(error, BuildError::NoMirror { count: 1, .. }), "{error}");
    assert!(error.is_missing_provision() && error.to_string().contains("build mirror"), "{error}");
    assert!(!lab.study.artifacts_dir().exists());

    let from = [repositories];
    let quiet = |_: &str| {};
    let done = builder::mirror(&lab.study, &lab.options(), &from, &quiet).await.unwrap();
    assert_eq!(done.len(), 1, "one pin for both commits");
    assert!(matches!(done[0].outcome, MirrorOutcome::Copied { .. }), "{done:?}");
    let again = builder::mirror(&lab.study, &lab.options(), &[], &quiet).await.unwrap();
    assert_eq!(again[0].outcome, MirrorOutcome::There, "once is enough, the network is not asked");

    let summary = lab.build(&lab.options()).await;
    assert_eq!((summary.pairs, summary.failed), (1, 0), "{summary:?}");
    for (side, value) in summary.bugs[0].sides.iter().zip([30, 31]) {
        let folder = lab.study.artifact_dir(side.artifact.as_ref().unwrap());
        let record = BuildRecord::read(&folder.join("record.json")).unwrap();
        let smoke = record.smoke.unwrap();
        assert_eq!((&smoke["a"], &smoke["b"]), (&value.into(), &7.into()));
        assert_eq!(record.patches, ["old-interface"]);
        assert_eq!(record.submodules.len(), 1);
        assert_eq!(record.submodules[0].commit.as_str(), pinned);
        let text = std::fs::read_to_string(folder.join("provenance.json")).unwrap();
        assert!(text.contains(&pinned) && text.contains("old-interface"), "{text}");
    }

    // A patch that holds on one side alone makes another difference than the fix: refused.
    let other = lab.commit(&tree("int a(void) { return 5; }\n"));
    let odd = lab.bug(2, &fix, &other);
    let summary = lab.build(&lab.options()).await;
    assert_eq!(summary.pairs, 1, "{summary:?}");
    let refused = summary.bugs.iter().find(|b| b.bug == odd).unwrap();
    assert!(!refused.complete && refused.mismatches[0].contains("patches"), "{refused:?}");
    let builds = lab.study.store().unwrap().builds().unwrap();
    assert!(builds.iter().all(|(id, ..)| *id == bug), "a refused pair is not handed on");
    assert!(builds.iter().any(|(_, side, _)| *side == Evaluation::Buggy));
}
