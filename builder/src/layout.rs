//! Where builds work inside a study, and the file operations they share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use study::{ArtifactId, ArtifactRecord, ArtifactStatus, Study};
use walkdir::WalkDir;

use crate::error::BuildError;
use crate::record::BuildRecord;

/// Where builds in progress live. Whatever is there when no build runs is a leftover.
pub(crate) fn scratch_dir(study: &Study) -> PathBuf {
    study.cache_dir().join("scratch")
}

/// The compiler cache that all builds of a study share.
pub(crate) fn compiler_cache_dir(study: &Study) -> PathBuf {
    study.cache_dir().join("ccache")
}

/// Where a workshop puts what it makes, and how its containers are marked.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Trees and objects of builds under way.
    pub scratch: PathBuf,
    /// Logs and records, a folder a build.
    pub builds: PathBuf,
    /// Artifacts, a folder each.
    pub artifacts: PathBuf,
    /// Labels of its containers.
    pub labels: Vec<(&'static str, String)>,
    /// What is recorded of the machine beside what its daemon says.
    pub host: BTreeMap<String, String>,
}

impl Places {
    /// Those of a study.
    pub(crate) fn of(study: &Study) -> Self {
        Self {
            scratch: scratch_dir(study),
            builds: study.root().join("builds"),
            artifacts: study.artifacts_dir(),
            labels: vec![(containers::STUDY_LABEL, study_mark(study))],
            host: BTreeMap::new(),
        }
    }

    pub(crate) fn build(&self, id: &ArtifactId) -> PathBuf {
        self.builds.join(id.as_str())
    }

    pub(crate) fn artifact(&self, id: &ArtifactId) -> PathBuf {
        self.artifacts.join(id.as_str())
    }
}

/// Moves a folder; where it lies on another disk, by a copy that is whole before it has its name.
pub(crate) fn move_folder(from: &Path, to: &Path) -> Result<(), BuildError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {}
        done => return done.map_err(BuildError::io(to)),
    }
    let part = to
        .with_file_name(format!(".part-{}", to.file_name().unwrap_or_default().to_string_lossy()));
    remove_folder(&part)?;
    fs::create_dir(&part).map_err(BuildError::io(&part))?;
    copy_tree(from, &part)?;
    fs::rename(&part, to).map_err(BuildError::io(to))?;
    remove_folder(from)
}

/// What marks the containers of a study: a digest of its path.
#[must_use]
pub fn study_mark(study: &Study) -> String {
    let path = fs::canonicalize(study.root()).unwrap_or_else(|_| study.root().to_owned());
    let digest = study::files::sha256_hex(path.as_os_str().as_encoded_bytes());
    digest.get(..16).unwrap_or(&digest).to_owned()
}

/// Removes a folder with everything in it. That it is not there is fine.
pub(crate) fn remove_folder(path: &Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BuildError::io(path)(error)),
    }
}

/// Gives a folder to a user, its contents too unless it is theirs already: a compiler cache of
/// thousands of files need not be walked at every build.
pub(crate) fn own_folder(path: &Path, owner: (u32, u32)) -> Result<(), BuildError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(BuildError::io(path))?;
    if (metadata.uid(), metadata.gid()) == owner {
        return Ok(());
    }
    crate::content::give_to(path, owner)
}

/// Copies a tree of files, folders and links into an existing folder.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), BuildError> {
    spread_tree(from, to, |path, target| fs::copy(path, target).map(|_| ()))
}

/// Like [`copy_tree`], but each file is the same file under another name, where the disk can do
/// that. Such files must be replaced, never written to.
pub(crate) fn link_tree(from: &Path, to: &Path) -> Result<(), BuildError> {
    spread_tree(from, to, |path, target| match fs::hard_link(path, target) {
        Ok(()) => Ok(()),
        // Another disk, or too many names of one file.
        Err(_) => fs::copy(path, target).map(|_| ()),
    })
}

fn spread_tree(
    from: &Path,
    to: &Path,
    file: impl Fn(&Path, &Path) -> std::io::Result<()>,
) -> Result<(), BuildError> {
    for entry in WalkDir::new(from).min_depth(1).follow_links(false) {
        let entry = entry.map_err(|e| BuildError::io(from)(e.into()))?;
        let path = entry.path();
        let target = to.join(path.strip_prefix(from).unwrap_or(path));
        let kind = entry.file_type();
        let done = if kind.is_dir() {
            fs::create_dir(&target)
        } else if kind.is_symlink() {
            fs::read_link(path).and_then(|link| std::os::unix::fs::symlink(link, &target))
        } else {
            file(path, &target)
        };
        done.map_err(BuildError::io(&target))?;
    }
    Ok(())
}

/// Reads the file `path` below `folder` without following any link; none if there is no such file.
pub(crate) fn read_below(folder: &Path, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut place = folder.to_owned();
    for part in path.split('/') {
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(std::io::Error::other("it is a link in the released package"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    fs::read(&place).map(Some)
}

/// Puts another content in the place of the file `path` below `folder`, or removes it. The file
/// itself, which may have other names, is left as it is.
pub(crate) fn replace_below(
    folder: &Path,
    path: &str,
    content: Option<&[u8]>,
) -> Result<(), BuildError> {
    let place = folder.join(path);
    match fs::remove_file(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(BuildError::io(&place)(error));
        }
        _ => {}
    }
    let Some(content) = content else { return Ok(()) };
    if let Some(above) = place.parent() {
        fs::create_dir_all(above).map_err(BuildError::io(above))?;
    }
    fs::write(&place, content).map_err(BuildError::io(&place))
}

/// What the store keeps of a build.
pub(crate) fn store_record(record: &BuildRecord, status: ArtifactStatus) -> ArtifactRecord {
    ArtifactRecord {
        id: record.id.clone(),
        repository: record.identity.repository.clone(),
        commit: record.identity.commit.clone(),
        toolchain: record.toolchain.clone(),
        toolchain_digest: record.identity.toolchain.clone(),
        image: record.image.id.clone(),
        strategy: record.identity.strategy,
        fault: record.fault_file.clone(),
        status,
        seconds: record.seconds,
    }
}
