//! Finding and removing what interrupted builds left behind.

use std::fmt;
use std::path::PathBuf;

use containers::{Docker, STUDY_LABEL};
use serde::Serialize;
use study::Study;

use crate::error::BuildError;
use crate::{cluster, layout, share};

/// Something that no build needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Garbage {
    /// A container of this study that outlived its process.
    Container {
        /// Its name.
        name: String,
    },
    /// A folder in which a build worked, or an artifact that never became whole.
    Folder {
        /// Where it is.
        path: PathBuf,
    },
    /// Shared files that no artifact has any more.
    Shared {
        /// How many.
        files: usize,
        /// What they occupy.
        bytes: u64,
    },
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { name } => write!(f, "container {name}"),
            Self::Folder { path } => write!(f, "folder {}", path.display()),
            Self::Shared { files, bytes } => {
                write!(f, "{files} shared files of no artifact, {bytes} bytes")
            }
        }
    }
}

/// Removes a study's leftovers, or only lists them with `dry_run`. The caller holds the study's
/// lock, so that nothing found can still be in use.
///
/// # Errors
/// If the daemon or the file system refuses.
pub async fn clean(
    docker: &Docker,
    study: &Study,
    dry_run: bool,
) -> Result<Vec<Garbage>, BuildError> {
    let mark = layout::study_mark(study);
    let labels = [(STUDY_LABEL, mark.as_str())];
    let containers = if dry_run {
        docker.leftovers(&labels).await?
    } else {
        docker.remove_leftovers(&labels).await?
    };
    let containers =
        containers.into_iter().chain(cluster::dead_containers(docker, &mark, dry_run).await?);
    let mut found: Vec<Garbage> =
        containers.map(|container| Garbage::Container { name: container.name }).collect();
    for path in folders(study)? {
        if !dry_run {
            layout::remove_folder(&path)?;
        }
        found.push(Garbage::Folder { path });
    }
    let unused = share::unused(study)?;
    if !unused.is_empty() {
        let bytes = unused.iter().map(|(_, bytes)| bytes).sum();
        found.push(Garbage::Shared { files: unused.len(), bytes });
    }
    for (path, _) in unused {
        if !dry_run {
            std::fs::remove_file(&path).map_err(BuildError::io(&path))?;
        }
    }
    Ok(found)
}

fn folders(study: &Study) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = Vec::new();
    for (folder, prefix) in [
        (layout::scratch_dir(study), ""),
        (study.artifacts_dir(), ".part-"),
        (study.cache_dir().join("releases"), ".part-"),
        (study.cache_dir().join("wheels"), ".part-"),
    ] {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BuildError::io(&folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(BuildError::io(&folder))?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            }
        }
    }
    found.extend(cluster::dead_folders(study)?);
    found.sort();
    Ok(found)
}
