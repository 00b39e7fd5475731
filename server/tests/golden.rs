//! Data and metrics against second implementations: `golden/data.py` and scikit-learn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::collections::BTreeMap;

use protocol::{Digest, Order as JobOrder};
use reproduceml_server::challenge::permutation::permutation;
use reproduceml_server::challenge::synthetic::{self, Part};
use reproduceml_server::challenge::{Dataset, Datasets, Fetch, Known};
use reproduceml_server::metrics::Metrics;
use serde::Deserialize;
use study::{Challenge, Evaluation};

#[derive(Deserialize)]
struct Data {
    orders: Vec<Order>,
    synthetic: Vec<Synthetic>,
    cuts: Vec<Cut>,
}

#[derive(Deserialize)]
struct Cut {
    seed: u32,
    train: u32,
    validation: u32,
    test: u32,
    fraction: f64,
    arrays: BTreeMap<String, Digest>,
}

#[derive(Deserialize)]
struct Order {
    label: String,
    parts: Vec<u64>,
    count: u32,
    sha256: Digest,
}

#[derive(Deserialize)]
struct Synthetic {
    seed: u64,
    part: u8,
    count: u32,
    channels: u32,
    side: u32,
    pixels: Digest,
    labels: Digest,
}

#[test]
fn orders_and_samples_have_the_published_bytes() {
    let data: Data = serde_json::from_str(include_str!("golden/data.json")).unwrap();
    for case in data.orders {
        let places = permutation(&case.label, &case.parts, case.count);
        let bytes: Vec<u8> = places.iter().flat_map(|p| p.to_le_bytes()).collect();
        assert_eq!(Digest::of(&bytes), case.sha256, "{} {:?}", case.label, case.parts);
        let mut sorted = places;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..case.count), "every sample occurs once");
    }
    for case in data.synthetic {
        let part = if case.part == 0 { Part::Train } else { Part::Test };
        let pool = synthetic::generate(case.seed, part, case.count, case.channels, case.side);
        assert_eq!(Digest::of(&pool.pixels), case.pixels);
        assert_eq!(Digest::of(&pool.labels), case.labels);
    }
}

fn array(dataset: &Dataset, name: &str) -> protocol::ArrayHeader {
    dataset.array(name, JobOrder::Fixed, 1, 1).unwrap().header
}

#[test]
fn splits_and_fractions_have_the_published_bytes() {
    let data: Data = serde_json::from_str(include_str!("golden/data.json")).unwrap();
    assert!(data.cuts.iter().any(|cut| cut.fraction < 1.0));
    for case in data.cuts {
        let spec = Challenge {
            train_samples: case.train,
            validation_samples: case.validation,
            test_samples: case.test,
            fraction: case.fraction,
            ..common::experiment(Evaluation::Buggy).challenge
        };
        let make = |part, count| synthetic::generate(synthetic::SEED, part, count, 1, 28);
        let train = make(Part::Train, case.train + case.validation);
        let test = make(Part::Test, case.test);
        let constants = Known::Synthetic.constants();
        let dataset = Dataset::cut(&spec, constants, case.seed, &train, &test).unwrap();
        for (name, digest) in case.arrays {
            assert_eq!(array(&dataset, &name).sha256, digest, "{name}, {}", case.fraction);
        }
        // Counts that are left out mean all there are, before the fraction is taken.
        let all = Challenge { train_samples: 0, test_samples: 0, ..spec };
        let same = Dataset::cut(&all, constants, case.seed, &train, &test).unwrap();
        for name in ["train/x", "validation/x", "test/x"] {
            assert_eq!(array(&same, name), array(&dataset, name), "{name}");
        }
    }
}

#[test]
fn experiments_that_differ_in_their_fraction_have_their_own_samples() {
    let datasets = Datasets::new("/nonexistent".into(), Fetch::Never, 1 << 30, 1 << 30);
    let whole = common::experiment(Evaluation::Buggy);
    let mut half = whole.clone();
    half.challenge.fraction = 0.5;
    let samples = |experiment| {
        let dataset = datasets.get(experiment).unwrap();
        ["train/x", "validation/x", "test/x"].map(|name| array(&dataset, name).shape[0])
    };
    assert_eq!(samples(&whole), [40, 10, 20]);
    assert_eq!(samples(&half), [20, 5, 10]);
}

#[derive(Deserialize)]
struct Graded {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Score {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    scores: Vec<Vec<Score>>,
    targets: Vec<u8>,
    accuracy: f64,
    precision: f64,
    recall: f64,
    f1: f64,
    class_precision: Vec<f64>,
    class_recall: Vec<f64>,
    class_f1: Vec<f64>,
    support: Vec<u64>,
    confusion: Vec<Vec<u64>>,
}

#[test]
fn metrics_are_those_of_scikit_learn() {
    let graded: Graded = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    assert!(graded.cases.len() >= 10);
    for case in graded.cases {
        let scores: Vec<f32> = case
            .scores
            .iter()
            .flatten()
            .map(|score| match score {
                Score::Number(number) => *number as f32,
                Score::Text(text) => text.parse().unwrap(),
            })
            .collect();
        let found = Metrics::of_scores(&scores, &case.targets, case.classes).unwrap();
        let near = |a: f64, b: f64, what: &str| {
            assert!((a - b).abs() < 1e-12, "{}: {what} is {a}, expected {b}", case.name);
        };
        near(found.accuracy, case.accuracy, "accuracy");
        near(found.precision, case.precision, "precision");
        near(found.recall, case.recall, "recall");
        near(found.f1, case.f1, "f1");
        assert_eq!(found.confusion, case.confusion, "{}", case.name);
        for (index, class) in found.classes.iter().enumerate() {
            near(class.precision, case.class_precision[index], "precision of a class");
            near(class.recall, case.class_recall[index], "recall of a class");
            near(class.f1, case.class_f1[index], "f1 of a class");
            assert_eq!(class.support, case.support[index]);
        }
    }
}

#[test]
fn scores_that_do_not_fit_are_not_graded() {
    assert!(Metrics::of_scores(&[0.0; 5], &[0, 1], 3).is_none());
    assert!(Metrics::of_scores(&[0.0; 6], &[0, 3], 3).is_none(), "a target that is no class");
    assert!(Metrics::of_scores(&[], &[], 0).is_none());
    let none = Metrics::of_scores(&[], &[], 3).unwrap();
    assert_eq!((none.accuracy, none.f1), (0.0, 0.0));
}
