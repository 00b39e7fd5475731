//! `run --executor slurm`: what a cluster needs to know, and how its nodes reach the server.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::anyhow;
use runner::{AnyLauncher, Launch, Plan, PlannedRun, RunOptions, SlurmLauncher, SlurmSetup};
use server::{Listen, Secret, ServerConfig, Tls};
use study::{SlurmPolicy, Store, Study};

use crate::access;
use crate::cli::{Executor, Place, RunArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::places::{self, Launching};

/// What `[slurm]` of `study.toml` says.
pub fn policy(study: &Study) -> Result<&SlurmPolicy, Failure> {
    study.config.slurm.as_ref().ok_or_else(|| {
        Failure::input(anyhow!(
            "--executor slurm: study.toml has no [slurm]; expected at least `container = \"none\"`, \
             \"docker\" or \"apptainer\" there (docs/guide/cluster.md)"
        ))
    })
}

/// How runs are carried out on a cluster.
pub fn options(study: &Study, args: &RunArgs, home: &Home) -> Result<RunOptions, Failure> {
    let policy = policy(study)?;
    if !args.gpus.is_empty() {
        return Err(Failure::input(anyhow!(
            "--gpus names GPUs of this machine; with --executor slurm run.device, slurm.gpus and \
             slurm.gpu_type in study.toml say what a run gets"
        )));
    }
    let jobs = match args.jobs {
        None | Some(0) => policy.jobs,
        Some(jobs) => jobs,
    };
    // A plan alone changes nothing of the study.
    let client = if args.dry_run { home.client() } else { Home::for_nodes(study)?.client() };
    Ok(RunOptions { jobs: jobs as usize, client, gpus: Vec::new() })
}

/// Where the server listens, and the name by which nodes reach it if that is another.
pub fn addresses(
    listen: Option<SocketAddr>,
    server: Option<&str>,
    own_name: impl FnOnce() -> Option<String>,
) -> Result<(SocketAddr, Option<String>), Failure> {
    let (name, port) = match server {
        None => (None, None),
        Some(text) => match text.rsplit_once(':') {
            // An IPv6 address in brackets, or none.
            Some((name, port))
                if !port.ends_with(']') && !name.contains(':') | name.ends_with(']') =>
            {
                let port = port.parse::<u16>().map_err(|_| {
                    Failure::input(anyhow!(
                        "slurm.server is `{text}`; expected a name or a name and a port, like \
                         login1:4747"
                    ))
                })?;
                (Some(name.to_owned()), Some(port))
            }
            _ => (Some(text.to_owned()), None),
        },
    };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listen = listen.unwrap_or(SocketAddr::new(any, port.unwrap_or(0)));
    if name.is_some() || !listen.ip().is_unspecified() {
        return Ok((listen, name));
    }
    let name = own_name().ok_or_else(|| {
        Failure::input(anyhow!(
            "this machine has no name that nodes could reach it by; say `server = \"…\"` under \
             [slurm] in study.toml, or give --listen an address of this machine"
        ))
    })?;
    Ok((listen, Some(name)))
}

/// This machine's name.
pub fn hostname() -> Option<String> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the buffer is as long as is said.
    let answer = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    let text = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(text).into_owned();
    (answer == 0 && !name.is_empty() && name != "localhost").then_some(name)
}

fn setup(
    place: &Place,
    study: &Study,
    plan: &Plan,
    begun: BTreeSet<String>,
) -> Result<(SlurmSetup, SocketAddr), Failure> {
    let policy = policy(study)?;
    let (listen, server) = addresses(place.listen, policy.server.as_deref(), hostname)?;
    let device = plan.experiments.first().map_or("cpu", |(experiment, _)| &experiment.device);
    let setup = SlurmSetup {
        policy: policy.clone(),
        study: study.root().to_owned(),
        name: format!("reproduceml-{}", places::study_label(study)),
        python: place.python.clone(),
        device: device.to_owned(),
        begun,
        server,
    };
    Ok((setup, listen))
}

/// Finds the cluster, cancels what a killed call left there, and readies what its nodes need.
/// With `certified` the user gives the server's certificate; else it makes one of its own.
pub async fn launching(
    place: &Place,
    study: &Study,
    store: &Store,
    home: &Home,
    plan: &Plan,
    certified: bool,
) -> Result<Launching, Failure> {
    let Some(first) = plan.missing.first() else {
        return Ok(Launching::nowhere(place, study));
    };
    let begun = begun(store, plan)?;
    let (setup, listen) = setup(place, study, plan, begun)?;
    let sessions = setup.policy.jobs as usize * 2;
    let (launcher, left) = SlurmLauncher::start(setup, &likely(study, home, first, listen))
        .await
        .map_err(|error| places::explain(runner::LaunchError::Slurm(error)))?;
    if left > 0 {
        eprintln!("{left} jobs of a call that was killed were cancelled");
    }
    save_images(&launcher, plan).await?;
    let mut config = places::config(study, Listen::Tcp(listen));
    config.limits.sessions = config.limits.sessions.max(sessions);
    if !listen.ip().is_loopback() && !certified {
        config.tls = Some(Tls::own().map_err(access::explain)?);
    }
    Ok(Launching::elsewhere(AnyLauncher::Slurm(Box::new(launcher)), config))
}

/// The bugs that have finished runs, which others would have to match: those of a plan, and all
/// that earlier calls planned, whose record is kept with theirs.
pub fn begun(store: &Store, plan: &Plan) -> Result<BTreeSet<String>, Failure> {
    let mut begun = BTreeSet::new();
    let active = store.active_experiments()?;
    for (experiment, _) in plan.experiments.iter().chain(&active) {
        if begun.contains(experiment.bug.as_str()) {
            continue;
        }
        if !store.finished_runs(&experiment.id())?.is_empty() {
            begun.insert(experiment.bug.to_string());
        }
    }
    Ok(begun)
}

/// Writes the images of the plan's artifacts to where nodes find them.
async fn save_images(launcher: &SlurmLauncher, plan: &Plan) -> Result<(), Failure> {
    let images: BTreeSet<String> =
        plan.missing.iter().map(|run| run.artifact.image.clone()).collect();
    for (image, path) in launcher.images_to_save(&images) {
        eprintln!("writing the image {image} to {} for the nodes", path.display());
        let docker = containers::Docker::connect().await.map_err(places::missing_docker)?;
        docker.save_image(&image, &path).await.map_err(places::missing_docker)?;
    }
    Ok(())
}

/// Gives a server that others can reach a token, where the user gave none.
pub fn secured(mut config: ServerConfig) -> Result<ServerConfig, Failure> {
    let open = config.listen.iter().any(|place| match place {
        Listen::Tcp(address) => !address.ip().is_loopback(),
        Listen::Unix(_) => false,
    });
    // Over TLS of the server's own making: only who is told both gets in.
    if open && config.tls.is_some() && config.token.is_none() {
        config.token = Some(Secret::drawn().map_err(access::explain)?);
    }
    Ok(config)
}

/// Prints on standard error what the first job would be, for `--dry-run`.
pub fn preview(place: &Place, study: &Study, home: &Home, plan: &Plan) -> Result<(), Failure> {
    let Some(first) = plan.missing.first().filter(|_| place.executor == Executor::Slurm) else {
        return Ok(());
    };
    let (setup, listen) = setup(place, study, plan, BTreeSet::new())?;
    let launch = likely(study, home, first, listen);
    let slurm::Preview { options, script } = setup.preview(&launch);
    let nodes = slurm::kept_together(&setup.policy);
    let bugs: BTreeSet<_> = plan.missing.iter().map(|run| &run.experiment.bug).collect();
    eprintln!(
        "{} runs of {} bugs would become jobs named {}{nodes}, an array for each bug. The first:\n\
         sbatch {}\n{script}",
        plan.missing.len(),
        bugs.len(),
        setup.name,
        options.join(" "),
    );
    Ok(())
}

/// A run as it will be handed over, but for what only a running server knows.
pub fn likely(study: &Study, home: &Home, run: &PlannedRun, listen: SocketAddr) -> Launch {
    let config = &study.config.run;
    Launch {
        name: run.key.to_string(),
        bug: run.experiment.bug.to_string(),
        folder: study.run_dir(&run.key),
        image: run.artifact.image.clone(),
        artifact: study.artifact_dir(&run.artifact.id).join("files"),
        client: home.client(),
        server: format!("tcp:{listen}"),
        ticket: String::new(),
        cache: Some(study.cache_dir().join("arrays")),
        env: std::collections::BTreeMap::new(),
        memory_mib: config.memory_mib,
        time: std::time::Duration::from_secs(60 * u64::from(config.timeout_minutes)),
        gpu: None,
        host: None,
        scratch: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_reach_the_server_by_a_name() {
        let of = |listen: Option<&str>, server: Option<&str>| {
            let listen = listen.map(|text| text.parse().unwrap());
            addresses(listen, server, || Some("here".to_owned())).map(|(a, b)| (a.to_string(), b))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(of(None, None).unwrap(), ("0.0.0.0:0".into(), some("here")));
        assert_eq!(of(None, Some("login1:4747")).unwrap(), ("0.0.0.0:4747".into(), some("login1")));
        assert_eq!(of(None, Some("[fe80::1]:5")).unwrap(), ("0.0.0.0:5".into(), some("[fe80::1]")));
        assert_eq!(of(Some("10.0.0.1:0"), None).unwrap(), ("10.0.0.1:0".into(), None));
        let both = of(Some("10.0.0.1:9"), Some("login1")).unwrap();
        assert_eq!(both, ("10.0.0.1:9".into(), some("login1")));
        assert!(of(None, Some("login1:http")).is_err());
        assert!(addresses(None, None, || None).is_err());
    }
}
