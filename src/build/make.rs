//! `build` without a subcommand: makes what is missing.

use std::sync::Arc;

use anyhow::anyhow;
use builder::{BuildOptions, BuildSummary, Event, FailureClass, Outcome};

use super::args::{BuildExecutor, MakeArgs};
use super::explain;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// Builds what is missing.
pub async fn make(cli: &Cli, args: &MakeArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let home = Home::for_containers(&study)?;
    let mut options = BuildOptions::new(home.toolchains());
    options.bugs.clone_from(&args.bugs);
    options.jobs = args.jobs.unwrap_or(1) as usize;
    options.dry_run = args.dry_run;
    options.rebuild = args.rebuild;
    options.repo.clone_from(&args.repo);
    options.toolchain.clone_from(&args.toolchain);
    options.frozen = args.locked;
    options.limits = args.limits.limits();
    options.faults_dir = Some(home.faults());
    options.elsewhere = crate::store_cmd::Shared::of(&study)?.map(|store| Arc::new(store) as _);
    options.retry = match args.retry.as_deref() {
        None => None,
        Some(class) => Some(class.parse().map_err(|error| Failure::input(anyhow!("{error}")))?),
    };
    if args.executor == BuildExecutor::Slurm {
        super::cluster::hand_over(&study, args, &mut options)?;
    }
    let progress = Progress::new();
    let summary =
        builder::build(&study, &options, &|event| show(&progress, event)).await.map_err(explain)?;
    drop(progress);
    print(cli, &summary)?;
    if args.dry_run {
        explain_plan(&summary);
        return Ok(());
    }
    for bug in summary.bugs.iter().filter(|bug| !bug.mismatches.is_empty()) {
        tracing::warn!(
            "{}: its pair is refused, since its artifacts differ in more than the fix: {}",
            bug.bug,
            bug.mismatches.join("; ")
        );
    }
    for one in summary.rebuilt.iter().filter(|one| !one.same) {
        tracing::warn!("{} built again is another: {}", one.artifact.short(), one.describe());
    }
    for one in &summary.unmade {
        tracing::warn!("{} was not made: {}", one.artifact.short(), one.reason);
    }
    warn_of_pairs(&study)?;
    let other = summary.rebuilt.iter().filter(|one| !one.same).count();
    if other > 0 {
        return Err(Failure::stage(anyhow!(
            "{other} of {} artifacts are not the same when they are built again; warnings above \
             name what differs",
            summary.rebuilt.len()
        )));
    }
    conclude(&summary)
}

/// How a call ends whose builds were made as far as they could be.
fn conclude(summary: &BuildSummary) -> Result<(), Failure> {
    let of_daemon = |side: &&builder::SideBuild| match &side.outcome {
        Outcome::Failed { class, .. } => class == FailureClass::Daemon.as_str(),
        _ => false,
    };
    let cut_off = summary.bugs.iter().flat_map(|bug| &bug.sides).filter(of_daemon).count();
    if cut_off > 0 {
        // No result about a bug: the next call begins these builds again.
        return Err(Failure::missing(anyhow!(
            "{cut_off} builds were cut off because the Docker daemon failed; see that `docker info` \
             answers and call the same command again"
        )));
    }
    let refused = summary.bugs.iter().filter(|bug| !bug.mismatches.is_empty()).count();
    if refused > 0 {
        Err(Failure::stage(anyhow!(
            "{refused} pairs are refused because their two artifacts were not made alike; build \
             one side again on the machine of the other"
        )))
    } else if summary.failed == 0 && !summary.unmade.is_empty() {
        Err(Failure::stage(anyhow!(
            "{} builds came to no end on the cluster; warnings above say why, and the same command \
             makes them",
            summary.unmade.len()
        )))
    } else if summary.failed == 0 && !summary.left_out.is_empty() {
        Err(Failure::missing(anyhow!(
            "{} bugs were left out because no toolchain for them can be had here; the table says \
             why",
            summary.left_out.len()
        )))
    } else if summary.failed == 0 {
        Ok(())
    } else {
        Err(Failure::stage(anyhow!(
            "{} builds failed; the table says why, and `--retry CLASS` tries those of a class again",
            summary.failed
        )))
    }
}

/// Says which pairs no run can tell apart, and which differ in more than the fix explains.
fn warn_of_pairs(study: &study::Study) -> Result<(), Failure> {
    for pair in builder::compare(study).map_err(explain)? {
        if pair.identical {
            tracing::warn!(
                "{}: its two artifacts are the same byte for byte; its verdict is `identical` \
                 without a run",
                pair.bug
            );
        }
        for sentence in &pair.unexplained {
            tracing::warn!("{}: {sentence}", pair.bug);
        }
    }
    Ok(())
}

pub fn show(progress: &Progress, event: Event) {
    match event {
        Event::Planned { artifacts, known } => {
            if artifacts > known {
                progress.line(&format!("{} artifacts to make, {known} known", artifacts - known));
            }
        }
        Event::Image { tag, line } => {
            tracing::info!("{tag}: {}", line.trim_end());
            if line.starts_with("Step ") {
                progress.line(&format!("{tag}: {}", line.trim_end()));
            }
        }
        Event::Locked { name, file } => {
            progress.line(&format!("{name} is locked in {}", file.display()));
        }
        Event::Release { name } => progress.line(&format!("laying out {name}")),
        Event::Cleaned { what } => progress.line(&format!("removed {what}")),
        Event::Obtained { id } => progress.line(&format!("{} fetched from the store", id.short())),
        Event::Cluster(text) => progress.line(&text),
        Event::Started { id, what } => progress.line(&format!("{} {what}", id.short())),
        Event::Step { id, step } => tracing::info!("{} {step}", id.short()),
        Event::Output { id, text } => tracing::debug!("{} {}", id.short(), text.trim_end()),
        Event::Built { id, seconds, bytes } => {
            progress.line(&format!("{} built in {seconds:.1} s, {bytes} bytes", id.short()));
        }
        Event::Failed { id, class, line } => {
            progress.line(&format!("{} failed: {class}: {line}", id.short()));
        }
        Event::Warning(text) => progress.line(&format!("warning: {text}")),
    }
}

/// What a plan's table has no room for.
fn explain_plan(summary: &BuildSummary) {
    if let Some(estimate) = summary.estimate {
        eprintln!(
            "expected: about {:.0} min, {} MiB of artifacts, {} MiB while building",
            (estimate.seconds / 60.0).ceil(),
            estimate.bytes >> 20,
            estimate.scratch_bytes >> 20
        );
    }
}

fn print(cli: &Cli, summary: &BuildSummary) -> Result<(), Failure> {
    let mut rows =
        Rows::new(&["bug", "evaluation", "artifact", "strategy", "outcome", "toolchain", "why"]);
    for bug in &summary.bugs {
        for side in &bug.sides {
            let outcome = match &side.outcome {
                Outcome::Built { .. } => "built".to_owned(),
                Outcome::Reused { .. } => "there already".to_owned(),
                Outcome::Failed { class, line, .. } => format!("{class}: {line}"),
                Outcome::Pending => "pending".to_owned(),
            };
            rows.push([
                bug.bug.to_string(),
                side.evaluation.to_string(),
                side.artifact.as_ref().map(|id| id.short().to_owned()).unwrap_or_default(),
                side.strategy.to_string(),
                match side.objects.filter(|_| side.outcome == Outcome::Pending) {
                    Some(objects) => format!("{outcome}, {objects} objects"),
                    None => outcome,
                },
                bug.toolchain.name.clone(),
                bug.toolchain.reason.clone(),
            ]);
        }
    }
    for left in &summary.left_out {
        let none = String::new;
        rows.push([
            left.bug.to_string(),
            none(),
            none(),
            none(),
            "left out".to_owned(),
            none(),
            left.reason.clone(),
        ]);
    }
    output::print(cli.format, summary, &rows)
}

#[cfg(test)]
mod tests {
    use builder::{AUTO, BugBuild, SideBuild, ToolchainChoice};
    use study::{BugId, Evaluation, Strategy};

    use super::*;

    fn summary(class: FailureClass) -> BuildSummary {
        let side = SideBuild {
            evaluation: Evaluation::Buggy,
            artifact: None,
            strategy: Strategy::Source,
            commit: None,
            reason: String::new(),
            refused: None,
            outcome: Outcome::Failed {
                class: class.to_string(),
                line: String::new(),
                log: String::new(),
                line_number: None,
            },
            seconds: None,
            cache: None,
            objects: None,
        };
        let bug = BugBuild {
            bug: BugId::of_pull_request(1),
            toolchain: ToolchainChoice { name: AUTO.into(), reason: String::new() },
            sides: vec![side],
            complete: false,
            mismatches: Vec::new(),
            identical: None,
        };
        BuildSummary { bugs: vec![bug], failed: 1, ..BuildSummary::default() }
    }

    #[test]
    fn a_daemon_that_breaks_is_no_result_and_a_failed_build_is() {
        let daemon = conclude(&summary(FailureClass::Daemon));
        assert!(matches!(daemon, Err(Failure::Missing(_))), "{daemon:?}");
        for class in FailureClass::ALL.iter().filter(|class| **class != FailureClass::Daemon) {
            let ended = conclude(&summary(*class));
            assert!(matches!(ended, Err(Failure::Stage(_))), "{class}: {ended:?}");
        }
        assert!(conclude(&BuildSummary::default()).is_ok());
    }
}
