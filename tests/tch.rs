//! The tch client beside the Python client, on the same libtorch: the same numbers to the last bit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::Told;
use common::clients::{Clients, Place, experiment};
use study::{Experiment, RunStatus};

/// Trains run 0 with the Python client, runs 1 and 2 with the tch client, and compares.
fn compare(clients: &Clients, experiment: Experiment) {
    let epochs = experiment.hyperparameters.epochs;
    let mut place = Place::new(experiment);
    // The server comes after the first client: it is waited for.
    let first = place.start(0, clients.python());
    place.serve();
    Told::of(first.wait_with_output().unwrap()).expect(&[0]);
    Told::of(place.start(1, clients.tch()).wait_with_output().unwrap()).expect(&[0]);
    let expected = place.store.epochs(&place.key(0)).unwrap();
    let found = place.store.epochs(&place.key(1)).unwrap();
    assert_eq!(found.len(), epochs as usize + 1);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found.digest, expected.digest, "parameters after epoch {}", found.epoch);
        assert_eq!(found.loss_bits, expected.loss_bits, "loss of epoch {}", found.epoch);
    }
    // Epochs do change the parameters, or there would be nothing to compare.
    let distinct: std::collections::BTreeSet<_> = found.iter().map(|e| &e.digest).collect();
    assert_eq!(distinct.len(), found.len());
    let predictions = |run| place.store.prediction_digests(&place.key(run)).unwrap();
    assert_eq!(predictions(0).len(), 2);
    assert_eq!(predictions(1), predictions(0));
    for split in ["validation", "test"] {
        let metrics = |run| place.store.metrics(&place.key(run), split).unwrap();
        assert_eq!(metrics(1), metrics(0));
        assert!(metrics(1).contains_key("accuracy"));
    }
    let manifest = |run| place.store.run(&place.key(run)).unwrap().unwrap().manifest.unwrap();
    let (python, tch) = (manifest(0), manifest(1));
    for factor in ["data", "format"] {
        assert_eq!(tch[factor], python[factor], "{factor}");
    }
    assert_eq!(tch["model"]["hyperparameters"], python["model"]["hyperparameters"]);
    assert_eq!(tch["hardware"]["cpu_flags"], python["hardware"]["cpu_flags"]);
    let mkl = |manifest: &serde_json::Value| manifest["software"]["loaded"]["mkl"].clone();
    assert_eq!(mkl(&tch), mkl(&python));
    assert!(mkl(&tch)["version"].is_string(), "{tch}");
    assert_eq!(tch["software"]["cpu_capability"], python["software"]["cpu_capability"]);
    for manifest in [&python, &tch] {
        for control in manifest["controls"].as_array().unwrap() {
            assert_ne!(control["status"], "failed", "{control}");
        }
    }
}

#[test]
fn lenet_has_the_same_digests_from_both_clients() {
    let Some(clients) = Clients::find("lenet_has_the_same_digests_from_both_clients") else {
        return;
    };
    compare(&clients, experiment("lenet", "synthetic", [150, 70], 4));
}

/// With dropout: the generators must be asked for the same numbers all through the training.
#[test]
fn vgg_x_has_the_same_digests_from_both_clients() {
    let Some(clients) = Clients::find("vgg_x_has_the_same_digests_from_both_clients") else {
        return;
    };
    compare(&clients, experiment("vgg-x", "synthetic-cifar10", [40, 20], 1));
}

#[test]
fn a_tch_client_that_loses_its_server_goes_on_at_the_next_one() {
    let Some(clients) = Clients::find("a_tch_client_that_loses_its_server_goes_on_at_the_next_one")
    else {
        return;
    };
    let mut place = Place::new(experiment("lenet", "synthetic", [2000, 50], 6));
    place.serve();
    let client = place.start(0, clients.tch());
    let begin = std::time::Instant::now();
    while place.store.epochs(&place.key(0)).unwrap().len() < 2 {
        assert!(begin.elapsed().as_secs() < 60, "the client never reported an epoch");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut server = place.server.take().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    place.serve();
    Told::of(client.wait_with_output().unwrap()).expect(&[0]);
    let run = place.store.run(&place.key(0)).unwrap().unwrap();
    assert_eq!((run.status, run.attempt), (RunStatus::Finished, 1));
    assert_eq!(place.store.epochs(&place.key(0)).unwrap().len(), 7);
}

#[test]
fn an_artifacts_own_libtorch_is_the_one_that_computes() {
    let Some(clients) = Clients::find("an_artifacts_own_libtorch_is_the_one_that_computes") else {
        return;
    };
    let mut place = Place::new(experiment("lenet", "synthetic", [20, 10], 1));
    place.serve();
    let artifact = place.study.path().join("artifact");
    std::fs::create_dir(&artifact).unwrap();
    std::os::unix::fs::symlink(clients.site(), artifact.join("site")).unwrap();
    for (run, folder) in [(0, None), (1, Some(&artifact))] {
        let mut client = clients.tch();
        client.envs(folder.map(|folder| ("REPRODUCEML_ARTIFACT", folder)));
        Told::of(place.start(run, client).wait_with_output().unwrap()).expect(&[0]);
        let run = place.store.run(&place.key(run)).unwrap().unwrap();
        let manifest = run.manifest.unwrap();
        let of_artifact = manifest["artifact"]["libraries"].get("libtorch_cpu.so").is_some();
        let of_machine = manifest["software"]["libraries"].get("libtorch_cpu.so").is_some();
        assert_eq!((of_artifact, of_machine), (folder.is_some(), folder.is_none()));
    }
}

#[test]
fn the_server_is_told_why_a_tch_run_failed() {
    let Some(clients) = Clients::find("the_server_is_told_why_a_tch_run_failed") else { return };
    let mut place = Place::new(experiment("lenet5", "synthetic", [20, 10], 1));
    place.serve();
    let told = Told::of(place.start(0, clients.tch()).wait_with_output().unwrap()).expect(&[1]);
    assert!(told.err.contains("no model \"lenet5\"; there are alexnet"), "{}", told.err);
    let run = place.store.run(&place.key(0)).unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.reason.unwrap().contains("lenet5"));
    // An artifact whose packages are not what computes is no result of that artifact.
    std::fs::create_dir_all(place.study.path().join("artifact/site")).unwrap();
    let mut client = clients.tch();
    client.env("REPRODUCEML_ARTIFACT", place.study.path().join("artifact"));
    let told = Told::of(place.start(1, client).wait_with_output().unwrap()).expect(&[1]);
    assert!(told.err.contains("computes with another libtorch"), "{}", told.err);
    // A ticket that is none.
    let mut client = clients.tch();
    client.env("REPRODUCEML_SERVER", place.address()).env("REPRODUCEML_TICKET", "rml1.no");
    let told = Told::of(client.output().unwrap()).expect(&[3]);
    assert!(told.err.contains("ticket"), "{}", told.err);
}
