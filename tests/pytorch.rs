//! The whole line on real PyTorch, with faults planted in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{TestStudy, docker, verdicts};

#[test]
fn a_planted_fault_is_seen_and_one_that_is_never_called_is_not() {
    if !docker("a_planted_fault_is_seen_and_one_that_is_never_called_is_not") {
        return;
    }
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
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    for step in ["mined", "resolved", "filtered", "selected", "built", "ran", "analysed"] {
        assert_eq!(funnel[step], 2, "{step}");
    }
}
