//! The program's own data inside the program, so that it works with no clone beside it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use study::files::write_whole;

/// Paths below the repository, with `/`, and what the files hold.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Names the data's version, so that two programs on one machine do not share a folder.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("REPRODUCEML_DATA"));

/// Where data of a user's programs lies: `$XDG_DATA_HOME`, else `~/.local/share`.
fn base() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))
}

/// The folder that holds the data, written if it is not there. `None` if the user has no folder.
///
/// # Errors
/// The folder, and why it cannot be written.
pub fn unpacked() -> Option<Result<PathBuf, (PathBuf, io::Error)>> {
    let folder = base()?.join("reproduceml").join(VERSION);
    Some(unpack(&folder).map(|()| folder.clone()).map_err(|error| (folder, error)))
}

/// Writes what is not there or is not as it was compiled in: a toolchain must not change by a slip.
fn unpack(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        // Whole or not at all; of two programs that do it at once one comes first.
        let parent = folder.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)?;
        let part = tempfile::Builder::new().prefix(".part-").tempdir_in(parent)?;
        for (name, content) in FILES {
            let file = part.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap_or(parent))?;
            std::fs::write(&file, content)?;
        }
        // Containers under other users read it.
        std::fs::set_permissions(part.path(), std::fs::Permissions::from_mode(0o755))?;
        match std::fs::rename(part.path(), folder) {
            Err(_) if folder.exists() => {}
            done => done?,
        }
    }
    for (name, content) in FILES {
        let file = folder.join(name);
        if !std::fs::read(&file).is_ok_and(|found| found == *content) {
            write_whole(&file, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What git has below the folders that are compiled in.
    fn tracked() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = std::process::Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["ls-files", "dockerfiles", "clients/python", "data"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|name| !name.starts_with("clients/python/tests/"))
            .filter(|name| !["data/paper/", "data/templates/"].iter().any(|f| name.starts_with(f)))
            .filter(|name| root.join(name).exists())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_tracked_file_is_compiled_in() {
        let names: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let tracked = tracked();
        if tracked.is_empty() {
            eprintln!("SKIPPED every_tracked_file_is_compiled_in: not a clone of git");
            return;
        }
        let missing: Vec<&String> = tracked.difference(&names).collect();
        assert!(missing.is_empty(), "touch build.rs: {missing:?}");
    }

    #[test]
    fn what_was_changed_or_lost_is_written_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data");
        unpack(&folder).unwrap();
        let (first, second) = (folder.join(FILES[0].0), folder.join(FILES[1].0));
        std::fs::write(&first, "other").unwrap();
        std::fs::remove_file(&second).unwrap();
        unpack(&folder).unwrap();
        assert_eq!(std::fs::read(first).unwrap(), FILES[0].1);
        assert_eq!(std::fs::read(second).unwrap(), FILES[1].1);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "no parts are left");
    }
}
