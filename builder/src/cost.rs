//! What a change will cost to build, from the dependency records of builds that were done.
//!
//! After a build, ninja knows which files each object was compiled from. The number of objects
//! that depend on a changed file is what the second commit of a pair costs on a warm compiler
//! cache: one for a native function's `.cpp`, nearly all for a header that everything includes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use study::ChangedFile;

use crate::error::BuildError;

/// The name of the file beside a build's log.
const FILE: &str = "dependents.json.zst";
/// Records larger than this are not read: a container wrote them.
const LARGEST: u64 = 512 << 20;

/// Which objects depend on which files of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependents {
    /// Number of objects.
    pub objects: u64,
    /// Files of the commit's tree, with the numbers of the objects that were compiled from each.
    pub files: BTreeMap<String, Vec<u32>>,
}

impl Dependents {
    /// Reads the output of `ninja -t deps`: an object's name, a colon and counts in one line, the
    /// files it was made of in indented lines. Only files below `/src` count, and of those not the
    /// ones that the build itself made in `build_folder`.
    #[must_use]
    pub fn from_ninja(text: &str, build_folder: &str) -> Self {
        let mut found = Self::default();
        let mut object: Option<u32> = None;
        let made = format!("{build_folder}/");
        for line in text.lines() {
            if line.trim().is_empty() {
                continue;
            }
            if !line.starts_with(char::is_whitespace) {
                object = None;
                if line.contains(": #deps ") && !line.ends_with("(STALE)") {
                    object = u32::try_from(found.objects).ok();
                    found.objects += 1;
                }
                continue;
            }
            let Some(number) = object else { continue };
            let Some(path) = below_src(line.trim(), build_folder) else { continue };
            if path.starts_with(&made) {
                continue;
            }
            let numbers = found.files.entry(path).or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        found
    }

    /// How many objects a change of these files has compiled again: none for what no compiler
    /// reads, all for what code is generated from.
    #[must_use]
    pub fn cost(&self, files: &[ChangedFile]) -> u64 {
        let mut touched: BTreeSet<u32> = BTreeSet::new();
        for file in files {
            if let Some(numbers) = self.files.get(&file.path) {
                touched.extend(numbers);
            } else if matters_to_all(file) {
                return self.objects;
            }
        }
        touched.len() as u64
    }
}

/// Whether a file that no object names may still change them all: what the build's own scripts and
/// generators read.
fn matters_to_all(file: &ChangedFile) -> bool {
    let kind = file.kind.as_str();
    kind == "build" || kind.starts_with("codegen")
}

/// A path of a record as one below the commit's tree.
fn below_src(path: &str, build_folder: &str) -> Option<String> {
    let absolute =
        if path.starts_with('/') { path.to_owned() } else { format!("/src/{build_folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    match parts.split_first() {
        Some((&"src", rest)) if !rest.is_empty() => Some(rest.join("/")),
        _ => None,
    }
}

/// Keeps a build's dependency records beside its log, if it left any.
pub(crate) fn keep(ninja: &Path, build_folder: &str, folder: &Path) -> Result<(), BuildError> {
    let Ok(metadata) = fs::symlink_metadata(ninja) else { return Ok(()) };
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Ok(());
    }
    let bytes = fs::read(ninja).map_err(BuildError::io(ninja))?;
    let dependents = Dependents::from_ninja(&String::from_utf8_lossy(&bytes), build_folder);
    if dependents.objects == 0 {
        return Ok(());
    }
    let path = folder.join(FILE);
    let io = BuildError::io(&path);
    let packed = serde_json::to_vec(&dependents)
        .map_err(std::io::Error::from)
        .and_then(|json| zstd::encode_all(json.as_slice(), 3));
    let packed = match packed {
        Ok(packed) => packed,
        Err(error) => return Err(io(error)),
    };
    study::files::write_whole(&path, &packed).map_err(BuildError::io(&path))
}

/// The records that a build left, if it did.
#[must_use]
pub(crate) fn read(folder: &Path) -> Option<Dependents> {
    let packed = fs::read(folder.join(FILE)).ok()?;
    serde_json::from_reader(zstd::Decoder::new(packed.as_slice()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPS: &str = "\
caffe2/Pad.cpp.o: #deps 4, deps mtime 17 (VALID)
    ../aten/src/ATen/native/Pad.cpp
    ../aten/src/ATen/Tensor.h
    aten/src/ATen/Functions.h
    /usr/include/stdio.h

caffe2/Add.cpp.o: #deps 2, deps mtime 17 (VALID)
    /src/aten/src/ATen/native/Add.cpp
    ../aten/src/ATen/Tensor.h

gone.o: #deps 1, deps mtime 0 (STALE)
    ../aten/src/ATen/native/Gone.cpp
";

    fn file(path: &str, kind: &str) -> ChangedFile {
        ChangedFile { path: path.into(), kind: kind.into(), added: 1, removed: 1 }
    }

    #[test]
    fn a_change_costs_the_objects_that_depend_on_it() {
        let found = Dependents::from_ninja(DEPS, "build");
        assert_eq!(found.objects, 2);
        assert_eq!(found.files.len(), 3, "{:?}", found.files);
        let pad = file("aten/src/ATen/native/Pad.cpp", "cpp-cpu");
        assert_eq!(found.cost(std::slice::from_ref(&pad)), 1);
        assert_eq!(found.cost(&[pad, file("test/test_nn.py", "test")]), 1);
        assert_eq!(found.cost(&[file("aten/src/ATen/Tensor.h", "cpp-cpu")]), 2);
        assert_eq!(found.cost(&[file("torch/nn/functional.py", "python")]), 0);
        assert_eq!(found.cost(&[file("tools/derivatives.yaml", "codegen-yaml")]), 2);
    }

    #[test]
    fn records_are_kept_beside_the_log_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let ninja = folder.path().join("ninja.deps");
        keep(&ninja, "build", folder.path()).unwrap();
        assert_eq!(read(folder.path()), None);
        fs::write(&ninja, DEPS).unwrap();
        keep(&ninja, "build", folder.path()).unwrap();
        assert_eq!(read(folder.path()), Some(Dependents::from_ninja(DEPS, "build")));
    }

    #[test]
    fn paths_that_lead_out_of_the_tree_do_not_count() {
        assert_eq!(below_src("../../etc/x.h", "build"), None);
        assert_eq!(below_src("/src/a/../b.h", "build"), Some("b.h".into()));
        assert_eq!(below_src("./gen.h", "build"), Some("build/gen.h".into()));
    }
}
