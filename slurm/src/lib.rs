//! Work as jobs of a Slurm cluster.
//!
//! Work that is handed over at the same moment becomes one array of jobs for each bug, in the order
//! in which it came. One look at the queue every few seconds follows all jobs. Who starts work
//! again is the caller, never the scheduler: a job is submitted without `--requeue`.
//!
//! Nothing is left behind unseen: what ends this program in order cancels its jobs; of one that was
//! killed the next call finds the jobs by their name and by the journal, and takes them up again or
//! cancels them.

mod cluster;
mod commands;
mod dispatch;
mod error;
mod job;
mod journal;
mod nodes;
mod script;
#[cfg(test)]
mod tests;
mod work;

pub use cluster::{Cluster, Found};
pub use error::SlurmError;
pub use job::{End, JobId, Over, script_status};
pub use script::{Preview, asked, is_handed_over, kept_together, preview, quote};
pub use work::{Setup, Stage, Work};
