//! What can go wrong between this program and a Docker daemon.

use std::path::PathBuf;

/// A failure of the daemon or of the way to it. That a command inside a container fails is not an
/// error but a [`ContainerExit`](crate::ContainerExit).
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing answers at the daemon's address.
    #[error(
        "no Docker daemon answers at {host}: {detail}. Start it (`systemctl start docker`, or \
         `dockerd` as root), install it (`apt-get install docker.io` on Debian and Ubuntu), or \
         point DOCKER_HOST at one"
    )]
    NotRunning {
        /// The address that was tried.
        host: String,
        /// What the system said.
        detail: String,
    },
    /// The socket is there but this user may not use it.
    #[error(
        "this user may not use the Docker daemon at {host}. Run as root, or join the group that \
         owns the socket (`sudo usermod -aG docker $USER`, then log in again)"
    )]
    NotPermitted {
        /// The address that was tried.
        host: String,
    },
    /// The address is of a kind this program cannot use.
    #[error(
        "the Docker address {host} cannot be used: {detail}. Use unix:///path/to/socket, \
         tcp://host:port or ssh://user@host"
    )]
    BadHost {
        /// The address as given.
        host: String,
        /// Why it cannot be used.
        detail: String,
    },
    /// The daemon speaks an API that is too old.
    #[error(
        "the Docker daemon at {host} speaks API {found}; at least {needed} is needed (Docker \
         20.10). Update Docker"
    )]
    TooOld {
        /// The daemon's address.
        host: String,
        /// The API version it offers.
        found: String,
        /// The least one that works.
        needed: String,
    },
    /// An image is not there and nothing says how to make it.
    #[error("the image {image} is not on the Docker daemon: {advice}")]
    NoImage {
        /// The image's name.
        image: String,
        /// What to do about it.
        advice: String,
    },
    /// Making an image failed.
    #[error("making the image {image} failed: {detail}")]
    ImageBuild {
        /// The image's name.
        image: String,
        /// The daemon's message, or the last lines of the build.
        detail: String,
    },
    /// The daemon refused or broke off a request.
    #[error("the Docker daemon could not {action}: {detail}")]
    Daemon {
        /// What was asked of it, as a verb phrase.
        action: String,
        /// What it said.
        detail: String,
        /// Whether the same request may well work later (the daemon restarted, a time-out).
        passing: bool,
    },
    /// The log could not be written.
    #[error("the log of a container could not be written: {source}. Free disk space and try again")]
    Log {
        /// The cause.
        source: std::io::Error,
    },
    /// A file on this machine could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl ContainerError {
    /// Whether the user has to provide something before any container can run (exit code 3).
    #[must_use]
    pub fn is_missing_docker(&self) -> bool {
        matches!(
            self,
            Self::NotRunning { .. }
                | Self::NotPermitted { .. }
                | Self::BadHost { .. }
                | Self::TooOld { .. }
        )
    }

    /// Whether trying again later may succeed without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Daemon { passing: true, .. })
    }

    /// What is wrong in a few words, without the advice for this machine's own daemon.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::NotRunning { detail, .. } => format!("no Docker daemon answers: {detail}"),
            Self::NotPermitted { .. } => "this user may not use its Docker daemon".to_owned(),
            Self::BadHost { detail, .. } => detail.clone(),
            other => other.to_string(),
        }
    }

    /// Wraps an error of the client library, saying what was being done.
    pub(crate) fn daemon(action: impl Into<String>, error: &bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        let (detail, passing) = match error {
            Error::DockerResponseServerError { status_code, message } => {
                (message.clone(), *status_code >= 500)
            }
            Error::RequestTimeoutError => ("it did not answer in time".into(), true),
            other => (with_causes(other), true),
        };
        Self::Daemon { action: action.into(), detail, passing }
    }
}

/// An error's text followed by that of its causes, each once.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
