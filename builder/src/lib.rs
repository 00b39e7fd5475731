//! A commit and a toolchain to an artifact.
