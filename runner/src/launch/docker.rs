//! Clients in containers.

use std::io::Write;
use std::path::PathBuf;

use containers::{
    Cancel, ContainerError, ContainerExit, ContainerSpec, Docker, Ended, STUDY_LABEL,
};

use super::exit::Tail;
use super::{Exit, Launch, LaunchError, Launcher};

/// Starts clients in containers: no network, read-only, no privileges, limits. The server's
/// socket is the only thing that leads out.
pub struct DockerLauncher {
    docker: Docker,
    study_label: String,
}

impl DockerLauncher {
    /// Containers will carry `study_label`, by which leftovers are found.
    pub fn new(docker: Docker, study_label: String) -> Self {
        Self { docker, study_label }
    }

    /// Removes what an earlier, killed process left running.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn remove_leftovers(&self) -> Result<usize, LaunchError> {
        let labels = [(STUDY_LABEL, self.study_label.as_str()), ("reproduceml.stage", "run")];
        Ok(self.docker.remove_leftovers(&labels).await?.len())
    }

    /// Starts a container that does nothing with all these GPUs.
    pub(super) async fn check_gpus(&self, image: &str, gpus: &[String]) -> Result<(), LaunchError> {
        let mut spec = ContainerSpec::new(image, &["true"], self.docker.sandbox_user())
            .label(STUDY_LABEL, &self.study_label)
            .label("reproduceml.stage", "run");
        spec.gpus = Some(gpus.to_vec());
        let ended = self.docker.run(&spec, &mut |_, _| Ok(()), &Cancel::new()).await;
        ended.map(|_| ()).map_err(|error| without_gpu(true, error))
    }

    fn spec(&self, launch: &Launch) -> ContainerSpec {
        closed(launch, self.docker.sandbox_user(), &self.study_label)
    }
}

/// Where a container sees the folder that it may write to.
const SCRATCH: &str = "/trace";

/// The container of one client: what it sees, and what bounds it.
pub(super) fn closed(launch: &Launch, user: (u32, u32), study_label: &str) -> ContainerSpec {
    let command = ["python3", "-m", "reproduceml_client"];
    let mut spec = ContainerSpec::new(&launch.image, &command, user)
        .read_only(&launch.client, "/client")
        .read_only(&launch.artifact, "/artifact")
        .env("PYTHONPATH", "/client")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", "/tmp")
        .env("REPRODUCEML_ARTIFACT", "/artifact")
        .env("REPRODUCEML_TICKET", &launch.ticket)
        .label(STUDY_LABEL, study_label)
        .label("reproduceml.stage", "run");
    for (name, value) in &launch.env {
        spec = spec.env(name, value);
    }
    if let Some(cache) = &launch.cache {
        spec = spec.read_write(cache, "/cache").env("REPRODUCEML_CACHE", "/cache");
    }
    spec = match launch.server.strip_prefix("unix:").map(PathBuf::from) {
        Some(socket) => {
            let folder = socket.parent().map(PathBuf::from).unwrap_or_default();
            let name = socket.file_name().unwrap_or_default().to_string_lossy();
            spec.read_only(&folder, "/run/reproduceml")
                .env("REPRODUCEML_SERVER", &format!("unix:/run/reproduceml/{name}"))
        }
        None => spec.env("REPRODUCEML_SERVER", &launch.server),
    };
    spec.workdir = Some("/tmp".into());
    spec.limits.memory = Some(u64::from(launch.memory_mib) << 20);
    spec.limits.processes = Some(256);
    spec.limits.time = Some(launch.time.as_secs());
    if let Some(folder) = &launch.scratch {
        spec = spec.read_write(folder, SCRATCH).env("REPRODUCEML_TRACE", SCRATCH);
    }
    spec.gpus = launch.gpu.clone().map(|gpu| vec![gpu]);
    spec
}

impl Launcher for DockerLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let mut tail = Tail::default();
        let spec = self.spec(launch);
        let mut copy = |_stream, bytes: &[u8]| {
            tail.push(bytes);
            log.write_all(bytes)
        };
        let exit = self
            .docker
            .run(&spec, &mut copy, cancel)
            .await
            .map_err(|error| without_gpu(launch.gpu.is_some(), error))?;
        Ok(self::exit(exit, tail.text()))
    }
}

/// How a container ended, as the end of a client with this last output.
pub(super) fn exit(exit: ContainerExit, tail: String) -> Exit {
    Exit {
        status: exit.status,
        signal: exit.signal,
        out_of_memory: exit.oom_killed,
        timed_out: exit.timed_out,
        cancelled: exit.ended == Ended::Cancelled,
        scheduler: None,
        seconds: exit.duration.as_secs_f64(),
        tail,
    }
}

/// The daemon's error; where a GPU was `wanted` and the daemon speaks of that, as such.
fn without_gpu(wanted: bool, error: ContainerError) -> LaunchError {
    match error {
        ContainerError::Daemon { detail, .. } if wanted && is_about_gpus(&detail) => {
            LaunchError::NoGpu { detail }
        }
        error => LaunchError::Container(error),
    }
}

fn is_about_gpus(said: &str) -> bool {
    let said = said.to_lowercase();
    ["device driver", "nvidia", "gpu", "cdi"].iter().any(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::example;

    #[test]
    fn a_run_gets_the_one_gpu_it_was_given_and_no_other() {
        let with = |gpu: Option<&str>| {
            let launch = Launch { gpu: gpu.map(str::to_owned), ..example(60) };
            closed(&launch, (7, 7), "label").gpus
        };
        assert_eq!(with(Some("1")), Some(vec!["1".to_owned()]));
        assert_eq!(with(None), None);
    }

    #[test]
    fn a_daemon_without_gpus_is_understood() {
        let said = "could not select device driver \"nvidia\" with capabilities: [[gpu]]";
        let error = || ContainerError::Daemon {
            action: "start".into(),
            detail: said.into(),
            passing: true,
        };
        let told = without_gpu(true, error());
        assert!(matches!(&told, LaunchError::NoGpu { detail } if detail == said), "{told}");
        assert!(matches!(without_gpu(false, error()), LaunchError::Container(_)));
    }

    #[test]
    fn nothing_can_be_written_but_scratch() {
        let launch = Launch { server: "unix:/a/b.sock".into(), ..example(60) };
        let spec = closed(&launch, (7, 7), "label");
        assert!(spec.mounts.iter().all(|mount| !mount.writable), "{:?}", spec.mounts);
        assert_eq!(spec.env["REPRODUCEML_SERVER"], "unix:/run/reproduceml/b.sock");
        assert_eq!(spec.network, containers::Network::None);
        let launch = Launch { scratch: Some("/scratch".into()), ..launch };
        let spec = closed(&launch, (7, 7), "label");
        let writable: Vec<_> = spec.mounts.iter().filter(|mount| mount.writable).collect();
        assert_eq!(writable.len(), 1);
        assert_eq!(writable[0].host, PathBuf::from("/scratch"));
    }
}
