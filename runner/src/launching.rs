//! From a run to the process that makes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use server::ServerHandle;
use study::{ArtifactRecord, RunKey, Study};

use crate::launch::Launch;

/// What all processes of a study have in common.
pub(crate) struct Launching<'a> {
    /// The study that has the artifacts and the limits.
    pub(crate) study: &'a Study,
    /// The server that they speak with.
    pub(crate) server: &'a ServerHandle,
    /// The training client's folder.
    pub(crate) client: &'a Path,
}

impl Launching<'_> {
    /// The process of one run, with a ticket of its own; `None` if its artifact is not there.
    pub(crate) fn launch(
        &self,
        key: &RunKey,
        artifact: &ArtifactRecord,
        gpu: Option<String>,
    ) -> Option<Launch> {
        let files = self.study.artifact_dir(&artifact.id).join("files");
        let run = &self.study.config.run;
        files.is_dir().then(|| Launch {
            name: key.to_string(),
            image: artifact.image.clone(),
            artifact: files,
            client: self.client.to_owned(),
            server: self.server.addresses().first().cloned().unwrap_or_default(),
            ticket: self.server.ticket(&key.experiment, key.run).as_str().to_owned(),
            env: BTreeMap::from([
                ("REPRODUCEML_IMAGE".to_owned(), artifact.image.clone()),
                ("REPRODUCEML_ARTIFACT_DIGEST".to_owned(), artifact.id.to_string()),
            ]),
            memory_mib: run.memory_mib,
            time: Duration::from_secs(60 * u64::from(run.timeout_minutes)),
            gpu,
            scratch: None,
        })
    }
}
