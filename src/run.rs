//! `run`: train the model on both artifacts of each bug.

use std::sync::Arc;

use anyhow::anyhow;
use containers::{ContainerError, Docker};
use runner::{
    DockerLauncher, LaunchError, LocalLauncher, Overrides, Plan, RunError, RunOptions, RunSummary,
};
use server::{Listen, ServerConfig};
use study::{Store, Study};

use crate::access;
use crate::cli::{Cli, Control, Executor, RunArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::reach::{Workload, gate};
use crate::studies;

/// Carries out the missing runs of the study.
pub async fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    let study = Arc::new(studies::open(cli)?);
    if args.client.is_some() && matches!(args.executor, Executor::Docker) {
        return Err(Failure::input(anyhow!(
            "--client starts a program of this machine; add --executor local"
        )));
    }
    let home = Home::for_containers(&study)?;
    let _lock = study.lock()?;
    let store = Arc::new(study.store()?);
    let overrides = Overrides {
        bugs: args.bugs.clone(),
        runs: args.runs,
        epochs: args.epochs,
        model: args.model.clone(),
        challenge: args.challenge.clone(),
        only: args.only,
        control: args.control.map(|Control::Aa| runner::Control::Aa),
        retry_failed: args.retry_failed,
    };
    let mut plan = runner::plan(&study, &store, &overrides).map_err(Failure::input)?;
    if !args.anyway {
        let workload = Workload::of(&study, args.model.as_deref(), args.challenge.as_deref());
        gate::hold_back(&study, &workload, &args.bugs, &mut plan)?;
    }
    let jobs = jobs(&study, args);
    if args.dry_run {
        return print_plan(cli, &plan, jobs);
    }
    plan.enter(&store)?;
    if args.plan_only {
        return print_plan(cli, &plan, jobs);
    }
    let options = RunOptions { jobs, client: home.client() };
    let dashboard = match args.dashboard {
        Some(address) => {
            let handle =
                crate::dashboard::start(study.clone(), address, access::token(&args.access)?).await?;
            Progress::new().line(&format!("dashboard at {}", handle.url()));
            Some(handle)
        }
        None => None,
    };
    let summary = start(study.clone(), store, &plan, args, &options).await?;
    if let Some(dashboard) = dashboard {
        dashboard.shutdown().await;
    }
    print_summary(cli, &summary)?;
    if summary.is_complete() {
        Ok(())
    } else {
        Err(Failure::stage(anyhow!(
            "not all runs finished; the table says why. `--retry-failed` begins failed runs again"
        )))
    }
}

async fn start(
    study: Arc<Study>,
    store: Arc<Store>,
    plan: &Plan,
    args: &RunArgs,
    options: &RunOptions,
) -> Result<RunSummary, Failure> {
    let progress = Progress::new();
    let total = plan.missing.len();
    if total > 0 {
        progress.line(&format!(
            "{total} runs to make, {} finished before, {} at a time",
            plan.finished, options.jobs
        ));
    }
    let tell = |event| show(&progress, &event);
    match args.executor {
        Executor::Docker => {
            if total == 0 {
                // Nothing to start: neither Docker nor a server is needed.
                let launcher = LocalLauncher::new("");
                let config = config(&study, args, Listen::Tcp(args.listen))?;
                return runner::execute(
                    study.clone(),
                    store,
                    plan,
                    &launcher,
                    config,
                    options,
                    &tell,
                )
                .await
                .map_err(explain);
            }
            let docker = Docker::connect().await.map_err(missing_docker)?;
            let launcher = DockerLauncher::new(docker, study_label(&study));
            launcher.remove_leftovers().await.map_err(|e| explain(e.into()))?;
            // A short path: the system allows sockets about a hundred bytes of name.
            let folder = socket_folder()?;
            let config = config(&study, args, Listen::Unix(folder.path().join("server.sock")))?;
            runner::execute(study.clone(), store, plan, &launcher, config, options, &tell)
                .await
                .map_err(explain)
        }
        Executor::Local => {
            let launcher = match &args.client {
                Some(program) => LocalLauncher::program(program),
                None => LocalLauncher::new(&args.python),
            };
            let config = config(&study, args, Listen::Tcp(args.listen))?;
            runner::execute(study.clone(), store, plan, &launcher, config, options, &tell)
                .await
                .map_err(explain)
        }
    }
}

fn config(study: &Study, args: &RunArgs, listen: Listen) -> Result<ServerConfig, Failure> {
    let loopback = ServerConfig::loopback(study.root().join("data"));
    access::apply(&args.access, ServerConfig { listen: vec![listen], ..loopback })
}

/// The label by which this study's containers are found: a digest of its path.
pub fn study_label(study: &Study) -> String {
    let path = study.root().to_string_lossy().into_owned();
    study::files::sha256_hex(path.as_bytes()).chars().take(16).collect()
}

fn socket_folder() -> Result<tempfile::TempDir, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let temporary = || {
        let folder = tempfile::Builder::new().prefix("reproduceml-").tempdir()?;
        // Containers run as another user; what protects a run is its ticket.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    };
    temporary().map_err(|error: std::io::Error| {
        Failure::missing(anyhow!("no folder for the server's socket: {error}"))
    })
}

fn jobs(study: &Study, args: &RunArgs) -> usize {
    match args.jobs.unwrap_or(study.config.run.jobs) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs as usize,
    }
}

fn show(progress: &Progress, event: &runner::Progress) {
    match event {
        runner::Progress::Began { name } => tracing::info!("{name} began"),
        runner::Progress::Ended { name, failure, seconds, done, total } => {
            progress.count(*done as u64, *total as u64);
            match failure {
                Some(reason) => progress.line(&format!("[{done}/{total}] {name} failed: {reason}")),
                None => progress.line(&format!("[{done}/{total}] {name} {seconds:.1} s")),
            }
        }
    }
}

fn explain(error: RunError) -> Failure {
    match error {
        RunError::Launch(LaunchError::Container(error)) => missing_docker(error),
        RunError::Launch(error) => Failure::missing(error),
        RunError::Store(error) => error.into(),
        RunError::Server(error) => access::explain(error),
        error @ RunError::Io { .. } => Failure::missing(error),
        error => Failure::input(error),
    }
}

/// A failure of Docker, as an exit code.
pub fn missing_docker(error: ContainerError) -> Failure {
    if error.is_missing_docker() || error.is_passing() {
        Failure::missing(error)
    } else {
        Failure::stage(error)
    }
}

fn print_plan(cli: &Cli, plan: &Plan, jobs: usize) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "evaluation", "experiment", "runs", "missing"]);
    let mut entries = Vec::new();
    for (experiment, runs) in &plan.experiments {
        let id = experiment.id();
        let missing = plan.missing.iter().filter(|p| p.key.experiment == id).count();
        rows.push([
            experiment.bug.to_string(),
            experiment.evaluation.to_string(),
            id.to_string(),
            runs.to_string(),
            missing.to_string(),
        ]);
        entries.push(serde_json::json!({
            "bug": experiment.bug, "evaluation": experiment.evaluation, "experiment": id,
            "runs": runs, "missing": missing,
        }));
    }
    let seconds =
        plan.seconds_a_run.map(|one| one * plan.missing.len() as f64 / jobs.max(1) as f64);
    let value = serde_json::json!({
        "experiments": entries, "missing": plan.missing.len(), "finished": plan.finished,
        "failed": plan.failed, "expected_seconds": seconds,
    });
    output::print(cli.format, &value, &rows)?;
    match seconds {
        Some(seconds) => eprintln!("about {:.0} minutes", (seconds / 60.0).ceil()),
        None => eprintln!("no run is finished yet, so the time cannot be told"),
    }
    Ok(())
}

fn print_summary(cli: &Cli, summary: &RunSummary) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "evaluation", "asked", "finished", "failed", "reason"]);
    for side in &summary.sides {
        rows.push([
            side.bug.to_string(),
            side.evaluation.to_string(),
            side.asked.to_string(),
            side.finished.to_string(),
            side.failed.to_string(),
            side.reason.clone().unwrap_or_default(),
        ]);
    }
    output::print(cli.format, summary, &rows)
}
