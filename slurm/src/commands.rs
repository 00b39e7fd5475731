//! Slurm's own commands: the only way in which this program speaks with a cluster.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::error::SlurmError;
use crate::job::{JobId, Seen, columns};

/// Calls the commands for the jobs of one name, which are one study's.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    /// The name of all jobs.
    name: String,
    /// The user they belong to.
    user: u32,
    /// Where the commands lie; empty: on the PATH.
    programs: PathBuf,
}

/// How long a command may take. They try a controller that does not answer again by themselves.
const PATIENCE: Duration = Duration::from_secs(180);

impl Commands {
    pub(crate) fn new(name: String) -> Self {
        // SAFETY: it takes no memory and cannot fail.
        Self { name, user: unsafe { libc::getuid() }, programs: PathBuf::new() }
    }

    /// The same with commands of another folder.
    #[cfg(test)]
    pub(crate) fn within(programs: PathBuf) -> Self {
        Self { programs, ..Self::new("reproduceml-test".to_owned()) }
    }

    /// Submits a script; the job's number.
    pub(crate) async fn submit(
        &self,
        arguments: &[String],
        script: &Path,
    ) -> Result<u64, SlurmError> {
        let mut all = vec!["--parsable".to_owned(), format!("--job-name={}", self.name)];
        all.extend_from_slice(arguments);
        all.push(script.to_string_lossy().into_owned());
        let said = said(&self.call("sbatch", &all).await?, "sbatch")?;
        // `12`, or `12;cluster`.
        let number =
            said.lines().last().and_then(|line| line.split(';').next()?.trim().parse().ok());
        number.ok_or(SlurmError::Strange { program: "sbatch", said })
    }

    /// Whether a job with these arguments could ever run; if not, what `sbatch` says.
    pub(crate) async fn could_run(
        &self,
        arguments: &[String],
        script: &Path,
    ) -> Result<(), SlurmError> {
        let mut all = vec!["--test-only".to_owned()];
        all.extend_from_slice(arguments);
        all.push(script.to_string_lossy().into_owned());
        said(&self.call("sbatch", &all).await?, "sbatch").map(|_| ())
    }

    /// All jobs of the study that the cluster still knows, over or not.
    pub(crate) async fn queue(&self) -> Result<Vec<Seen>, SlurmError> {
        let arguments = [
            "--noheader".to_owned(),
            "--array".to_owned(),
            "--states=all".to_owned(),
            format!("--user={}", self.user),
            format!("--name={}", self.name),
            format!("--Format={}", columns()),
        ];
        let said = said(&self.call("squeue", &arguments).await?, "squeue")?;
        Ok(said.lines().filter_map(Seen::read).collect())
    }

    /// What the cluster's accounts say of these jobs; nothing where none are kept.
    pub(crate) async fn accounts(&self, jobs: &BTreeSet<u64>) -> Vec<Seen> {
        let list: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        let arguments = [
            "--noheader".to_owned(),
            "--parsable2".to_owned(),
            "--allocations".to_owned(),
            format!("--jobs={}", list.join(",")),
            "--format=JobID,State,ExitCode,NodeList".to_owned(),
        ];
        let answer = self.call("sacct", &arguments).await;
        let told = answer.and_then(|output| said(&output, "sacct")).unwrap_or_default();
        told.lines().filter_map(Seen::accounted).collect()
    }

    /// Cancels single jobs or tasks.
    pub(crate) async fn cancel(&self, jobs: &[JobId]) -> Result<(), SlurmError> {
        for some in jobs.chunks(500) {
            let list: Vec<String> = some.iter().map(ToString::to_string).collect();
            // It complains of those that are over, which is no failure.
            self.call("scancel", &[vec!["--quiet".to_owned()], list].concat()).await?;
        }
        Ok(())
    }

    /// Cancels all jobs of the study, waiting no longer than `limit` for the answer: this is for
    /// the last moment of a program.
    pub(crate) fn cancel_all_now(&self, limit: Duration) {
        let arguments = [format!("--user={}", self.user), format!("--name={}", self.name)];
        let mut command = std::process::Command::new(self.programs.join("scancel"));
        command.arg("--quiet").args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return };
        let end = std::time::Instant::now() + limit;
        while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `scontrol` says of all nodes, a line each.
    pub(crate) async fn nodes(&self) -> Result<String, SlurmError> {
        let arguments = ["show", "nodes", "--oneliner"].map(str::to_owned);
        said(&self.call("scontrol", &arguments).await?, "scontrol")
    }

    /// The most tasks an array may have on this cluster.
    pub(crate) async fn longest_array(&self) -> Result<u32, SlurmError> {
        let arguments = ["show", "config"].map(str::to_owned);
        let told = said(&self.call("scontrol", &arguments).await?, "scontrol")?;
        let size = told.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "MaxArraySize").then(|| value.trim().parse().ok())?
        });
        // The limit is one more than the highest index.
        Ok(size.unwrap_or(1001_u32).saturating_sub(1).max(1))
    }

    async fn call(
        &self,
        program: &'static str,
        arguments: &[String],
    ) -> Result<Output, SlurmError> {
        let mut command = tokio::process::Command::new(self.programs.join(program));
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C");
        // Habits of people that would change what is read here.
        for name in habits(std::env::vars_os().map(|(name, _)| name)) {
            command.env_remove(name);
        }
        tracing::debug!("{program} {}", arguments.join(" "));
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(source)) => Err(SlurmError::NoCommand { program, source }),
            Err(_) => Err(SlurmError::Refused {
                program,
                said: format!("timed out after {} s", PATIENCE.as_secs()),
            }),
        }
    }
}

/// Variables by which people set what commands print.
fn habits(all: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    all.filter(|name| {
        let name = name.to_string_lossy();
        ["SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_TIME_FORMAT"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    })
}

/// What a command printed, if it did its work; else what it complained of.
fn said(output: &Output, program: &'static str) -> Result<String, SlurmError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let prefix = format!("{program}: ");
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches(&prefix).trim_start_matches("error: "))
        .filter(|line| !line.is_empty())
        .collect();
    let said = if lines.is_empty() { output.status.to_string() } else { lines.join("; ") };
    Err(SlurmError::Refused { program, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_of_people_do_not_change_what_is_read() {
        let names = ["SQUEUE_FORMAT", "SACCT_FORMAT", "SBATCH_ACCOUNT", "SLURM_CONF", "PATH"];
        let removed: Vec<OsString> = habits(names.iter().map(OsString::from)).collect();
        assert_eq!(removed, ["SQUEUE_FORMAT", "SACCT_FORMAT"]);
    }
}
