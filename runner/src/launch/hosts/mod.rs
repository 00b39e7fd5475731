//! Clients on several Docker hosts, without a scheduler.
//!
//! Each bug goes to one host, with all of its runs, both sides and the control; which one is on
//! record in the study before the first of them begins. A host shares no folder with this machine:
//! images, artifacts and the client are brought to it once, and clients reach the server over TCP.
//! A host that is lost takes its runs with it for as long as it takes to notice; they start over
//! on another one of the same class of hardware, with a new ticket.

mod bring;
mod choose;
mod host;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containers::{Cancel, ContainerError, Docker};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use study::Ending;
use study::placed::{Class, Placed, PlacedError, recorded};
use tokio::task::JoinHandle;

use self::bring::Common;
use self::host::{Host, Ready, Trouble};
use super::exit::Tail;
use super::{Exit, Launch, LaunchError, Launcher, Seated, docker, reached_as};

/// Why Docker hosts could not do their part.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// None of them is left.
    #[error("no Docker host of study.toml can take a run:\n{said}\n{ADVICE}")]
    NoneLeft {
        /// What each of them lacks, a line each.
        said: String,
    },
    /// Two of them are one.
    #[error(
        "the hosts {first} and {second} of docker.hosts in study.toml are one Docker daemon; name \
         it once"
    )]
    Same {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// The record of where bugs go cannot be used.
    #[error(transparent)]
    Placed(#[from] PlacedError),
}

const ADVICE: &str = "see that the daemons run and this user may use them (`docker -H ADDRESS info` \
                      must answer), or use --executor docker for this machine alone";

/// One host, as the runs need to know it.
#[derive(Debug, Clone)]
pub struct HostSetup {
    /// What it is called.
    pub name: String,
    /// The address of its daemon.
    pub address: String,
    /// The folder of certificates, for TCP.
    pub certs: Option<PathBuf>,
    /// Runs at the same time; none: one a processor, or one a GPU.
    pub jobs: Option<usize>,
    /// The class of its hardware, if the user says it.
    pub class: Option<String>,
    /// GPUs for runs on `cuda`.
    pub gpus: Vec<String>,
    /// How its containers reach the server's machine, a name with or without a port; none: the
    /// gateway of their network, which is the daemon's own machine.
    pub server: Option<String>,
    /// The network of its containers.
    pub network: String,
}

/// What a study's hosts need to know.
#[derive(Clone)]
pub struct HostsSetup {
    /// The hosts.
    pub hosts: Vec<HostSetup>,
    /// The study's folder.
    pub study: PathBuf,
    /// The label of the study's containers and volumes.
    pub label: String,
    /// What the runs train on: `cpu` or `cuda`.
    pub device: String,
    /// Bugs that have finished runs, whose class of hardware is fixed.
    pub begun: BTreeSet<String>,
    /// How long a lost host is waited for, where no other can take its bugs.
    pub patience: Duration,
    /// Where what happens to hosts is told to people.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Where a bug's runs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    host: String,
    class: Class,
}

/// What is known of bugs.
struct Bugs {
    placed: Placed<Place>,
    begun: BTreeSet<String>,
}

/// Starts clients on Docker hosts.
pub struct HostsLauncher {
    hosts: Vec<Arc<Host>>,
    bugs: Mutex<Bugs>,
    common: Arc<Common>,
    keepers: Vec<JoinHandle<()>>,
}

/// The host of each bug, as far as the study's record can be read.
pub fn hosts_of_bugs(study: &Path) -> BTreeMap<String, String> {
    let all: BTreeMap<String, Place> = recorded(&study.join(RECORD)).unwrap_or_default();
    all.into_iter().map(|(bug, place)| (bug, place.host)).collect()
}

/// How long hosts may take at the end of a call.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// Where bugs are recorded in a study.
const RECORD: &str = "hosts/placed.json";

impl HostsLauncher {
    /// Connects to the hosts, says which cannot be used, and begins to bring them the image and
    /// the client of a `first` run.
    ///
    /// # Errors
    /// [`HostsError`], above all if no host can be used.
    pub async fn start(setup: HostsSetup, first: &Launch) -> Result<Self, HostsError> {
        let placed = Placed::read(setup.study.join(RECORD), &setup.begun)?;
        let connected = join_all(setup.hosts.iter().map(connect)).await;
        let identities: Vec<(&str, &str)> = setup
            .hosts
            .iter()
            .zip(&connected)
            .filter_map(|(host, docker)| {
                Some((&*host.name, &*docker.as_ref().ok()?.info().identity))
            })
            .collect();
        for (at, (second, identity)) in identities.iter().enumerate() {
            if let Some((first, _)) = identities.iter().take(at).find(|(_, its)| its == identity) {
                let (first, second) = ((*first).to_owned(), (*second).to_owned());
                return Err(HostsError::Same { first, second });
            }
        }
        if connected.iter().all(Result::is_err) {
            let said = setup.hosts.iter().zip(&connected).filter_map(|(host, docker)| {
                let brief = docker.as_ref().err()?.brief();
                Some(format!("  {} ({}): {brief}", host.name, host.address))
            });
            return Err(HostsError::NoneLeft { said: said.collect::<Vec<_>>().join("\n") });
        }
        let begun = setup.begun.clone();
        let common = Arc::new(Common::new(&setup, first));
        let mut hosts = Vec::new();
        let mut keepers = Vec::new();
        for (host, docker) in setup.hosts.into_iter().zip(connected) {
            if let Err(error) = &docker {
                (common.tell)(&format!(
                    "host {} ({}) is left out for now: {}; start its daemon, or take it out of \
                     docker.hosts in study.toml",
                    host.name,
                    host.address,
                    error.brief()
                ));
            }
            let host = Arc::new(Host::new(host, &setup.device));
            keepers.push(tokio::spawn(host.clone().keep(common.clone(), docker.ok())));
            hosts.push(host);
        }
        Ok(Self { hosts, bugs: Mutex::new(Bugs { placed, begun }), common, keepers })
    }

    fn bugs(&self) -> MutexGuard<'_, Bugs> {
        self.bugs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what only this call needed on the hosts. Of a call that is killed, the next one
    /// does it.
    pub async fn finish(&self) {
        let sent = self.common.sent();
        (self.common.tell)(&format!("{} sent to Docker hosts in this call", bring::size(sent)));
        for keeper in &self.keepers {
            keeper.abort();
        }
        join_all(self.hosts.iter().filter_map(|host| host.ready()).map(|ready| async move {
            // What is not removed in time, the next call removes.
            let arrays = self.common.arrays();
            let removed = ready.docker.remove_volume(&arrays);
            if let Ok(Err(error)) = tokio::time::timeout(LAST_MOMENT, removed).await {
                tracing::debug!("{error}");
            }
        }))
        .await;
    }

    /// Runs one client on a host, from bringing what it needs to its end.
    async fn on(
        &self,
        host: &Host,
        ready: &Ready,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, Trouble> {
        self.common.bring_image(host, ready, &launch.image).await?;
        let artifact = self.common.bring_folder(host, ready, &launch.artifact).await?;
        let client = self.common.bring_folder(host, ready, &launch.client).await?;
        let server = match &host.setup.server {
            Some(name) => named(&launch.server, name),
            None => {
                let gateway = ready.docker.gateway(&host.setup.network).await?;
                reached_as(&launch.server, gateway.as_deref())
            }
        };
        self.common.check_server(host, ready, &server).await?;
        let launch = Launch { server, scratch: None, ..launch.clone() };
        let mut spec = docker::closed(&launch, ready.docker.stranger(), &self.common.label);
        spec.mounts.clear();
        spec.network = host.network();
        spec = spec
            .volume(&client, "/client", false)
            .volume(&artifact, "/artifact", false)
            .env("REPRODUCEML_HOST", &host.setup.name);
        if launch.cache.is_some() {
            spec = spec.volume(&self.common.arrays(), "/cache", true);
        }
        record(host, ready, &launch);
        let mut tail = Tail::default();
        let mut copy = |_stream, bytes: &[u8]| {
            tail.push(bytes);
            log.write_all(bytes)
        };
        let exit = match ready.docker.run(&spec, &mut copy, cancel).await {
            Err(ContainerError::Log { source }) => {
                return Err(Trouble::Here(LaunchError::Log(source)));
            }
            exit => exit?,
        };
        Ok(docker::exit(exit, tail.text()))
    }
}

/// The server's address by a name with or without a port of its own.
fn named(server: &str, name: &str) -> String {
    let port = name.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
    match (server.split_once(':'), port) {
        (Some((scheme, _)), Some((name, Ok(port))))
            if !name.contains(':') | name.ends_with(']') =>
        {
            format!("{scheme}:{name}:{port}")
        }
        _ => reached_as(server, Some(name)),
    }
}

async fn connect(host: &HostSetup) -> Result<Docker, ContainerError> {
    Docker::connect_with(&host.address, host.certs.as_deref()).await
}

/// Notes beside the run where it is made.
fn record(host: &Host, ready: &Ready, launch: &Launch) {
    let info = ready.docker.info();
    let record = serde_json::json!({
        "host": host.setup.name, "address": host.setup.address, "class": ready.class,
        "docker": info.version, "operating_system": info.operating_system, "gpu": launch.gpu,
    });
    let path = launch.folder.join("host.json");
    // It is for people; the run does not depend on it.
    if let Err(error) = study::files::write_whole(&path, format!("{record:#}\n").as_bytes()) {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// The end of a run that lost its host.
fn lost(host: &str, why: &str, seconds: f64) -> Exit {
    let why = why.lines().next().unwrap_or_default();
    Exit {
        status: None,
        signal: None,
        out_of_memory: false,
        timed_out: false,
        cancelled: false,
        scheduler: Some((Ending::NodeLost, format!("its host {host} was lost: {why}"))),
        seconds,
        tail: String::new(),
    }
}

impl Drop for HostsLauncher {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}

impl Launcher for HostsLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let began = std::time::Instant::now();
        let name = launch.host.as_deref().unwrap_or_default();
        let Some(host) = self.hosts.iter().find(|host| host.setup.name == name) else {
            return Ok(lost(name, "study.toml does not name it", 0.0));
        };
        let Some(ready) = host.ready() else {
            return Ok(lost(name, &host.why(), 0.0));
        };
        let trouble = tokio::select! {
            ended = self.on(host, &ready, launch, log, cancel) => match ended {
                Ok(exit) => {
                    host.went_well();
                    return Ok(exit);
                }
                Err(trouble) => trouble,
            },
            () = host.lost(&ready) => Trouble::Passing(host.why()),
        };
        let why = match trouble {
            Trouble::Here(error) => return Err(error),
            Trouble::Passing(why) => {
                host.suspect(&ready, &why, &self.common).await;
                why
            }
            Trouble::ForGood(why) => {
                host.give_up(&ready, &why, &self.common);
                why
            }
        };
        Ok(lost(name, &why, began.elapsed().as_secs_f64()))
    }

    fn seat(&self, bug: &str, fresh: bool) -> Result<Seated, LaunchError> {
        let mut bugs = self.bugs();
        choose::seat(&self.hosts, &mut bugs, bug, fresh, self.common.patience)
            .map_err(LaunchError::Hosts)
    }

    fn finished(&self, bug: &str) {
        self.bugs().begun.insert(bug.to_owned());
    }
}
