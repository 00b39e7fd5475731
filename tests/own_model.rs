//! The model of docs/guide/models.md, taken from the page as it stands, trains in a study.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::clients::{Clients, Place, experiment};
use common::{TestStudy, Told, root};
use study::{RunStatus, Study};

/// The page's code block of that language.
fn block(language: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/guide/models.md")).unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn the_guides_model_trains_and_a_changed_file_is_refused() {
    let test = "the_guides_model_trains_and_a_changed_file_is_refused";
    let Some(clients) = Clients::find(test) else { return };
    let folder = TestStudy::from_definition("quick-pytorch", &[]);
    let toml = folder.path().join("study.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let (before, rest) = text.split_once("[model]\n").unwrap();
    let (_, after) = rest.split_once("\n[").unwrap();
    std::fs::write(&toml, format!("{before}{}\n[{after}", block("toml"))).unwrap();
    let file = folder.path().join("models/small.py");
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::write(&file, block("python")).unwrap();

    let digest = study::files::sha256_file(&file).unwrap();
    let study = Study::open(&folder.path()).unwrap();
    let mut small = experiment("", "synthetic", [60, 30], 2);
    small.model = study.config.model_spec(Some(digest.clone()));
    let mut place = Place::within(folder, small);
    place.serve();
    Told::of(place.start(0, clients.python()).wait_with_output().unwrap()).expect(&[0]);
    let run = place.store.run(&place.key(0)).unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Finished);
    let manifest = run.manifest.unwrap();
    assert_eq!(manifest["model"]["class"], "Small");
    assert_eq!(manifest["model"]["source_sha256"], digest);
    assert_eq!(place.store.epochs(&place.key(0)).unwrap().len(), 3);

    // The tch client cannot run Python, and says so.
    let told = Told::of(place.start(1, clients.tch()).wait_with_output().unwrap()).expect(&[1]);
    assert!(told.err.contains("own model is Python"), "{}", told.err);

    std::fs::write(&file, block("python").replace("8, 3", "9, 3")).unwrap();
    let told = Told::of(place.start(2, clients.python()).wait_with_output().unwrap());
    let told = told.expect(&[3]);
    assert!(told.err.contains("models/small.py"), "{}", told.err);
}
