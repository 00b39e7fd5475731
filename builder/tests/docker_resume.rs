//! A build that is killed at any moment and called again ends like one that was left alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use containers::STUDY_LABEL;
use reproduceml_builder::{self as builder, BuildOptions};
use study::{ArtifactStatus, Study};
use support::Lab;

const STUDY: &str = "REPRODUCEML_TEST_STUDY";
const TOOLCHAINS: &str = "REPRODUCEML_TEST_TOOLCHAINS";

fn lab() -> Lab {
    let mut lab = Lab::new();
    let b = "int b(void) { return 7; }\n";
    let mut last = lab.commit(&Lab::tree("int a(void) { return 1; }\n", b));
    for number in 2..5 {
        let text = format!("int a(void) {{ return {number}; }}\n");
        let next = lab.commit(&Lab::tree(&text, b));
        lab.bug(number, &last, &next);
        last = next;
    }
    let bad = lab.commit(&Lab::tree("oops\n", b));
    lab.bug(9, &bad, &last);
    lab
}

/// The content of every artifact, and the class of every failure, by identity.
fn results(study: &Study) -> BTreeMap<String, String> {
    study
        .store()
        .unwrap()
        .builds()
        .unwrap()
        .into_iter()
        .map(|(bug, side, record)| {
            let end = match record.status {
                ArtifactStatus::Built { content, .. } => content,
                ArtifactStatus::Failed { class, .. } => class,
            };
            (format!("{bug} {side} {}", record.id), end)
        })
        .collect()
}

/// Not a test of its own: what the killed processes run.
#[tokio::test]
async fn child() {
    let (Ok(study), Ok(toolchains)) = (std::env::var(STUDY), std::env::var(TOOLCHAINS)) else {
        return;
    };
    let study = Study::open(Path::new(&study)).unwrap();
    builder::build(&study, &BuildOptions::new(toolchains.into()), &|_| {}).await.unwrap();
}

#[tokio::test]
async fn killed_at_any_moment_and_called_again() {
    let Some(docker) = support::docker("killed_at_any_moment_and_called_again").await else {
        return;
    };
    let kills: u64 = std::env::var("REPRODUCEML_KILLS").map_or(8, |n| n.parse().unwrap());
    let calm = lab();
    let summary = calm.build(&calm.options()).await;
    assert_eq!((summary.built, summary.failed), (4, 1));
    let wanted = results(&calm.study);
    let lab = lab();
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(STUDY, lab.study.root())
            .env(TOOLCHAINS, &lab.toolchains)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Spread evenly over the time a build takes, by the golden ratio.
        let share = (kill as f64 * 0.618_034).fract();
        tokio::time::sleep(Duration::from_secs_f64(0.1 + 2.9 * share)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever lies under its identity is whole.
        for found in builder::verify(&lab.study).unwrap() {
            let damaged = found.problems.iter().any(|p| !p.contains("the store does not know it"));
            assert!(!damaged, "after kill {kill}: {found:?}");
        }
    }
    let summary = lab.build(&lab.options()).await;
    assert_eq!(summary.failed, 1, "{summary:?}");
    assert_eq!(results(&lab.study), wanted, "the same repository gives the same artifacts");
    let mark = builder::study_mark(&lab.study);
    assert_eq!(docker.leftovers(&[(STUDY_LABEL, &mark)]).await.unwrap(), vec![]);
    assert!(builder::collect_garbage(&lab.study, true).await.unwrap().is_empty());
}
