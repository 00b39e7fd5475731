//! `run`: train the model on both artifacts of each bug.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::anyhow;
use runner::{
    Judge, LookError, Models, Overrides, Plan, RunError, RunOptions, RunSummary, SideSummary,
};
use study::{Ending, Study};

use crate::access;
use crate::cli::{Cli, Control, Executor, Format, RunArgs};
use crate::cluster;
use crate::design::{self, Costs, Looks, Standing};
use crate::failure::Failure;
use crate::home::Home;
use crate::hosts;
use crate::output::{self, Rows};
use crate::places::{self, Launching};
use crate::progress::Progress;
use crate::reach::{Workload, gate};
use crate::studies;

/// Carries out the missing runs of the study.
pub async fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    if !args.workload.is_empty() {
        return crate::own_tests::run(cli, args).await;
    }
    let study = Arc::new(studies::open(cli)?);
    places::check(&args.place)?;
    let home = Home::for_containers(&study)?;
    let _lock = study.lock()?;
    let store = Arc::new(study.store()?);
    let models =
        Models::read(&home.client(), &study.config.framework.name).map_err(Failure::input)?;
    let mut plan =
        runner::plan(&study, &store, &overrides(args)?, &models).map_err(Failure::input)?;
    if !args.anyway {
        let workload = Workload::of(&study, args.model.as_deref(), args.challenge.as_deref());
        gate::hold_back(&study, &workload, &args.bugs, &mut plan)?;
    }
    let standing =
        Standing::of(&study, &store, args, &plan, &bugs(&study, &store, args, &models)?)?;
    let options = options(&study, args, &home, &plan)?;
    if args.dry_run {
        let costs = standing.as_ref().map(|design| design.costs(&plan, &store)).transpose()?;
        print_plan(cli, &study, &plan, options.jobs, costs.as_ref())?;
        hosts::preview(args, &study, &plan)?;
        return cluster::preview(&args.place, &study, &home, &plan);
    }
    if args.plan_only {
        if let Some(design) = standing {
            let looks = design.begin(&study, &store)?;
            plan = runner::part(&plan, looks.next_stop(), &looks.ended());
        }
        plan.enter(&store)?;
        return print_plan(cli, &study, &plan, options.jobs, None);
    }
    if let Some(design) = &standing {
        // What has ended needs neither Docker nor a server.
        plan = design.rest(&study, &store, &plan);
    }
    let needed = plan.missing.iter().map(|run| &run.artifact.id);
    crate::store_cmd::fetch_missing(&study, needed).await?;
    let launching = if plan.missing.is_empty() {
        Launching::nowhere(&args.place, &study) // Neither Docker nor a server is needed.
    } else if args.place.executor == Executor::Slurm {
        let certified = args.access.tls_cert.is_some();
        cluster::launching(&args.place, &study, &store, &home, &plan, certified).await?
    } else if args.place.executor == Executor::Hosts {
        let certified = args.access.tls_cert.is_some();
        hosts::launching(args, &study, &store, &home, &plan, certified).await?
    } else {
        Launching::at(&args.place, &study).await?
    };
    let on_gpu = |run: &&runner::PlannedRun| run.experiment.device == "cuda";
    if let Some(first) = plan.missing.iter().find(on_gpu) {
        let checked = launching.launcher.check_gpus(&first.artifact.image, &options.gpus).await;
        checked.map_err(places::explain)?;
    }
    // Only now: what cannot be run must not take the place of what was.
    let design_store = store.clone();
    let mut looks = standing.map(|design| design.begin(&study, &design_store)).transpose()?;
    plan.enter(&store)?;
    let progress = Progress::new();
    let total = plan.missing.len();
    if total > 0 {
        let most = if looks.is_some() { "at most " } else { "" };
        progress.line(&format!(
            "{most}{total} runs to make, {} finished before, {} at a time",
            plan.finished, options.jobs
        ));
    }
    let tell = |event| show(&progress, cli.verbose > 0, &event);
    let config = access::apply(&args.access, launching.config.clone())?;
    let dashboard = match args.dashboard {
        Some(address) => {
            let handle = crate::dashboard::start(study.clone(), address, &config).await?;
            progress.line(&format!("dashboard at {}", handle.url()));
            Some(handle)
        }
        None => None,
    };
    let config = cluster::secured(config)?;
    let launcher = &launching.launcher;
    let on_hosts = args.place.executor == Executor::Hosts;
    let options = if on_hosts { hosts::unbounded(&options) } else { options };
    let again = study.clone();
    let summary = match &mut looks {
        None => {
            let made = runner::execute(again, store, &plan, launcher, config, &options, &tell);
            made.await.map_err(explain)?
        }
        Some(looks) => {
            let made = runner::execute_by_looks(
                again, store, &plan, looks, launcher, config, &options, &tell,
            );
            made.await.map_err(|error| match error {
                LookError::Run(error) => explain(error),
                LookError::Look(failure) => failure,
            })?
        }
    };
    launcher.finish().await;
    if let Some(dashboard) = dashboard {
        dashboard.shutdown().await;
    }
    drop(progress);
    print_summary(cli, &summary, looks.as_ref())?;
    if summary.is_complete() {
        Ok(())
    } else {
        Err(Failure::stage(anyhow!(
            "not every run is finished and comparable; {}",
            advice(&summary)
        )))
    }
}

/// What to do about runs that are missing.
fn advice(summary: &RunSummary) -> &'static str {
    let failed = summary.sides.iter().any(|side| side.failed > 0);
    let invalid = summary.sides.iter().any(|side| side.invalid);
    match (failed, invalid) {
        (true, _) => "the table says why. `--retry-failed` begins failed runs again",
        (false, true) => {
            "the table says why. `--retry-failed` makes the pairs again that differ, `--allow` \
             lets a factor differ"
        }
        (false, false) => "the same command makes the missing ones",
    }
}

fn overrides(args: &RunArgs) -> Result<Overrides, Failure> {
    let allow: BTreeSet<_> = args.allow.iter().filter_map(|allow| allow.0).collect();
    if args.allow.iter().any(|allow| allow.0.is_none()) && !allow.is_empty() {
        return Err(Failure::input(anyhow!("--allow none: expected no other factor beside it")));
    }
    Ok(Overrides {
        bugs: args.bugs.clone(),
        runs: args.runs,
        epochs: args.epochs,
        model: args.model.clone(),
        challenge: args.challenge.clone(),
        only: args.only,
        control: args.control.map(|Control::Aa| runner::Control::Aa),
        retry_failed: args.retry_failed,
        allow: (!args.allow.is_empty()).then_some(allow),
        device: (!args.gpus.is_empty()).then(|| "cuda".to_owned()),
    })
}

fn options(study: &Study, args: &RunArgs, home: &Home, plan: &Plan) -> Result<RunOptions, Failure> {
    if args.place.executor == Executor::Slurm {
        return cluster::options(study, args, home);
    }
    if args.place.executor == Executor::Hosts {
        return hosts::options(study, args, home);
    }
    settings(study, args.jobs, &args.gpus, home, plan)
}

/// How a plan's runs are carried out on this machine, with the jobs and the GPUs that a call names.
pub fn settings(
    study: &Study,
    asked_jobs: Option<u32>,
    asked_gpus: &[String],
    home: &Home,
    plan: &Plan,
) -> Result<RunOptions, Failure> {
    let cuda = plan.experiments.iter().any(|(experiment, _)| experiment.device == "cuda");
    let (jobs, gpus) = parallel(study, asked_jobs, asked_gpus, cuda)?;
    Ok(RunOptions { jobs, client: home.client(), gpus })
}

/// How many runs go at the same time, and on which GPUs.
pub fn parallel(
    study: &Study,
    asked_jobs: Option<u32>,
    asked_gpus: &[String],
    cuda: bool,
) -> Result<(usize, Vec<String>), Failure> {
    let mut gpus = asked_gpus.to_vec();
    if gpus.is_empty() {
        gpus.push("0".to_owned()); // Where study.toml asks for `cuda` and nobody says which.
    }
    let named = gpus.iter().collect::<BTreeSet<_>>().len();
    if named < gpus.len() || gpus.iter().any(String::is_empty) {
        return Err(Failure::input(anyhow!(
            "--gpus {}: expected each GPU once, like 0,1",
            gpus.join(",")
        )));
    }
    let mut jobs = match asked_jobs.unwrap_or(study.config.run.jobs) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs as usize,
    };
    if cuda {
        // A GPU takes one run at a time; as many run together as there are GPUs.
        let asked = asked_jobs.map_or(gpus.len(), |_| jobs);
        jobs = asked.min(gpus.len());
    }
    Ok((jobs, gpus))
}

/// Says what happens to runs.
pub fn show(progress: &Progress, verbose: bool, event: &runner::Progress) {
    match event {
        runner::Progress::Began { name } => tracing::info!("{name} began"),
        runner::Progress::Again { name, lost } => {
            progress.line(&format!("{name} starts over: {}: {}", lost.ending, lost.reason));
        }
        runner::Progress::Epoch { name, epoch, loss, seconds } => {
            if verbose && let Some(loss) = loss {
                progress.line(&format!("{name} epoch {epoch}: loss {loss:.6}, {seconds:.1} s"));
            }
        }
        runner::Progress::Ended { name, failure, seconds, done, total } => {
            progress.count(*done as u64, *total as u64);
            match failure {
                Some(failed) => {
                    let reason = failed.reason.lines().next().unwrap_or_default();
                    let how = failed.ending;
                    progress.line(&format!("[{done}/{total}] {name} failed: {how}: {reason}"));
                }
                None if verbose => {
                    progress.line(&format!("[{done}/{total}] {name} {seconds:.1} s"));
                }
                None => {}
            }
        }
    }
}

/// Why runs could not be carried out, as an exit code.
pub fn explain(error: RunError) -> Failure {
    match error {
        RunError::Launch(error) => places::explain(error),
        RunError::Store(error) => error.into(),
        RunError::Server(error) => access::explain(error),
        error @ RunError::Io { .. } => Failure::missing(error),
        error => Failure::input(error),
    }
}

fn print_plan(
    cli: &Cli,
    study: &Study,
    plan: &Plan,
    jobs: usize,
    costs: Option<&Costs>,
) -> Result<(), Failure> {
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
    let seconds = plan.expected_seconds.map(|seconds| seconds / jobs.max(1) as f64);
    let free = containers::free_bytes(study.root()).ok();
    let mut value = serde_json::json!({
        "experiments": entries, "missing": plan.missing.len(), "finished": plan.finished,
        "failed": plan.failed, "expected_seconds": seconds,
        "expected_bytes": plan.expected_bytes, "free_bytes": free,
    });
    if let Some(costs) = costs {
        value["design"] = serde_json::to_value(costs).map_err(Failure::stage)?;
    }
    output::print(cli.format, &value, &rows)?;
    if let Some(costs) = costs {
        if matches!(cli.format, Format::Table | Format::Markdown) {
            output::print_text("\n")?;
            output::print(cli.format, &value, &costs.rows())?;
        }
        eprintln!("{}", costs.remark());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    match (seconds, plan.expected_bytes) {
        (Some(seconds), Some(bytes)) => {
            let free = free.map_or(String::new(), |free| format!(", {} MiB are free", mib(free)));
            eprintln!(
                "{} runs, {jobs} at a time: about {:.0} min and {} MiB of disk{free}",
                plan.missing.len(),
                (seconds / 60.0).ceil(),
                mib(bytes)
            );
        }
        _ => eprintln!(
            "{} runs, {jobs} at a time; no run is finished yet, so time and disk cannot be told",
            plan.missing.len()
        ),
    }
    Ok(())
}

fn print_summary(
    cli: &Cli,
    summary: &RunSummary,
    looks: Option<&Looks<'_>>,
) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "evaluation", "asked", "finished", "failed", "reason"]);
    for side in &summary.sides {
        let why = if side.invalid { side.reason.clone() } else { None };
        rows.push([
            side.bug.to_string(),
            side.evaluation.to_string(),
            side.asked.to_string(),
            side.finished.to_string(),
            side.failed.to_string(),
            why.unwrap_or_default(),
        ]);
        for line in notes(side) {
            rows.push(["", "", "", "", "", &line]);
        }
    }
    let Some(looks) = looks else { return output::print(cli.format, summary, &rows) };
    for (bug, side, text) in design::lines(looks.record()) {
        rows.push([&bug, &side, "", "", "", &text]);
    }
    for (subject, why) in looks.held() {
        let bug = subject.bug.as_str();
        rows.push([
            bug,
            subject.evaluation.as_str(),
            "",
            "",
            "",
            &format!("its look waits: {why}"),
        ]);
    }
    let mut value = serde_json::to_value(summary).map_err(Failure::stage)?;
    value["looks"] = serde_json::to_value(&looks.record().looks).map_err(Failure::stage)?;
    output::print(cli.format, &value, &rows)
}

/// The bugs that the study can run now, for a sequential design to share its error among; none
/// where it has no design.
fn bugs(
    study: &Study,
    store: &study::Store,
    args: &RunArgs,
    models: &Models,
) -> Result<BTreeSet<study::BugId>, Failure> {
    if study.config.run.design.is_none() {
        return Ok(BTreeSet::new());
    }
    let all = Overrides { bugs: Vec::new(), ..overrides(args)? };
    let plan = runner::plan(study, store, &all, models).map_err(Failure::input)?;
    let mut bugs: BTreeSet<_> = plan.experiments.into_iter().map(|(e, _)| e.bug).collect();
    if !args.anyway {
        let workload = Workload::of(study, args.model.as_deref(), args.challenge.as_deref());
        let blind = gate::out_of_reach(study, &workload)?;
        bugs.retain(|bug| !blind.contains_key(bug));
    }
    Ok(bugs)
}

/// What the table says beneath a side: how runs ended, and what was allowed to differ.
fn notes(side: &SideSummary) -> Vec<String> {
    let mut lines: Vec<String> = side
        .endings
        .iter()
        .map(|group| {
            let runs: Vec<String> = group.runs.iter().map(ToString::to_string).collect();
            let again = if group.starts_over && group.ending != Ending::Stopped {
                "; it starts over at the next call"
            } else {
                ""
            };
            let plural = if runs.len() == 1 { "run" } else { "runs" };
            format!("{plural} {}: {}: {}{again}", runs.join(", "), group.ending, group.reason)
        })
        .collect();
    if let Some(tolerated) = &side.tolerated {
        lines.push(format!("allowed to differ: {tolerated}"));
    }
    lines
}
