//! What one epoch of a workload executed, as the Python client wrote it down
//! (`python3 -m reproduceml_client.operators`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ReachError;

/// The form of the file that this version reads.
pub const FORMAT: &str = "reproduceml-trace/1";

/// A trace of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// [`FORMAT`].
    pub format: String,
    /// The framework.
    pub framework: String,
    /// Its version.
    pub version: String,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The model.
    pub model: String,
    /// The challenge.
    pub challenge: String,
    /// Batches of the epoch.
    pub batches: u32,
    /// Whether every operator that ran is named: not so where the framework's profiler does not
    /// hear all of them.
    pub complete: bool,
    /// Operators that ran, with their name space (`aten::conv2d`).
    pub operators: BTreeSet<String>,
    /// Autograd nodes that were built or ran.
    pub nodes: BTreeSet<String>,
    /// Kernels that ran on a GPU, as the profiler named them; none where it does not tell them.
    pub kernels: BTreeSet<String>,
    /// Python functions that ran: by file, their qualified names.
    pub functions: BTreeMap<String, BTreeSet<String>>,
    /// Built-in functions that were called by name.
    pub builtins: BTreeSet<String>,
    /// Python files that were imported.
    pub modules: BTreeSet<String>,
    /// What this version of the framework has at all.
    pub known: Known,
}

/// What a version of a framework has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its operators.
    pub operators: BTreeSet<String>,
    /// Its built-in functions.
    pub builtins: BTreeSet<String>,
    /// Its Python functions, by file.
    pub functions: BTreeMap<String, BTreeSet<String>>,
    /// The kernels that its libraries bring, by their own names; of traces on a GPU alone.
    #[serde(default)]
    pub kernels: BTreeSet<String>,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// If it cannot be read or is not of this form.
    pub fn read(path: &Path) -> Result<Self, ReachError> {
        let text = std::fs::read_to_string(path).map_err(ReachError::io(path))?;
        Self::parse(&text, path)
    }

    /// Parses a trace; `path` is for messages.
    ///
    /// # Errors
    /// If it is not of this form.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ReachError> {
        let wrong = |what: String| {
            ReachError::form(
                path,
                format!("{what}; write it anew with `python3 -m reproduceml_client.operators`"),
            )
        };
        let trace: Self =
            serde_json::from_str(text).map_err(|e| wrong(format!("this is no trace: {e}")))?;
        if trace.format != FORMAT {
            return Err(wrong(format!("`format` is `{}`; expected `{FORMAT}`", trace.format)));
        }
        Ok(trace)
    }

    /// Whether it is of this workload.
    pub fn is_of(&self, framework: &str, model: &str, challenge: &str, device: &str) -> bool {
        self.framework == framework
            && self.model == model
            && self.challenge == challenge
            && self.device == device
    }

    /// What it is called in reasons.
    pub fn name(&self) -> String {
        format!("{} {}", self.framework, self.version)
    }

    /// Whether an operator ran, and whether this version has it. Names without a name space are
    /// looked for in `aten`.
    pub(crate) fn operator(&self, name: &str) -> (bool, bool) {
        let spelled = [name.to_owned(), format!("aten::{name}")];
        let has = |set: &BTreeSet<String>| spelled.iter().any(|name| set.contains(name));
        (has(&self.operators), has(&self.known.operators))
    }
}
