//! What a study has.

use std::process::Command;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use miner::history::clone;
use study::{SlurmPolicy, Study};

use super::{Finding, size};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::nightly;

/// What is said about nights.
const NIGHTLY: &str = "nightly";

/// What a study's stages need beside the machine.
pub(super) fn needed(study: &Study) -> Vec<Finding> {
    let cluster = study.config.slurm.as_ref().map(|slurm| of_cluster(study, slurm));
    [clone_of(study)].into_iter().chain(cluster.unwrap_or_default()).collect()
}

pub(super) async fn findings(cli: &Cli) -> Vec<Finding> {
    let opened = crate::studies::open(cli)
        .and_then(|study| Ok((study.store()?.path().display().to_string(), study)));
    match opened {
        Ok((store, study)) => {
            let name = Finding::ok("study", format!("{} ({store})", study.config.study.name));
            let never = || {
                Finding::optional(
                    NIGHTLY,
                    "never",
                    "scripts/nightly/ has a crontab, systemd units and a workflow that call it",
                )
            };
            let mut all = vec![name];
            all.extend(needed(&study));
            all.extend(hosts(&study, Duration::from_secs(20)).await);
            all.extend([caches(&study), night(&study).unwrap_or_else(never)]);
            all
        }
        Err(Failure::Input(error) | Failure::Missing(error) | Failure::Stage(error)) => {
            vec![Finding::missing("study", "cannot be opened", error.to_string())]
        }
        Err(Failure::Interrupted) => vec![Finding::missing("study", "interrupted", "")],
    }
}

fn clone_of(study: &Study) -> Finding {
    let what = "clone";
    match study.config.framework.clone.as_deref() {
        None => Finding::optional(
            what,
            "study.toml names none",
            "fixes are found and built from a clone: set framework.clone, or give --repo",
        ),
        Some(address) if clone::is_address(address) => {
            let ours = clone::ours(study);
            if ours.is_dir() {
                let found = format!("{}, {}", ours.display(), size(study::prune::size(&ours)));
                Finding::ok(what, found)
            } else {
                Finding::optional(what, "not made yet", format!("`mine` clones {address}"))
            }
        }
        Some(path) => {
            let path = study.resolve(path);
            if path.is_dir() {
                Finding::ok(what, path.display().to_string())
            } else {
                Finding::missing(
                    what,
                    format!("{} is no folder", path.display()),
                    "framework.clone of study.toml expects a clone of the framework there",
                )
            }
        }
    }
}

/// Whether the cluster that the study names answers from here, and has nodes for a run and for a
/// build.
fn of_cluster(study: &Study, slurm: &SlurmPolicy) -> Vec<Finding> {
    let what = "cluster";
    let answer = Command::new("sinfo").args(["--noheader", "--format=%D %P"]).output();
    let nodes = match answer {
        Err(error) => {
            return vec![Finding::missing(
                what,
                format!("sinfo could not be started: {error}"),
                "study.toml has [slurm]: call `run` and `build --executor slurm` where Slurm's \
                 commands are",
            )];
        }
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return vec![Finding::missing(what, "Slurm does not answer", said)];
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
    };
    let said = nodes.lines().map(|line| line.trim().replacen(' ', " nodes in ", 1));
    let mut found = vec![Finding::ok(what, said.collect::<Vec<_>>().join(", "))];
    let config = &study.config;
    let device = config.run.device.as_str();
    for (what, setup, gpus, memory, keys) in [
        ("cluster, runs", slurm.clone(), slurm.gpus_for(device), config.run.memory_mib, "[slurm]"),
        (
            "cluster, builds",
            slurm.for_builds(),
            0,
            config.build.memory_mib,
            "[slurm] and [slurm.build]",
        ),
    ] {
        let options = ::slurm::asked(&setup, gpus, memory);
        let tested =
            Command::new("sbatch").arg("--test-only").args(&options).arg("--wrap=true").output();
        found.push(match tested {
            Ok(output) if output.status.success() => Finding::ok(what, options.join(" ")),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let advice = format!("no node can take it as {keys} of study.toml asks: {said}");
                Finding::optional(what, options.join(" "), advice)
            }
            Err(error) => Finding::missing(
                what,
                format!("sbatch could not be started: {error}"),
                "Slurm's commands must be on the PATH where work is handed over",
            ),
        });
    }
    found
}

/// Each Docker host that the study names, as it answers from here.
pub(super) async fn hosts(study: &Study, within: Duration) -> Vec<Finding> {
    let what = "Docker host";
    let seen = crate::hosts::look(study, within).await;
    let any = seen.iter().any(|host| host.says.is_ok());
    let advice = "`run --executor hosts` leaves it out: start its daemon, see that `docker -H \
                  ADDRESS info` answers, or take it out of docker.hosts in study.toml";
    seen.iter()
        .map(|host| match (&host.says, any) {
            (Ok(_), _) => Finding::ok(what, host.line()),
            (Err(_), true) => Finding::optional(what, host.line(), advice),
            (Err(_), false) => Finding::missing(what, host.line(), advice),
        })
        .collect()
}

fn caches(study: &Study) -> Finding {
    let bytes = study::prune::size(&study.cache_dir());
    Finding::ok("caches", format!("{} in {}", size(bytes), study.cache_dir().display()))
}

/// The last night; none if the study has had none, which few need.
pub(super) fn night(study: &Study) -> Option<Finding> {
    let what = NIGHTLY;
    Some(match nightly::last_night(study) {
        Ok(None) => return None,
        Ok(Some(at)) => match at.parse::<Timestamp>().map(since) {
            Ok(Some(hours)) if hours < 48 => Finding::ok(what, format!("{hours} hours ago")),
            Ok(Some(hours)) => Finding::optional(
                what,
                format!("{} days ago", hours / 24),
                "is it still called? nightly/summary.md is the last that was said",
            ),
            Ok(None) => Finding::optional(
                what,
                format!("{at}, which is to come"),
                "the clock was set back since",
            ),
            Err(error) => Finding::missing(what, at, error.to_string()),
        },
        Err(Failure::Input(error) | Failure::Missing(error) | Failure::Stage(error)) => {
            Finding::missing(what, "unknown", error.to_string())
        }
        Err(Failure::Interrupted) => Finding::missing(what, "interrupted", ""),
    })
}

/// Whole hours since `then`; none if that is in the future.
fn since(then: Timestamp) -> Option<i64> {
    let hours = (Timestamp::now() - then).total(Unit::Hour).ok()?;
    (hours >= -0.1).then_some(hours.max(0.0) as i64)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let now = Timestamp::now();
        assert_eq!(since(now - 50.hours()), Some(50));
        assert_eq!(since(now), Some(0));
        assert_eq!(since(now + 2.hours()), None);
    }
}
