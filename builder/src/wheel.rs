//! Released wheels: fetched once into the study's cache and checked by digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use study::Study;
use tokio::process::Command;

use crate::error::BuildError;

/// A released wheel that a toolchain's Python can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The release, as the framework's tags count (`1.4.0`).
    pub number: String,
    /// The day it came out (`2020-01-15`).
    pub date: String,
    /// Its file name, which says for which Python and machine it is.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What a wheel's file name says.
#[derive(Debug, PartialEq, Eq)]
struct Tags<'a> {
    package: &'a str,
    version: &'a str,
    python: &'a str,
    abi: &'a str,
    platforms: Vec<&'a str>,
}

/// Reads `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl`.
fn tags(file: &str) -> Option<Tags<'_>> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
    let [package, version, .., python, abi, platform] = *parts.as_slice() else { return None };
    let whole = matches!(parts.len(), 5 | 6)
        && file.bytes().all(safe)
        && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'));
    whole.then(|| Tags { package, version, python, abi, platforms: platform.split('.').collect() })
}

impl Wheel {
    /// What is wrong with how a toolchain names it.
    pub(crate) fn problem(&self) -> Option<String> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if tags(&self.file).is_none() {
            return Some(format!(
                "`{}` is no wheel's name; expected NAME-VERSION-PYTHON-ABI-PLATFORM.whl",
                self.file
            ));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Some(format!("{}: `sha256` must be 64 hexadecimal digits", self.file));
        }
        None
    }

    /// Name of its package.
    pub(crate) fn package(&self) -> &str {
        tags(&self.file).map_or("", |tags| tags.package)
    }

    /// The wheel's place in the study's cache.
    pub(crate) fn place(&self, study: &Study) -> PathBuf {
        study.cache_dir().join("wheels").join(&self.file)
    }

    /// Makes sure that the wheel lies in the study's cache, with the right content.
    ///
    /// # Errors
    /// [`BuildError::Wheel`] if it cannot be had.
    pub(crate) async fn fetch(&self, study: &Study) -> Result<PathBuf, BuildError> {
        let place = self.place(study);
        if place.is_file() {
            self.check(&place)?;
            return Ok(place);
        }
        let folder = study.cache_dir().join("wheels");
        fs::create_dir_all(&folder).map_err(BuildError::io(&folder))?;
        let part = tempfile::Builder::new()
            .prefix(".part-")
            .tempdir_in(&folder)
            .map_err(BuildError::io(&folder))?;
        self.download(part.path(), &place).await?;
        let found = part.path().join(&self.file);
        if !found.is_file() {
            return Err(self.missing(&place, "pip fetched another file".to_owned()));
        }
        self.check(&found)?;
        fs::rename(&found, &place).map_err(BuildError::io(&place))?;
        Ok(place)
    }

    /// Asks this machine's pip for exactly this file. A wheel is fetched, never run or built.
    async fn download(&self, folder: &Path, place: &Path) -> Result<(), BuildError> {
        let Some(tags) = tags(&self.file) else {
            return Err(BuildError::Request(self.problem().unwrap_or_default()));
        };
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
        // What the wheel says of Python's patch version is for the toolchain's Python to meet.
        command.args(["--no-deps", "--only-binary=:all:", "--no-cache-dir"]);
        command.args(["--ignore-requires-python", "--implementation"]);
        command.arg(tags.python.get(..2).unwrap_or(tags.python));
        command.arg("--python-version").arg(tags.python.get(2..).unwrap_or_default());
        command.arg("--abi").arg(tags.abi);
        for platform in &tags.platforms {
            command.arg("--platform").arg(platform);
        }
        command.arg("--dest").arg(folder).arg(format!("{}=={}", tags.package, tags.version));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| self.missing(place, format!("python3 cannot be started: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let told = said.lines().rev().find(|line| line.contains("ERROR"));
        let why = told.or_else(|| said.lines().last()).unwrap_or("pip failed").trim();
        Err(self.missing(place, why.to_owned()))
    }

    fn missing(&self, place: &Path, why: String) -> BuildError {
        BuildError::Wheel { file: self.file.clone(), place: place.to_owned(), what: why }
    }

    fn check(&self, path: &Path) -> Result<(), BuildError> {
        let found = study::files::sha256_file(path).map_err(BuildError::io(path))?;
        if found == self.sha256 {
            return Ok(());
        }
        Err(self.missing(
            path,
            format!(
                "{} has the SHA-256 {found}, the toolchain expects {}; remove it",
                path.display(),
                self.sha256
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel() -> Wheel {
        Wheel {
            number: "1.4.0".into(),
            date: "2020-01-15".into(),
            file: "torch-1.4.0-cp36-cp36m-manylinux1_x86_64.whl".into(),
            sha256: "0".repeat(64),
        }
    }

    #[test]
    fn a_name_says_what_to_ask_for() {
        let wheel = wheel();
        let found = tags(&wheel.file).unwrap();
        assert_eq!((found.package, found.version), ("torch", "1.4.0"));
        assert_eq!((found.python, found.abi), ("cp36", "cp36m"));
        assert_eq!(found.platforms, ["manylinux1_x86_64"]);
        let two = tags("a-1-cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64.whl").unwrap();
        assert_eq!(two.platforms.len(), 2);
        assert_eq!(wheel.problem(), None);
        for bad in ["torch.whl", "a-1-py3-none-any.zip", "a-1-py3-none-../any.whl", "--x-1-2-3.whl"]
        {
            assert!(Wheel { file: bad.into(), ..wheel.clone() }.problem().is_some(), "{bad}");
        }
        assert!(Wheel { sha256: "x".into(), ..wheel }.problem().is_some());
    }

    #[tokio::test]
    async fn a_wheel_with_another_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[study]\nname = \"s\"\nmeta_seed = 1\n[framework]\nname = \"f\"\nrepository = \"f/f\"\n\
             [build]\ntoolchain = \"t\"\nstrategy = \"overlay\"\n[challenge]\nname = \"synthetic\"\n\
             [model]\nname = \"mlp\"\n[run]\nruns = 1\nepochs = 1\nbatch_size = 1\n\
             learning_rate = 0.1\nseed_policy = \"per-run\"\n";
        fs::write(folder.path().join("study.toml"), text).unwrap();
        let study = Study::open(folder.path()).unwrap();
        let wheel = wheel();
        let place = wheel.place(&study);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "other").unwrap();
        let error = wheel.fetch(&study).await.unwrap_err();
        assert!(error.is_missing_provision());
        let text = error.to_string();
        assert!(text.contains(&wheel.sha256) && text.contains("remove it"), "{text}");
        let right = Wheel { sha256: study::files::sha256_hex(b"other"), ..wheel };
        assert_eq!(right.fetch(&study).await.unwrap(), place);
    }
}
