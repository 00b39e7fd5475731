//! `variance`: what the spread of a metric comes from, factor by factor.

pub mod args;
mod design;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;
use runner::{Models, Overrides, Plan};
use serde::Serialize;
use stats::variance::{Bootstrap, Cell, Table, decompose};
use study::{ArtifactRecord, BugId, Evaluation, Experiment, RunKey, RunStatus, Store, Study};

use self::args::VarianceArgs;
use self::design::Factorial;
use crate::access;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::places::{self, Launching};
use crate::progress::Progress;
use crate::run;
use crate::studies;

/// How often runs are drawn anew for intervals.
const DRAWS: usize = 2000;

/// What is written and printed.
#[derive(Debug, Serialize)]
struct Told<'a> {
    /// The folder of this factorial, in the study.
    folder: String,
    bug: &'a BugId,
    artifact: &'a ArtifactRecord,
    design: &'a Factorial,
    bootstrap: Bootstrap,
    /// By metric.
    metrics: BTreeMap<String, Table>,
}

/// Carries out the missing runs of a factorial, and takes the spread of each metric apart.
pub async fn variance(cli: &Cli, args: &VarianceArgs) -> Result<(), Failure> {
    let study = Arc::new(studies::open(cli)?);
    if args.place.client.is_some() {
        return Err(Failure::input(anyhow!(
            "--client: the factors of `variance` are the Python client's; leave the option out"
        )));
    }
    places::check(&args.place)?;
    let home = Home::for_containers(&study)?;
    // A plan on paper changes nothing, and may be asked for at any time.
    let _lock = (!args.dry_run).then(|| study.lock()).transpose()?;
    let main = study.store()?;
    let (bug, evaluation, artifact) = subject(&main, args)?;
    let models =
        Models::read(&home.client(), &study.config.framework.name).map_err(Failure::input)?;
    let base = |model: Option<&str>| experiment(&study, &main, &models, args, &bug, model);
    let design = Factorial::of(&study, args, (&bug, evaluation, &artifact), base)?;
    let name = design.name(&artifact);
    let folder = study.root().join("variance").join(&name);
    let experiments: Vec<Experiment> =
        design.cells.iter().map(|cell| cell.experiment.clone()).collect();
    let planned = |store: Option<&Store>| {
        let (all, retry) = (design.repetitions, args.retry_failed);
        runner::factorial(&study, store, &experiments, &artifact, all, retry).map_err(Failure::from)
    };
    if args.dry_run {
        let store = match folder.join("study.db").exists() {
            true => Some(Study::open(&folder)?.store()?),
            false => None,
        };
        return print_plan(cli, &design, &name, &planned(store.as_ref())?);
    }
    let source = study.config.model.source.as_deref();
    let own = runner::place(&study, &folder, source).map_err(Failure::input)?;
    let (own, store) = (Arc::new(own), Arc::new(own_store(&folder)?));
    let plan = planned(Some(&store))?;
    let summary = execute(args, &home, &study, own, store.clone(), &plan).await?;
    let failed: usize = summary.sides.iter().map(|side| side.failed).sum();
    if !summary.is_complete() {
        for side in summary.sides.iter().filter(|side| side.failed > 0) {
            let why = side.reason.clone().unwrap_or_default();
            eprintln!("{}: {} of {} runs failed: {why}", side.experiment, side.failed, side.asked);
        }
        return Err(Failure::stage(anyhow!(
            "not every run of the factorial is finished ({failed} failed), so nothing can be taken \
             apart; the same command makes the missing ones, with --retry-failed those that failed"
        )));
    }
    let runs = results(&store, &design)?;
    let bootstrap = Bootstrap { draws: DRAWS, level: 0.95, seed: study.config.study.meta_seed };
    let metrics = analyse(&design, &runs, bootstrap)?;
    let place = format!("variance/{name}");
    let told =
        Told { folder: place, bug: &bug, artifact: &artifact, design: &design, bootstrap, metrics };
    output::write_file(&folder.join("results.csv"), csv(&design, &runs).as_bytes())?;
    let json = serde_json::to_string_pretty(&told).map_err(Failure::stage)? + "\n";
    output::write_file(&folder.join("variance.json"), json.as_bytes())?;
    print(cli, &told)
}

fn own_store(folder: &std::path::Path) -> Result<Store, Failure> {
    Ok(Study::open(folder)?.store()?)
}

/// What is run: the corrected artifact of the bug, or the one that is named.
fn subject(
    store: &Store,
    args: &VarianceArgs,
) -> Result<(BugId, Evaluation, ArtifactRecord), Failure> {
    let wanted = |bug: &BugId, evaluation: Evaluation, record: &ArtifactRecord| match &args.artifact
    {
        Some(id) => record.id == *id && args.bug.as_ref().is_none_or(|known| known == bug),
        None => args.bug.as_ref() == Some(bug) && evaluation == Evaluation::Corrected,
    };
    let builds = store.builds()?;
    let found = builds.into_iter().find(|(bug, side, record)| wanted(bug, *side, record));
    let asked = match (&args.artifact, &args.bug) {
        (Some(id), _) => format!("artifact {id}"),
        (None, Some(bug)) => format!("the corrected artifact of {bug}"),
        (None, None) => "no artifact".to_owned(),
    };
    match found {
        Some((bug, side, record)) if record.is_built() => Ok((bug, side, record)),
        Some(_) => Err(Failure::input(anyhow!(
            "{asked} could not be built; `reproduceml build list` says why"
        ))),
        None => Err(Failure::input(anyhow!(
            "{asked} is not in this study; `reproduceml build list` shows what is, and \
             `reproduceml build` makes it"
        ))),
    }
}

/// The study's experiment with the bug, as `run` would plan it.
fn experiment(
    study: &Study,
    store: &Store,
    models: &Models,
    args: &VarianceArgs,
    bug: &BugId,
    model: Option<&str>,
) -> Result<Experiment, Failure> {
    let overrides = Overrides {
        bugs: vec![bug.clone()],
        epochs: args.epochs,
        model: model.map(str::to_owned),
        device: (!args.gpus.is_empty()).then(|| "cuda".to_owned()),
        ..Overrides::default()
    };
    let plan = runner::plan(study, store, &overrides, models).map_err(Failure::input)?;
    let own = plan.experiments.into_iter().find(|(e, _)| e.bug == *bug);
    own.map(|(experiment, _)| experiment).ok_or_else(|| {
        Failure::input(anyhow!("{bug}: expected a bug with both its artifacts built"))
    })
}

async fn execute(
    args: &VarianceArgs,
    home: &Home,
    study: &Arc<Study>,
    own: Arc<Study>,
    store: Arc<Store>,
    plan: &Plan,
) -> Result<runner::RunSummary, Failure> {
    let options = run::settings(study, args.jobs, &args.gpus, home, plan)?;
    let launching = if plan.missing.is_empty() {
        Launching::nowhere(&args.place, study)
    } else {
        Launching::at(&args.place, study).await?
    };
    if let Some(first) = plan.missing.iter().find(|run| run.experiment.device == "cuda") {
        let checked = launching.launcher.check_gpus(&first.artifact.image, &options.gpus).await;
        checked.map_err(places::explain)?;
    }
    plan.enter(&store)?;
    let progress = Progress::new();
    if !plan.missing.is_empty() {
        progress.line(&format!(
            "{} runs to make, {} finished before, {} at a time",
            plan.missing.len(),
            plan.finished,
            options.jobs
        ));
    }
    let tell = |event| run::show(&progress, false, &event);
    let config = access::apply(&args.access, launching.config.clone())?;
    let launcher = &launching.launcher;
    let made = runner::execute(own, store, plan, launcher, config, &options, &tell);
    made.await.map_err(run::explain)
}

/// The metrics of every run, by combination.
type Results = Vec<Vec<BTreeMap<String, f64>>>;

fn results(store: &Store, design: &Factorial) -> Result<Results, Failure> {
    let mut all = Vec::with_capacity(design.cells.len());
    for cell in &design.cells {
        let id = cell.experiment.id();
        let mut runs = Vec::new();
        for run in 0..design.repetitions {
            let key = RunKey { experiment: id.clone(), run };
            let finished =
                store.run(&key)?.is_some_and(|found| found.status == RunStatus::Finished);
            if finished {
                runs.push(stats::store::metrics_of(store, &key)?);
            }
        }
        all.push(runs);
    }
    Ok(all)
}

/// Takes apart every metric that all runs have.
fn analyse(
    design: &Factorial,
    runs: &Results,
    bootstrap: Bootstrap,
) -> Result<BTreeMap<String, Table>, Failure> {
    let mut names: Vec<&String> = runs.iter().flatten().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let mut tables = BTreeMap::new();
    for name in names {
        let cells: Option<Vec<Cell>> = design
            .cells
            .iter()
            .zip(runs)
            .map(|(cell, runs)| {
                let values: Option<Vec<f64>> =
                    runs.iter().map(|run| run.get(name).copied()).collect();
                Some(Cell { levels: cell.levels.clone(), values: values? })
            })
            .collect();
        let table =
            cells.map(|cells| decompose(&design.factors, &cells, !design.half, Some(bootstrap)));
        match table {
            Some(Ok(table)) => {
                tables.insert(name.clone(), table);
            }
            Some(Err(error)) => tracing::warn!("{name} is left out: {error}"),
            None => tracing::warn!("{name} is left out: not every run has it"),
        }
    }
    Ok(tables)
}

/// One row a run.
fn csv(design: &Factorial, runs: &Results) -> String {
    let mut names: Vec<&String> = runs.iter().flatten().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let mut head: Vec<&str> = design.factors.iter().map(|factor| factor.name.as_str()).collect();
    head.extend(["repetition", "experiment", "seed_value"]);
    head.extend(names.iter().map(|name| name.as_str()));
    let mut text = head.join(",") + "\n";
    for (cell, runs) in design.cells.iter().zip(runs) {
        for (number, run) in runs.iter().enumerate() {
            let levels = cell.levels.iter().zip(&design.factors);
            let mut row: Vec<String> =
                levels.map(|(level, factor)| factor.levels[*level].clone()).collect();
            row.push(number.to_string());
            row.push(cell.experiment.id().to_string());
            row.push(cell.experiment.seed(0).to_string());
            let value = |name: &&String| run.get(*name).map_or(String::new(), |v| format!("{v:?}"));
            row.extend(names.iter().map(value));
            text += &(row.join(",") + "\n");
        }
    }
    text
}

fn print(cli: &Cli, told: &Told<'_>) -> Result<(), Failure> {
    let head = ["metric", "source", "df", "share", "95 % interval", "sd", "F", "p"];
    let mut rows = Rows::new(&head);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for (metric, table) in &told.metrics {
        for one in &table.components {
            rows.push([
                metric.clone(),
                one.source.clone(),
                one.df.to_string(),
                one.share.map_or_else(|| "–".to_owned(), percent),
                one.interval.map_or_else(
                    || "–".to_owned(),
                    |(low, high)| format!("{} to {}", percent(low), percent(high)),
                ),
                format!("{:.3e}", one.deviation),
                one.f.map_or_else(|| "–".to_owned(), |f| format!("{f:.3}")),
                one.p_value.map_or_else(|| "–".to_owned(), |p| format!("{p:.3e}")),
            ]);
        }
        rows.push([
            metric.as_str(),
            "all",
            &(table.runs - 1).to_string(),
            "",
            &format!("mean {:.5}", table.mean),
            &format!("{:.3e}", table.deviation),
            "",
            "",
        ]);
    }
    output::print(cli.format, told, &rows)?;
    eprintln!("runs and tables are in {}", told.folder);
    Ok(())
}

fn print_plan(cli: &Cli, design: &Factorial, name: &str, plan: &Plan) -> Result<(), Failure> {
    let mut rows = Rows::new(&["factor", "levels"]);
    for factor in &design.factors {
        rows.push([factor.name.clone(), factor.levels.join(", ")]);
    }
    rows.push(["repetition".to_owned(), design.repetitions.to_string()]);
    rows.push(["combinations".to_owned(), design.cells.len().to_string()]);
    rows.push([
        "runs".to_owned(),
        format!("{} missing, {} finished", plan.missing.len(), plan.finished),
    ]);
    let value = serde_json::json!({
        "folder": format!("variance/{name}"), "factors": design.factors, "half": design.half,
        "repetitions": design.repetitions, "combinations": design.cells.len(),
        "missing": plan.missing.len(), "finished": plan.finished, "failed": plan.failed,
        "expected_seconds": plan.expected_seconds, "expected_bytes": plan.expected_bytes,
    });
    output::print(cli.format, &value, &rows)?;
    match plan.expected_seconds {
        Some(seconds) => eprintln!(
            "{} runs, one after another: about {:.0} min",
            plan.missing.len(),
            (seconds / 60.0).ceil()
        ),
        None => eprintln!("no run is finished yet, so time cannot be told"),
    }
    Ok(())
}
