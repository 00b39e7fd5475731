//! How names lead to operators in one framework: a small TOML file a framework, so that no
//! framework's folders or macros are known to the program itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ReachError;

/// A framework's dictionary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// The framework.
    pub framework: String,
    /// Folders with the C, C++ and CUDA sources in which names are followed.
    pub sources: Vec<String>,
    /// Folders and files among them that are not compiled into the artifact, or hold names without
    /// code.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// Folders whose code is reached in ways that names do not show.
    #[serde(default)]
    pub opaque: Vec<String>,
    /// Folders from which functions of operators are called directly, past the dispatcher.
    #[serde(default)]
    pub direct: Vec<String>,
    /// Folders that only programs in C++ use: what is reached from there alone is not executed by
    /// a training in Python.
    #[serde(default)]
    pub frontends: Vec<String>,
    /// Endings of files that are compiled for a GPU only.
    #[serde(default)]
    pub gpu_only: Vec<String>,
    /// Folders of Python in the repository, and where they lie in the installed package.
    #[serde(default)]
    pub python: BTreeMap<String, String>,
    /// Files that list operators (`func`, `dispatch`).
    #[serde(default)]
    pub operators: Vec<String>,
    /// Files that list derivatives (`name`, formulas).
    #[serde(default)]
    pub derivatives: Vec<String>,
    /// The beginning of functions that Python calls directly and a trace names one by one.
    #[serde(default)]
    pub exports: Option<String>,
    /// Dispatch keys that only a GPU or another accelerator uses.
    #[serde(default)]
    pub gpu_keys: Vec<String>,
    /// Macros at file scope that register one argument under another.
    #[serde(default)]
    pub registrations: Vec<Registration>,
    /// Macros at file scope that only declare names.
    #[serde(default)]
    pub declarations: Vec<String>,
    /// Macros that stand before a function's body and name it in their first argument.
    #[serde(default)]
    pub definitions: Vec<String>,
}

/// A macro like `REGISTER(stub, &kernel)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its name.
    #[serde(rename = "macro")]
    pub name: String,
    /// The argument, from 0, by which the registered function is called.
    pub under: usize,
}

impl Dictionary {
    /// Reads a dictionary.
    ///
    /// # Errors
    /// If it cannot be read or has another form.
    pub fn read(path: &Path) -> Result<Self, ReachError> {
        let text = std::fs::read_to_string(path).map_err(ReachError::io(path))?;
        toml::from_str(&text)
            .map_err(|error| ReachError::form(path, error.to_string().trim_end().to_owned()))
    }

    /// Where a Python file of the repository lies in the installed package.
    pub fn installed(&self, path: &str) -> Option<String> {
        self.python
            .iter()
            .find_map(|(from, to)| path.strip_prefix(from.as_str()).map(|rest| to.clone() + rest))
    }

    pub(crate) fn is_opaque(&self, path: &str) -> bool {
        starts_with_any(path, &self.opaque)
    }

    pub(crate) fn is_frontend(&self, path: &str) -> bool {
        starts_with_any(path, &self.frontends)
    }

    pub(crate) fn is_direct(&self, path: &str) -> bool {
        starts_with_any(path, &self.direct)
    }

    pub(crate) fn is_source(&self, path: &str) -> bool {
        starts_with_any(path, &self.sources) && !starts_with_any(path, &self.ignored)
    }

    pub(crate) fn is_gpu_only(&self, path: &str) -> bool {
        self.gpu_only.iter().any(|ending| path.ends_with(ending.as_str()))
    }
}

fn starts_with_any(path: &str, folders: &[String]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder.as_str()))
}
