//! Builds that eat, fork, fill, hang and look around: ended, classified, and the machine left well.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use containers::STUDY_LABEL;
use reproduceml_builder::{self as builder, BuildLimits, BuildOptions};
use study::Evaluation;
use support::{Lab, failure};

const GOOD: &str = "int a(void) { return 1; }\n";
const B: &str = "int b(void) { return 7; }\n";

fn hostile(line: &str) -> BTreeMap<String, String> {
    let mut tree = Lab::tree(GOOD, B);
    tree.insert("Makefile".into(), format!("all:\n\t{line}\n"));
    tree
}

#[tokio::test]
async fn hostile_builds_are_ended_and_classified() {
    let Some(docker) = support::docker("hostile_builds_are_ended_and_classified").await else {
        return;
    };
    let mut lab = Lab::new();
    let good = lab.commit(&Lab::tree(GOOD, B));
    let cases = [
        ("out-of-memory", "tail /dev/zero"),
        ("out-of-processes", "for i in $$(seq 300); do sleep 100 & done; wait"),
        ("out-of-disk", "while :; do head -c 3000000 /dev/zero >> /src/big; sleep 0.02; done"),
        ("timeout", "sleep 1000"),
        ("network", "python3 -c \"import urllib.request as u; u.urlopen('http://example.org')\""),
    ];
    let mut bugs = Vec::new();
    for (number, (class, line)) in cases.into_iter().enumerate() {
        let bad = lab.commit(&hostile(line));
        bugs.push((lab.bug(number as u64 + 1, &bad, &good), class));
    }
    let limits = BuildLimits {
        memory_mib: Some(96),
        seconds: Some(12),
        processes: Some(64),
        disk_mib: Some(50),
        ..BuildLimits::default()
    };
    let summary = lab.build(&BuildOptions { limits, ..lab.options() }).await;
    for (bug, class) in &bugs {
        let (found, line) = failure(&summary, bug, Evaluation::Buggy);
        assert_eq!(found, *class, "{bug}: {line}");
    }
    assert_eq!((summary.built, summary.failed), (1, 5), "the good side is built all the same");
    let mark = builder::study_mark(&lab.study);
    let left = docker.leftovers(&[(STUDY_LABEL, &mark)]).await.unwrap();
    assert_eq!(left, vec![]);
    let counts = builder::report(&lab.study).unwrap();
    assert_eq!(counts.len(), 5);
    assert!(counts.iter().all(|count| count.toolchain == "toy" && count.sides.len() == 1));
}

#[tokio::test]
async fn a_build_sees_nothing_of_the_machine() {
    let Some(_) = support::docker("a_build_sees_nothing_of_the_machine").await else { return };
    let mut lab = Lab::new();
    let good = lab.commit(&Lab::tree(GOOD, B));
    let look = "@id -u; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status; ls /sys/class/net; \
                touch /x /etc/x 2>&1 || true; ls -d /src/.git /var/run/docker.sock 2>&1 || true; \
                exit 1";
    let bad = lab.commit(&hostile(look));
    let bug = lab.bug(1, &bad, &good);
    let summary = lab.build(&lab.options()).await;
    failure(&summary, &bug, Evaluation::Buggy);
    let id = summary.bugs[0].sides[0].artifact.clone().unwrap();
    let log = builder::read_log(&lab.study.build_dir(&id).join("log.zst")).unwrap();
    for words in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "'/x': Read-only file system",
        "'/etc/x': Read-only file system",
        "'/src/.git': No such file",
        "'/var/run/docker.sock': No such file",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("eth0") && log.contains("\nlo\n"), "{log}");
}
