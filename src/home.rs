//! Where the program's own data lies: toolchains, the training client, faults, definitions.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::failure::Failure;

/// The folder that holds `dockerfiles/`, `clients/` and `data/`.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Looks at `REPRODUCEML_HOME`, above the program, and where it was compiled.
    pub fn find() -> Result<Self, Failure> {
        if let Some(home) = std::env::var_os("REPRODUCEML_HOME") {
            let home = PathBuf::from(home);
            return if is_home(&home) {
                Ok(Self(home))
            } else {
                Err(Failure::input(anyhow!(
                    "REPRODUCEML_HOME is {}, which has no dockerfiles/ and clients/python/ in it",
                    home.display()
                )))
            };
        }
        let program = std::env::current_exe().unwrap_or_default();
        program
            .ancestors()
            .chain([Path::new(env!("CARGO_MANIFEST_DIR"))])
            .find(|folder| is_home(folder))
            .map(|folder| Self(folder.to_owned()))
            .ok_or_else(|| {
                Failure::missing(anyhow!(
                    "the folders dockerfiles/ and clients/python/ that belong to this program are \
                     not where it looked; set REPRODUCEML_HOME to the folder that holds them"
                ))
            })
    }

    /// One folder a toolchain.
    pub fn toolchains(&self) -> PathBuf {
        self.0.join("dockerfiles")
    }

    /// The training client's folder, as `PYTHONPATH` takes it.
    pub fn client(&self) -> PathBuf {
        self.0.join("clients/python")
    }

    /// How names lead to operators, one file a framework.
    pub fn operators(&self) -> PathBuf {
        self.0.join("data/operators")
    }

    /// Traces of known workloads that come with the program.
    pub fn traces(&self) -> PathBuf {
        self.0.join("data/traces")
    }

    /// The faults that come with the program.
    pub fn faults(&self) -> PathBuf {
        self.0.join("data/faults")
    }
}

fn is_home(folder: &Path) -> bool {
    folder.join("dockerfiles").is_dir() && folder.join("clients/python").is_dir()
}
