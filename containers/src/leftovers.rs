//! Containers that outlived the process that started them.

use std::collections::HashMap;

use bollard::query_parameters::ListContainersOptions;

use crate::connect::Docker;
use crate::error::ContainerError;
use crate::run::remove;

/// Label of every container that works for a study; its value is a digest of the study's path, so
/// that two studies on one daemon leave each other alone.
pub const STUDY_LABEL: &str = "reproduceml.study";

/// A container found by its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The daemon's identity of the container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is still running.
    pub running: bool,
    /// All its labels.
    pub labels: HashMap<String, String>,
}

impl Docker {
    /// Containers, running or not, that carry all the given labels with these values.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn leftovers(
        &self,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Leftover>, ContainerError> {
        let wanted = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), wanted)])),
            ..ListContainersOptions::default()
        };
        let found = self
            .client
            .list_containers(Some(options))
            .await
            .map_err(|e| ContainerError::daemon("list containers", &e))?;
        Ok(found
            .into_iter()
            .filter_map(|container| {
                let name = container.names.unwrap_or_default().into_iter().next();
                Some(Leftover {
                    id: container.id?,
                    name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
                    running: container.state.is_some_and(|s| s.to_string() == "running"),
                    labels: container.labels.unwrap_or_default(),
                })
            })
            .collect())
    }

    /// Kills and removes the containers that carry all the given labels, and returns them.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`].
    pub async fn remove_leftovers(
        &self,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Leftover>, ContainerError> {
        let found = self.leftovers(labels).await?;
        for container in &found {
            remove(&self.client, &container.id).await?;
        }
        Ok(found)
    }
}
