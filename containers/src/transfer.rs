//! Images on their way to another daemon: once, by digest, going on where it was cut off.

use std::io;
use std::path::Path;

use bollard::query_parameters::{ImportImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::connect::Docker;
use crate::error::{ContainerError, with_causes};
use crate::layers::{Archive, PART_LABEL, Part, layers_there};

/// What a transfer moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Layers, pieces or files that were sent.
    pub parts: usize,
    /// Those that were there already.
    pub there: usize,
    /// Bytes that were sent.
    pub bytes: u64,
}

/// Brings an image from an archive that [`Docker::save_image`] wrote to a daemon that does not have
/// it, and names it there. Layers that the daemon has, from this image or another, are not sent; a
/// transfer that is cut off goes on with the layer it was in. The daemon checks the digest of each
/// layer, and the image's identity is checked at the end.
///
/// # Errors
///
/// [`ContainerError::ImageBuild`] if the archive is not of that image or the daemon refuses it.
pub async fn send_image(
    to: &Docker,
    image: &str,
    name: &str,
    archive: &Path,
) -> Result<Sent, ContainerError> {
    let failed = |detail: String| ContainerError::ImageBuild { image: image.into(), detail };
    let at = |error: io::Error| failed(format!("{}: {error}", archive.display()));
    let path = archive.to_owned();
    let read = tokio::task::spawn_blocking(move || Archive::read(&path)).await;
    let read = read.map_err(|error| failed(error.to_string()))?.map_err(at)?;
    let digest = Sha256::digest(read.configuration());
    let found = hex::encode(digest);
    if image.trim_start_matches("sha256:") != found && to.info().takes_layers {
        return Err(failed(format!("{} holds sha256:{found}", archive.display())));
    }
    let all = read.digests().len();
    let mut sent = Sent::default();
    if to.info().takes_layers {
        sent.there = layers_there(read.digests(), &to.layers_of_images().await?);
        for upto in sent.there.min(all - 1) + 1..all {
            load_part(to, image, read.part(image, upto - 1, upto).map_err(at)?).await?;
            sent.parts += 1;
            sent.bytes += read.bytes(upto - 1..upto);
        }
        let left = sent.there.max(all - 1);
        load_part(to, image, read.part(image, left, all).map_err(at)?).await?;
        sent.parts += all - left;
        sent.bytes += read.bytes(left..all);
    } else {
        load_part(to, image, read.part(image, 0, all).map_err(at)?).await?;
        sent = Sent { parts: all, there: 0, bytes: read.bytes(0..all) };
    }
    if to.image_id(image).await?.is_none() {
        return Err(failed("it is not there after it was loaded".into()));
    }
    to.tag_image(image, name).await?;
    to.remove_parts_of(image).await;
    Ok(sent)
}

/// Loads a part of an image.
async fn load_part(to: &Docker, image: &str, part: Part) -> Result<(), ContainerError> {
    let (pieces, stream) = tokio::sync::mpsc::channel::<io::Result<Vec<u8>>>(4);
    let reader = tokio::task::spawn_blocking(move || {
        let written = part.write(|piece| pieces.blocking_send(Ok(piece)).is_ok());
        if let Err(error) = written {
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let stream = futures_util::stream::unfold(stream, |mut stream| async {
        Some((stream.recv().await?, stream))
    });
    let loaded = load(to, image, stream).await;
    let _ = reader.await;
    loaded
}

/// Has a daemon load an archive that comes in pieces; `image` is what errors call it.
pub(crate) async fn load(
    to: &Docker,
    image: &str,
    archive: impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
) -> Result<(), ContainerError> {
    let failed = |detail: String| ContainerError::ImageBuild { image: image.into(), detail };
    let body = bollard::body_try_stream(archive.map(|piece| piece.map(Into::into)));
    // The daemon answers when it has everything, however long that takes.
    let client = to.client.clone().with_timeout(std::time::Duration::from_secs(24 * 3600));
    let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
    let mut answers = Box::pin(client.import_image(options, body, None));
    let mut refused = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(info) => {
                if let Some(error) = info.error_detail.and_then(|detail| detail.message) {
                    refused = Some(failed(error));
                }
            }
            Err(error @ bollard::errors::Error::DockerStreamError { .. }) => {
                refused = Some(failed(with_causes(&error)));
            }
            Err(error) => {
                refused = Some(ContainerError::daemon(format!("load the image {image}"), &error));
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

impl Docker {
    /// The layers of every image, by their digests, the lowest first.
    async fn layers_of_images(&self) -> Result<Vec<Vec<String>>, ContainerError> {
        let options = ListImagesOptions { all: true, ..ListImagesOptions::default() };
        let images = self.client.list_images(Some(options)).await;
        let images = images.map_err(|e| ContainerError::daemon("list images", &e))?;
        let mut all = Vec::new();
        for image in images {
            // It may have gone in the meantime.
            if let Ok(image) = self.client.inspect_image(&image.id).await {
                all.extend(image.root_fs.and_then(|root| root.layers));
            }
        }
        Ok(all)
    }

    /// Removes the beginnings of an image that is whole; what is not removed takes no room beside
    /// it.
    async fn remove_parts_of(&self, image: &str) {
        let options = ListImagesOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![format!("{PART_LABEL}={image}")])].into()),
            ..ListImagesOptions::default()
        };
        for part in self.client.list_images(Some(options)).await.unwrap_or_default() {
            let options = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
            if let Err(error) = self.client.remove_image(&part.id, Some(options), None).await {
                tracing::debug!("{}: {error}", part.id);
            }
        }
    }
}
