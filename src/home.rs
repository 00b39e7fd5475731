//! Where the program's own data lies: toolchains, the training client, faults, definitions.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use study::Study;

use crate::embedded;
use crate::failure::Failure;

/// Set in the program's own image, whose files the Docker daemon beside it cannot see.
const IN_IMAGE: &str = "REPRODUCEML_IN_IMAGE";

/// What containers are given of the program's data.
const SEEN: [&str; 3] = ["dockerfiles", "clients/python", "data/faults"];

/// The folder that holds `dockerfiles/`, `clients/` and `data/`.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Looks at `REPRODUCEML_HOME` and above the program, as in a clone and in an image; else writes
    /// what was compiled into the program to the user's data folder.
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
        if let Some(folder) = program.ancestors().find(|folder| is_home(folder)) {
            return Ok(Self(folder.to_owned()));
        }
        match embedded::unpacked() {
            Some(Ok(folder)) => Ok(Self(folder)),
            Some(Err((folder, error))) => Err(Failure::missing(anyhow!(
                "{}: the program's data cannot be written here: {error}; set XDG_DATA_HOME to a \
                 folder that can be written, or REPRODUCEML_HOME to a clone of the program",
                folder.display()
            ))),
            None => Err(Failure::missing(anyhow!(
                "this user has no home and XDG_DATA_HOME is not set, so there is no place for \
                 the program's data (toolchains, training client); set it, or REPRODUCEML_HOME to \
                 a clone of the program"
            ))),
        }
    }

    /// The same data where the Docker daemon sees it: in its place, or, in the program's own
    /// image, copied into the study, which lies at one path inside and outside.
    pub fn for_containers(study: &Study) -> Result<Self, Failure> {
        let home = Self::find()?;
        if std::env::var_os(IN_IMAGE).is_none() { Ok(home) } else { home.copied_into(study) }
    }

    /// The same data where the nodes of a cluster see it, which share the study's folder with this
    /// machine and nothing else.
    pub fn for_nodes(study: &Study) -> Result<Self, Failure> {
        Self::find()?.copied_into(study)
    }

    fn copied_into(&self, study: &Study) -> Result<Self, Failure> {
        let home = self;
        let place = study.cache_dir().join("program");
        let copy = || -> std::io::Result<PathBuf> {
            // Named after its content: what a container was started with is never replaced.
            let mut files = Vec::new();
            for folder in SEEN {
                list(&home.0.join(folder), &mut files)?;
            }
            files.sort();
            let mut text = String::new();
            for file in &files {
                let name = file.strip_prefix(&home.0).unwrap_or(file);
                text += &format!("{} {}\n", study::files::sha256_file(file)?, name.display());
            }
            let digest = study::files::sha256_hex(text.as_bytes());
            let whole = place.join(&digest[..12]);
            if whole.is_dir() {
                return Ok(whole);
            }
            std::fs::create_dir_all(&place)?;
            let part = tempfile::Builder::new().prefix(".part-").tempdir_in(&place)?;
            for file in &files {
                let target = part.path().join(file.strip_prefix(&home.0).unwrap_or(file));
                std::fs::create_dir_all(target.parent().unwrap_or(part.path()))?;
                std::fs::copy(file, target)?;
            }
            std::fs::set_permissions(part.path(), std::fs::Permissions::from_mode(0o755))?;
            std::fs::rename(part.path(), &whole)?;
            Ok(whole)
        };
        copy().map(Self).map_err(|error| {
            Failure::missing(anyhow!(
                "{}: the program's data cannot be copied here: {error}",
                place.display()
            ))
        })
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
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

    /// The definitions of studies that come with the program, one folder each.
    pub fn definitions(&self) -> PathBuf {
        self.0.join("data/studies")
    }

    /// The faults that come with the program.
    pub fn faults(&self) -> PathBuf {
        self.0.join("data/faults")
    }
}

/// The files below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn is_home(folder: &Path) -> bool {
    folder.join("dockerfiles").is_dir() && folder.join("clients/python").is_dir()
}
