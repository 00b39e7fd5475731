//! Images: looking them up, building them from a Dockerfile, importing a root file system.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bollard::query_parameters::{
    BuildImageOptions, CreateImageOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use walkdir::WalkDir;

use crate::connect::Docker;
use crate::error::ContainerError;
use crate::transfer;

/// Last lines of an image build that an error quotes.
const QUOTED_LINES: usize = 15;

/// Bytes of an archive that are read at a time.
const LOADED_AT_ONCE: usize = 1 << 20;

/// An image on the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Digest of its configuration, `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// Names it can be asked for by.
    pub tags: Vec<String>,
    /// Names with the digest a registry gave it, if it came from one.
    pub digests: Vec<String>,
    /// Size in bytes, shared layers included.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Docker {
    /// What the daemon knows of an image, `None` if it does not have it.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn image(&self, name: &str) -> Result<Option<ImageInfo>, ContainerError> {
        use bollard::errors::Error;
        match self.client.inspect_image(name).await {
            Ok(image) => Ok(Some(ImageInfo {
                id: image.id.unwrap_or_default(),
                tags: image.repo_tags.unwrap_or_default(),
                digests: image.repo_digests.unwrap_or_default(),
                size: image.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                labels: image
                    .config
                    .and_then(|config| config.labels)
                    .unwrap_or_default()
                    .into_iter()
                    .collect(),
            })),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(ContainerError::daemon(format!("look up the image {name}"), &error)),
        }
    }

    /// The digest of an image, `None` if the daemon does not have it.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn image_id(&self, name: &str) -> Result<Option<String>, ContainerError> {
        Ok(self.image(name).await?.map(|image| image.id))
    }

    /// The digest of an image that must be there.
    ///
    /// # Errors
    ///
    /// [`ContainerError::NoImage`] with `advice` when it is not.
    pub async fn ensure_image(&self, name: &str, advice: &str) -> Result<String, ContainerError> {
        self.image_id(name)
            .await?
            .ok_or_else(|| ContainerError::NoImage { image: name.into(), advice: advice.into() })
    }

    /// Builds an image from a folder with a Dockerfile, as a tar archive, and returns its digest.
    /// Each line of the daemon's output goes to `log`. Steps that the daemon has done before are
    /// taken from its cache. The daemon's network is open during the build.
    ///
    /// # Errors
    ///
    /// [`ContainerError::ImageBuild`] with the last lines when a step fails.
    pub async fn build_image(
        &self,
        context: Vec<u8>,
        tag: &str,
        labels: &BTreeMap<String, String>,
        args: &BTreeMap<String, String>,
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<String, ContainerError> {
        let options = BuildImageOptions {
            dockerfile: "Dockerfile".into(),
            t: Some(tag.into()),
            rm: true,
            forcerm: true,
            labels: Some(labels.clone().into_iter().collect()),
            buildargs: Some(args.clone().into_iter().collect()),
            ..BuildImageOptions::default()
        };
        let failed = |detail: String| ContainerError::ImageBuild { image: tag.into(), detail };
        let body = bollard::body_full(context.into());
        let mut last = VecDeque::new();
        let mut answers = Box::pin(self.client.build_image(options, None, Some(body)));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(info) => {
                    let text = info.stream.or(info.status).unwrap_or_default();
                    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
                        log(line);
                        if last.len() == QUOTED_LINES {
                            last.pop_front();
                        }
                        last.push_back(line.to_owned());
                    }
                }
                Err(error) => {
                    let quoted = Vec::from(last).join("\n  ");
                    return Err(failed(format!("{error}. Its last lines:\n  {quoted}")));
                }
            }
        }
        self.image_id(tag).await?.ok_or_else(|| failed("the daemon kept no image".into()))
    }

    /// Makes an image of one layer from a stream of a tar archive of a root file system, and
    /// returns its digest.
    ///
    /// # Errors
    ///
    /// [`ContainerError::ImageBuild`] when the stream or the daemon fails.
    pub async fn import_image<S>(
        &self,
        archive: S,
        name: &str,
        changes: &[&str],
    ) -> Result<String, ContainerError>
    where
        S: Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
    {
        // The whole name in one: Docker takes it so too, and Podman overlooks a tag of its own.
        let options = CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(name.into()),
            changes: changes.iter().map(|line| (*line).to_owned()).collect(),
            ..CreateImageOptions::default()
        };
        let failed = |detail: String| ContainerError::ImageBuild { image: name.into(), detail };
        let body = bollard::body_try_stream(archive.map(|piece| piece.map(Into::into)));
        let mut answers = Box::pin(self.client.create_image(Some(options), Some(body), None));
        while let Some(answer) = answers.next().await {
            answer.map_err(|error| failed(crate::error::with_causes(&error)))?;
        }
        self.image_id(name).await?.ok_or_else(|| failed("the daemon kept no image".into()))
    }

    /// Writes an image as an archive that `docker load` and Apptainer take; whole, or not at all.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`] if the daemon does not have it, [`ContainerError::ImageBuild`] if
    /// the file cannot be written.
    pub async fn save_image(&self, name: &str, path: &Path) -> Result<(), ContainerError> {
        let failed = |error: io::Error| ContainerError::ImageBuild {
            image: name.into(),
            detail: format!("{}: {error}", path.display()),
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file =
            tempfile::Builder::new().prefix(".part-").tempfile_in(folder).map_err(failed)?;
        let mut archive = Box::pin(self.client.export_image(name));
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|error| {
                ContainerError::daemon(format!("save the image {name}"), &error)
            })?;
            io::Write::write_all(&mut file, &piece).map_err(failed)?;
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Loads the images of an archive that [`Docker::save_image`] or `docker save` wrote.
    ///
    /// # Errors
    ///
    /// [`ContainerError::ImageBuild`] if the file cannot be read or the daemon does not take it,
    /// [`ContainerError::Daemon`] if it does not answer.
    pub async fn load_image(&self, path: &Path) -> Result<(), ContainerError> {
        let name = path.display().to_string();
        let file = tokio::fs::File::open(path).await.map_err(|error| {
            ContainerError::ImageBuild { image: name.clone(), detail: error.to_string() }
        })?;
        let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; LOADED_AT_ONCE];
            let length = file.read(&mut piece).await?;
            piece.truncate(length);
            Ok((length > 0).then_some((piece, file)))
        });
        transfer::load(self, &name, pieces).await
    }

    /// Asks a registry for an image and returns its digest.
    ///
    /// # Errors
    ///
    /// [`ContainerError::NoImage`] when no registry can be reached or has it.
    pub async fn pull_image(&self, name: &str) -> Result<String, ContainerError> {
        let options =
            CreateImageOptions { from_image: Some(name.into()), ..CreateImageOptions::default() };
        let missing = |detail: String| ContainerError::NoImage {
            image: name.into(),
            advice: format!("pulling it failed ({detail})"),
        };
        let mut answers = Box::pin(self.client.create_image(Some(options), None, None));
        while let Some(answer) = answers.next().await {
            answer.map_err(|error| missing(crate::error::with_causes(&error)))?;
        }
        self.image_id(name).await?.ok_or_else(|| missing("the daemon kept no image".into()))
    }

    /// Images that carry a label.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn images_with_label(
        &self,
        label: &str,
    ) -> Result<Vec<(ImageInfo, SystemTime)>, ContainerError> {
        let options = ListImagesOptions {
            filters: Some([("label".to_owned(), vec![label.to_owned()])].into()),
            ..ListImagesOptions::default()
        };
        let images = self
            .client
            .list_images(Some(options))
            .await
            .map_err(|e| ContainerError::daemon("list images", &e))?;
        Ok(images
            .into_iter()
            .map(|image| {
                let made = Duration::from_secs(u64::try_from(image.created).unwrap_or(0));
                let info = ImageInfo {
                    id: image.id,
                    tags: image.repo_tags,
                    digests: image.repo_digests,
                    size: u64::try_from(image.size).unwrap_or(0),
                    labels: image.labels.into_iter().collect(),
                };
                (info, SystemTime::UNIX_EPOCH + made)
            })
            .collect())
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<(), ContainerError> {
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        };
        let options = TagImageOptions { repo: Some(repository.into()), tag: Some(tag.into()) };
        self.client
            .tag_image(image, Some(options))
            .await
            .map_err(|e| ContainerError::daemon(format!("name the image {name}"), &e))
    }

    /// Takes a name from an image, and the image itself away when that was its last name.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`], also while a container uses the image.
    pub async fn remove_image(&self, name: &str) -> Result<(), ContainerError> {
        let options = RemoveImageOptions { force: false, ..RemoveImageOptions::default() };
        self.client
            .remove_image(name, Some(options), None)
            .await
            .map(|_| ())
            .map_err(|e| ContainerError::daemon(format!("remove the image {name}"), &e))
    }
}

/// A folder as the tar archive that [`Docker::build_image`] takes. The same files give the same
/// bytes: entries are sorted, times and owners left out, modes reduced to "executable or not".
///
/// # Errors
///
/// [`ContainerError::Io`] naming the file that could not be read.
pub fn build_context(folder: &Path) -> Result<Vec<u8>, ContainerError> {
    let at = |path: &Path, source: io::Error| ContainerError::Io { path: path.into(), source };
    let mut archive = tar::Builder::new(Vec::new());
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| at(folder, error.into()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.path();
        let name = path.strip_prefix(folder).unwrap_or(path);
        let bytes = std::fs::read(path).map_err(|error| at(path, error))?;
        let executable = {
            use std::os::unix::fs::PermissionsExt;
            let metadata = entry.metadata().map_err(|error| at(path, error.into()))?;
            metadata.permissions().mode() & 0o111 != 0
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        archive
            .append_data(&mut header, name, bytes.as_slice())
            .map_err(|error| at(path, error))?;
    }
    archive.into_inner().map_err(|error| at(folder, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_context() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/a"), "a").unwrap();
        let first = build_context(folder.path()).unwrap();
        std::fs::write(folder.path().join("sub/a"), "a").unwrap();
        assert_eq!(first, build_context(folder.path()).unwrap());
        std::fs::write(folder.path().join("sub/a"), "b").unwrap();
        assert_ne!(first, build_context(folder.path()).unwrap());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = build_context(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"));
    }
}
