//! From a run to the process that makes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use server::{ServerConfig, ServerHandle};
use study::{ArtifactRecord, BugId, RunKey, Study};

use crate::launch::Launch;

/// What all processes of a study have in common.
pub(crate) struct Launching<'a> {
    /// The study that has the artifacts and the limits.
    pub(crate) study: &'a Study,
    /// The server that they speak with.
    pub(crate) server: &'a ServerHandle,
    /// The training client's folder.
    pub(crate) client: &'a Path,
    /// What the clients' environment says of the server: see [`access`].
    pub(crate) access: BTreeMap<String, String>,
    /// Where clients of one call find each other's arrays.
    pub(crate) cache: Option<PathBuf>,
}

/// What a client needs beside the address to be let in and to know the server.
pub(crate) fn access(config: &ServerConfig) -> BTreeMap<String, String> {
    let token = config.token.as_ref().map(|token| token.reveal().to_owned());
    let fingerprint = config.tls.as_ref().map(|tls| tls.fingerprint().to_string());
    [("REPRODUCEML_TOKEN", token), ("REPRODUCEML_TLS_FINGERPRINT", fingerprint)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

impl Launching<'_> {
    /// The process of one run, with a ticket of its own; `None` if its artifact is not there.
    pub(crate) fn launch(
        &self,
        key: &RunKey,
        bug: &BugId,
        artifact: &ArtifactRecord,
        gpu: Option<String>,
    ) -> Option<Launch> {
        let files = self.study.artifact_dir(&artifact.id).join("files");
        let run = &self.study.config.run;
        let mut env = self.access.clone();
        env.insert("REPRODUCEML_IMAGE".to_owned(), artifact.image.clone());
        env.insert("REPRODUCEML_ARTIFACT_DIGEST".to_owned(), artifact.id.to_string());
        files.is_dir().then(|| Launch {
            name: key.to_string(),
            bug: bug.to_string(),
            folder: self.study.run_dir(key),
            image: artifact.image.clone(),
            artifact: files,
            client: self.client.to_owned(),
            server: self.server.addresses().first().cloned().unwrap_or_default(),
            ticket: self.server.ticket(&key.experiment, key.run).as_str().to_owned(),
            cache: self.cache.clone(),
            env,
            memory_mib: run.memory_mib,
            time: Duration::from_secs(60 * u64::from(run.timeout_minutes)),
            gpu,
            host: None,
            scratch: None,
        })
    }
}
