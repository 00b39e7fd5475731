//! What a pair of builds costs, and what a call costs that has nothing to build:
//! `cargo bench --workspace --profile dev --bench builds [pair|nothing]`.
//!
//! `pair`: a C library of many files and a fix in one of them. The program builds both commits; beside
//! it the same recipe runs twice by hand (`docker run`, the same image, no compiler cache), as it
//! would without the tool. `nothing`: a study of 100 artifacts that are all there, and beside it `make`
//! on as many folders that are up to date.
//!
//! `REPRODUCEML_BENCH_FILES` (120): files of the library. `REPRODUCEML_BENCH_ROUNDS` (3): medians of
//! so many rounds are printed. Needs Docker.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/toy.rs"]
mod toy;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::docker;
use serde_json::Value;
use toy::Toy;

const RECIPE: &str = r#"
name = "toy"
description = "a library of C files, for measuring"
base = "debian:bookworm-slim"
debootstrap = "bookworm"
[suits]
frameworks = ["toy"]
[environment]
PATH = "/usr/lib/ccache:/usr/local/bin:/usr/bin:/bin"
[[steps]]
name = "compile"
run = "make -C /src -j2 all"
[[steps]]
name = "install"
kind = "package"
run = "make -C /src install DESTDIR=/out"
[smoke]
run = "python3 -B /toolchain/smoke.py"
"#;

const SMOKE: &str = "\
import ctypes, json
print(json.dumps({'version': '1', 'f0': ctypes.CDLL('/artifact/site/libtoy.so').f0(1)}))
";

const MAKEFILE: &str = "\
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: libtoy.so
libtoy.so: $(OBJECTS)
\tgcc -shared -Wl,--build-id=none -o $@ $^
%.o: %.c
\tgcc -O2 -fPIC -c $< -o $@
install:
\tmkdir -p $(DESTDIR)/site
\tcp libtoy.so $(DESTDIR)/site/
";

/// One file of the library: enough small functions that the compiler has some tenths of a second
/// of work, as with a typical file of a framework's own.
fn source(file: usize, value: usize, functions: usize) -> String {
    let mut text = String::from("#include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n");
    for function in 0..functions {
        let _ = writeln!(
            text,
            "static double g{function}(double *x, int n) {{\n  double s = {value};\n  \
             for (int i = 0; i < n; i++) s += x[i] * {function}.5 + (i % 3 ? x[i] : s * 0.5);\n  \
             return s;\n}}"
        );
    }
    let _ = writeln!(text, "int f{file}(int n) {{\n  double x[8] = {{1, 2, 3}};\n  double s = n;");
    for function in 0..functions {
        let _ = writeln!(text, "  s += g{function}(x, n & 7);");
    }
    text + "  return (int) s;\n}\n"
}

/// A framework of so many files with so many fixes, each in the first file.
fn framework(files: usize, functions: usize, fixes: usize) -> Toy {
    let toy = Toy::new("toy", RECIPE, SMOKE, "source");
    toy.write("study/clone/Makefile", MAKEFILE);
    for file in 0..files {
        toy.write(&format!("study/clone/{}.c", name(file)), &source(file, 0, functions));
    }
    toy.commit("2020-01-01", "Begin");
    let mut notes = String::from("# Bug Fixes\n");
    for fix in 1..=fixes {
        let _ = writeln!(notes, "- the value {fix} (#{fix})");
        toy.write(&format!("study/clone/{}.c", name(0)), &source(0, fix, functions));
        toy.commit("2020-02-01", &format!("The value {fix} (#{fix})"));
    }
    toy.write("study/notes/v1.0.0.md", &notes);
    toy.call(&["mine", "--offline"]).expect(&[0]);
    toy.call(&["build", "lock"]).expect(&[0]); // The image is not what is measured.
    toy
}

fn name(file: usize) -> String {
    format!("f{file}")
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// The recipe's steps in a container by hand.
fn by_hand(image: &str, commit: &str, clone: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "git -C {} archive {commit} | tar -xC {} && mkdir {}/out",
        clone.display(),
        folder.path().display(),
        folder.path().display()
    );
    run(Command::new("sh").args(["-c", &script]));
    let tree = format!("{}:/src", folder.path().display());
    let out = format!("{}/out:/out", folder.path().display());
    let steps = "make -C /src -j2 all && make -C /src install DESTDIR=/out && chmod -R a+rwX /src";
    run(Command::new("docker")
        .args(["run", "--rm", "--network", "none", "-v", &tree, "-v", &out, image])
        .args(["sh", "-c", steps]));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn pair(rounds: usize) {
    let files = number("REPRODUCEML_BENCH_FILES", 120);
    let (mut ours, mut twice, mut sides) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let toy = framework(files, 40, 1);
        ours.push(timed(|| {
            toy.call(&["build"]).expect(&[0]);
        }));
        let list = toy.call(&["--format", "json", "build", "list"]).expect(&[0]).json();
        let all: Vec<f64> = list.as_array().unwrap().iter().map(seconds).collect();
        sides.push((
            all.iter().copied().fold(0.0, f64::max),
            all.iter().copied().fold(f64::MAX, f64::min),
        ));
        let shown = list[0]["id"].as_str().unwrap().to_owned();
        let shown = toy.call(&["--format", "json", "build", "show", &shown]).expect(&[0]).json();
        let image = shown["record"]["image"]["id"].as_str().unwrap();
        let clone = toy.at("study/clone");
        twice.push(timed(|| {
            by_hand(image, "HEAD~1", &clone);
            by_hand(image, "HEAD", &clone);
        }));
    }
    let first = median(sides.iter().map(|side| side.0).collect());
    let second = median(sides.iter().map(|side| side.1).collect());
    let (ours, twice) = (median(ours), median(twice));
    println!("a pair, {files} files, one of them fixed; medians of {rounds}");
    println!(
        "  the program, from an empty cache   {ours:8.2} s  (sides {first:.2} and {second:.2} s)"
    );
    println!("  the recipe twice by `docker run`   {twice:8.2} s");
    println!("  ratio                              {:8.2}", ours / twice);
}

fn seconds(entry: &Value) -> f64 {
    entry["seconds"].as_f64().unwrap()
}

fn nothing(rounds: usize) {
    const ARTIFACTS: usize = 100;
    let toy = framework(1, 1, ARTIFACTS - 1);
    let summary = toy.call(&["--format", "json", "build"]).expect(&[0]).json();
    assert_eq!(summary["built"], ARTIFACTS, "{summary:#}");
    let ours = (0..rounds).map(|_| {
        timed(|| {
            let again = toy.call(&["--format", "json", "build"]).expect(&[0]).json();
            assert_eq!((&again["built"], &again["reused"]), (&0.into(), &ARTIFACTS.into()));
        })
    });
    let ours = median(ours.collect());
    let folder = tempfile::tempdir().unwrap();
    for place in 0..ARTIFACTS {
        let tree = folder.path().join(place.to_string());
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("Makefile"), MAKEFILE).unwrap();
        std::fs::write(tree.join("f0.c"), source(0, place, 1)).unwrap();
        run(Command::new("make").arg("-C").arg(&tree));
    }
    let make = (0..rounds).map(|_| {
        timed(|| {
            for place in 0..ARTIFACTS {
                run(Command::new("make").arg("-C").arg(folder.path().join(place.to_string())));
            }
        })
    });
    let make = median(make.collect());
    println!("nothing to build, {ARTIFACTS} artifacts there; medians of {rounds}");
    println!("  `build`                            {ours:8.2} s");
    println!("  `make` on {ARTIFACTS} folders              {make:8.2} s");
    println!("  ratio                              {:8.2}", ours / make);
}

fn main() {
    if !docker("benches/builds") {
        return;
    }
    let rounds = number("REPRODUCEML_BENCH_ROUNDS", 3);
    let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    for (name, bench) in [("pair", pair as fn(usize)), ("nothing", nothing)] {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            bench(rounds);
        }
    }
}
