//! `toolchains.lock` in a study: the base image and the package versions that its builds use.
//!
//! A Dockerfile names packages, not versions, and what a registry or a mirror hands out moves. The
//! lock says what a toolchain was when the study first used it. Every build is held against it,
//! and what has moved is refused until the user locks anew; the identities of artifacts, which
//! include the lock's entry, then change with it. The file is part of the study: with it, another
//! machine builds with the same versions or says that it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use containers::{Cancel, ContainerSpec, Docker, Ended};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use study::Study;

use crate::error::BuildError;
use crate::event::Event;
use crate::image::{self, ReadyToolchain};
use crate::images;
use crate::layout;
use crate::toolchain::Toolchain;

/// The lock of a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The form of this file.
    pub version: u32,
    /// One entry a toolchain, by name.
    #[serde(default, rename = "toolchain")]
    pub toolchains: Vec<Locked>,
}

/// A toolchain as it was when it was locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// Its identity, which goes into that of every artifact: SHA-256 over files, base and packages.
    pub identity: String,
    /// SHA-256 over the names, modes and contents of its folder.
    pub files: String,
    /// The image it starts from.
    pub base: String,
    /// Digest of that image's configuration.
    pub base_id: String,
    /// The digest by which a registry hands out the base; none if it was made on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<String>,
    /// Digest of the image made from the Dockerfile.
    pub image_id: String,
    /// When it was locked (RFC 3339, UTC).
    pub locked_at: String,
    /// The packages in the image, with their versions.
    pub packages: BTreeMap<String, String>,
}

/// The form of the lock that this program writes.
const VERSION: u32 = 1;

/// Where a study's lock lies.
#[must_use]
pub fn lock_file(study: &Study) -> PathBuf {
    study.root().join("toolchains.lock")
}

impl Lock {
    /// Reads a study's lock; an empty one if there is none.
    ///
    /// # Errors
    /// [`BuildError::Lock`] naming the line if the file is damaged or of a later program.
    pub fn read(study: &Study) -> Result<Self, BuildError> {
        let path = lock_file(study);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, toolchains: Vec::new() });
            }
            Err(error) => return Err(BuildError::io(path)(error)),
        };
        let advice = "take it from version control again, or remove it and run `reproduceml build \
                      lock`";
        let lock: Self = toml::from_str(&text).map_err(|error| BuildError::Lock {
            path: path.clone(),
            what: format!("{}; {advice}", error.to_string().trim_end()),
        })?;
        if lock.version != VERSION {
            let what = format!("`version` is {}; expected {VERSION}; {advice}", lock.version);
            return Err(BuildError::Lock { path, what });
        }
        Ok(lock)
    }

    /// The entry of a toolchain.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Locked> {
        self.toolchains.iter().find(|locked| locked.name == name)
    }

    fn put(&mut self, locked: Locked) {
        self.toolchains.retain(|old| old.name != locked.name);
        self.toolchains.push(locked);
        self.toolchains.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn write(&self, study: &Study) -> Result<(), BuildError> {
        let path = lock_file(study);
        let text = toml::to_string(self)
            .map_err(|error| BuildError::Lock { path: path.clone(), what: error.to_string() })?;
        let head = "# Written by `reproduceml build lock`. Keep it with the study: builds use \
                    nothing else.\n";
        study::files::write_whole(&path, format!("{head}{text}").as_bytes())
            .map_err(BuildError::io(&path))
    }
}

/// Something that is not as it was locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The toolchain.
    pub toolchain: String,
    /// What: `files`, `base`, `image` or a package.
    pub what: String,
    /// As it was locked.
    pub locked: String,
    /// As it is now; none if it is not there.
    pub now: Option<String>,
}

/// Locks toolchains as they are on this machine, making their images where needed, and writes the
/// study's lock. Entries of other toolchains stay. What changed is returned, new entries included.
///
/// # Errors
/// If an image cannot be made or the file not written; the old lock then stays.
pub async fn lock(
    study: &Study,
    toolchains: &[Toolchain],
    cancel: &Cancel,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<Vec<Moved>, BuildError> {
    let _lock = study.lock()?;
    let docker = Docker::connect().await?;
    let mut all = Lock::read(study)?;
    let mut moved = Vec::new();
    for toolchain in toolchains {
        let new = take(&docker, study, toolchain, cancel, progress).await?;
        match all.get(&toolchain.recipe.name) {
            Some(old) => moved.extend(compare(old, &new)),
            None => moved.push(Moved {
                toolchain: new.name.clone(),
                what: "toolchain".into(),
                locked: String::new(),
                now: Some(new.identity.clone()),
            }),
        }
        all.put(new);
    }
    all.write(study)?;
    Ok(moved)
}

/// What is not as the study's lock says: the toolchains' files, and the images and packages on
/// this machine. Nothing is made or changed.
///
/// # Errors
/// If the lock or the daemon cannot be read.
pub async fn check(
    study: &Study,
    toolchains: &[Toolchain],
    cancel: &Cancel,
) -> Result<Vec<Moved>, BuildError> {
    let lock = Lock::read(study)?;
    let docker = Docker::connect().await?;
    let mut moved = Vec::new();
    for locked in &lock.toolchains {
        let mut tell = |what: &str, then: &str, now: Option<String>| {
            if now.as_deref() != Some(then) {
                moved.push(Moved {
                    toolchain: locked.name.clone(),
                    what: what.into(),
                    locked: then.into(),
                    now,
                });
            }
        };
        let Some(toolchain) = toolchains.iter().find(|t| t.recipe.name == locked.name) else {
            tell("files", &locked.files, None);
            continue;
        };
        tell("files", &locked.files, Some(toolchain.files_digest.clone()));
        tell("base", &locked.base_id, docker.image_id(&locked.base).await?);
        let image = docker.image_id(&image::tag(toolchain, &locked.base_id)).await?;
        tell("image", &locked.image_id, image.clone());
        if let Some(image) = image.filter(|id| *id != locked.image_id) {
            let now = packages(&docker, study, toolchain, &image, cancel).await?;
            moved.extend(package_moves(&locked.name, &locked.packages, &now));
        }
    }
    Ok(moved)
}

/// A toolchain's names without making anything, for plans. Where it is not locked yet, its identity
/// is not known; the one given then stands for it in this plan alone.
pub(crate) async fn planned(
    docker: &Docker,
    study: &Study,
    toolchain: &Toolchain,
) -> Result<ReadyToolchain, BuildError> {
    if let Some(locked) = Lock::read(study)?.get(&toolchain.recipe.name) {
        let image = docker.image_id(&image::tag(toolchain, &locked.base_id)).await?;
        return Ok(ReadyToolchain::locked(toolchain, locked, image.unwrap_or_default()));
    }
    let base_id = docker.image_id(&toolchain.recipe.base).await?.unwrap_or_default();
    let identity = toolchain.identity(&base_id);
    let tag = toolchain.image_tag(&identity);
    let image_id = docker.image_id(&tag).await?.unwrap_or_default();
    Ok(ReadyToolchain { toolchain: toolchain.clone(), identity, base_id, tag, image_id })
}

/// A toolchain that is on the daemon as it was locked, and held there by the study; what the study
/// has no entry for is locked now, before its first use, unless `frozen`.
pub(crate) async fn ready(
    docker: &Docker,
    study: &Study,
    toolchain: &Toolchain,
    frozen: bool,
    cancel: &Cancel,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<ReadyToolchain, BuildError> {
    let ready = as_locked(docker, study, toolchain, frozen, cancel, progress).await?;
    images::hold(docker, study, &ready.image_id).await?;
    Ok(ready)
}

async fn as_locked(
    docker: &Docker,
    study: &Study,
    toolchain: &Toolchain,
    frozen: bool,
    cancel: &Cancel,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<ReadyToolchain, BuildError> {
    let name = &toolchain.recipe.name;
    let mut lock = Lock::read(study)?;
    let Some(locked) = lock.get(name).cloned() else {
        if frozen {
            return Err(BuildError::NotLocked { name: name.clone() });
        }
        let new = take(docker, study, toolchain, cancel, progress).await?;
        let image_id = new.image_id.clone();
        let ready = ReadyToolchain::locked(toolchain, &new, image_id);
        lock.put(new);
        lock.write(study)?;
        progress(Event::Locked { name: name.clone(), file: lock_file(study) });
        return Ok(ready);
    };
    if locked.files != toolchain.files_digest {
        return Err(moved_error(name, "the files of its folder are not those that were locked"));
    }
    let tag = image::tag(toolchain, &locked.base_id);
    if docker.image_id(&tag).await?.as_ref() == Some(&locked.image_id) {
        return Ok(ReadyToolchain::locked(toolchain, &locked, locked.image_id.clone()));
    }
    // Another machine, or the image was removed. Another image will do if it holds the same.
    let digest = locked.base_digest.as_deref();
    let made = image::prepare_from(docker, toolchain, digest, progress).await?;
    let now = packages(docker, study, toolchain, &made.image_id, cancel).await?;
    let moves = package_moves(name, &locked.packages, &now);
    if let Some(first) = moves.first() {
        let now = first.now.as_deref().unwrap_or("not there");
        return Err(moved_error(
            name,
            &format!(
                "{} packages of its image are not those that were locked, the first: {} was {}, \
                 is {now}",
                moves.len(),
                first.what,
                first.locked,
            ),
        ));
    }
    Ok(ReadyToolchain {
        tag: made.tag,
        ..ReadyToolchain::locked(toolchain, &locked, made.image_id)
    })
}

fn moved_error(name: &str, what: &str) -> BuildError {
    BuildError::Moved { name: name.to_owned(), what: what.to_owned() }
}

/// A toolchain as it is on this machine now.
async fn take(
    docker: &Docker,
    study: &Study,
    toolchain: &Toolchain,
    cancel: &Cancel,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<Locked, BuildError> {
    let made = image::prepare(docker, toolchain, progress).await?;
    let packages = packages(docker, study, toolchain, &made.image_id, cancel).await?;
    let base = docker.image(&toolchain.recipe.base).await?;
    Ok(Locked {
        name: toolchain.recipe.name.clone(),
        identity: identity(&toolchain.identity(&made.base_id), &packages),
        files: toolchain.files_digest.clone(),
        base: toolchain.recipe.base.clone(),
        base_id: made.base_id,
        base_digest: base.and_then(|base| base.digests.into_iter().next()),
        image_id: made.image_id,
        locked_at: study::store::now(),
        packages,
    })
}

/// SHA-256 over what the toolchain is and the versions of its packages.
fn identity(toolchain: &str, packages: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    hasher.update("reproduceml locked toolchain 1\n");
    hasher.update(toolchain);
    for (name, version) in packages {
        hasher.update(format!("\n{name} {version}"));
    }
    hex::encode(hasher.finalize())
}

/// Lists the packages of an image, in a sandbox.
async fn packages(
    docker: &Docker,
    study: &Study,
    toolchain: &Toolchain,
    image_id: &str,
    cancel: &Cancel,
) -> Result<BTreeMap<String, String>, BuildError> {
    let command = &toolchain.recipe.lock.packages;
    let mut spec =
        ContainerSpec::new(image_id, &["sh", "-eu", "-c", command], docker.sandbox_user())
            .env("HOME", "/tmp")
            .label(containers::STUDY_LABEL, &layout::study_mark(study));
    spec.limits.time = Some(120);
    spec.limits.log = Some(16 << 20);
    let mut text = Vec::new();
    let mut sink = |_, bytes: &[u8]| {
        text.extend_from_slice(bytes);
        Ok(())
    };
    let exit = docker.run(&spec, &mut sink, cancel).await?;
    if exit.ended == Ended::Cancelled {
        return Err(BuildError::Interrupted);
    }
    let packages = parse_packages(&String::from_utf8_lossy(&text));
    if !exit.success() || packages.is_empty() {
        return Err(BuildError::Toolchain {
            path: toolchain.folder.join("toolchain.toml"),
            what: format!(
                "the packages of its image cannot be listed: `{command}` ended with {:?} and {} \
                 packages; set lock.packages to a command that prints a package and its version a \
                 line",
                exit.status,
                packages.len()
            ),
        });
    }
    Ok(packages)
}

/// A name and a version a line; what has no version is left out.
fn parse_packages(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(_, version)| !version.trim().is_empty())
        .map(|(name, version)| (name.to_owned(), version.trim().to_owned()))
        .collect()
}

fn compare(old: &Locked, new: &Locked) -> Vec<Moved> {
    let facts = [
        ("files", &old.files, &new.files),
        ("base", &old.base_id, &new.base_id),
        ("image", &old.image_id, &new.image_id),
    ];
    facts
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(what, then, now)| Moved {
            toolchain: old.name.clone(),
            what: what.into(),
            locked: then.clone(),
            now: Some(now.clone()),
        })
        .chain(package_moves(&old.name, &old.packages, &new.packages))
        .collect()
}

fn package_moves(
    toolchain: &str,
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<Moved> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .filter(|name| then.get(*name) != now.get(*name))
        .map(|name| Moved {
            toolchain: toolchain.to_owned(),
            what: name.clone(),
            locked: then.get(name).cloned().unwrap_or_default(),
            now: now.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> BTreeMap<String, String> {
        parse_packages(text)
    }

    #[test]
    fn packages_are_read_and_moves_are_named() {
        let then = map("gcc:amd64 12.2\nlibc6:amd64 2.36-9\nhalf \n\nold:all 1");
        assert_eq!(then.len(), 3);
        let now = map("gcc:amd64 12.3\nlibc6:amd64 2.36-9\nnew:all 2");
        let moves = package_moves("t", &then, &now);
        let told: Vec<_> =
            moves.iter().map(|m| (m.what.as_str(), m.locked.as_str(), m.now.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("gcc:amd64", "12.2", Some("12.3")),
                ("new:all", "", Some("2")),
                ("old:all", "1", None)
            ]
        );
        assert!(package_moves("t", &then, &then).is_empty());
        assert_ne!(identity("x", &then), identity("x", &now));
        assert_ne!(identity("x", &then), identity("y", &then));
        assert_eq!(identity("x", &then), identity("x", &then.clone()));
    }

    #[test]
    fn the_file_reads_back_and_mistakes_are_named() {
        let entry = |name: &str| Locked {
            name: name.into(),
            identity: "i".into(),
            files: "f".into(),
            base: "debian:bookworm-slim".into(),
            base_id: "sha256:b".into(),
            base_digest: None,
            image_id: "sha256:c".into(),
            locked_at: "2026-01-01T00:00:00Z".into(),
            packages: map("g++:amd64 4:12.2.0-3\nzlib1g:amd64 1:1.2.13"),
        };
        let mut lock = Lock { version: VERSION, toolchains: Vec::new() };
        lock.put(entry("b"));
        lock.put(entry("a"));
        lock.put(Locked { identity: "j".into(), ..entry("b") });
        let text = toml::to_string(&lock).unwrap();
        let back: Lock = toml::from_str(&text).unwrap();
        assert_eq!(back, lock);
        assert_eq!(back.toolchains.len(), 2);
        assert_eq!(back.get("b").unwrap().identity, "j");
        assert!(toml::from_str::<Lock>("version = 1\nother = 2\n").is_err());
    }
}
