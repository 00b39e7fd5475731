//! The toolchains that come with the program, on the frameworks they are for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;

use reproduceml_builder::{BuildOptions, BuildRecord, Lock, Probe, probe};
use study::{CommitId, Evaluation};
use support::{Lab, failure};

fn study(framework: &str, toolchain: &str, strategy: &str, more: &str) -> String {
    format!(
        "[study]\nname = \"s\"\nmeta_seed = 1\n\
         [framework]\nname = \"{framework}\"\nrepository = \"{framework}/{framework}\"\n{more}\n\
         [build]\ntoolchain = \"{toolchain}\"\nstrategy = \"{strategy}\"\n\
         [challenge]\nname = \"synthetic\"\n[model]\nname = \"mlp\"\n\
         [run]\nruns = 1\nepochs = 1\nbatch_size = 1\nlearning_rate = 0.1\n\
         seed_policy = \"per-run\"\n"
    )
}

/// The commit of tinynn whose subject ends with a pull request's mark, and its parent.
fn commits(clone: &Path, pr: u64) -> (CommitId, CommitId) {
    let repository = git2::Repository::open(clone).unwrap();
    let mut walk = repository.revwalk().unwrap();
    walk.push_ref("refs/heads/main").unwrap();
    let fix = walk
        .map(|id| repository.find_commit(id.unwrap()).unwrap())
        .find(|c| {
            let message = c.message().unwrap_or_default().to_owned();
            message.lines().any(|line| {
                line.ends_with(&format!("(#{pr})"))
                    || line.starts_with("Pull Request resolved:")
                        && line.ends_with(&format!("/pull/{pr}"))
            })
        })
        .unwrap();
    let id = |oid: git2::Oid| CommitId::new(oid.to_string()).unwrap();
    (id(fix.parent_id(0).unwrap()), id(fix.id()))
}

#[tokio::test]
async fn tinynn_pairs_are_built_and_its_broken_commit_is_classified() {
    let name = "tinynn_pairs_are_built_and_its_broken_commit_is_classified";
    let Some(_) = support::docker(name).await else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tinynn");
    let text = study("tinynn", "debian-bookworm-tinynn", "source", "");
    let mut lab = Lab::over(&text);
    let made = lab.folder.path().join("made");
    let status =
        Command::new("python3").arg(fixture.join("make_history.py")).arg(&made).status().unwrap();
    assert!(status.success());
    let clone = made.join("tinynn");
    let tested = [
        (16, "tests/test_weight_gradient.py"),
        (20, "tests/test_loss_gradient.py"),
        (28, "tests/test_sum.py"),
    ];
    let bugs = tested.map(|(pr, test)| {
        let (buggy, fix) = commits(&clone, pr);
        lab.tested_bug(pr, &buggy, &fix, &[test])
    });
    let options = BuildOptions { repo: Some(clone), ..lab.options() };
    let summary = lab.build(&options).await;
    eprintln!("{}", serde_json::to_string_pretty(&summary).unwrap());
    assert_eq!((summary.pairs, summary.failed), (2, 1));
    let (class, line) = failure(&summary, &bugs[2], Evaluation::Buggy);
    assert_eq!(class, "compile", "{line}");
    let gradient = summary.bugs.iter().find(|b| b.bug == bugs[0]).unwrap();
    let second = gradient.sides.last().unwrap().cache.unwrap();
    assert!(second.misses <= 1 && second.hits >= 8, "{second:?}");
    // Each fix's own test fails before and passes after; the bug without a pair is left out.
    let found = probe(&lab.study, &options).await.unwrap();
    assert_eq!(found.probes.len(), 2);
    assert!(found.probes.iter().all(Probe::is_evidence), "{found:?}");
    let [left] = found.left_out.as_slice() else { panic!("{:?}", found.left_out) };
    assert!(left.bug == bugs[2] && left.reason.contains("no two artifacts"), "{left:?}");
    assert_eq!(probe(&lab.study, &options).await.unwrap(), found, "read back, not run again");
}

/// Debian's own PyTorch through the whole of its toolchain: locked, taken as it is, and with a
/// planted fault.
async fn debians_pytorch(name: &str, toolchain: &str, version: &str) {
    let Some(_) = support::docker(name).await else { return };
    let text = study("pytorch", toolchain, "release", "")
        + "[[fault]]\nid = \"no-momentum\"\nfile = \"pytorch-sgd-drops-momentum.py\"\n\
           title = \"momentum is lost\"\n";
    let mut lab = Lab::over(&text);
    lab.fault("no-momentum");
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/faults");
    let options = BuildOptions { faults_dir: Some(faults), ..lab.options() };
    let summary = lab.build(&options).await;
    eprintln!("{}", serde_json::to_string_pretty(&summary).unwrap());
    assert_eq!((summary.pairs, summary.built), (1, 2));
    let lock = Lock::read(&lab.study).unwrap();
    let locked = lock.get(toolchain).unwrap();
    assert!(locked.packages.keys().any(|name| name.starts_with("python3-torch:")), "{locked:?}");
    for side in &summary.bugs[0].sides {
        let folder = lab.study.artifact_dir(side.artifact.as_ref().unwrap());
        let text = std::fs::read_to_string(folder.join("files/release.json")).unwrap();
        let release: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(release["package"], "torch");
        assert!(release["version"].as_str().unwrap().starts_with(version), "{text}");
        let planted = side.evaluation == Evaluation::Artificial;
        assert_eq!(folder.join("files/fault.py").is_file(), planted);
        let record = BuildRecord::read(&folder.join("record.json")).unwrap();
        assert_eq!(record.smoke.unwrap()["framework"], "pytorch");
        assert_eq!(record.identity.toolchain, locked.identity);
    }
}

#[tokio::test]
async fn debians_pytorch_is_taken_as_it_is_and_with_a_planted_fault() {
    let name = "debians_pytorch_is_taken_as_it_is_and_with_a_planted_fault";
    debians_pytorch(name, "debian-bookworm-cpu", "1.13").await;
}

#[tokio::test]
async fn debian_11_has_its_toolchain() {
    debians_pytorch("debian_11_has_its_toolchain", "debian-bullseye-cpu", "1.7").await;
}

#[tokio::test]
async fn debian_13_has_its_toolchain() {
    debians_pytorch("debian_13_has_its_toolchain", "debian-trixie-cpu", "2.6").await;
}
