//! Files that several artifacts hold lie on the disk once: each is another name of a file below
//! `artifacts/.files/`, which is named after its content.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use study::Study;
use walkdir::WalkDir;

use crate::content::{Content, FileKind};
use crate::error::BuildError;

/// Files smaller than this are left alone: a name costs about as much.
const LEAST_BYTES: u64 = 1024;

fn pool(study: &Study) -> PathBuf {
    study.artifacts_dir().join(".files")
}

/// Makes the files of an artifact, in `folder`, further names of files that are there already, and
/// the others first names. Where the disk cannot do that, they stay as they are. The files must be
/// replaced from now on, never written to.
pub(crate) fn share(study: &Study, folder: &Path, content: &Content) -> Result<(), BuildError> {
    for file in &content.files {
        if file.kind == FileKind::Link || file.bytes < LEAST_BYTES {
            continue;
        }
        let Some(start) = file.sha256.get(..2) else { continue };
        let ending = if file.kind == FileKind::Executable { "-x" } else { "" };
        let shelf = pool(study).join(start);
        fs::create_dir_all(&shelf).map_err(BuildError::io(&shelf))?;
        let place = shelf.join(format!("{}{ending}", file.sha256));
        let path = folder.join(&file.path);
        let own = fs::metadata(&path).map_err(BuildError::io(&path))?;
        match fs::metadata(&place) {
            // The same file already: a rename onto itself would leave both names.
            Ok(there) if there.ino() == own.ino() && there.dev() == own.dev() => {}
            Ok(there) if there.len() == own.len() => {
                let name = path.with_file_name(".reproduceml-share");
                if fs::hard_link(&place, &name).is_ok() {
                    fs::rename(&name, &path).map_err(BuildError::io(&path))?;
                }
            }
            // A file of another length is damaged: `verify` tells of those that have it.
            Ok(_) => {}
            // Another process may be first, or the disk may have no further names: either is fine.
            Err(_) => drop(fs::hard_link(&path, &place)),
        }
    }
    Ok(())
}

/// The shared files that no artifact has any more, and their bytes.
pub(crate) fn unused(study: &Study) -> Result<Vec<(PathBuf, u64)>, BuildError> {
    let pool = pool(study);
    if !pool.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(&pool).min_depth(2).follow_links(false) {
        let entry = entry.map_err(|e| BuildError::io(&pool)(e.into()))?;
        let metadata = entry.metadata().map_err(|e| BuildError::io(entry.path())(e.into()))?;
        if metadata.is_file() && metadata.nlink() == 1 {
            found.push((entry.into_path(), metadata.len()));
        }
    }
    Ok(found)
}
