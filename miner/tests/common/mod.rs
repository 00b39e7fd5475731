//! A study and a repository made for one test.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Signature, Time};
use study::Study;

/// A `study.toml` about `tinynn/tinynn`.
pub const STUDY: &str = r#"
[study]
name = "example"
meta_seed = 1

[framework]
name = "tinynn"
repository = "tinynn/tinynn"

[build]
toolchain = "debian-bookworm-tinynn"
strategy = "source"

[challenge]
name = "synthetic"
train_samples = 100

[model]
name = "mlp"

[run]
runs = 10
epochs = 2
batch_size = 16
learning_rate = 0.1
seed_policy = "per-run"
"#;

/// A study in a folder of its own.
pub fn study(extra: &str) -> (tempfile::TempDir, Study) {
    let folder = tempfile::tempdir().unwrap();
    let text = STUDY.replace(
        "repository = \"tinynn/tinynn\"\n",
        &format!("repository = \"tinynn/tinynn\"\n{extra}\n"),
    );
    std::fs::write(folder.path().join("study.toml"), text).unwrap();
    let study = Study::open(folder.path()).unwrap();
    (folder, study)
}

/// Notes in a folder of their own.
pub fn notes(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (tag, body) in files {
        std::fs::write(folder.path().join(format!("{tag}.md")), body).unwrap();
    }
    folder
}

/// A repository under construction: every commit writes files and moves a branch.
pub struct Made {
    pub folder: tempfile::TempDir,
    pub repository: Repository,
    clock: i64,
    trees: BTreeMap<Oid, BTreeMap<String, String>>,
}

impl Made {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        let repository =
            Repository::init_opts(folder.path(), options.initial_head("main")).unwrap();
        let mut made = Self { folder, repository, clock: 1_577_836_800, trees: BTreeMap::new() };
        made.commit("main", "Begin", &[("README.md", "tinynn")]);
        made
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn tip(&self, branch: &str) -> Option<Oid> {
        self.repository.refname_to_id(&format!("refs/heads/{branch}")).ok()
    }

    /// Commits on `branch`, which begins where `main` is if it is new.
    pub fn commit(&mut self, branch: &str, message: &str, files: &[(&str, &str)]) -> Oid {
        let parent = self.tip(branch).or_else(|| self.tip("main"));
        self.commit_on(branch, message.as_bytes(), files, parent.into_iter().collect())
    }

    /// Commits on `branch` with these parents.
    pub fn commit_on(
        &mut self,
        branch: &str,
        message: &[u8],
        files: &[(&str, &str)],
        parents: Vec<Oid>,
    ) -> Oid {
        let mut tree = parents.first().map(|p| self.trees[p].clone()).unwrap_or_default();
        for (path, content) in files {
            tree.insert((*path).into(), (*content).into());
        }
        let mut index = git2::Index::new().unwrap();
        for (path, content) in &tree {
            let blob = self.repository.blob(content.as_bytes()).unwrap();
            let entry = git2::IndexEntry {
                ctime: git2::IndexTime::new(0, 0),
                mtime: git2::IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: 0o100_644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id: blob,
                flags: 0,
                flags_extended: 0,
                path: path.clone().into_bytes(),
            };
            index.add(&entry).unwrap();
        }
        let tree_id = index.write_tree_to(&self.repository).unwrap();
        let message = String::from_utf8_lossy(message).into_owned();
        self.clock += 60;
        let who = Signature::new("A", "a@example.org", &Time::new(self.clock, 60)).unwrap();
        let objects: Vec<_> =
            parents.iter().map(|p| self.repository.find_commit(*p).unwrap()).collect();
        let parents: Vec<_> = objects.iter().collect();
        let stored = self.repository.find_tree(tree_id).unwrap();
        let id = self.repository.commit(None, &who, &who, &message, &stored, &parents).unwrap();
        drop(objects);
        let name = format!("refs/heads/{branch}");
        self.repository.reference(&name, id, true, "").unwrap();
        self.trees.insert(id, tree);
        id
    }
}

/// All files below `folder` with their bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}
