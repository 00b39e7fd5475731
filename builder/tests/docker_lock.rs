//! A build uses what is locked and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use builder::{BuildError, BuildOptions, BuildRecord, Lock, Toolchain, check_lock, lock_file};
use containers::Cancel;
use reproduceml_builder as builder;
use support::Lab;

const B: &str = "int b(void) { return 7; }\n";

fn lab() -> Lab {
    let mut lab = Lab::new();
    let buggy = lab.commit(&Lab::tree("int a(void) { return 1; }\n", B));
    let fix = lab.commit(&Lab::tree("int a(void) { return 2; }\n", B));
    lab.bug(1, &buggy, &fix);
    lab
}

async fn refusal(lab: &Lab, options: &BuildOptions) -> BuildError {
    builder::build(&lab.study, options, &|_| {}).await.unwrap_err()
}

#[tokio::test]
async fn what_moves_is_refused_until_it_is_locked_anew() {
    let name = "what_moves_is_refused_until_it_is_locked_anew";
    let Some(_) = support::docker(name).await else { return };
    let lab = lab();
    let toolchain = || Toolchain::read(&lab.toolchains, "toy").unwrap();
    let frozen = BuildOptions { frozen: true, ..lab.options() };
    let error = refusal(&lab, &frozen).await;
    assert!(matches!(error, BuildError::NotLocked { .. }), "{error}");
    assert!(error.is_missing_provision() && error.to_string().contains("build lock"), "{error}");

    // A plan writes nothing; the first build locks before it uses.
    lab.build(&BuildOptions { dry_run: true, ..lab.options() }).await;
    assert!(!lock_file(&lab.study).exists());
    let first = lab.build(&lab.options()).await;
    assert_eq!((first.pairs, first.built), (1, 2));
    let locked = Lock::read(&lab.study).unwrap().get("toy").unwrap().clone();
    assert!(locked.packages.keys().any(|name| name.starts_with("gcc:")), "{locked:?}");
    let id = first.bugs[0].sides[0].artifact.clone().unwrap();
    let record = BuildRecord::read(&lab.study.build_dir(&id).join("record.json")).unwrap();
    assert_eq!(record.identity.toolchain, locked.identity);
    let cancel = Cancel::new();
    let check = |all: Vec<Toolchain>| {
        let (study, cancel) = (&lab.study, &cancel);
        async move { check_lock(study, &all, cancel).await.unwrap() }
    };
    assert!(check(vec![toolchain()]).await.is_empty());
    assert_eq!(lab.build(&frozen).await.reused, 2);

    // As on another machine: another image that holds the same packages will do.
    let file = lock_file(&lab.study);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&locked.image_id, "sha256:of-another-machine")).unwrap();
    let moved = check(vec![toolchain()]).await;
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(moved[0].what, "image");
    assert_eq!(lab.build(&lab.options()).await.reused, 2);

    // With another version of one package it will not.
    let gcc = locked.packages.iter().find(|(name, _)| name.starts_with("gcc:")).unwrap();
    let other = text
        .replace(&locked.image_id, "sha256:of-another-machine")
        .replace(&format!("\"{}\" = \"{}\"", gcc.0, gcc.1), &format!("\"{}\" = \"1:2-3\"", gcc.0));
    std::fs::write(&file, other).unwrap();
    let error = refusal(&lab, &lab.options()).await;
    assert!(matches!(error, BuildError::Moved { .. }), "{error}");
    assert!(error.to_string().contains(gcc.0) && error.to_string().contains("1:2-3"), "{error}");
    let moved = check(vec![toolchain()]).await;
    assert!(moved.iter().any(|m| m.what == *gcc.0 && m.locked == "1:2-3"), "{moved:?}");

    // A changed recipe is another toolchain.
    std::fs::write(&file, &text).unwrap();
    let recipe = lab.toolchains.join("toy/toolchain.toml");
    let before = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{before}# changed\n")).unwrap();
    let error = refusal(&lab, &lab.options()).await;
    assert!(error.to_string().contains("has moved"), "{error}");
    let toolchains = [toolchain()];
    let taken = builder::lock_toolchains(&lab.study, &toolchains, &cancel, &|_| {}).await.unwrap();
    assert!(taken.iter().any(|m| m.what == "files"), "{taken:?}");
    let anew = lab.build(&lab.options()).await;
    assert_eq!((anew.built, anew.pairs), (2, 1), "artifacts of the old toolchain are others");

    // A damaged lock is named and nothing is done.
    std::fs::write(&file, "version = 7\n").unwrap();
    let error = refusal(&lab, &lab.options()).await.to_string();
    assert!(error.contains("toolchains.lock") && error.contains("expected 1"), "{error}");
}

#[tokio::test]
async fn sides_that_were_made_on_unlike_machines_are_no_pair() {
    let name = "sides_that_were_made_on_unlike_machines_are_no_pair";
    let Some(_) = support::docker(name).await else { return };
    let lab = lab();
    let first = lab.build(&lab.options()).await;
    assert_eq!(first.pairs, 1);
    let id = first.bugs[0].sides[1].artifact.clone().unwrap();
    let file = lab.study.artifact_dir(&id).join("record.json");
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["host"]["vectors"] = "none".into();
    std::fs::write(&file, record.to_string()).unwrap();
    let second = lab.build(&lab.options()).await;
    assert_eq!((second.pairs, second.reused), (0, 2), "{second:?}");
    assert!(second.bugs[0].mismatches[0].starts_with("vectors"), "{second:?}");
    assert!(lab.study.store().unwrap().builds().unwrap().is_empty());
}
