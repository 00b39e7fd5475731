//! Artifacts out of released wheels: fetched by pip, checked, and laid out in a toolchain. The
//! framework is a package of one file that this test releases three times.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/toy.rs"]
mod toy;

use std::path::PathBuf;
use std::process::Command;

use common::{Told, docker};
use serde_json::Value;
use toy::Toy;

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
        wheel.writestr(zipfile.ZipInfo(name), content)
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

/// The package's framework, and a folder that stands for the package index.
struct World(Toy);

impl World {
    fn new() -> Self {
        let world = Self(Toy::new("toy-wheels", RECIPE, SMOKE, "release"));
        let index = world.at("index");
        std::fs::create_dir(&index).unwrap();
        let mut recipe = RECIPE.to_owned();
        for (number, date, text) in RELEASES {
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
        let toy = &world.0;
        toy.write("home/dockerfiles/toy-wheels/toolchain.toml", &recipe);
        let notes = "# Bug Fixes\n- the wrong a (#1)\n- what no release has (#3)\n";
        toy.write("study/notes/v1.1.0.md", notes);
        toy.write("study/notes/v1.2.0.md", "# Bug Fixes\n- the wrong b (#2)\n");
        let [(.., first), (.., second), (.., third)] = RELEASES;
        let last = third.replace("return 2", "return 3");
        for (message, day, text) in [
            ("Begin", "2020-01-01", first),
            ("The right a (#1)", "2020-02-01", second),
            ("The right b (#2)", "2020-03-01", third),
            ("Three (#3)", "2020-04-01", &last),
        ] {
            toy.write("study/clone/src/__init__.py", text);
            toy.commit(day, message);
        }
        world.call(&["mine", "--offline"]).expect(&[0]);
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.at(path)
    }

    /// Calls the program; pip finds what is in the folder `index` and nothing else.
    fn call(&self, arguments: &[&str]) -> Told {
        let mut command = self.0.command(arguments);
        command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", self.at("index"));
        Told::of(command.output().unwrap())
    }

    /// The file of the package in the artifact of a side.
    fn package(&self, side: &Value) -> String {
        let id = side["artifact"].as_str().unwrap();
        let place = format!("study/artifacts/{id}/files/site/toy/__init__.py");
        std::fs::read_to_string(self.at(&place)).unwrap()
    }
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
    world.0.write("study/study.toml", &toy::study("toy-wheels", "overlay"));
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
