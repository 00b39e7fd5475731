//! The whole line on real PyTorch, with faults planted in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;
use std::sync::Mutex;

use common::{TestStudy, docker, root, verdicts};

/// Both tests make the same image; the second finds it made.
static IMAGE: Mutex<()> = Mutex::new(());

#[test]
fn a_planted_fault_is_seen_and_one_that_is_never_called_is_not() {
    if !docker("a_planted_fault_is_seen_and_one_that_is_never_called_is_not") {
        return;
    }
    let _turn = IMAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Six runs a side are the fewest for which a family of eight corrected tests can decide.
    let study = TestStudy::from_definition("quick-pytorch", &[("runs = 10", "runs = 6")]);
    study.call(&["mine", "--offline"]).expect(&[0]);
    study.call(&["build"]).expect(&[0]);
    study.call(&["run"]).expect(&[0]);
    let analysis = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    let verdicts = verdicts(&analysis);
    assert_eq!(verdicts["fault-sgd-momentum"], "different");
    // Twelve processes, two artifacts, and not one bit of a parameter differs.
    assert_eq!(verdicts["fault-avgpool3d"], "identical");
    // The one that nothing should feel is no missed detection.
    let rate = |name: &str| {
        let rate = &analysis["controls"][name];
        (rate["different"].as_u64(), rate["of"].as_u64())
    };
    assert_eq!(rate("detections"), (Some(1), Some(1)));
    assert_eq!(rate("unfelt"), (Some(0), Some(1)));
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    for step in ["mined", "resolved", "filtered", "selected", "built", "ran", "analysed"] {
        assert_eq!(funnel[step], 2, "{step}");
    }
}

#[test]
fn the_clients_own_tests_pass_beside_real_pytorch() {
    if !docker("the_clients_own_tests_pass_beside_real_pytorch") {
        return;
    }
    let _turn = IMAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let study = TestStudy::from_definition("quick-pytorch", &[]);
    study.call(&["mine", "--offline"]).expect(&[0]);
    study.call(&["build", "fault-avgpool3d"]).expect(&[0]);
    let store = study::Study::open(&study.path()).unwrap().store().unwrap();
    let (_, _, record) = store.builds().unwrap().pop().unwrap();
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:exec"])
        .args(["--volume", &format!("{}:/repository:ro", root().display())])
        .args(["--env", "PYTHONDONTWRITEBYTECODE=1", "--workdir", "/repository", &record.image])
        .args(["python3", "-m", "unittest", "discover", "-s", "clients/python/tests"])
        .args(["-p", "test_pytorch.py"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("OK") && !text.contains("skipped"), "{text}");
}
