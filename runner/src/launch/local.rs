//! Clients as processes of this machine.

use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use containers::Cancel;
use tokio::io::AsyncReadExt;

use super::exit::Tail;
use super::{Exit, Launch, LaunchError, Launcher};

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
        if launch.gpu.is_some() {
            check_gpu()?;
        }
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
            .envs(launch.gpu.iter().map(|gpu| ("CUDA_VISIBLE_DEVICES", gpu)))
            .envs(launch.scratch.iter().map(|folder| ("REPRODUCEML_TRACE", folder)))
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
            scheduler: None,
            seconds: begin.elapsed().as_secs_f64(),
            tail: tail.text(),
        })
    }
}

/// What a machine with a GPU has: NVIDIA's driver, AMD's, or Windows' under Linux.
const GPU_DEVICES: [&str; 3] = ["/dev/nvidiactl", "/dev/kfd", "/dev/dxg"];

/// Whether this machine has a GPU at all; which ones, its framework tells.
pub(super) fn check_gpu() -> Result<(), LaunchError> {
    if GPU_DEVICES.iter().any(|path| Path::new(path).exists()) {
        return Ok(());
    }
    let detail = format!("this machine has none of {}", GPU_DEVICES.join(", "));
    Err(LaunchError::NoGpu { detail })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::example as launch;

    #[tokio::test]
    async fn clients_find_the_cache() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("say");
        std::fs::write(&script, "#!/bin/sh\necho cache=$REPRODUCEML_CACHE\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = LocalLauncher::new(script.to_string_lossy());
        let with = Launch { cache: Some("/some/where".into()), ..launch(60) };
        let exit = launcher.launch(&with, &mut Vec::new(), &Cancel::new()).await.unwrap();
        assert_eq!(exit.tail, "cache=/some/where\n");
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
