//! Seeds, data and metrics for training clients.
