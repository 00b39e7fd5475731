//! The job that a client is given, from an experiment's record.

use protocol::{ChallengeJob, Job, Order};
use study::{DataOrder, Experiment, Study};

use crate::challenge::Dataset;

/// Why a job cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The user's model cannot be read.
    #[error("the model's source {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The user's model changed since the experiment was planned.
    #[error(
        "the model's source {path} has SHA-256 {found}, but {expected} when the experiment was \
         planned; take the change back or plan again"
    )]
    Changed {
        /// The file.
        path: String,
        /// Its digest now.
        found: String,
        /// Its digest then.
        expected: String,
    },
}

/// The job of one run.
pub(crate) fn build(
    study: &Study,
    experiment: &Experiment,
    run: u32,
    seed: u32,
    dataset: &Dataset,
    trace: bool,
) -> Result<Job, JobError> {
    let model_source = match &experiment.model.source {
        None => None,
        Some(path) => Some(read_model(study, path, experiment.model.source_digest.as_deref())?),
    };
    let settings = &experiment.hyperparameters;
    Ok(Job {
        experiment: experiment.id().to_string(),
        bug: experiment.bug.to_string(),
        evaluation: experiment.evaluation.to_string(),
        run,
        framework: experiment.framework.clone(),
        model: experiment.model.name.clone(),
        model_class: model_source.is_some().then(|| experiment.model.name.clone()),
        model_source,
        challenge: ChallengeJob {
            name: experiment.challenge.name.clone(),
            shape: dataset.shape.iter().map(|d| u64::from(*d)).collect(),
            classes: u64::from(dataset.classes),
        },
        splits: dataset.splits(),
        epochs: settings.epochs,
        batch_size: settings.batch_size,
        drop_last: settings.drop_last,
        learning_rate: settings.learning_rate,
        momentum: settings.momentum,
        order: match experiment.challenge.order {
            DataOrder::Fixed => Order::Fixed,
            DataOrder::PerEpoch => Order::PerEpoch,
        },
        device: experiment.device.clone(),
        trace,
        seed,
        fault: experiment.evaluation == study::Evaluation::Artificial,
    })
}

fn read_model(study: &Study, path: &str, digest: Option<&str>) -> Result<String, JobError> {
    let source = std::fs::read_to_string(study.resolve(path))
        .map_err(|source| JobError::Read { path: path.to_owned(), source })?;
    let found = study::files::sha256_hex(source.as_bytes());
    match digest {
        Some(expected) if expected != found => {
            Err(JobError::Changed { path: path.to_owned(), found, expected: expected.to_owned() })
        }
        _ => Ok(source),
    }
}
