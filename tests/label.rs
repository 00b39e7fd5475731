//! People label, agree and disagree, through the built program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;
mod history;

use common::lost;
use history::{World, path};

/// Answers a bug: every criterion no.
const KEEP: &str = "n\nn\nn\nn\nn\nn\n";

fn labels(world: &World) -> String {
    std::fs::read_to_string(world.study().join("labels.csv")).unwrap_or_default()
}

fn row(world: &World, bug: &str, rater: &str) -> Option<String> {
    let start = format!("{bug},{rater},");
    labels(world).lines().find_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
}

#[test]
fn a_bug_is_shown_and_each_answer_is_kept_at_once() {
    let world = World::new();
    world.mined();
    let told = world.typed(&["label", "--rater", "ann", "--format", "json"], "n\nyes\n?\n");
    let told = told.expect(&[0]);
    for part in [
        "pr1   v0.1.0   1 of 4",
        "Bug Fixes > Layers",
        "Fix a crash in pooling",
        "https://github.com/tinynn/tinynn/pull/1",
        "python       tinynn/pool.py  +2 -0",
        "hint: crash yes, its text says",
        "[1/6] Does the bug only show as a compilation error?",
        "(hint: yes)",
    ] {
        assert!(told.err.contains(part), "{part}\n--- in\n{}", told.err);
    }
    assert_eq!(told.json(), serde_json::json!({"answers": 3, "bugs": 0, "of": 4}));
    assert!(row(&world, "pr1", "ann").unwrap().starts_with("no,yes,unsure,,,,,20"));
    // The next call goes on at the question where this one ended.
    let told = world.typed(&["label", "--rater", "ann"], "n\nn\ny\ns\n").expect(&[0]);
    assert!(!told.err.contains("[3/6]") && told.err.contains("[4/6]"), "{}", told.err);
    assert!(told.err.contains("pr2   v0.1.0   2 of 4"), "{}", told.err);
    assert!(row(&world, "pr1", "ann").unwrap().starts_with("no,yes,unsure,no,no,yes,"));
    assert_eq!(row(&world, "pr2", "ann"), None, "skipped");
    // And a bug that is done is not asked again, unless it is asked for.
    let told = world.typed(&["label", "--rater", "ann"], "q\n").expect(&[0]);
    assert!(told.err.contains("pr2   v0.1.0   1 of 3"), "{}", told.err);
    world.typed(&["label", "--rater", "ann", "--bug", "pr1"], "\nn\nq\n").expect(&[0]);
    assert!(row(&world, "pr1", "ann").unwrap().starts_with("no,no,unsure,no,no,yes,"));
}

#[test]
fn one_can_go_back_write_a_note_and_see_the_change() {
    let world = World::new();
    world.mined();
    let clone = world.clone();
    let typed =
        "d\nw  see the, \u{1b}[31m issue\nn\nb\ny\nb\nhelp\nwhat\n\nn\nn\nn\nn\nn\nb\nw\nanother\n";
    let arguments = ["label", "--rater", "ann", "--repo", path(&clone)];
    let told = world.typed(&arguments, typed).expect(&[0]);
    for part in [
        "+def pool(x):",
        "+++ b/tinynn/pool.py",
        "y yes, n no",
        "`what` is no answer",
        // Back from the next bug leads to the last question of the one before.
        "[6/6] Is it favourable: gradients, mathematical functions, training? [no]",
        "the note so far: see the, \u{fffd}[31m issue",
    ] {
        assert!(told.err.contains(part), "{part}\n--- in\n{}", told.err);
    }
    assert!(!told.err.contains('\u{1b}'), "nothing of others' text steers the terminal");
    assert!(row(&world, "pr1", "ann").unwrap().starts_with("yes,no,no,no,no,no,another,"));
    let told = world.typed(&["label", "--rater", "bob"], "b\nd\n").expect(&[0]);
    assert!(told.err.contains("this is the first question"), "{}", told.err);
    assert!(told.err.contains("there is no clone") && told.err.contains("--repo"), "{}", told.err);
    let told = world.typed(&["label", "--rater", "bob", "--bug", "pr5"], "d\n").expect(&[0]);
    assert!(told.err.contains("its fix was not found"), "{}", told.err);
}

#[test]
fn the_funnel_shows_what_the_labels_took_out_and_why() {
    let world = World::new();
    world.mined();
    let funnel = |world: &World| world.call(&["status", "--format", "json"]).expect(&[0]).json();
    // Nobody has labelled anything, so nothing is filtered.
    assert_eq!(funnel(&world)["filtered"], 3);
    assert_eq!(lost(&funnel(&world), "resolved").keys().collect::<Vec<_>>(), ["pr5"]);
    world
        .typed(&["label", "--rater", "ann"], &format!("{KEEP}n\ny\nn\nn\nn\nn\n{KEEP}"))
        .expect(&[0]);
    let told = funnel(&world);
    assert_eq!((&told["resolved"], &told["filtered"]), (&3.into(), &2.into()));
    assert_eq!(lost(&told, "filtered")["pr2"], "labels: crash");
    // Another rater disagrees.
    world
        .typed(&["label", "--rater", "bob"], &format!("{KEEP}{KEEP}n\nn\nn\ny\nn\nn\n"))
        .expect(&[0]);
    let told = funnel(&world);
    assert_eq!(lost(&told, "filtered")["pr2"], "labels: disputed: crash");
    assert_eq!(lost(&told, "filtered")["pr3"], "labels: disputed: cpu_only");
    let status = world.call(&["label", "status", "--format", "json"]).expect(&[0]).json();
    assert_eq!(
        status["raters"][0],
        serde_json::json!({
        "rater": "ann", "labelled": 3, "begun": 0, "bugs": 4})
    );
    assert_eq!(status["disagreements"].as_array().unwrap().len(), 2);
    let crash = &status["agreement"][1];
    assert_eq!((&crash["criterion"], &crash["bugs"]), (&"crash".into(), &3.into()));
    assert_eq!(crash["reading"], "slight");
    assert_eq!(crash["interval"].as_array().unwrap().len(), 2);
    let table = world.call(&["label", "status"]).expect(&[0]).out;
    for part in ["labelled", "3 of 4", "kappa", "slight", "disagreement", "ann: yes, bob: no"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    // Settled: one stays, one goes.
    let told = world.typed(&["label", "resolve", "--format", "json"], "n\ny\n").expect(&[0]);
    assert!(
        told.err.contains("ann: crash yes") && told.err.contains("bob: crash no"),
        "{}",
        told.err
    );
    assert_eq!(told.json(), serde_json::json!({"answers": 2, "bugs": 2, "of": 2}));
    let told = funnel(&world);
    assert_eq!(
        lost(&told, "filtered").into_iter().collect::<Vec<_>>(),
        [("pr3".into(), "labels: cpu_only".into())]
    );
    // pr3 changes documentation alone, so pr1 and pr2 go on.
    assert_eq!(told["selected"], 2);
    let status = world.call(&["label", "status", "--format", "json"]).expect(&[0]).json();
    assert_eq!(status["disagreements"].as_array().unwrap().len(), 0);
    assert_eq!(status["raters"].as_array().unwrap().len(), 2, "consensus is no rater");
    // `mine` again keeps what people said.
    let before = labels(&world);
    world.mined();
    assert_eq!(labels(&world), before);
    assert_eq!(funnel(&world)["filtered"], 2);
}

#[test]
fn labels_travel_as_csv() {
    let (here, there) = (World::new(), World::new());
    here.mined();
    there.mined();
    here.typed(&["label", "--rater", "ann"], KEEP).expect(&[0]);
    let file = here.folder().join("ann.csv");
    assert_eq!(here.call(&["label", "--export", path(&file)]).expect(&[0]).out, "");
    there.typed(&["label", "--rater", "bob"], "n\ny\nn\nn\nn\nn\n").expect(&[0]);
    let told = there.call(&["label", "--import", path(&file)]).expect(&[0]);
    assert!(told.err.contains("1 labels are new") && told.out.is_empty(), "{}", told.err);
    let funnel = there.call(&["status", "--format", "json"]).expect(&[0]).json();
    assert_eq!(lost(&funnel, "filtered")["pr1"], "labels: disputed: crash");
    let strange = std::fs::read_to_string(&file).unwrap().replace("pr1,", "pr99,");
    std::fs::write(&file, strange).unwrap();
    let told = there.call(&["label", "--import", path(&file)]).expect(&[0]);
    assert!(told.err.contains("pr99 for one"), "{}", told.err);
    let before = labels(&there);
    std::fs::write(&file, "bug,rater\npr1,ann\n").unwrap();
    let told = there.call(&["label", "--import", path(&file)]).expect(&[2]);
    assert!(told.err.contains("compilation_error"), "{}", told.err);
    assert_eq!(labels(&there), before, "nothing of bad input is taken");
}

#[test]
fn wrong_usage_is_named() {
    let world = World::new();
    let told = world.typed(&["label", "--rater", "ann"], "").expect(&[2]);
    assert!(told.err.contains("reproduceml mine"), "{}", told.err);
    world.mined();
    for rater in ["Consensus", " ", "a\u{7}b"] {
        let told = world.typed(&["label", "--rater", rater], "y\n").expect(&[2]);
        assert!(told.err.contains("--rater") && told.out.is_empty(), "{}", told.err);
    }
    let told = world.typed(&["label", "--rater", "ann", "--bug", "pr77"], "y\n").expect(&[2]);
    assert!(told.err.contains("pr77"), "{}", told.err);
    let told = world.typed(&["label", "--rater", "ann", "--repo", "/nonexistent"], "").expect(&[2]);
    assert!(told.err.contains("/nonexistent"), "{}", told.err);
    assert_eq!(labels(&world), "");
}

#[test]
fn two_raters_work_at_the_same_time_and_nothing_is_lost() {
    let world = World::new();
    world.mined();
    std::thread::scope(|scope| {
        for rater in ["ann", "bob", "cyd"] {
            let world = &world;
            let all = KEEP.repeat(4);
            scope.spawn(move || world.typed(&["label", "--rater", rater], &all).expect(&[0]));
        }
    });
    let text = labels(&world);
    assert_eq!(text.lines().count(), 13, "{text}");
    assert_eq!(text.matches("no,no,no,no,no,no").count(), 12, "{text}");
}

#[test]
fn a_planted_fault_needs_no_label() {
    let world = World::new();
    let file = world.study().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let fault = "\n[[fault]]\nid = \"fault-x\"\nfile = \"x.py\"\ntitle = \"x\"\n";
    std::fs::write(&file, text + fault).unwrap();
    world.mined();
    let told = world.typed(&["label", "--rater", "ann"], &KEEP.repeat(9)).expect(&[0]);
    assert!(!told.err.contains("fault-x"), "{}", told.err);
    let funnel = world.call(&["status", "--format", "json"]).expect(&[0]).json();
    assert!(lost(&funnel, "filtered").is_empty(), "{funnel}");
}
