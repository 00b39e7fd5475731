//! Runs to tests, tables, figures and verdicts.
