//! Toolchains: the folders of `dockerfiles/`, read and checked, and their identity.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::BuildError;
use crate::failure::FailureClass;
use crate::patches::Patch;
use crate::release::Version;
use crate::wheel::Wheel;

/// A toolchain's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Toolchain {
    /// Where it lies.
    pub folder: PathBuf,
    /// What its `toolchain.toml` says.
    pub recipe: Recipe,
    /// SHA-256 over the names, modes and contents of all its files.
    pub files_digest: String,
}

/// `toolchain.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name, which is its folder's.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// The image its Dockerfile starts from.
    pub base: String,
    /// The Debian release from which the base can be bootstrapped where it cannot be pulled.
    #[serde(default)]
    pub debootstrap: Option<String>,
    /// What it can be used for.
    #[serde(default)]
    pub suits: Suits,
    /// Environment of every step and of the smoke test.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Flags that a study may override; handed to the steps like the environment.
    #[serde(default)]
    pub flags: BTreeMap<String, String>,
    /// The steps from a tree in `/src` to an artifact in `/out`; none if it compiles nothing.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Wheels that the steps leave, as a pattern below `/src` (`dist/*.whl`): a last step unpacks
    /// them into `/out/site`. None if the steps write to `/out` themselves.
    #[serde(default)]
    pub artifact: Option<String>,
    /// What a commit's tree needs beside its own files.
    #[serde(default)]
    pub sources: Sources,
    /// Small changes of the sources that let commits of another time build here, applied to both
    /// sides of a pair alike.
    #[serde(default, rename = "patch")]
    pub patches: Vec<Patch>,
    /// How the versions of the image's packages are listed for the lock.
    #[serde(default)]
    pub lock: LockRecipe,
    /// The package that the image itself holds, for the strategy `release`.
    #[serde(default)]
    pub release: Option<ReleasedPackage>,
    /// Wheels of releases that its Python can run, for the strategies `overlay` and `release`.
    #[serde(default)]
    pub wheels: Vec<Wheel>,
    /// Where the framework's Python files lie in a released package, for the strategy `overlay`.
    #[serde(default)]
    pub overlay: Option<OverlayRecipe>,
    /// The test that an artifact must pass to be accepted.
    pub smoke: Smoke,
    /// How the fix's own tests are run, if they can be.
    #[serde(default)]
    pub probe: Option<ProbeRecipe>,
}

/// How a fix's own tests are run on an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRecipe {
    /// A line for `sh -eu -c`; the test files' paths below `/src` are in `$TESTS`.
    pub run: String,
}

/// Which studies a toolchain is for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suits {
    /// Frameworks by name; empty: any.
    #[serde(default)]
    pub frameworks: Vec<String>,
    /// Releases it can build or holds; empty: any.
    #[serde(default)]
    pub releases: Vec<String>,
    /// The first day of commits it can build (`2019-07-01`).
    #[serde(default)]
    pub from: Option<String>,
    /// The last day of commits it can build.
    #[serde(default)]
    pub to: Option<String>,
    /// The version of its Python, against which `python_requires` of a commit is held.
    #[serde(default)]
    pub python: Option<String>,
    /// The version of its CUDA; none: it builds for CPUs alone.
    #[serde(default)]
    pub cuda: Option<String>,
}

/// What a commit's tree needs beside its own files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// Paths of the submodules that are filled at their pinned commits, from local mirrors. A
    /// commit that does not have one is fine; all others stay empty folders.
    #[serde(default)]
    pub submodules: Vec<String>,
    /// Files that the build scripts look for and never use; made empty where they are missing.
    #[serde(default)]
    pub placeholders: Vec<String>,
    /// The folder below `/src` in which ninja worked: its dependency records are kept, and later
    /// plans read the cost of a change from them.
    #[serde(default)]
    pub ninja: Option<String>,
}

/// How the versions in an image are listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRecipe {
    /// A line for `sh -eu -c` that prints a package and its version a line.
    pub packages: String,
}

impl Default for LockRecipe {
    fn default() -> Self {
        Self { packages: "dpkg-query -W -f '${Package}:${Architecture} ${Version}\\n'".into() }
    }
}

/// A step of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in logs and records.
    pub name: String,
    /// The class of its failure when its log does not tell.
    #[serde(default = "compile")]
    pub kind: FailureClass,
    /// A line for `sh -eu -c`.
    pub run: String,
}

fn compile() -> FailureClass {
    FailureClass::Compile
}

/// A package inside the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedPackage {
    /// Its name.
    pub package: String,
    /// A command whose last line of output is its version.
    pub version: String,
    /// Its release, as the framework's tags count (`1.13.1`); none: it is no base for overlays.
    #[serde(default)]
    pub number: Option<String>,
    /// The day it came out (`2022-12-15`).
    #[serde(default)]
    pub date: Option<String>,
}

/// Where the framework's Python files lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayRecipe {
    /// The folder of Python packages in the image (`/usr/lib/python3/dist-packages`).
    pub site: String,
    /// Folders of the repository and where they lie in the package, which are all that an
    /// artifact takes over from the image: `torch = "torch"`.
    pub folders: BTreeMap<String, String>,
}

/// The smoke test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoke {
    /// A line for `sh -eu -c`; its last line of output is a JSON object that says what was tested.
    /// Exit status 10 means "cannot be imported", 12 "the planted fault cannot be used".
    pub run: String,
}

impl Toolchain {
    /// Reads the toolchain `name` below `toolchains_dir`.
    ///
    /// # Errors
    /// [`BuildError::Toolchain`] naming file, line and what was expected.
    pub fn read(toolchains_dir: &Path, name: &str) -> Result<Self, BuildError> {
        let folder = toolchains_dir.join(name);
        let wrong =
            |path: &Path, what: String| BuildError::Toolchain { path: path.to_owned(), what };
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if !plain {
            let what = format!(
                "`{name}` is no toolchain's name: lower-case letters, digits, `-`, `_` and `.` \
                 are expected; set build.toolchain in study.toml"
            );
            return Err(wrong(toolchains_dir, what));
        }
        if !folder.is_dir() {
            let what = format!(
                "there is no toolchain `{name}`; expected one of: {}; set build.toolchain in \
                 study.toml",
                list(toolchains_dir).join(", ")
            );
            return Err(wrong(&folder, what));
        }
        let file = folder.join("toolchain.toml");
        let text = std::fs::read_to_string(&file).map_err(|e| wrong(&file, e.to_string()))?;
        let recipe: Recipe =
            toml::from_str(&text).map_err(|e| wrong(&file, e.to_string().trim_end().to_owned()))?;
        if recipe.name != name {
            let what = format!("`name` is `{}`; expected the folder's name, `{name}`", recipe.name);
            return Err(wrong(&file, what));
        }
        let dockerfile = folder.join("Dockerfile");
        if !dockerfile.is_file() {
            return Err(wrong(&dockerfile, "expected a Dockerfile that starts from `base`".into()));
        }
        recipe.check().map_err(|what| wrong(&file, what))?;
        if let Some(what) = released_problem(&recipe) {
            return Err(wrong(&file, what));
        }
        let files_digest = digest_folder(&folder)?;
        Ok(Self { folder, recipe, files_digest })
    }

    /// Identity of the toolchain on top of a base image: what turns a commit into an artifact.
    #[must_use]
    pub fn identity(&self, base_id: &str) -> String {
        identity(&self.files_digest, base_id)
    }

    /// Name of the image made of this toolchain.
    #[must_use]
    pub fn image_tag(&self, identity: &str) -> String {
        format!("reproduceml/{}:{}", self.recipe.name, identity.get(..12).unwrap_or(identity))
    }
}

/// Identity of a toolchain with files of this digest on top of a base image.
pub(crate) fn identity(files_digest: &str, base_id: &str) -> String {
    let mut hasher = Sha256::new();
    for part in ["reproduceml toolchain 1", files_digest, base_id] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

impl Recipe {
    /// What no parser sees: paths that lead out of the tree, days that are none.
    fn check(&self) -> Result<(), String> {
        let paths = self.sources.submodules.iter().chain(&self.sources.placeholders);
        let paths = paths.chain(&self.sources.ninja).chain(&self.artifact);
        let files = self.patches.iter().map(|patch| &patch.file);
        for path in paths.chain(files) {
            let inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-*+".contains(&b));
            if !inside || !plain {
                return Err(format!("`{path}` is no path below the commit's tree"));
            }
        }
        for patch in &self.patches {
            if patch.find.is_empty() {
                return Err(format!("the patch `{}` does not say what to find", patch.name));
            }
        }
        let days = self.patches.iter().flat_map(|patch| patch.from.iter().chain(&patch.to));
        for day in days.chain(&self.suits.from).chain(&self.suits.to) {
            if day.parse::<jiff::civil::Date>().is_err() {
                return Err(format!("`{day}` is no day; expected one like `2020-01-22`"));
            }
        }
        Ok(())
    }
}

/// What is wrong with the releases that a recipe names.
fn released_problem(recipe: &Recipe) -> Option<String> {
    let date = |text: &str| text.parse::<jiff::civil::Date>().is_ok();
    let release = recipe.release.as_ref();
    let numbers = recipe.wheels.iter().map(|wheel| (&wheel.number, Some(&wheel.date)));
    let own = release.and_then(|r| r.number.as_ref().map(|number| (number, r.date.as_ref())));
    for (number, day) in numbers.chain(own) {
        if Version::parse(number).is_none() {
            return Some(format!(
                "`number = \"{number}\"`: expected numbers and dots, like 1.13.1"
            ));
        }
        if !day.is_some_and(|day| date(day)) {
            return Some(format!(
                "release {number}: `date` must be the day it came out, 2022-12-15"
            ));
        }
    }
    let plain = |part: &str| {
        !part.is_empty()
            && part.split('/').all(|name| {
                !name.is_empty()
                    && !name.starts_with(['.', '-'])
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            })
    };
    if let Some(overlay) = &recipe.overlay {
        let absolute = overlay.site.strip_prefix('/').is_some_and(plain);
        let folders = &overlay.folders;
        if !absolute || folders.is_empty() || !folders.iter().all(|(a, b)| plain(a) && plain(b)) {
            return Some(
                "[overlay]: expected `site` as an absolute path and `folders` as relative ones"
                    .to_owned(),
            );
        }
    }
    recipe.wheels.iter().find_map(Wheel::problem)
}

/// Names of the toolchains in a folder, sorted.
#[must_use]
pub fn list(toolchains_dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(toolchains_dir) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("toolchain.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// SHA-256 over the relative paths, executable bits and contents of a folder's files.
fn digest_folder(folder: &Path) -> Result<String, BuildError> {
    let context = containers::build_context(folder)?;
    Ok(hex::encode(Sha256::digest(context)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "name = \"toy\"\ndescription = \"a toy\"\nbase = \"b\"\n\
        [[steps]]\nname = \"compile\"\nrun = \"make\"\n[smoke]\nrun = \"true\"\n";

    fn folder(recipe: &str) -> tempfile::TempDir {
        let all = tempfile::tempdir().unwrap();
        let toy = all.path().join("toy");
        std::fs::create_dir(&toy).unwrap();
        std::fs::write(toy.join("toolchain.toml"), recipe).unwrap();
        std::fs::write(toy.join("Dockerfile"), "FROM b\n").unwrap();
        all
    }

    #[test]
    fn identity_follows_every_file_and_the_base() {
        let all = folder(RECIPE);
        let first = Toolchain::read(all.path(), "toy").unwrap();
        assert_eq!(first.identity("x"), Toolchain::read(all.path(), "toy").unwrap().identity("x"));
        assert_ne!(first.identity("x"), first.identity("y"));
        std::fs::write(all.path().join("toy/patch"), "").unwrap();
        let second = Toolchain::read(all.path(), "toy").unwrap();
        assert_ne!(first.identity("x"), second.identity("x"));
        assert_eq!(first.image_tag("0123456789abcdef"), "reproduceml/toy:0123456789ab");
        assert_eq!(first.recipe.steps[0].kind, FailureClass::Compile);
    }

    #[test]
    fn mistakes_are_named() {
        let all = folder(&RECIPE.replace("run = \"make\"", "run = \"make\"\nwhen = \"now\""));
        let error = Toolchain::read(all.path(), "toy").unwrap_err().to_string();
        assert!(error.contains("toolchain.toml") && error.contains("when"), "{error}");
        let error = Toolchain::read(all.path(), "other").unwrap_err().to_string();
        assert!(error.contains("expected one of: toy"), "{error}");
        for bad in ["../toy", "", ".toy", "Toy"] {
            assert!(Toolchain::read(all.path(), bad).is_err(), "{bad}");
        }
        let all = folder(&RECIPE.replace("\"toy\"", "\"boy\""));
        let error = Toolchain::read(all.path(), "toy").unwrap_err().to_string();
        assert!(error.contains("the folder's name"), "{error}");
    }

    #[test]
    fn the_toolchains_that_come_with_the_program_are_well_formed() {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dockerfiles");
        let names = list(&all);
        assert!(names.contains(&"debian-bookworm-tinynn".to_owned()));
        assert!(names.contains(&"debian-bookworm-cpu".to_owned()));
        for name in names {
            let toolchain = Toolchain::read(&all, &name).unwrap();
            let dockerfile = std::fs::read_to_string(toolchain.folder.join("Dockerfile")).unwrap();
            let froms: Vec<&str> =
                dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
            assert_eq!(
                froms,
                [toolchain.recipe.base.as_str()],
                "{name}: the base is what is locked"
            );
            // What its lines run at /toolchain must be there.
            let recipe = std::fs::read_to_string(toolchain.folder.join("toolchain.toml")).unwrap();
            for part in recipe.split("/toolchain/").skip(1) {
                let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
                let file = &part[..end.unwrap_or(part.len())];
                assert!(toolchain.folder.join(file).is_file(), "{name}: {file}");
            }
        }
    }
}
