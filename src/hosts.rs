//! `run --executor hosts`: several Docker hosts of `[docker]` in study.toml.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use containers::{ContainerError, DaemonInfo, Docker};
use futures_util::future::join_all;
use runner::{AnyLauncher, HostSetup, HostsLauncher, HostsSetup, Plan, RunOptions};
use server::{Listen, Tls};
use study::{DockerHost, DockerPolicy, Store, Study};

use crate::cli::{Executor, Place, RunArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::places::{self, Launching};
use crate::{access, cluster};

/// What `[docker]` of `study.toml` says.
fn policy(study: &Study) -> Result<&DockerPolicy, Failure> {
    study.config.docker.as_ref().ok_or_else(|| {
        Failure::input(anyhow!(
            "--executor hosts: study.toml has no [docker]; expected `hosts = [\"ssh://USER@HOST\"]` \
             there (docs/guide/hosts.md)"
        ))
    })
}

/// How runs are carried out on the hosts; as many at a time as can be told before they are asked.
pub fn options(study: &Study, args: &RunArgs, home: &Home) -> Result<RunOptions, Failure> {
    if !args.gpus.is_empty() {
        return Err(Failure::input(anyhow!(
            "--gpus names GPUs of this machine; with --executor hosts run.device and `gpus` of \
             each host in study.toml say what a run gets"
        )));
    }
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = policy(study)?.hosts.iter().map(|host| {
        let unknown = if study.config.run.device == "cuda" { host.gpus.len().max(1) } else { here };
        jobs(study, host, args.jobs).unwrap_or(unknown)
    });
    Ok(RunOptions { jobs: jobs.sum(), client: home.client(), gpus: Vec::new() })
}

/// Runs at a time on a host, if somebody says it.
fn jobs(study: &Study, host: &DockerHost, asked: Option<u32>) -> Option<usize> {
    let study = Some(study.config.run.jobs).filter(|_| study.config.run.device != "cuda");
    let said = [asked, host.jobs, study];
    said.into_iter().flatten().find(|jobs| *jobs > 0).map(|jobs| jobs as usize)
}

/// The same options with no bound but the places that the hosts have.
pub fn unbounded(options: &RunOptions) -> RunOptions {
    RunOptions { jobs: MOST, ..options.clone() }
}

/// Clients that the server lets in at a time: more than any hosts have places.
const MOST: usize = 4096;

fn certs(study: &Study, host: &DockerHost) -> Option<PathBuf> {
    host.certs.as_deref().map(|folder| study.resolve(folder))
}

fn setup(
    place: &Place,
    study: &Study,
    plan: &Plan,
    asked_jobs: Option<u32>,
    begun: BTreeSet<String>,
) -> Result<(HostsSetup, SocketAddr), Failure> {
    let policy = policy(study)?;
    let (listen, _) =
        cluster::addresses(place.listen, policy.server.as_deref(), || Some(String::new()))?;
    let server = |host: &DockerHost| {
        if let Some(said) = host.server.as_ref().or(policy.server.as_ref()) {
            return Ok(Some(said.clone()));
        }
        if host.address.starts_with("unix://") {
            return Ok(None);
        }
        cluster::addresses(place.listen, None, cluster::hostname)
            .map(|(listen, name)| Some(name.unwrap_or_else(|| listen.ip().to_string())))
    };
    let hosts = policy.hosts.iter().map(|host| {
        Ok(HostSetup {
            name: host.name(),
            address: host.address.clone(),
            certs: certs(study, host),
            jobs: jobs(study, host, asked_jobs),
            class: host.class.clone(),
            gpus: host.gpus.clone(),
            server: server(host)?,
            network: host.network.clone(),
        })
    });
    let device = plan.experiments.first().map_or("cpu", |(experiment, _)| &experiment.device);
    let setup = HostsSetup {
        hosts: hosts.collect::<Result<_, Failure>>()?,
        study: study.root().to_owned(),
        label: places::study_label(study),
        device: device.to_owned(),
        begun,
        patience: Duration::from_secs(u64::from(policy.wait_seconds)),
        tell: Arc::new(|line| eprintln!("{line}")),
    };
    Ok((setup, listen))
}

/// Connects to the hosts and begins to bring them what they need. With `certified` the user gives
/// the server's certificate; else it makes one of its own.
pub async fn launching(
    args: &RunArgs,
    study: &Study,
    store: &Store,
    home: &Home,
    plan: &Plan,
    certified: bool,
) -> Result<Launching, Failure> {
    let place = &args.place;
    let Some(first) = plan.missing.first() else {
        return Ok(Launching::nowhere(place, study));
    };
    let begun = cluster::begun(store, plan)?;
    let (setup, listen) = setup(place, study, plan, args.jobs, begun)?;
    let likely = cluster::likely(study, home, first, listen);
    let launcher = HostsLauncher::start(setup, &likely)
        .await
        .map_err(|error| places::explain(runner::LaunchError::Hosts(error)))?;
    let mut config = places::config(study, Listen::Tcp(listen));
    config.limits.sessions = config.limits.sessions.max(MOST);
    if !listen.ip().is_loopback() && !certified {
        config.tls = Some(Tls::own().map_err(access::explain)?);
    }
    Ok(Launching::elsewhere(AnyLauncher::Hosts(Box::new(launcher)), config))
}

/// Says on standard error where the runs would go, for `--dry-run`.
pub fn preview(args: &RunArgs, study: &Study, plan: &Plan) -> Result<(), Failure> {
    if args.place.executor != Executor::Hosts {
        return Ok(());
    }
    let hosts = &policy(study)?.hosts;
    let names: Vec<String> =
        hosts.iter().map(|host| format!("{} ({})", host.name(), host.address)).collect();
    let bugs: BTreeSet<_> = plan.missing.iter().map(|run| &run.experiment.bug).collect();
    eprintln!(
        "{} runs of {} bugs would be shared by {} hosts, each bug on one of them: {}",
        plan.missing.len(),
        bugs.len(),
        hosts.len(),
        names.join(", ")
    );
    Ok(())
}

/// What was seen of a host.
pub struct Seen {
    /// Its name and address.
    pub name: String,
    /// What its daemon says, or why there is no answer.
    pub says: Result<DaemonInfo, String>,
    /// The class that the study says it is of.
    pub class: Option<String>,
    /// Bugs whose runs go there.
    pub bugs: usize,
}

impl Seen {
    /// What people want to know of it, in a line.
    pub fn line(&self) -> String {
        let Self { name, says, class, bugs } = self;
        let class = class.as_ref().map_or(String::new(), |class| format!(", class {class}"));
        match says {
            Ok(info) => format!(
                "{name}: Docker {}, {} processors, {} GiB, {} on {}{class}, {bugs} bugs go there",
                info.version,
                info.processors,
                info.memory >> 30,
                info.operating_system,
                info.architecture
            ),
            Err(why) => format!("{name}: {why}"),
        }
    }
}

/// Asks every host of a study, none of them longer than `within`.
pub async fn look(study: &Study, within: Duration) -> Vec<Seen> {
    let Some(policy) = &study.config.docker else { return Vec::new() };
    let placed = runner::hosts_of_bugs(study.root());
    let all = policy.hosts.iter().map(|host| async {
        let certs = certs(study, host);
        let connect = Docker::connect_with(&host.address, certs.as_deref());
        let says = match tokio::time::timeout(within, connect).await {
            Ok(Ok(docker)) => Ok(docker.info().clone()),
            Ok(Err(error)) => Err(ContainerError::brief(&error)),
            Err(_) => Err(format!("no answer within {} seconds", within.as_secs())),
        };
        let name = host.name();
        let bugs = placed.values().filter(|its| **its == name).count();
        let name = format!("{name} ({})", host.address);
        Seen { name, says, class: host.class.clone(), bugs }
    });
    join_all(all).await
}
