//! One container from creation to removal.

use std::io;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, KillContainerOptions, RemoveContainerOptions,
    WaitContainerOptions,
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::connect::Docker;
use crate::error::ContainerError;
use crate::spec::ContainerSpec;
use crate::watch::until_full;

/// Which of a container's two outputs some bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a container's command is no longer running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how", content = "detail")]
pub enum Ended {
    /// By itself, or killed by the kernel; see the status.
    ByItself,
    /// It ran longer than [`Limits::time`](crate::Limits::time).
    Timeout,
    /// It wrote nothing for longer than [`Limits::silence`](crate::Limits::silence).
    Silence,
    /// It broke its [`DiskLimit`](crate::DiskLimit); the sentence says how.
    Disk(String),
    /// It wrote more than [`Limits::log`](crate::Limits::log) bytes of output.
    Log,
    /// The caller cancelled it.
    Cancelled,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// Exit status of the command, if the daemon knows one.
    pub status: Option<i64>,
    /// The signal that ended the command, as far as its status tells (128 and the signal).
    pub signal: Option<i64>,
    /// Whether the kernel killed the command, or a process it started, for want of memory.
    pub oom_killed: bool,
    /// Whether it was ended for taking too long, in all or in silence.
    pub timed_out: bool,
    /// Who ended it and why.
    pub ended: Ended,
    /// From start to end.
    pub duration: Duration,
    /// Bytes of output.
    pub log_bytes: u64,
}

impl ContainerExit {
    /// Whether the command ran to its own end and returned zero.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Some(0) && self.ended == Ended::ByItself
    }
}

impl Docker {
    /// Creates a container, runs it, hands every piece of output to `log` as it comes, waits for
    /// its end or brings it about (time, silence, disk, `cancel`), and removes it.
    ///
    /// An error of `log` ends the container and is returned. If this future is dropped, removal
    /// goes on in the background as long as the runtime lives; what even that misses,
    /// [`Docker::remove_leftovers`] finds by label.
    ///
    /// # Errors
    ///
    /// [`ContainerError::Daemon`] when the daemon refuses or goes away, [`ContainerError::Log`].
    /// That the command fails is no error.
    pub async fn run(
        &self,
        spec: &ContainerSpec,
        log: &mut (dyn FnMut(LogStream, &[u8]) -> io::Result<()> + Send),
        cancel: &Cancel,
    ) -> Result<ContainerExit, ContainerError> {
        match self.run_once(spec, true, log, cancel).await {
            // Not every installation has the small init process that reaps orphans.
            Err(ContainerError::Daemon { detail, .. }) if detail.contains("docker-init") => {
                tracing::warn!("the Docker daemon has no docker-init; running without it");
                self.run_once(spec, false, log, cancel).await
            }
            result => result,
        }
    }

    async fn run_once(
        &self,
        spec: &ContainerSpec,
        with_init: bool,
        log: &mut (dyn FnMut(LogStream, &[u8]) -> io::Result<()> + Send),
        cancel: &Cancel,
    ) -> Result<ContainerExit, ContainerError> {
        let options =
            CreateContainerOptions { name: spec.name.clone(), ..CreateContainerOptions::default() };
        let body = spec.create_body(with_init);
        let created = self.client.create_container(Some(options), body).await.map_err(|e| {
            ContainerError::daemon(format!("create a container of {}", spec.image), &e)
        })?;
        for warning in created.warnings {
            tracing::warn!("Docker: {warning}");
        }
        let guard = RemoveOnDrop::new(self.client.clone(), created.id);
        let outcome = self.follow(&guard.id, spec, log, cancel).await;
        let removed = guard.remove().await;
        let exit = outcome?;
        removed?;
        Ok(exit)
    }

    async fn follow(
        &self,
        id: &str,
        spec: &ContainerSpec,
        log: &mut (dyn FnMut(LogStream, &[u8]) -> io::Result<()> + Send),
        cancel: &Cancel,
    ) -> Result<ContainerExit, ContainerError> {
        // Attached before the start, so that not a byte is missed, and without the daemon's own
        // log, which would fill its disk.
        let attach = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let mut output = self
            .client
            .attach_container(id, Some(attach))
            .await
            .map_err(|e| ContainerError::daemon("attach to a container", &e))?
            .output;
        self.client.start_container(id, None).await.map_err(|e| {
            ContainerError::daemon(format!("start a container of {}", spec.image), &e)
        })?;
        let began = Instant::now();

        let mut log_bytes: u64 = 0;
        let disk = async {
            match spec.limits.disk.clone() {
                Some(limit) => until_full(limit).await,
                None => std::future::pending().await,
            }
        };
        let total = sleep_for(spec.limits.total_time());
        tokio::pin!(disk, total);
        let ended = loop {
            let silence = sleep_for(spec.limits.silence.map(Duration::from_secs));
            tokio::select! {
                piece = output.next() => match piece {
                    None => break Ended::ByItself,
                    Some(piece) => {
                        let piece = piece
                            .map_err(|e| ContainerError::daemon("read a container's output", &e))?;
                        let (stream, bytes) = match piece {
                            LogOutput::StdErr { message } => (LogStream::Stderr, message),
                            LogOutput::StdOut { message }
                            | LogOutput::Console { message }
                            | LogOutput::StdIn { message } => (LogStream::Stdout, message),
                        };
                        log_bytes += bytes.len() as u64;
                        log(stream, &bytes).map_err(|source| ContainerError::Log { source })?;
                        if spec.limits.log.is_some_and(|limit| log_bytes > limit) {
                            break Ended::Log;
                        }
                    }
                },
                () = &mut total => break Ended::Timeout,
                () = silence => break Ended::Silence,
                sentence = &mut disk => break Ended::Disk(sentence),
                () = cancel.cancelled() => break Ended::Cancelled,
            }
        };
        // A command may close its outputs and go on: its end still counts, and its time too.
        let ended = if ended == Ended::ByItself {
            tokio::select! {
                waited = self.wait(id) => { waited?; Ended::ByItself }
                () = &mut total => Ended::Timeout,
                sentence = &mut disk => Ended::Disk(sentence),
                () = cancel.cancelled() => Ended::Cancelled,
            }
        } else {
            ended
        };
        // The daemon holds back a container's end until its output is read or nobody reads it.
        drop(output);
        if ended != Ended::ByItself {
            self.kill(id).await?;
        }
        self.exit(id, ended, began.elapsed(), log_bytes).await
    }

    /// Waits until the container is not running; its status is read afterwards.
    async fn wait(&self, id: &str) -> Result<(), ContainerError> {
        use bollard::errors::Error;
        let options = WaitContainerOptions { condition: "not-running".into() };
        let mut answers = Box::pin(self.client.wait_container(id, Some(options)));
        match answers.next().await {
            None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => Err(ContainerError::daemon("wait for a container", &error)),
        }
    }

    async fn kill(&self, id: &str) -> Result<(), ContainerError> {
        use bollard::errors::Error;
        let options = KillContainerOptions { signal: "KILL".into() };
        match self.client.kill_container(id, Some(options)).await {
            // 409: it ended by itself in the meantime.
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {
                self.wait(id).await
            }
            Err(error) => Err(ContainerError::daemon("stop a container", &error)),
        }
    }

    async fn exit(
        &self,
        id: &str,
        ended: Ended,
        duration: Duration,
        log_bytes: u64,
    ) -> Result<ContainerExit, ContainerError> {
        let state = self
            .client
            .inspect_container(id, None)
            .await
            .map_err(|e| ContainerError::daemon("inspect a container", &e))?
            .state
            .unwrap_or_default();
        let status = state.exit_code;
        let signal = status.filter(|code| (129..=192).contains(code)).map(|code| code - 128);
        Ok(ContainerExit {
            status,
            signal,
            oom_killed: state.oom_killed.unwrap_or(false),
            timed_out: matches!(ended, Ended::Timeout | Ended::Silence),
            ended,
            duration,
            log_bytes,
        })
    }
}

/// Sleeps for the time given, for ever without one.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Removes a container when it goes out of scope without having been removed.
pub(crate) struct RemoveOnDrop {
    client: Option<bollard::Docker>,
    id: String,
}

impl RemoveOnDrop {
    pub(crate) fn new(client: bollard::Docker, id: String) -> Self {
        Self { client: Some(client), id }
    }

    /// The connection and the container, as long as it is there.
    pub(crate) fn parts(&self) -> Result<(&bollard::Docker, &str), ContainerError> {
        match &self.client {
            Some(client) => Ok((client, &self.id)),
            None => Err(ContainerError::Daemon {
                action: "use a container".into(),
                detail: "it is removed already".into(),
                passing: false,
            }),
        }
    }

    pub(crate) async fn remove(mut self) -> Result<(), ContainerError> {
        match self.client.take() {
            Some(client) => remove(&client, &self.id).await,
            None => Ok(()),
        }
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let (Some(client), Ok(runtime)) =
            (self.client.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let id = std::mem::take(&mut self.id);
        runtime.spawn(async move {
            if let Err(error) = remove(&client, &id).await {
                tracing::warn!("{error}");
            }
        });
    }
}

/// Kills and removes a container with its anonymous volumes. That it is gone already is fine.
pub(crate) async fn remove(client: &bollard::Docker, id: &str) -> Result<(), ContainerError> {
    use bollard::errors::Error;
    let options = RemoveContainerOptions { force: true, v: true, link: false };
    match client.remove_container(id, Some(options)).await {
        // 404: gone. 409: somebody else is removing it at this moment.
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(ContainerError::daemon(format!("remove the container {id}"), &error)),
    }
}
