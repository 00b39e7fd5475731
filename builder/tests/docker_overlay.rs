//! Overlays on Debian's PyTorch: the histories are made here of the files that the image holds, so
//! that nothing of PyTorch is kept in this repository.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use containers::{Cancel, ContainerSpec, Docker};
use reproduceml_builder::{self as builder, BuildOptions, BuildRecord, Probe, Toolchain};
use study::{Bug, BugId, ChangedFile, CommitId, Evaluation, Resolution, Strategy};
use support::{Lab, blank, failure};

const TOOLCHAIN: &str = "debian-bookworm-cpu";
const FILE: &str = "torch/optim/sgd.py";
/// The line of the release that the fix brings.
const RIGHT: &str = "buf.mul_(momentum).add_(d_p, alpha=1 - dampening)";
const WRONG: &str = "buf.mul_(momentum).add_(d_p, alpha=dampening)";
/// The fix's own test: with momentum 0.5, the second of two equal steps is half as long again.
const TEST: &str = "\
import torch
p = torch.zeros(1, requires_grad=True)
optimizer = torch.optim.SGD([p], lr=1.0, momentum=0.5)
for _ in range(2):
    p.grad = torch.ones(1)
    optimizer.step()
assert p.item() == -2.5, p.item()
";

fn study(strategy: &str) -> String {
    format!(
        "[study]\nname = \"s\"\nmeta_seed = 1\n\
         [framework]\nname = \"pytorch\"\nrepository = \"pytorch/pytorch\"\nclone = \"clone\"\n\
         [build]\ntoolchain = \"{TOOLCHAIN}\"\nstrategy = \"{strategy}\"\n\
         [challenge]\nname = \"synthetic\"\n[model]\nname = \"mlp\"\n\
         [run]\nruns = 1\nepochs = 1\nbatch_size = 1\nlearning_rate = 0.1\n\
         seed_policy = \"per-run\"\n"
    )
}

/// A file of the package in the toolchain's image.
async fn released(docker: &Docker, path: &str) -> String {
    let toolchain = Toolchain::read(&support::program_toolchains(), TOOLCHAIN).unwrap();
    let quiet = |event: builder::Event| eprintln!("{event:?}");
    let ready = builder::prepare(docker, &toolchain, &quiet).await.unwrap();
    let place = format!("/usr/lib/python3/dist-packages/{path}");
    let spec = ContainerSpec::new(&ready.image_id, &["cat", &place], docker.sandbox_user());
    let mut text = Vec::new();
    let mut keep = |_, bytes: &[u8]| {
        text.extend_from_slice(bytes);
        Ok(())
    };
    let exit = docker.run(&spec, &mut keep, &Cancel::new()).await.unwrap();
    assert!(exit.success(), "{exit:?}");
    String::from_utf8(text).unwrap()
}

/// A history around one fix in [`FILE`], and the bug of it.
fn bug(lab: &mut Lab, pr: u64, (before, after): (&str, &str), python_only: bool) -> BugId {
    let mut commit = |text: &str, test: Option<&str>| -> CommitId {
        let mut tree = BTreeMap::from([(FILE.to_owned(), text.to_owned())]);
        tree.extend(test.map(|test| ("test/test_sgd.py".to_owned(), test.to_owned())));
        lab.commit(&tree)
    };
    let buggy = commit(before, None);
    let fix = commit(after, Some(TEST));
    let id = BugId::of_pull_request(pr);
    let changed = |path: &str, kind: &str| ChangedFile {
        path: path.into(),
        kind: kind.into(),
        added: 1,
        removed: 1,
    };
    lab.keep(Bug {
        buggy: Some(buggy),
        fix: Some(fix),
        fixed_at: Some(format!("2022-11-01T00:00:{pr:02}Z")),
        release: "v1.13.1".into(),
        files: vec![changed(FILE, "python"), changed("test/test_sgd.py", "test")],
        scope: vec![if python_only { "python" } else { "cpp-cpu" }.into(), "test".into()],
        python_only,
        needs_compile: !python_only,
        tests: vec!["test/test_sgd.py".into()],
        ..blank(id.clone(), Resolution::Unique)
    });
    id
}

#[tokio::test]
async fn a_fix_is_taken_back_in_debians_pytorch_and_nothing_else_differs() {
    let name = "a_fix_is_taken_back_in_debians_pytorch_and_nothing_else_differs";
    let Some(docker) = support::docker(name).await else { return };
    let release = released(&docker, FILE).await;
    assert_eq!(release.matches(RIGHT).count(), 1, "{FILE} of Debian's PyTorch has changed");
    let wrong = |text: &str| text.replace(RIGHT, WRONG);

    let mut lab = Lab::over(&study("auto"));
    // When the fix came, the file still lacked its first line; the release has that too.
    let then = release.split_once('\n').unwrap().1;
    let good = bug(&mut lab, 1, (&wrong(then), then), true);
    // Since this fix the same line changed again.
    let moved = release.replace(RIGHT, "buf.mul_(momentum).add_(d_p, alpha=1)");
    let conflict = bug(&mut lab, 2, (&wrong(&release), &moved), true);
    // This one is not in the release.
    let absent = bug(&mut lab, 3, (&release, &wrong(&release)), true);
    let compiled = bug(&mut lab, 4, (&wrong(&release), &release), false);
    let summary = lab.build(&lab.options()).await;
    eprintln!("{}", serde_json::to_string_pretty(&summary).unwrap());

    for (bug, words) in [
        (&conflict, "torch/optim/sgd.py: the release changed the same lines"),
        (&absent, "does not have the fix's change"),
        (&compiled, "not in Python files alone (cpp-cpu)"),
    ] {
        let (class, line) = failure(&summary, bug, Evaluation::Buggy);
        assert_eq!(class, "overlay", "{line}");
        assert!(line.contains(words), "{bug}: {line}");
    }
    assert_eq!((summary.built, summary.pairs), (2, 1), "one release, one overlay");

    // The pair: the release as it is, and the same without the fix.
    let sides = &summary.bugs.iter().find(|b| b.bug == good).unwrap().sides;
    let [buggy, corrected] = [&sides[0], &sides[1]];
    assert_eq!((buggy.strategy, corrected.strategy), (Strategy::Overlay, Strategy::Release));
    let folder =
        |side: &builder::SideBuild| lab.study.artifact_dir(side.artifact.as_ref().unwrap());
    let text = |side| std::fs::read_to_string(folder(side).join("files/site").join(FILE)).unwrap();
    assert_eq!(text(corrected), release);
    assert_eq!(text(buggy), wrong(&release));
    let pair = &builder::compare(&lab.study).unwrap()[0];
    assert_eq!(pair.difference.changed, [format!("site/{FILE}")]);
    assert!(pair.difference.same > 1000 && pair.mismatches.is_empty(), "{pair:?}");
    // What is the same lies on the disk once.
    let inode = |side| folder(side).join("files/site/torch/__init__.py").metadata().unwrap().ino();
    assert_eq!(inode(buggy), inode(corrected));

    let record = BuildRecord::read(&folder(buggy).join("record.json")).unwrap();
    let told = record.identity.release.clone().unwrap();
    assert_eq!((told.name.as_str(), told.sha256.len()), ("torch 1.13.1", 64));
    assert_eq!(record.overlay.len(), 1);
    assert_eq!(record.overlay[0].released, Some(study::files::sha256_hex(release.as_bytes())));
    assert!(record.reason.contains("torch 1.13.1 is the earliest that has the fix"));
    let smoke = record.smoke.unwrap();
    assert_eq!(smoke["location"], "/artifact/site/torch");

    // The fix's own test says which side is which.
    let options = BuildOptions { bugs: vec![good], ..lab.options() };
    let probes = builder::probe(&lab.study, &options).await.unwrap().probes;
    assert!(probes.len() == 1 && probes.iter().all(Probe::is_evidence), "{probes:?}");

    let again = lab.build(&lab.options()).await;
    assert_eq!((again.built, again.reused), (0, 2));
}
