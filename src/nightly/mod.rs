//! `nightly`: everything a study can do by itself within a budget, and what changed by it.

mod stages;
mod state;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use study::{NightlyPolicy, NightlyStage, Study};

use self::stages::{Budget, Outcome, StageReport};
use self::state::State;
use self::summary::Summary;
use crate::cli::{Cli, Format, NightlyArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// The exit code of a night in which something changed.
pub const CHANGED: u8 = 10;

/// Spends a night on the study.
pub async fn nightly(cli: &Cli, args: &NightlyArgs) -> Result<ExitCode, Failure> {
    let study = studies::open(cli)?;
    let policy = policy(&study, args)?;
    if args.dry_run {
        return plan(cli, &study, &policy).map(|()| ExitCode::SUCCESS);
    }
    let _night = study.lock_nightly()?;
    // Let go at once: the stages take it themselves. Held by another, none of them could begin.
    drop(study.lock()?);
    let store = study.store()?;
    let before = last_state(&study)?;
    let began = study::store::now();
    let folder = night_folder(&study, &began)?;
    let mut budget = Budget::begin(&policy, &study)?;
    let progress = Progress::new();

    let mut reports = Vec::new();
    for stage in &policy.stages {
        progress.line(&format!("{stage} begins"));
        let report = if *stage == NightlyStage::Report && !anything_finished(&store)? {
            let why = "no run has finished yet".into();
            let command = Vec::new();
            StageReport { stage: *stage, outcome: Outcome::Skipped { why }, seconds: 0.0, command }
        } else {
            stages::call(*stage, &study, &policy, &mut budget, &folder).await?
        };
        progress.line(&format!("{stage}: {}", summary::outcome(&report.outcome)));
        reports.push(report);
    }
    drop(progress);

    let now = State::read(&study, &store)?;
    let changes = now.since(before.as_ref().unwrap_or(&State::default()));
    let summary = Summary {
        study: study.config.study.name.clone(),
        began,
        since: before.map(|state| state.at),
        changed: !changes.is_empty(),
        stages: reports,
        changes,
        to_label: state::proposals(&study)?,
    };
    write(&study, &folder, &summary, &now)?;
    print(cli, &summary)?;
    let troubles: Vec<String> =
        summary.troubles().iter().map(|report| report.stage.to_string()).collect();
    if !troubles.is_empty() {
        return Err(Failure::stage(anyhow!(
            "not done: {}; {} holds what each said",
            troubles.join(", "),
            folder.display()
        )));
    }
    Ok(if summary.changed { ExitCode::from(CHANGED) } else { ExitCode::SUCCESS })
}

/// The study's policy, with what the command line says otherwise.
fn policy(study: &Study, args: &NightlyArgs) -> Result<NightlyPolicy, Failure> {
    let mut policy = study.config.nightly.clone();
    policy.hours = args.hours.unwrap_or(policy.hours);
    policy.disk_gib = args.disk_gib.unwrap_or(policy.disk_gib);
    policy.gpu_hours = args.gpu_hours.unwrap_or(policy.gpu_hours);
    if !args.stage.is_empty() {
        policy.stages.clone_from(&args.stage);
    }
    // Stages build on each other, whatever order they are written in.
    policy.stages.sort();
    policy.stages.dedup();
    policy.check().map_err(|(key, found, expected)| {
        Failure::input(anyhow!("`{key}` is {found}; expected {expected}"))
    })?;
    Ok(policy)
}

fn plan(cli: &Cli, study: &Study, policy: &NightlyPolicy) -> Result<(), Failure> {
    let mut rows = Rows::new(&["stage", "command"]);
    let mut calls = Vec::new();
    for stage in &policy.stages {
        let command = format!("reproduceml {}", stages::arguments(*stage, study, policy).join(" "));
        rows.push([stage.as_str(), &command]);
        calls.push(serde_json::json!({ "stage": stage, "command": command }));
    }
    let since = last_state(study)?.map(|state| state.at);
    eprintln!(
        "at most {} hours, {} GiB of disk and {} GPU hours; compared with {}",
        policy.hours,
        policy.disk_gib,
        policy.gpu_hours,
        since.as_deref().unwrap_or("nothing, as it is the first night")
    );
    let plan = serde_json::json!({
        "hours": policy.hours, "disk_gib": policy.disk_gib, "gpu_hours": policy.gpu_hours,
        "since": since, "stages": calls,
    });
    output::print(cli.format, &plan, &rows)
}

fn anything_finished(store: &study::Store) -> Result<bool, Failure> {
    Ok(store.run_counts()?.iter().any(|counts| counts.finished > 0))
}

fn state_file(study: &Study) -> PathBuf {
    study.nightly_dir().join("state.json")
}

/// When the last night ended well enough to be compared with, if there was one.
///
/// # Errors
/// If what it left is damaged.
pub fn last_night(study: &Study) -> Result<Option<String>, Failure> {
    Ok(last_state(study)?.map(|state| state.at))
}

fn last_state(study: &Study) -> Result<Option<State>, Failure> {
    let path = state_file(study);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::input(anyhow!("{}: {error}", path.display()))),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Failure::input(anyhow!(
            "{}: {error}; remove the file, and the next night is compared with nothing",
            path.display()
        ))
    })
}

/// A folder for what the stages say, named after the time and never one that is there.
fn night_folder(study: &Study, began: &str) -> Result<PathBuf, Failure> {
    let name: String = began.chars().filter(|c| !matches!(c, ':' | '.')).collect();
    let mut folder = study.nightly_dir().join(&name);
    // A clock that was set back must not write over another night.
    for again in 2.. {
        if !folder.exists() {
            break;
        }
        folder = study.nightly_dir().join(format!("{name}-{again}"));
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| folder.display().to_string())
        .map_err(Failure::missing)?;
    Ok(folder)
}

/// Writes the summary into the night's folder and beside it as the newest, then the state.
fn write(study: &Study, folder: &Path, summary: &Summary, now: &State) -> Result<(), Failure> {
    fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
        serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(Failure::stage)
    }
    let put = |path: PathBuf, text: &str| {
        study::files::write_whole(&path, text.as_bytes())
            .with_context(|| path.display().to_string())
            .map_err(Failure::missing)
    };
    let (markdown, summary) = (summary.markdown(), json(summary)?);
    for place in [folder, &study.nightly_dir()] {
        put(place.join("summary.md"), &markdown)?;
        put(place.join("summary.json"), &summary)?;
    }
    // Last: a night that was killed before is compared again by the next one.
    put(state_file(study), &json(now)?)
}

fn print(cli: &Cli, summary: &Summary) -> Result<(), Failure> {
    let mut rows = Rows::new(&["stage", "outcome", "seconds"]);
    for report in &summary.stages {
        rows.push([
            report.stage.to_string(),
            summary::outcome(&report.outcome),
            format!("{:.1}", report.seconds),
        ]);
    }
    match cli.format {
        Format::Table | Format::Markdown => output::print_text(&summary.markdown()),
        format => output::print(format, summary, &rows),
    }
}
