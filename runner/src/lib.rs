//! Experiments and artifacts to runs.
