//! A framework made for one test: its toolchain in a home of the program, its history, a study.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;

use crate::common::{Told, program, root};

/// The file of a study that builds with a toolchain by a strategy, and trains hardly at all.
pub fn study(toolchain: &str, strategy: &str) -> String {
    format!(
        r#"
[study]
name = "toy"
meta_seed = 1
[framework]
name = "toy"
repository = "toy/toy"
clone = "clone"
notes = "notes"
[build]
toolchain = "{toolchain}"
strategy = "{strategy}"
[challenge]
name = "synthetic"
[model]
name = "mlp"
[run]
runs = 1
epochs = 1
batch_size = 1
learning_rate = 0.1
seed_policy = "per-run"
"#
    )
}

/// Folders `home`, `study` and `study/clone` of their own.
pub struct Toy(tempfile::TempDir);

impl Toy {
    /// With the recipe and the smoke test as texts. The toolchain's image is that of tinynn, which
    /// has all that a small framework needs.
    pub fn new(name: &str, recipe: &str, smoke: &str, strategy: &str) -> Self {
        let toy = Self(tempfile::tempdir().unwrap());
        let toolchain = toy.at("home/dockerfiles").join(name);
        for folder in [&toolchain, &toy.at("study/notes"), &toy.at("study/clone")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for part in ["clients", "data"] {
            std::os::unix::fs::symlink(root().join(part), toy.at("home").join(part)).unwrap();
        }
        let dockerfile = root().join("dockerfiles/debian-bookworm-tinynn/Dockerfile");
        std::fs::copy(dockerfile, toolchain.join("Dockerfile")).unwrap();
        std::fs::write(toolchain.join("smoke.py"), smoke).unwrap();
        std::fs::write(toolchain.join("toolchain.toml"), recipe).unwrap();
        std::fs::write(toy.at("study/study.toml"), study(name, strategy)).unwrap();
        toy.git("2020-01-01", &["init", "-q", "-b", "main", "."]);
        toy
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file of the history's working tree, or any other below the folder.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits all of the working tree on a day.
    pub fn commit(&self, day: &str, message: &str) {
        self.git(day, &["add", "."]);
        self.git(day, &["commit", "-q", "-m", message]);
    }

    fn git(&self, day: &str, arguments: &[&str]) {
        let when = format!("{day}T12:00:00Z");
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(arguments)
            .env("GIT_AUTHOR_DATE", &when)
            .env("GIT_COMMITTER_DATE", &when)
            .current_dir(self.at("study/clone"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The program on the study, with the home in which the toolchain is.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&["--study", self.at("study").to_str().unwrap()]);
        command.args(arguments).env("REPRODUCEML_HOME", self.at("home"));
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Told {
        Told::of(self.command(arguments).output().unwrap())
    }
}
