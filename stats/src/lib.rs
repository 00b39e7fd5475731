//! Runs to tests, tables, figures and verdicts.

pub mod adjust;
pub mod brunner_munzel;
pub mod counting;
pub mod effect;
pub mod equivalence;
pub mod mann_whitney;
pub mod power;
pub mod sample;
pub mod shift;
pub mod signed_rank;
pub mod special;
pub mod spread;
