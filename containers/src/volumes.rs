//! Named volumes of a daemon: what containers see of a machine that shares no folder with this one.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptions, RemoveVolumeOptions, UploadToContainerOptions,
};

use crate::connect::Docker;
use crate::error::ContainerError;
use crate::run::RemoveOnDrop;
use crate::spec::ContainerSpec;

/// How long one upload may take; pieces are small.
const UPLOAD: Duration = Duration::from_secs(900);

impl Docker {
    /// Whether the daemon has a volume of this name.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn has_volume(&self, name: &str) -> Result<bool, ContainerError> {
        use bollard::errors::Error;
        match self.client.inspect_volume(name).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(ContainerError::daemon(format!("look up the volume {name}"), &error)),
        }
    }

    /// Makes a volume with labels, unless it is there.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn make_volume(
        &self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), ContainerError> {
        let labels: HashMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let request = VolumeCreateRequest {
            name: Some(name.into()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let made = self.client.create_volume(request).await;
        made.map(|_| ())
            .map_err(|e| ContainerError::daemon(format!("make the volume {name}"), &e))
    }

    /// Removes a volume with what is in it. That it is gone already is fine.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`], also while a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), ContainerError> {
        use bollard::errors::Error;
        let options = RemoveVolumeOptions { force: true };
        match self.client.remove_volume(name, Some(options)).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(ContainerError::daemon(format!("remove the volume {name}"), &error)),
        }
    }

    /// Creates a container that is never started, through which [`Uploads::put`] writes files into
    /// the volumes that it mounts. Its image's own files stay as they are.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn upload(&self, spec: &ContainerSpec) -> Result<Uploads, ContainerError> {
        let mut body = spec.create_body(false);
        if let Some(host) = body.host_config.as_mut() {
            // The daemon takes no upload for a container that could not write.
            host.readonly_rootfs = Some(false);
        }
        let created = self
            .client
            .create_container(None::<CreateContainerOptions>, body)
            .await
            .map_err(|e| ContainerError::daemon("create a container to upload to", &e))?;
        let client = self.client.clone().with_timeout(UPLOAD);
        Ok(Uploads { guard: RemoveOnDrop::new(client, created.id) })
    }

    /// The address at which containers of a network reach the machine of their daemon, if the
    /// network has one.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`] if there is no such network.
    pub async fn gateway(&self, network: &str) -> Result<Option<String>, ContainerError> {
        let none = None::<bollard::query_parameters::InspectNetworkOptions>;
        let found = self.client.inspect_network(network, none).await;
        let found = found
            .map_err(|e| ContainerError::daemon(format!("look up the network {network}"), &e))?;
        let addresses = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(addresses.into_iter().find_map(|one| {
            let gateway = one.gateway.filter(|gateway| !gateway.is_empty())?;
            // Some daemons write it with the length of the network's prefix.
            Some(gateway.split('/').next().unwrap_or_default().to_owned())
        }))
    }
}

/// A container that files are uploaded to; it goes when this is dropped.
pub struct Uploads {
    guard: RemoveOnDrop,
}

impl Uploads {
    /// Unpacks a tar archive in a folder of the container, which must be there.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn put(&self, folder: &str, archive: Vec<u8>) -> Result<(), ContainerError> {
        let options =
            UploadToContainerOptions { path: folder.into(), ..UploadToContainerOptions::default() };
        let (client, id) = self.guard.parts()?;
        client
            .upload_to_container(id, Some(options), bollard::body_full(archive.into()))
            .await
            .map_err(|e| ContainerError::daemon("upload files", &e))
    }

    /// Removes the container.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn end(self) -> Result<(), ContainerError> {
        self.guard.remove().await
    }
}
