//! The words of a study as types, its configuration, its folders and its store.
//!
//! Every other crate knows this one and it knows none of them: what passes from stage to stage
//! (corpus, selection, artifacts, runs) has its type and its place here, so that each stage can
//! be run, replaced and tested alone.

pub mod config;
pub mod corpus;
pub mod design;
mod experiment;
pub mod files;
pub mod funnel;
mod hosts;
mod ids;
mod layout;
mod nightly;
pub mod own_tests;
pub mod placed;
pub mod prune;
pub mod reach;
pub mod seed;
pub mod selection;
mod slurm;
pub mod store;
mod words;

pub use config::{ConfigError, StudyConfig};
pub use corpus::{Bug, ChangedFile};
pub use experiment::{Challenge, Conditions, DataOrder, Experiment, Hyperparameters, ModelSpec};
pub use hosts::{DockerHost, DockerPolicy};
pub use ids::{ArtifactId, BugId, CommitId, ExperimentId, IdError};
pub use layout::{Study, StudyError, StudyLock, image_archive};
pub use nightly::NightlyPolicy;
pub use slurm::{BUILD_CPUS, SlurmBuild, SlurmPolicy};
pub use store::{ArtifactRecord, ArtifactStatus, RunKey, RunRecord, RunStatus, Store, StoreError};
pub use words::{
    Ending, Evaluation, Factor, NightlyStage, NodeContainer, ReachAnswer, ReachStrength,
    Resolution, SameHardware, SeedPolicy, Strategy, UnknownWord, Verdict,
};
