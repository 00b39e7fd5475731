//! Artifacts out of released wheels: fetched by pip, checked, and laid out in a toolchain. The
//! framework is a package of one file that this test releases three times.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Told, docker, program, root};
use serde_json::Value;

/// What the package says in its releases, and the day of each.
const RELEASES: [(&str, &str, &str); 3] = [
    ("1.0.0", "2020-01-10", "def a():\n    return 1\n\n\ndef b():\n    return 1\n"),
    ("1.1.0", "2020-02-10", "def a():\n    return 2\n\n\ndef b():\n    return 1\n"),
    ("1.2.0", "2020-03-10", "def a():\n    return 2\n\n\ndef b():\n    return 2\n"),
];

/// Writes the wheel of a release into a folder and prints its SHA-256.
const MAKE_WHEEL: &str = "\
import hashlib, sys, zipfile
folder, number, text = sys.argv[1:]
path = '{}/toy-{}-py3-none-any.whl'.format(folder, number)
info = 'toy-{}.dist-info/'.format(number)
files = {
    'toy/__init__.py': text,
    info + 'METADATA': 'Metadata-Version: 2.1\\nName: toy\\nVersion: {}\\n'.format(number),
    info + 'WHEEL': 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
    info + 'RECORD': '',
}
with zipfile.ZipFile(path, 'w') as wheel:
    for name, content in files.items():
        wheel.writestr(name, content)
print(hashlib.sha256(open(path, 'rb').read()).hexdigest(), end='')
";

const RECIPE: &str = r#"
name = "toy-wheels"
description = "Python for the wheels of the test"
base = "debian:bookworm-slim"
debootstrap = "bookworm"
[suits]
frameworks = ["toy"]
releases = ["1.0.0", "1.1.0", "1.2.0"]
python = "3.11.2"
[overlay]
site = "/usr/lib/python3/dist-packages"
folders = { src = "toy" }
[smoke]
run = "python3 -B /toolchain/smoke.py"
"#;

const SMOKE: &str = "\
import json, toy
print(json.dumps({'version': '1', 'file': toy.__file__, 'a': toy.a(), 'b': toy.b()}))
";

const STUDY: &str = r#"
[study]
name = "toy"
meta_seed = 1
[framework]
name = "toy"
repository = "toy/toy"
clone = "clone"
notes = "notes"
[build]
toolchain = "toy-wheels"
strategy = "release"
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
"#;

/// A study about the package, a folder that stands for the package index, and a home of the program
/// with the toolchain of the package.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for folder in ["index", "study/notes", "home/dockerfiles/toy-wheels"] {
            std::fs::create_dir_all(world.at(folder)).unwrap();
        }
        for part in ["clients", "data"] {
            std::os::unix::fs::symlink(root().join(part), world.at("home").join(part)).unwrap();
        }
        let toolchain = world.at("home/dockerfiles/toy-wheels");
        let dockerfile = root().join("dockerfiles/debian-bookworm-tinynn/Dockerfile");
        std::fs::copy(dockerfile, toolchain.join("Dockerfile")).unwrap();
        std::fs::write(toolchain.join("smoke.py"), SMOKE).unwrap();
        let mut recipe = RECIPE.to_owned();
        for (number, date, text) in RELEASES {
            let index = world.at("index");
            let made = Command::new("python3")
                .args(["-c", MAKE_WHEEL, index.to_str().unwrap(), number, text])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let sha256 = String::from_utf8(made.stdout).unwrap();
            recipe += &format!(
                "[[wheels]]\nnumber = \"{number}\"\ndate = \"{date}\"\n\
                 file = \"toy-{number}-py3-none-any.whl\"\nsha256 = \"{sha256}\"\n"
            );
        }
        std::fs::write(toolchain.join("toolchain.toml"), recipe).unwrap();
        std::fs::write(world.at("study/study.toml"), STUDY).unwrap();
        std::fs::write(
            world.at("study/notes/v1.1.0.md"),
            "# Bug Fixes\n- the wrong a (#1)\n- what no release has (#3)\n",
        )
        .unwrap();
        std::fs::write(world.at("study/notes/v1.2.0.md"), "# Bug Fixes\n- the wrong b (#2)\n")
            .unwrap();
        let clone = world.at("study/clone");
        git(&clone, "2020-01-01", &["init", "-q", "-b", "main", "."]);
        let [(.., first), (.., second), (.., third)] = RELEASES;
        let last = third.replace("return 2", "return 3");
        for (message, day, text) in [
            ("Begin", "2020-01-01", first),
            ("The right a (#1)", "2020-02-01", second),
            ("The right b (#2)", "2020-03-01", third),
            ("Three (#3)", "2020-04-01", &last),
        ] {
            std::fs::create_dir_all(clone.join("src")).unwrap();
            std::fs::write(clone.join("src/__init__.py"), text).unwrap();
            git(&clone, day, &["add", "."]);
            git(&clone, day, &["commit", "-q", "-m", message]);
        }
        world.call(&["mine", "--offline"]).expect(&[0]);
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn edit(&self, from: &str, to: &str) {
        let file = self.at("study/study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Calls the program; pip finds what is in the folder `index` and nothing else.
    fn call(&self, arguments: &[&str]) -> Told {
        let mut command = program(&["--study", self.at("study").to_str().unwrap()]);
        command
            .args(arguments)
            .env("REPRODUCEML_HOME", self.at("home"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.at("index"));
        Told::of(command.output().unwrap())
    }

    /// The file of the package in the artifact of a side.
    fn package(&self, side: &Value) -> String {
        let id = side["artifact"].as_str().unwrap();
        let place = format!("study/artifacts/{id}/files/site/toy/__init__.py");
        std::fs::read_to_string(self.at(&place)).unwrap()
    }
}

fn git(folder: &Path, day: &str, arguments: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    let when = format!("{day}T12:00:00Z");
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", &when)
        .env("GIT_COMMITTER_DATE", &when)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The sides of a bug in what `build` printed: buggy, corrected.
fn sides<'a>(summary: &'a Value, bug: &str) -> [&'a Value; 2] {
    let all = summary["bugs"].as_array().unwrap();
    let bug = all.iter().find(|one| one["bug"] == bug).unwrap();
    [&bug["sides"][0], &bug["sides"][1]]
}

#[test]
fn a_pair_of_releases_is_two_wheels_around_the_fix() {
    if !docker("a_pair_of_releases_is_two_wheels_around_the_fix") {
        return;
    }
    let world = World::new();
    // No release has the third fix: that bug is refused with what there is, and the others are made.
    let summary = world.call(&["--format", "json", "build"]).expect(&[1]).json();
    assert_eq!((&summary["built"], &summary["pairs"]), (&3.into(), &2.into()), "{summary:#}");
    let [_, (.., second), (.., third)] = RELEASES;
    let [buggy, corrected] = sides(&summary, "pr1");
    assert_eq!(
        (world.package(buggy), world.package(corrected)),
        (RELEASES[0].2.into(), second.into())
    );
    let [buggy, corrected] = sides(&summary, "pr2");
    assert_eq!((world.package(buggy), world.package(corrected)), (second.into(), third.into()));
    let [refused, _] = sides(&summary, "pr3");
    let why = refused["outcome"].to_string();
    assert!(why.contains("two releases are needed") && why.contains("1.2.0"), "{why}");

    // Each artifact says which wheel it is, in its record and in its provenance.
    let id = buggy["artifact"].as_str().unwrap();
    let shown = world.call(&["--format", "json", "build", "show", id]).expect(&[0]).json();
    let release = &shown["record"]["identity"]["release"];
    assert_eq!(release["name"], "toy 1.1.0");
    assert!(shown["record"]["reason"].as_str().unwrap().contains("between 1.1.0 and 1.2.0"));
    let provenance = world.at(&format!("study/artifacts/{id}/provenance.json"));
    let provenance = std::fs::read_to_string(provenance).unwrap();
    assert!(provenance.contains(release["sha256"].as_str().unwrap()), "{provenance}");
    // Two releases differ in more than the fix, and that is said.
    let pairs = world.call(&["--format", "json", "build", "compare"]).expect(&[0, 1]).json();
    assert!(pairs.to_string().contains("toy/__init__.py"), "{pairs:#}");

    // Called again, nothing is fetched or made.
    std::fs::remove_dir_all(world.at("index")).unwrap();
    let again = world.call(&["--format", "json", "build"]).expect(&[1]).json();
    assert_eq!((&again["built"], &again["reused"]), (&0.into(), &3.into()));
}

#[test]
fn a_fix_is_taken_back_in_the_earliest_wheel_that_has_it() {
    if !docker("a_fix_is_taken_back_in_the_earliest_wheel_that_has_it") {
        return;
    }
    let world = World::new();
    world.edit("strategy = \"release\"", "strategy = \"overlay\"");
    let summary = world.call(&["--format", "json", "build", "pr1"]).expect(&[0]).json();
    let [buggy, corrected] = sides(&summary, "pr1");
    assert_eq!(
        (&buggy["strategy"], &corrected["strategy"]),
        (&"overlay".into(), &"release".into())
    );
    assert_eq!(world.package(corrected), RELEASES[1].2);
    assert_eq!(world.package(buggy), RELEASES[0].2, "a is wrong again, and b as released");
    // Only what is needed was fetched.
    let fetched = std::fs::read_dir(world.at("study/cache/wheels")).unwrap().count();
    assert_eq!(fetched, 1);
}

#[test]
fn a_wheel_that_cannot_be_had_or_is_another_is_named_with_its_place() {
    if !docker("a_wheel_that_cannot_be_had_or_is_another_is_named_with_its_place") {
        return;
    }
    let world = World::new();
    let wheel = "toy-1.1.0-py3-none-any.whl";
    let place = world.at("study/cache/wheels").join(wheel);
    let kept = std::fs::read(world.at("index").join(wheel)).unwrap();
    std::fs::remove_file(world.at("index").join(wheel)).unwrap();
    let told = world.call(&["build", "pr2"]).expect(&[3]);
    assert!(told.err.contains(place.to_str().unwrap()), "{}", told.err);
    // Another file under that name is refused, not used.
    std::fs::write(world.at("index").join(wheel), [&kept[..], b"x"].concat()).unwrap();
    let told = world.call(&["build", "pr2"]).expect(&[3]);
    assert!(told.err.contains("SHA-256"), "{}", told.err);
    assert!(!place.exists());
    // Put there by hand, as the message says, it is taken.
    std::fs::write(&place, kept).unwrap();
    world.call(&["build", "pr2"]).expect(&[0]);
}
