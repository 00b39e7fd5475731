//! Images of toolchains on a daemon that studies share: which study holds them, and which may go.
//!
//! A study that uses an image gives it a name of its own, so that the daemon itself knows who holds
//! it: other users and other machines that use the daemon see it too.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use containers::{Docker, ImageInfo};
use serde::Serialize;
use study::Study;

use crate::error::BuildError;
use crate::image::TOOLCHAIN_LABEL;
use crate::lock::Lock;
use crate::record::BuildRecord;
use crate::{layout, toolchain};

/// Label of images whose holders have names on them. Those that were made before studies gave
/// names may be used by studies that gave none.
pub const HELD_LABEL: &str = "reproduceml.held";

/// Names that studies give.
const HOLDS: &str = "reproduceml/held";

/// An image that a study used and that none of its results rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusedImage {
    /// Its digest.
    pub id: String,
    /// The names that go; with the last name of an image the image goes.
    pub names: Vec<String>,
    /// Whether the image itself goes: no other study holds it and nobody else named it.
    pub whole: bool,
    /// Its size in bytes, layers that others share included; 0 if the image stays.
    pub bytes: u64,
}

fn hold_name(study: &Study, image_id: &str) -> String {
    let digest = image_id.trim_start_matches("sha256:");
    let start = digest.get(..12).unwrap_or(digest);
    format!("{HOLDS}:{}-{start}", layout::study_mark(study))
}

/// Says on the daemon that a study uses an image.
///
/// # Errors
/// [`BuildError::Container`] if the daemon refuses.
pub async fn hold(docker: &Docker, study: &Study, image_id: &str) -> Result<(), BuildError> {
    let name = hold_name(study, image_id);
    if docker.image_id(&name).await?.as_deref() != Some(image_id) {
        docker.tag_image(image_id, &name).await?;
    }
    Ok(())
}

/// Lists the images of toolchains that the study holds, that were made longer than `keep` ago, and
/// that neither its lock nor any of its builds names.
///
/// # Errors
/// If the daemon, the lock or a build's record cannot be read.
pub async fn unused(
    docker: &Docker,
    study: &Study,
    keep: Duration,
) -> Result<Vec<UnusedImage>, BuildError> {
    let (needed, identities) = needed(study)?;
    let now = SystemTime::now();
    let mut found = Vec::new();
    for (image, made) in docker.images_with_label(HELD_LABEL).await? {
        let of_lock = image.labels.get(TOOLCHAIN_LABEL).is_none_or(|id| identities.contains(id));
        let old = now.duration_since(made).is_ok_and(|age| age >= keep);
        if old && !of_lock && !needed.contains(&image.id) {
            found.extend(of_study(study, &image));
        }
    }
    found.sort_by(|a, b| a.names.cmp(&b.names));
    Ok(found)
}

/// What of an image goes when `study` lets it go.
fn of_study(study: &Study, image: &ImageInfo) -> Option<UnusedImage> {
    let own = hold_name(study, &image.id);
    if !image.tags.contains(&own) {
        return None;
    }
    // The name that builds look it up by ends like the label.
    let label = image.labels.get(TOOLCHAIN_LABEL)?.get(..12)?;
    let by_toolchain =
        |name: &&String| name.starts_with("reproduceml/") && name.ends_with(&format!(":{label}"));
    let whole = image.tags.iter().all(|name| *name == own || by_toolchain(&name));
    // The hold goes last: interrupted in between, the next call finds the image again.
    let mut names: Vec<String> =
        if whole { image.tags.iter().filter(by_toolchain).cloned().collect() } else { Vec::new() };
    names.push(own);
    let bytes = if whole { image.size } else { 0 };
    Some(UnusedImage { id: image.id.clone(), names, whole, bytes })
}

/// Digests of images that results rest on, and identities of locked toolchains.
fn needed(study: &Study) -> Result<(BTreeSet<String>, BTreeSet<String>), BuildError> {
    let lock = Lock::read(study)?;
    let mut images = BTreeSet::new();
    let mut identities = BTreeSet::new();
    for locked in &lock.toolchains {
        images.insert(locked.image_id.clone());
        identities.insert(toolchain::identity(&locked.files, &locked.base_id));
    }
    let folder = study.root().join("builds");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((images, identities));
        }
        Err(error) => return Err(BuildError::io(&folder)(error)),
    };
    for entry in entries {
        let record = entry.map_err(BuildError::io(&folder))?.path().join("record.json");
        if record.is_file() {
            images.insert(BuildRecord::read(&record)?.image.id);
        }
    }
    Ok((images, identities))
}

/// Lets an image go. Another study that took hold of it in the meantime keeps it.
///
/// # Errors
/// [`BuildError::Container`] if the daemon refuses, also while a container uses the image.
pub async fn remove(docker: &Docker, study: &Study, image: &UnusedImage) -> Result<(), BuildError> {
    let Some(now) = docker.image(&image.id).await? else { return Ok(()) };
    let Some(still) = of_study(study, &now) else { return Ok(()) };
    for name in &still.names {
        docker.remove_image(name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study() -> (tempfile::TempDir, Study) {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../data/studies/quick-tinynn/study.toml");
        std::fs::write(folder.path().join("study.toml"), text).unwrap();
        let study = Study::open(folder.path()).unwrap();
        (folder, study)
    }

    #[test]
    fn only_what_is_named_by_this_study_alone_goes() {
        let (_folder, mine) = study();
        let (_other_folder, other) = study();
        let id = format!("sha256:{}", "a".repeat(64));
        let (own, others) = (hold_name(&mine, &id), hold_name(&other, &id));
        assert_ne!(own, others);
        let image = |tags: &[&str]| ImageInfo {
            id: id.clone(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            digests: Vec::new(),
            size: 9,
            labels: [(TOOLCHAIN_LABEL.to_owned(), "0123456789abcdef".to_owned())].into(),
        };
        let names = |tags: &[&str]| of_study(&mine, &image(tags)).map(|one| (one.names, one.whole));
        let shared = "reproduceml/toy:0123456789ab";
        assert_eq!(names(&[shared, &own]), Some((vec![shared.to_owned(), own.clone()], true)));
        assert_eq!(names(&[shared, &own, &others]), Some((vec![own.clone()], false)));
        assert_eq!(names(&[shared, "my/image:1", &own]), Some((vec![own.clone()], false)));
        assert_eq!(names(&[shared]), None);
        assert_eq!(names(&[shared, &others]), None);
    }
}
