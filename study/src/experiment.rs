//! An experiment: the attributes of the paper's Table I, and the identities that follow from them.

use serde::{Deserialize, Serialize};

use crate::files::sha256_hex;
use crate::{ArtifactId, BugId, Evaluation, ExperimentId, SeedPolicy};

/// The data set of an experiment and how it is cut and ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// `synthetic`, `synthetic-cifar10`, `cifar10`, `mnist` or `fashion-mnist`.
    pub name: String,
    /// Samples to train on; 0 takes all there are.
    #[serde(default)]
    pub train_samples: u32,
    /// Samples held back from training for validation.
    #[serde(default)]
    pub validation_samples: u32,
    /// Samples to test on; 0 takes all there are.
    #[serde(default)]
    pub test_samples: u32,
    /// The share of each of these three that is used, above 0 and at most 1 (see
    /// [`Challenge::share`]). Left out of what is written when it is 1, so that the identities of
    /// experiments without it are what they were before there was one.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub fraction: f64,
    /// Whether each epoch sees the samples in its own order.
    #[serde(default)]
    pub order: DataOrder,
}

fn whole() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_whole(fraction: &f64) -> bool {
    *fraction == 1.0
}

impl Challenge {
    /// The part of `samples` that `fraction` leaves: their product, rounded to the nearest whole
    /// number (halves up), but never none of some.
    pub fn share(&self, samples: u32) -> u32 {
        if is_whole(&self.fraction) || samples == 0 {
            return samples;
        }
        // The cast keeps within the range of its type; a share is never more than the whole.
        ((f64::from(samples) * self.fraction).round() as u32).clamp(1, samples)
    }
}

/// The order of samples over the epochs of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataOrder {
    /// One permutation for all epochs.
    #[default]
    Fixed,
    /// A new permutation each epoch.
    PerEpoch,
}

/// The model of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The model's name: one the client knows, or the class in `source`.
    pub name: String,
    /// A user's own model: a Python file, relative to the study.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of `source` when the experiment was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
}

/// What the optimiser is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperparameters {
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples a step.
    pub batch_size: u32,
    /// SGD's step length.
    pub learning_rate: f64,
    /// SGD's momentum, from 0 to below 1.
    pub momentum: f64,
    /// Whether a last batch smaller than `batch_size` is left out.
    #[serde(default)]
    pub drop_last: bool,
}

/// What an experiment of `variance` sets that others leave to the client's controls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The seed of every run, so that runs differ in nothing that is known.
    pub seed: u32,
    /// Threads that numeric code may use; the controls allow one.
    pub threads: u32,
    /// Whether the controls ask for deterministic algorithms.
    pub deterministic: bool,
    /// Whether layers of dropout drop anything.
    pub dropout: bool,
}

/// Everything that makes two runs repetitions of each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// The bug under study.
    pub bug: BugId,
    /// The side of the comparison.
    pub evaluation: Evaluation,
    /// What is under test on this side.
    pub artifact: ArtifactId,
    /// The client's framework layer: `pytorch`, `tinynn`.
    pub framework: String,
    /// The software that runs it: the toolchain's name.
    pub toolchain: String,
    /// The model.
    pub model: ModelSpec,
    /// The data.
    pub challenge: Challenge,
    /// The optimiser's settings.
    pub hyperparameters: Hyperparameters,
    /// The state of the paper's Table I: how runs are seeded.
    pub seed_policy: SeedPolicy,
    /// The study's meta seed.
    pub meta_seed: u64,
    /// `cpu` or `cuda`.
    pub device: String,
    /// What `variance` varies. Left out of what is written where there is nothing, so that
    /// identities are what they were before there was `variance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

impl Experiment {
    /// The experiment's name: bug, evaluation and the start of the digest of all attributes.
    pub fn id(&self) -> ExperimentId {
        let json = serde_json::to_string(self).unwrap_or_default();
        ExperimentId::compose(&self.bug, self.evaluation, &sha256_hex(json.as_bytes()))
    }

    /// SHA-256 of the attributes that both sides of a bug share, so of all but evaluation and
    /// artifact. Seeds are derived from it.
    pub fn pair_key(&self) -> String {
        let shared = (
            &self.bug,
            &self.framework,
            &self.toolchain,
            &self.model,
            &self.challenge,
            &self.hyperparameters,
            self.seed_policy,
            self.meta_seed,
            &self.device,
        );
        let json = match &self.conditions {
            None => serde_json::to_string(&shared),
            Some(conditions) => serde_json::to_string(&(shared, conditions)),
        };
        sha256_hex(json.unwrap_or_default().as_bytes())
    }

    /// The seed of run `run` (see [`crate::seed`]), or that of the conditions.
    pub fn seed(&self, run: u32) -> u32 {
        if let Some(conditions) = &self.conditions {
            return conditions.seed;
        }
        crate::seed::derive(self.meta_seed, &self.pair_key(), self.seed_policy, run)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(evaluation: Evaluation) -> Experiment {
        let digest = match evaluation {
            Evaluation::Buggy => [1; 32],
            Evaluation::Corrected => [2; 32],
            Evaluation::Artificial => [3; 32],
            Evaluation::Aa => [2; 32],
        };
        Experiment {
            bug: BugId::of_pull_request(12),
            evaluation,
            artifact: ArtifactId::from_digest(digest),
            framework: "tinynn".into(),
            toolchain: "debian-bookworm-tinynn".into(),
            model: ModelSpec { name: "mlp".into(), source: None, source_digest: None },
            challenge: Challenge {
                name: "synthetic".into(),
                train_samples: 100,
                validation_samples: 10,
                test_samples: 50,
                fraction: 1.0,
                order: DataOrder::PerEpoch,
            },
            hyperparameters: Hyperparameters {
                epochs: 2,
                batch_size: 16,
                learning_rate: 0.1,
                momentum: 0.5,
                drop_last: false,
            },
            seed_policy: SeedPolicy::PerRun,
            meta_seed: 7,
            device: "cpu".into(),
            conditions: None,
        }
    }

    #[test]
    fn both_sides_share_seeds_and_nothing_else_does() {
        let (buggy, corrected) = (example(Evaluation::Buggy), example(Evaluation::Corrected));
        assert_ne!(buggy.id(), corrected.id());
        assert_eq!(buggy.pair_key(), corrected.pair_key());
        for run in 0..10 {
            assert_eq!(buggy.seed(run), corrected.seed(run));
        }
        let mut other = example(Evaluation::Buggy);
        other.hyperparameters.epochs = 3;
        assert_ne!(buggy.seed(0), other.seed(0));
        assert_ne!(buggy.seed(0), buggy.seed(1));
    }

    #[test]
    fn keys_and_seeds_do_not_move() {
        // Made with Python from the text below: its SHA-256, and the published function of it.
        let key = "8620c7709158a50561fd3369b20fc79e73bc77f690f82769c25ac21ae3feb0e4";
        let shared = r#"["pr12","tinynn","debian-bookworm-tinynn",{"name":"mlp"},
            {"name":"synthetic","train_samples":100,"validation_samples":10,"test_samples":50,
            "order":"per-epoch"},{"epochs":2,"batch_size":16,"learning_rate":0.1,"momentum":0.5,
            "drop_last":false},"per-run",7,"cpu"]"#;
        assert_eq!(sha256_hex(shared.replace(['\n', ' '], "").as_bytes()), key);
        let mut experiment = example(Evaluation::Buggy);
        assert_eq!(experiment.pair_key(), key);
        assert_eq!([experiment.seed(0), experiment.seed(1)], [1666545458, 2506137436]);
        experiment.seed_policy = SeedPolicy::Single;
        assert_eq!(experiment.seed(0), experiment.seed(1), "one seed for all runs");
    }

    #[test]
    fn a_fraction_is_part_of_the_identity_and_its_absence_is_not() {
        let whole = example(Evaluation::Buggy);
        let json = serde_json::to_string(&whole).unwrap();
        assert!(!json.contains("fraction"), "{json}");
        let mut half = whole.clone();
        half.challenge.fraction = 0.5;
        assert_ne!(half.id(), whole.id());
        assert_ne!(half.pair_key(), whole.pair_key());
        assert_ne!(half.seed(0), whole.seed(0));
        let back: Experiment =
            serde_json::from_str(&serde_json::to_string(&half).unwrap()).unwrap();
        assert_eq!(back, half);
    }

    #[test]
    fn conditions_are_part_of_the_identity_and_fix_the_seed() {
        let plain = example(Evaluation::Corrected);
        let json = serde_json::to_string(&plain).unwrap();
        assert!(!json.contains("conditions"), "{json}");
        let conditions = Conditions { seed: 5, threads: 2, deterministic: true, dropout: true };
        let with = Experiment { conditions: Some(conditions.clone()), ..plain.clone() };
        assert_ne!((with.id(), with.pair_key()), (plain.id(), plain.pair_key()));
        assert_eq!((with.seed(0), with.seed(7)), (5, 5));
        let more = Conditions { threads: 3, ..conditions };
        let more = Experiment { conditions: Some(more), ..plain };
        assert_ne!(more.pair_key(), with.pair_key());
    }

    #[test]
    fn a_share_is_rounded_and_never_none_of_some() {
        let mut challenge = example(Evaluation::Buggy).challenge;
        for (fraction, samples, share) in [
            (1.0, 50_000, 50_000),
            (0.1, 50_000, 5_000),
            (0.29, 100, 29),
            (0.5, 5, 3),
            (1e-9, 7, 1),
            (0.3, 0, 0),
            (1.0, u32::MAX, u32::MAX),
            (0.999_999_999_9, u32::MAX, u32::MAX),
            (f64::NAN, 7, 1),
        ] {
            challenge.fraction = fraction;
            assert_eq!(challenge.share(samples), share, "{fraction} of {samples}");
        }
    }

    #[test]
    fn an_experiment_survives_json() {
        let experiment = example(Evaluation::Artificial);
        let json = serde_json::to_string(&experiment).unwrap();
        let back: Experiment = serde_json::from_str(&json).unwrap();
        assert_eq!(back, experiment);
        assert_eq!(back.id(), experiment.id());
    }
}
