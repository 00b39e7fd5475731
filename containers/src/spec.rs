//! What a container may do: the description that [`Docker::run`](crate::Docker::run) takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as ApiMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, MountVolumeOptions, ResourcesUlimits,
};
use serde::{Deserialize, Serialize};

/// One command in one container. [`ContainerSpec::new`] gives a closed sandbox; the fields open it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Image name or identity. It must be on the daemon already.
    pub image: String,
    /// Program and arguments; no shell is put around them. An image's entry point is ignored.
    pub command: Vec<String>,
    /// Environment variables, on top of the image's own.
    pub env: BTreeMap<String, String>,
    /// Folders and files of this machine that the container sees.
    pub mounts: Vec<Mount>,
    /// Named volumes of the daemon that the container sees.
    pub volumes: Vec<VolumeMount>,
    /// Folders in memory, by container path, with their size in bytes.
    pub tmpfs: BTreeMap<String, u64>,
    /// Working directory, as the container sees it.
    pub workdir: Option<String>,
    /// What it can reach. Nothing by default.
    pub network: Network,
    /// How much it may use.
    pub limits: Limits,
    /// User and group number. See [`Docker::sandbox_user`](crate::Docker::sandbox_user).
    pub user: (u32, u32),
    /// Labels, by which leftovers are found again.
    pub labels: BTreeMap<String, String>,
    /// Whether the image's own file system can be written to.
    pub writable_root: bool,
    /// Container name, if the caller needs to know it beforehand. It must be free.
    pub name: Option<String>,
    /// Host name inside the container. Fixed, since builds and manifests may record it.
    pub hostname: String,
    /// Graphics cards to hand in: `None` for none, an empty list for all, else their numbers.
    pub gpus: Option<Vec<String>>,
}

impl ContainerSpec {
    /// A closed sandbox: no network, no mounts but a `/tmp` in memory, read-only root, defaults of
    /// [`Limits`].
    #[must_use]
    pub fn new(image: impl Into<String>, command: &[&str], user: (u32, u32)) -> Self {
        Self {
            image: image.into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            mounts: Vec::new(),
            volumes: Vec::new(),
            tmpfs: BTreeMap::from([("/tmp".to_owned(), 1 << 30)]),
            workdir: None,
            network: Network::None,
            limits: Limits::default(),
            user,
            labels: BTreeMap::new(),
            writable_root: false,
            name: None,
            hostname: "reproduceml".to_owned(),
            gpus: None,
        }
    }

    /// Adds a folder that can only be read.
    #[must_use]
    pub fn read_only(self, host: &Path, container: &str) -> Self {
        self.mount(host, container, false)
    }

    /// Adds a folder that can be written to.
    #[must_use]
    pub fn read_write(self, host: &Path, container: &str) -> Self {
        self.mount(host, container, true)
    }

    fn mount(mut self, host: &Path, container: &str, writable: bool) -> Self {
        self.mounts.push(Mount { host: host.into(), container: container.into(), writable });
        self
    }

    /// Adds a named volume of the daemon.
    #[must_use]
    pub fn volume(mut self, name: &str, container: &str, writable: bool) -> Self {
        self.volumes.push(VolumeMount { name: name.into(), container: container.into(), writable });
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The request that creates this container.
    pub(crate) fn create_body(&self, with_init: bool) -> ContainerCreateBody {
        let limits = &self.limits;
        let volumes = self.volumes.iter().map(VolumeMount::to_api);
        let mounts = self.mounts.iter().map(Mount::to_api).chain(volumes).collect();
        let tmpfs = self
            .tmpfs
            .iter()
            .map(|(path, bytes)| {
                (path.clone(), format!("rw,exec,nosuid,nodev,mode=1777,size={bytes}"))
            })
            .collect();
        let host_config = HostConfig {
            memory: clamp(limits.memory),
            // The same as `memory`: no swap, so that the limit means what it says.
            memory_swap: clamp(limits.memory),
            nano_cpus: limits.cpus.map(|cpus| (cpus * 1e9) as i64),
            cpu_shares: limits.cpu_weight.map(|weight| i64::from(weight.max(2))),
            pids_limit: limits.processes.map(i64::from),
            ulimits: Some(limits.ulimits()),
            init: with_init.then_some(true),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            network_mode: Some(self.network.mode()),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            privileged: Some(false),
            readonly_rootfs: Some(!self.writable_root),
            mounts: Some(mounts),
            tmpfs: Some(tmpfs),
            shm_size: clamp(limits.shared_memory),
            oom_score_adj: Some(500),
            device_requests: self.gpus.as_ref().map(|cards| vec![gpu_request(cards)]),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            // An empty first word clears the image's entry point.
            entrypoint: Some(vec![String::new()]),
            cmd: Some(self.command.clone()),
            env: Some(self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            working_dir: self.workdir.clone(),
            user: Some(format!("{}:{}", self.user.0, self.user.1)),
            labels: Some(self.labels.clone().into_iter().collect()),
            hostname: Some(self.hostname.clone()),
            network_disabled: matches!(self.network, Network::None).then_some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }
}

/// A folder or file of this machine inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the daemon's machine.
    pub host: PathBuf,
    /// Where the container sees it.
    pub container: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

impl Mount {
    fn to_api(&self) -> ApiMount {
        ApiMount {
            target: Some(self.container.clone()),
            source: Some(self.host.to_string_lossy().into_owned()),
            typ: Some(MountType::BIND),
            read_only: Some(!self.writable),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                ..MountBindOptions::default()
            }),
            ..ApiMount::default()
        }
    }
}

/// A named volume of the daemon inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// Where the container sees it.
    pub container: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

impl VolumeMount {
    fn to_api(&self) -> ApiMount {
        ApiMount {
            target: Some(self.container.clone()),
            source: Some(self.name.clone()),
            typ: Some(MountType::VOLUME),
            read_only: Some(!self.writable),
            volume_options: Some(MountVolumeOptions {
                // What an image has at that path is not copied into it.
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..ApiMount::default()
        }
    }
}

/// What a container can reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// Nothing but its own loopback.
    #[default]
    None,
    /// Whatever this machine reaches, this machine's loopback included.
    Host,
    /// The daemon's default bridge: the outside, not this machine's loopback.
    Bridge,
    /// A network made beforehand, by name.
    Named(String),
}

impl Network {
    fn mode(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Host => "host".into(),
            Self::Bridge => "bridge".into(),
            Self::Named(name) => name.clone(),
        }
    }
}

/// How much a container may use. `None` means no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Processors, in fractions of one.
    pub cpus: Option<f64>,
    /// Weight when others want the processors too (Docker's shares: 1024 is ordinary).
    pub cpu_weight: Option<u32>,
    /// Processes and threads together.
    pub processes: Option<u32>,
    /// Time from start to end, in seconds.
    pub time: Option<u64>,
    /// Longest time without a byte of output, in seconds.
    pub silence: Option<u64>,
    /// Size of `/dev/shm`, in bytes.
    pub shared_memory: Option<u64>,
    /// Size of one file, in bytes.
    pub file_size: Option<u64>,
    /// Output that is taken before the container is ended, in bytes.
    pub log: Option<u64>,
    /// What it may fill of the disk.
    #[serde(skip)]
    pub disk: Option<DiskLimit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Some(4 << 30),
            cpus: None,
            cpu_weight: None,
            processes: Some(1024),
            time: Some(3600),
            silence: None,
            shared_memory: Some(64 << 20),
            file_size: None,
            log: Some(1 << 30),
            disk: None,
        }
    }
}

impl Limits {
    /// The total time as a duration.
    #[must_use]
    pub fn total_time(&self) -> Option<Duration> {
        self.time.map(Duration::from_secs)
    }

    fn ulimits(&self) -> Vec<ResourcesUlimits> {
        let limit = |name: &str, value: i64| ResourcesUlimits {
            name: Some(name.into()),
            soft: Some(value),
            hard: Some(value),
        };
        // No core files: a crash under test would fill the scratch folder.
        let mut limits = vec![limit("core", 0)];
        if let Some(bytes) = clamp(self.file_size) {
            limits.push(limit("fsize", bytes));
        }
        limits
    }
}

/// Bounds on what a container writes to mounted folders, where the daemon itself sets none. They
/// are looked at every second, so a fast writer can overshoot by what it writes in that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLimit {
    /// Folders of this machine whose contents are added up.
    pub folders: Vec<PathBuf>,
    /// Bytes the folders may hold together.
    pub max_bytes: u64,
    /// Bytes that must stay free on their file systems.
    pub min_free: u64,
}

/// The API's signed numbers from ours.
fn clamp(bytes: Option<u64>) -> Option<i64> {
    bytes.map(|n| i64::try_from(n).unwrap_or(i64::MAX))
}

fn gpu_request(cards: &[String]) -> bollard::models::DeviceRequest {
    bollard::models::DeviceRequest {
        driver: Some("nvidia".into()),
        count: if cards.is_empty() { Some(-1) } else { None },
        device_ids: (!cards.is_empty()).then(|| cards.to_vec()),
        capabilities: Some(vec![vec!["gpu".into()]]),
        ..bollard::models::DeviceRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_container_is_closed() {
        let body = ContainerSpec::new("image", &["true"], (7, 7)).create_body(true);
        let host = body.host_config.unwrap();
        assert_eq!(body.user.as_deref(), Some("7:7"));
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.privileged, Some(false));
        assert!(host.memory.is_some() && host.memory == host.memory_swap);
        assert!(host.pids_limit.is_some());
        assert_eq!(host.mounts, Some(vec![]));
    }

    #[test]
    fn gpus_are_asked_of_the_daemon_by_number() {
        let requests = |gpus: Option<Vec<String>>| {
            let spec = ContainerSpec { gpus, ..ContainerSpec::new("image", &["true"], (7, 7)) };
            spec.create_body(true).host_config.unwrap().device_requests
        };
        assert_eq!(requests(None), None);
        let asked = requests(Some(vec!["1".into()])).unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].device_ids, Some(vec!["1".to_owned()]));
        assert_eq!(asked[0].count, None, "a number and a count exclude each other");
        assert_eq!(asked[0].driver.as_deref(), Some("nvidia"));
        assert_eq!(asked[0].capabilities, Some(vec![vec!["gpu".to_owned()]]));
        assert_eq!(requests(Some(Vec::new())).unwrap()[0].count, Some(-1), "all of them");
    }

    #[test]
    fn limits_are_read_from_toml_like_tables_with_defaults() {
        let limits = Limits::default();
        assert_eq!(limits.total_time(), Some(Duration::from_secs(3600)));
        assert_eq!(limits.ulimits().len(), 1);
        let limits = Limits { file_size: Some(5), ..limits };
        assert_eq!(limits.ulimits()[1].hard, Some(5));
    }
}
