//! How a training process is started: the seam between a plan and a machine.
//!
//! A [`Launcher`] starts one client for one run, waits for its end and says how it ended. What
//! the run achieved is not its business: the server knows that.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use containers::{Cancel, ContainerError, ContainerSpec, Docker, Ended, STUDY_LABEL};
use tokio::io::AsyncReadExt;

/// One client to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A name for people: `pr12-buggy-…/3`.
    pub name: String,
    /// The image of the artifact's toolchain (unused on this machine).
    pub image: String,
    /// The artifact's files.
    pub artifact: PathBuf,
    /// The training client, as `PYTHONPATH` takes it.
    pub client: PathBuf,
    /// Where the server listens: `unix:/path` or `tcp:host:port`.
    pub server: String,
    /// What lets the client hold exactly this run.
    pub ticket: String,
    /// A folder in which clients of one experiment find each other's arrays.
    pub cache: Option<PathBuf>,
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Memory it may use, in MiB.
    pub memory_mib: u32,
    /// How long it may take.
    pub time: Duration,
    /// Whether it needs a GPU.
    pub gpu: bool,
}

/// How a client's process ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// Its exit status, if it ended by itself.
    pub status: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// It was killed for want of memory.
    pub out_of_memory: bool,
    /// It was ended for taking too long.
    pub timed_out: bool,
    /// It was ended since the program ends.
    pub cancelled: bool,
    /// How long it ran.
    pub seconds: f64,
    /// The end of its output.
    pub tail: String,
}

/// The client's exit status when it lost its server.
pub(crate) const SERVER_LOST: i64 = 3;

impl Exit {
    /// What happened, in a few words.
    pub fn describe(&self) -> String {
        let last = self.tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let last = last.map(|line| format!(" ({line})")).unwrap_or_default();
        if self.out_of_memory {
            "it ran out of memory; raise run.memory_mib in study.toml".into()
        } else if self.timed_out {
            "it took too long and was ended; raise run.timeout_minutes in study.toml".into()
        } else if let Some(signal) = self.signal {
            format!("it was ended by signal {signal} ({}){last}", signal_name(signal))
        } else if let Some(status) = self.status {
            format!("it ended with status {status} and without results{last}")
        } else {
            format!("it ended in an unknown way{last}")
        }
    }
}

fn signal_name(signal: i64) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "killed",
        11 => "segmentation fault",
        15 => "terminated",
        _ => "see `man 7 signal`",
    }
}

/// Why a client could not be started at all.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Docker failed.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The process could not be started.
    #[error(
        "{program} could not be started: {source}; name a Python with --python, or a client with --client"
    )]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its log could not be written.
    #[error("the run's log could not be written: {0}")]
    Log(io::Error),
}

/// Starts clients somewhere.
pub trait Launcher: Sync {
    /// Starts one client, copies its output to `log`, waits for its end.
    ///
    /// # Errors
    /// Only if it could not be started or watched; how it ended is an [`Exit`].
    fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> impl Future<Output = Result<Exit, LaunchError>> + Send;
}

/// Starts clients in containers: no network, read-only, no privileges, limits. The server's
/// socket is the only thing that leads out.
pub struct DockerLauncher {
    docker: Docker,
    study_label: String,
}

impl DockerLauncher {
    /// Containers will carry `study_label`, by which leftovers are found.
    pub fn new(docker: Docker, study_label: String) -> Self {
        Self { docker, study_label }
    }

    /// Removes what an earlier, killed process left running.
    ///
    /// # Errors
    /// If the daemon refuses.
    pub async fn remove_leftovers(&self) -> Result<usize, LaunchError> {
        let labels = [(STUDY_LABEL, self.study_label.as_str()), ("reproduceml.stage", "run")];
        Ok(self.docker.remove_leftovers(&labels).await?.len())
    }

    fn spec(&self, launch: &Launch) -> ContainerSpec {
        let command = ["python3", "-m", "reproduceml_client"];
        let mut spec = ContainerSpec::new(&launch.image, &command, self.docker.sandbox_user())
            .read_only(&launch.client, "/client")
            .read_only(&launch.artifact, "/artifact")
            .env("PYTHONPATH", "/client")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", "/tmp")
            .env("REPRODUCEML_ARTIFACT", "/artifact")
            .env("REPRODUCEML_TICKET", &launch.ticket)
            .label(STUDY_LABEL, &self.study_label)
            .label("reproduceml.stage", "run");
        for (name, value) in &launch.env {
            spec = spec.env(name, value);
        }
        if let Some(cache) = &launch.cache {
            spec = spec.read_write(cache, "/cache").env("REPRODUCEML_CACHE", "/cache");
        }
        spec = match launch.server.strip_prefix("unix:").map(PathBuf::from) {
            Some(socket) => {
                let folder = socket.parent().map(PathBuf::from).unwrap_or_default();
                let name = socket.file_name().unwrap_or_default().to_string_lossy();
                spec.read_only(&folder, "/run/reproduceml")
                    .env("REPRODUCEML_SERVER", &format!("unix:/run/reproduceml/{name}"))
            }
            None => spec.env("REPRODUCEML_SERVER", &launch.server),
        };
        spec.workdir = Some("/tmp".into());
        spec.limits.memory = Some(u64::from(launch.memory_mib) << 20);
        spec.limits.processes = Some(256);
        spec.limits.time = Some(launch.time.as_secs());
        if launch.gpu {
            spec.gpus = Some(Vec::new());
        }
        spec
    }
}

impl Launcher for DockerLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let mut tail = Tail::default();
        let spec = self.spec(launch);
        let mut copy = |_stream, bytes: &[u8]| {
            tail.push(bytes);
            log.write_all(bytes)
        };
        let exit = self.docker.run(&spec, &mut copy, cancel).await?;
        Ok(Exit {
            status: exit.status,
            signal: exit.signal,
            out_of_memory: exit.oom_killed,
            timed_out: exit.timed_out,
            cancelled: exit.ended == Ended::Cancelled,
            seconds: exit.duration.as_secs_f64(),
            tail: tail.text(),
        })
    }
}

/// Starts clients as processes of this machine, for machines without Docker. Nothing is isolated.
pub struct LocalLauncher {
    program: String,
    arguments: &'static [&'static str],
}

impl LocalLauncher {
    /// The Python client is run by `python`.
    pub fn new(python: impl Into<String>) -> Self {
        Self { program: python.into(), arguments: &["-m", "reproduceml_client"] }
    }

    /// The client is a program of its own, such as the one in `clients/tch`.
    pub fn program(program: impl Into<String>) -> Self {
        Self { program: program.into(), arguments: &[] }
    }
}

impl Launcher for LocalLauncher {
    async fn launch(
        &self,
        launch: &Launch,
        log: &mut (dyn Write + Send),
        cancel: &Cancel,
    ) -> Result<Exit, LaunchError> {
        let begin = Instant::now();
        // One pipe for both outputs keeps their order.
        let (reader, writer) = io::pipe().map_err(LaunchError::Log)?;
        let reader = std::os::fd::OwnedFd::from(reader);
        let mut reader =
            tokio::net::unix::pipe::Receiver::from_owned_fd(reader).map_err(LaunchError::Log)?;
        let start = |source| LaunchError::Start { program: self.program.clone(), source };
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(self.arguments)
            .env("PYTHONPATH", &launch.client)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("REPRODUCEML_SERVER", &launch.server)
            .env("REPRODUCEML_TICKET", &launch.ticket)
            .env("REPRODUCEML_ARTIFACT", &launch.artifact)
            .envs(launch.cache.iter().map(|cache| ("REPRODUCEML_CACHE", cache)))
            .envs(&launch.env)
            .stdin(Stdio::null())
            // A group of its own, so that nothing it started outlives it.
            .process_group(0)
            .stdout(writer.try_clone().map_err(LaunchError::Log)?)
            .stderr(writer)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(start)?;
        let group = child.id();
        drop(command); // It holds the pipe's writing ends.

        let mut tail = Tail::default();
        let mut buffer = vec![0; 1 << 14];
        let deadline = tokio::time::sleep(launch.time);
        tokio::pin!(deadline);
        let (mut timed_out, mut cancelled, mut open) = (false, false, true);
        let mut ended = None;
        let drained = tokio::time::sleep(Duration::MAX);
        tokio::pin!(drained);
        let status = loop {
            if let Some(status) = ended
                && !open
            {
                break status;
            }
            tokio::select! {
                read = reader.read(&mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(n) => {
                        let bytes = buffer.get(..n).unwrap_or_default();
                        tail.push(bytes);
                        log.write_all(bytes).map_err(LaunchError::Log)?;
                    }
                },
                status = child.wait(), if ended.is_none() => {
                    ended = Some(status.map_err(start)?);
                    kill_group(group);
                    drained.as_mut().reset(tokio::time::Instant::now() + DRAIN);
                }
                // What holds the pipe without being of the group is not waited for.
                () = &mut drained, if ended.is_some() => open = false,
                () = &mut deadline, if !timed_out && ended.is_none() => {
                    timed_out = true;
                    kill_group(group);
                }
                () = cancel.cancelled(), if !cancelled && ended.is_none() => {
                    cancelled = true;
                    kill_group(group);
                }
            }
        };
        use std::os::unix::process::ExitStatusExt;
        Ok(Exit {
            status: status.code().map(i64::from),
            signal: status.signal().map(i64::from),
            out_of_memory: false,
            timed_out,
            cancelled,
            seconds: begin.elapsed().as_secs_f64(),
            tail: tail.text(),
        })
    }
}

/// How long the output of a process is read after its end.
const DRAIN: Duration = Duration::from_secs(1);

/// Kills what is left of a client's process group.
fn kill_group(group: Option<u32>) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // SAFETY: a system call without memory; a group that is gone is only reported.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

const TAIL_BYTES: usize = 4096;

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..surplus);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            status: Some(1),
            signal: None,
            out_of_memory: false,
            timed_out: false,
            cancelled: false,
            seconds: 0.1,
            tail: "Traceback\nValueError: no\n\n".into(),
        }
    }

    #[test]
    fn reasons_are_told_apart() {
        assert_eq!(
            exit().describe(),
            "it ended with status 1 and without results (ValueError: no)"
        );
        let crash = Exit { signal: Some(11), ..exit() };
        assert!(crash.describe().contains("segmentation fault"));
        assert!(Exit { out_of_memory: true, ..exit() }.describe().contains("memory_mib"));
        assert!(Exit { timed_out: true, ..exit() }.describe().contains("timeout_minutes"));
    }

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; TAIL_BYTES]);
        tail.push(b"end");
        assert_eq!(tail.text().len(), TAIL_BYTES);
        assert!(tail.text().ends_with("aend"));
    }

    fn launch(seconds: u64) -> Launch {
        Launch {
            name: "x".into(),
            image: String::new(),
            artifact: "/".into(),
            client: "/nonexistent".into(),
            server: "tcp:127.0.0.1:1".into(),
            ticket: "t".into(),
            cache: None,
            env: BTreeMap::new(),
            memory_mib: 100,
            time: Duration::from_secs(seconds),
            gpu: false,
        }
    }

    #[tokio::test]
    async fn a_process_of_this_machine_is_heard_and_its_status_seen() {
        // A client that is not there makes Python itself complain.
        let mut log = Vec::new();
        let launcher = LocalLauncher::new("python3");
        let exit = launcher.launch(&launch(60), &mut log, &Cancel::new()).await.unwrap();
        assert_eq!(exit.status, Some(1));
        assert!(String::from_utf8(log).unwrap().contains("reproduceml_client"));
        assert!(exit.tail.contains("reproduceml_client"));
    }

    #[tokio::test]
    async fn clients_find_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("say");
        std::fs::write(&script, "#!/bin/sh\necho cache=$REPRODUCEML_CACHE\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = LocalLauncher::new(script.to_string_lossy());
        let with = Launch { cache: Some("/some/where".into()), ..launch(60) };
        let exit = launcher.launch(&with, &mut Vec::new(), &Cancel::new()).await.unwrap();
        assert_eq!(exit.tail, "cache=/some/where\n");
    }

    #[tokio::test]
    async fn a_client_of_its_own_is_told_what_to_do_by_its_environment_alone() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("client");
        let text = "#!/bin/sh\necho $# $REPRODUCEML_SERVER $REPRODUCEML_TICKET\nexit 3\n";
        std::fs::write(&script, text).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = LocalLauncher::program(script.to_string_lossy());
        let exit = launcher.launch(&launch(60), &mut Vec::new(), &Cancel::new()).await.unwrap();
        assert_eq!((exit.status, exit.tail.as_str()), (Some(3), "0 tcp:127.0.0.1:1 t\n"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let launcher = LocalLauncher::new("/nonexistent/python");
        let error =
            launcher.launch(&launch(60), &mut Vec::new(), &Cancel::new()).await.unwrap_err();
        assert!(error.to_string().contains("--python"), "{error}");
    }

    #[tokio::test]
    async fn what_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("hang");
        std::fs::write(&script, "#!/bin/sh\nsleep 60\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = LocalLauncher::new(script.to_string_lossy());
        let exit = launcher.launch(&launch(1), &mut Vec::new(), &Cancel::new()).await.unwrap();
        assert!(exit.timed_out && exit.signal == Some(9), "{exit:?}");
        let cancel = Cancel::new();
        cancel.cancel();
        let exit = launcher.launch(&launch(60), &mut Vec::new(), &cancel).await.unwrap();
        assert!(exit.cancelled, "{exit:?}");
    }
}
