//! Calling a night's stages: each is the program itself, as a person would call it, within what
//! is left of the budget.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use study::{NightlyPolicy, NightlyStage, Study};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// How often the disk is looked at while a stage runs.
const LOOK: Duration = Duration::from_secs(10);

/// How long a stage that was asked to end may take to leave things in order.
const GRACE: Duration = Duration::from_secs(60);

/// How a stage came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It did all there was to do.
    Done,
    /// It finished, with failures that are results.
    Failures,
    /// It could not do its work.
    Trouble {
        /// The last thing it said.
        why: String,
    },
    /// It was ended because a budget was used up; the next night goes on.
    Budget {
        /// Which one.
        which: &'static str,
    },
    /// It was not called.
    Skipped {
        /// Why.
        why: String,
    },
}

/// One stage of a night.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// The stage.
    pub stage: NightlyStage,
    /// How it came out.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Seconds it took.
    pub seconds: f64,
    /// What was called.
    pub command: Vec<String>,
}

/// What a night has left.
pub struct Budget {
    deadline: Instant,
    /// Bytes below which free space must not fall on the night's account.
    floor: u64,
    gpu: Duration,
    on_gpus: bool,
}

impl Budget {
    /// The budget of a night that begins now.
    ///
    /// # Errors
    /// If the disk's free space cannot be read.
    pub fn begin(policy: &NightlyPolicy, study: &Study) -> Result<Self, Failure> {
        let free = free(study.root())?;
        // A policy is checked to be finite and positive; a century is as good as for ever.
        let hours = |hours: f64| Duration::from_secs_f64(hours.min(876_000.0) * 3600.0);
        Ok(Self {
            deadline: Instant::now() + hours(policy.hours),
            floor: free.saturating_sub((policy.disk_gib * f64::from(1 << 30)) as u64),
            gpu: hours(policy.gpu_hours),
            on_gpus: study.config.run.device == "cuda",
        })
    }

    /// Why `stage` may not begin, if so; else how long it may take and by which budget.
    fn of(&self, stage: NightlyStage) -> Result<(Duration, &'static str), String> {
        let time = self.deadline.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return Err("the night's hours are used up".into());
        }
        if stage != NightlyStage::Run || !self.on_gpus {
            return Ok((time, "time"));
        }
        if self.gpu.is_zero() {
            return Err("the policy states no GPU hours ([nightly] gpu_hours)".into());
        }
        Ok(if self.gpu < time { (self.gpu, "GPU hours") } else { (time, "time") })
    }
}

fn free(folder: &Path) -> Result<u64, Failure> {
    containers::free_bytes(folder)
        .with_context(|| format!("{}: its free space cannot be read", folder.display()))
        .map_err(Failure::stage)
}

/// The arguments of a stage's call.
pub fn arguments(stage: NightlyStage, study: &Study, policy: &NightlyPolicy) -> Vec<String> {
    let root = study.root().display().to_string();
    let mut arguments: Vec<String> =
        ["--study", &root, "--format", "json", stage.as_str()].map(String::from).into();
    if stage == NightlyStage::Gc {
        arguments.extend(["--keep-days".to_owned(), policy.keep_days.to_string()]);
    }
    arguments.extend(policy.arguments.get(&stage).into_iter().flatten().cloned());
    arguments
}

/// Calls a stage and waits for its end or the end of a budget. What it says goes to
/// `<stage>.log` in `folder`, its result to `<stage>.json`.
///
/// # Errors
/// If the program cannot be called at all.
pub async fn call(
    stage: NightlyStage,
    study: &Study,
    policy: &NightlyPolicy,
    budget: &mut Budget,
    folder: &Path,
) -> Result<StageReport, Failure> {
    let command = arguments(stage, study, policy);
    let begun = Instant::now();
    let report = |outcome, begun: Instant| StageReport {
        stage,
        outcome,
        seconds: begun.elapsed().as_secs_f64(),
        command: std::iter::once("reproduceml".to_owned()).chain(command.clone()).collect(),
    };
    let (limit, which) = match budget.of(stage) {
        Ok(limit) => limit,
        Err(why) => return Ok(report(Outcome::Skipped { why }, begun)),
    };
    let log = folder.join(format!("{stage}.log"));
    let mut child = spawn(&command, &log, &folder.join(format!("{stage}.json")))?;
    let ended = watch(&mut child, study, budget, limit, which).await?;
    if stage == NightlyStage::Run && budget.on_gpus {
        // One GPU at least was in use all the while.
        budget.gpu = budget.gpu.saturating_sub(begun.elapsed());
    }
    let outcome = match ended {
        Ended::Budget(which) => Outcome::Budget { which },
        Ended::Itself(status) => match status.code() {
            Some(0) => Outcome::Done,
            Some(1) => Outcome::Failures,
            _ => Outcome::Trouble { why: last_words(&log, status) },
        },
    };
    Ok(report(outcome, begun))
}

enum Ended {
    Itself(ExitStatus),
    Budget(&'static str),
}

fn spawn(arguments: &[String], log: &Path, result: &Path) -> Result<Child, Failure> {
    let open = |path: &Path| -> Result<File, Failure> {
        File::create(path).with_context(|| path.display().to_string()).map_err(Failure::missing)
    };
    let program: PathBuf = std::env::current_exe()
        .context("the program's own file cannot be found")
        .map_err(Failure::stage)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .env_remove("REPRODUCEML_STUDY")
        .stdin(Stdio::null())
        .stdout(open(result)?)
        .stderr(open(log)?);
    // SAFETY: prctl is one system call that allocates nothing and touches no lock.
    unsafe {
        // A stage must not outlive a night that was killed: it would hold the study for ever.
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.spawn().context("a stage cannot be started").map_err(Failure::stage)
}

async fn watch(
    child: &mut Child,
    study: &Study,
    budget: &Budget,
    limit: Duration,
    which: &'static str,
) -> Result<Ended, Failure> {
    let deadline = tokio::time::Instant::now() + limit;
    let wait = |status: std::io::Result<ExitStatus>| {
        status.context("waiting for a stage").map_err(Failure::stage)
    };
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Ended::Itself(wait(status)?)),
            () = tokio::time::sleep_until(deadline) => return end(child, which).await,
            () = tokio::time::sleep(LOOK) => {
                if free(study.root())? < budget.floor {
                    return end(child, "disk").await;
                }
            }
        }
    }
}

/// Asks a stage to end as Ctrl-C would, so that it can be called again and goes on.
async fn end(child: &mut Child, which: &'static str) -> Result<Ended, Failure> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // SAFETY: kill has no memory to break; the child is not waited for yet, so the number is
        // still its own.
        unsafe { libc::kill(pid, libc::SIGINT) };
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await.context("ending a stage").map_err(Failure::stage)?;
    }
    Ok(Ended::Budget(which))
}

/// What a stage said last about why it ended.
fn last_words(log: &Path, status: ExitStatus) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = text.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let line = error.or_else(|| text.lines().rev().map(str::trim).find(|line| !line.is_empty()));
    match line {
        Some(line) => line.to_owned(),
        None => format!("it ended without a word ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(hours: u64, gpu: u64, on_gpus: bool) -> Budget {
        let hour = |n: u64| Duration::from_secs(n * 3600);
        Budget { deadline: Instant::now() + hour(hours), floor: 0, gpu: hour(gpu), on_gpus }
    }

    #[test]
    fn a_stage_gets_the_smaller_budget() {
        let which = |budget: Budget, stage| budget.of(stage).map(|(_, which)| which);
        assert_eq!(which(budget(8, 2, true), NightlyStage::Run), Ok("GPU hours"));
        assert_eq!(which(budget(1, 2, true), NightlyStage::Run), Ok("time"));
        assert_eq!(which(budget(8, 2, true), NightlyStage::Build), Ok("time"));
        assert_eq!(which(budget(8, 0, false), NightlyStage::Run), Ok("time"));
        assert!(which(budget(8, 0, true), NightlyStage::Run).unwrap_err().contains("gpu_hours"));
        assert!(which(budget(0, 9, true), NightlyStage::Mine).unwrap_err().contains("used up"));
    }

    #[test]
    fn the_error_is_what_a_stage_said_last() {
        use std::os::unix::process::ExitStatusExt;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("mine.log");
        let status = ExitStatus::from_raw(3 << 8);
        std::fs::write(&log, "reading\nerror: no network\n  because: it is night\n").unwrap();
        assert_eq!(last_words(&log, status), "no network");
        std::fs::write(&log, "reading\nKilled\n\n").unwrap();
        assert_eq!(last_words(&log, status), "Killed");
        std::fs::write(&log, "").unwrap();
        assert!(last_words(&log, status).contains("exit status: 3"));
    }
}
