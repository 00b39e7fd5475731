//! Finding the daemon and agreeing on what it can do.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::{ContainerError, with_causes};
use crate::remote::{self, Bridge};

/// The least API version with everything used here: Docker 20.10 (December 2020).
const LEAST_API: (usize, usize) = (1, 40);
/// How long the daemon may take to answer the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// How long any later request may take to begin its answer. Removing a large container on a busy
/// disk is the slowest of them.
const ANY_ANSWER: Duration = Duration::from_secs(120);

/// A connection to a Docker daemon. Copies share the connection.
#[derive(Debug, Clone)]
pub struct Docker {
    pub(crate) client: bollard::Docker,
    host: String,
    info: DaemonInfo,
    /// What carries the connections to a daemon behind ssh, as long as somebody uses it.
    _bridge: Option<Arc<Bridge>>,
}

/// What a daemon says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DaemonInfo {
    /// The address it was reached at.
    pub host: String,
    /// The engine's version, such as `20.10.24`.
    pub version: String,
    /// The API version both sides agreed on, such as `1.41`.
    pub api: String,
    /// The operating system it runs on, such as `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// The processor architecture, such as `x86_64`.
    pub architecture: String,
    /// Processors that containers can use.
    pub processors: u32,
    /// Memory that containers can use, in bytes.
    pub memory: u64,
    /// Whether the daemon runs without root, which makes a container's root this user.
    pub rootless: bool,
    /// Version of the control groups that hold the limits: `1` or `2`.
    pub cgroup_version: String,
    /// What tells this daemon from all others: its identity, machine and folder of data.
    #[serde(skip)]
    pub identity: String,
    /// Whether images are loaded layer by layer, those that are there being left out. Daemons whose
    /// images lie in containerd's store want every layer.
    #[serde(skip)]
    pub takes_layers: bool,
}

impl Docker {
    /// Connects to the daemon that `DOCKER_HOST` names, or to the local socket.
    ///
    /// # Errors
    ///
    /// [`ContainerError::NotRunning`], [`ContainerError::NotPermitted`],
    /// [`ContainerError::BadHost`] and [`ContainerError::TooOld`] say what is missing and what to
    /// do; for all of them [`ContainerError::is_missing_docker`] holds.
    pub async fn connect() -> Result<Self, ContainerError> {
        match std::env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => Self::connect_to(&host).await,
            _ => Self::connect_to("unix:///var/run/docker.sock").await,
        }
    }

    /// Connects to the daemon at an address such as `unix:///run/docker.sock`, `tcp://host:2375` or
    /// `ssh://user@host`. With `DOCKER_TLS_VERIFY` set, TCP is spoken over TLS, with the files
    /// `ca.pem`, `cert.pem` and `key.pem` of `DOCKER_CERT_PATH` (else `~/.docker`).
    ///
    /// Folders that containers see are folders of the daemon's machine: a study for a daemon on
    /// another machine must lie there under the same path.
    ///
    /// # Errors
    ///
    /// As [`Docker::connect`].
    pub async fn connect_to(host: &str) -> Result<Self, ContainerError> {
        Self::connect_with(host, remote::certificates(host).as_deref()).await
    }

    /// Connects to the daemon at an address; to TCP with TLS and the files `ca.pem`, `cert.pem` and
    /// `key.pem` of a folder, if one is given. The environment says nothing.
    ///
    /// # Errors
    ///
    /// As [`Docker::connect`].
    pub async fn connect_with(
        host: &str,
        certificates: Option<&Path>,
    ) -> Result<Self, ContainerError> {
        let (client, bridge) = open(host, certificates)?;
        let missing = |error: &bollard::errors::Error| ContainerError::NotRunning {
            host: host.into(),
            // ssh says better what is wrong than a connection that was closed.
            detail: match bridge.as_ref().map(|bridge| bridge.said()) {
                Some(said) if !said.is_empty() => said,
                _ => with_causes(error),
            },
        };
        let client = tokio::time::timeout(FIRST_ANSWER, client.negotiate_version())
            .await
            .map_err(|_| ContainerError::NotRunning {
                host: host.into(),
                detail: format!("no answer within {} seconds", FIRST_ANSWER.as_secs()),
            })?
            .map_err(|error| missing(&error))?
            .with_timeout(ANY_ANSWER);
        let api = client.client_version();
        let found = format!("{}.{}", api.major_version, api.minor_version);
        if (api.major_version, api.minor_version) < LEAST_API {
            return Err(ContainerError::TooOld {
                host: host.into(),
                found,
                needed: format!("{}.{}", LEAST_API.0, LEAST_API.1),
            });
        }
        let raw = client.info().await.map_err(|error| missing(&error))?;
        let rootless =
            raw.security_options.iter().flatten().any(|option| option.contains("rootless"));
        let driver = format!("{:?}", raw.driver_status.as_deref().unwrap_or_default());
        let identity = [&raw.id, &raw.name, &raw.docker_root_dir];
        let identity = identity.map(|part| part.clone().unwrap_or_default()).join(" ");
        let info = DaemonInfo {
            identity,
            takes_layers: !driver.contains("io.containerd.snapshotter"),
            host: host.into(),
            version: raw.server_version.unwrap_or_default(),
            api: found,
            operating_system: raw.operating_system.unwrap_or_default(),
            architecture: raw.architecture.unwrap_or_default(),
            processors: raw.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            memory: raw.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            rootless,
            cgroup_version: raw.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
        };
        Ok(Self { client, host: host.into(), info, _bridge: bridge.map(Arc::new) })
    }

    /// Asks the daemon for a sign of life.
    ///
    /// # Errors
    ///
    /// [`ContainerError::NotRunning`] if there is none within a time.
    pub async fn ping(&self, within: Duration) -> Result<(), ContainerError> {
        let dead = |detail| ContainerError::NotRunning { host: self.host.clone(), detail };
        match tokio::time::timeout(within, self.client.ping()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(dead(with_causes(&error))),
            Err(_) => Err(dead(format!("no answer within {} seconds", within.as_secs()))),
        }
    }

    /// The address of the daemon.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What the daemon said about itself when the connection was made.
    #[must_use]
    pub fn info(&self) -> &DaemonInfo {
        &self.info
    }

    /// The user that containers should run as so that this process can read what they write and
    /// they are not root: this process's own user, or an unprivileged number when that is root.
    /// With a rootless daemon the container's root *is* this process's user.
    #[must_use]
    pub fn sandbox_user(&self) -> (u32, u32) {
        if self.info.rootless {
            return (0, 0);
        }
        // SAFETY: both calls only read this process's credentials and cannot fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        if user == 0 { (SANDBOX_ID, SANDBOX_ID) } else { (user, group) }
    }

    /// The user of containers that share no folder with this machine: never root, unless the
    /// daemon runs without root.
    #[must_use]
    pub fn stranger(&self) -> (u32, u32) {
        if self.info.rootless { (0, 0) } else { (SANDBOX_ID, SANDBOX_ID) }
    }
}

/// A client for the daemon at an address, not connected yet.
fn open(
    host: &str,
    certificates: Option<&Path>,
) -> Result<(bollard::Docker, Option<Bridge>), ContainerError> {
    let bad = |detail: String| ContainerError::BadHost { host: host.into(), detail };
    if host.starts_with("ssh://") {
        let dial = remote::ssh(host).map_err(bad)?;
        let bridge = Bridge::start(dial).map_err(|error| bad(error.to_string()))?;
        let client = bollard::Docker::connect_with_host(&bridge.address());
        return Ok((client.map_err(|error| bad(with_causes(&error)))?, Some(bridge)));
    }
    if let Some(folder) = certificates {
        return Ok((open_tls(host, folder)?, None));
    }
    if let Some(path) = host.strip_prefix("unix://") {
        check_socket(host, path)?;
    }
    let client = bollard::Docker::connect_with_host(host);
    Ok((client.map_err(|error| bad(with_causes(&error)))?, None))
}

/// A client that shows its certificate and wants to see the daemon's.
fn open_tls(host: &str, folder: &Path) -> Result<bollard::Docker, ContainerError> {
    let bad = |detail: String| ContainerError::BadHost { host: host.into(), detail };
    if let Some(path) = remote::missing_certificate(folder) {
        return Err(bad(format!(
            "TLS is wanted and {} is missing; the folder of DOCKER_CERT_PATH, or of `certs` in \
             study.toml, must have ca.pem, cert.pem and key.pem",
            path.display()
        )));
    }
    bollard::Docker::connect_with_ssl(
        host,
        &folder.join("key.pem"),
        &folder.join("cert.pem"),
        &folder.join("ca.pem"),
        ANY_ANSWER.as_secs(),
        bollard::API_DEFAULT_VERSION,
    )
    .map_err(|error| bad(with_causes(&error)))
}

/// A user number that no distribution hands out, used in containers when this process is root.
const SANDBOX_ID: u32 = 64_250;

/// Tells a missing socket from one this user may not open, which the HTTP layer would blur.
fn check_socket(host: &str, path: &str) -> Result<(), ContainerError> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(ContainerError::NotPermitted { host: host.into() })
        }
        Err(error) => {
            Err(ContainerError::NotRunning { host: host.into(), detail: error.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_socket_says_how_to_start_docker() {
        let folder = tempfile::tempdir().unwrap();
        let host = format!("unix://{}/none.sock", folder.path().display());
        let error = Docker::connect_to(&host).await.unwrap_err();
        assert!(error.is_missing_docker());
        assert!(error.to_string().contains("systemctl start docker"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_an_unknown_kind_is_named() {
        let error = Docker::connect_to("carrier://pigeon").await.unwrap_err();
        assert!(matches!(&error, ContainerError::BadHost { host, .. } if host.contains("pigeon")));
    }

    #[tokio::test]
    async fn a_closed_port_is_no_daemon() {
        let error = Docker::connect_to("tcp://127.0.0.1:1").await.unwrap_err();
        assert!(matches!(error, ContainerError::NotRunning { .. }), "{error}");
    }
}
