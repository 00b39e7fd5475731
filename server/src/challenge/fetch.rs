//! Getting a challenge's published files.
//!
//! The `curl` program does the transfer: it knows the machine's certificates and proxies. What it
//! brought is held against the published digest before it gets the file's name.

use std::path::Path;
use std::process::{Command, Stdio};

use super::files::{LONGEST, Published};

/// The environment's name for a mirror's address, or `none`.
const MIRROR: &str = "REPRODUCEML_DATA_MIRROR";

/// Where missing files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// Nowhere: they are only looked for.
    Never,
    /// From where they are published.
    Published,
    /// From `<address>/<challenge>/<file>`.
    Mirror(String),
}

impl Fetch {
    /// What the environment's `REPRODUCEML_DATA_MIRROR` says: a mirror's address, or `none` for no
    /// network; where they are published if it is not set.
    pub fn from_environment() -> Self {
        match std::env::var(MIRROR) {
            Ok(text) if text == "none" => Self::Never,
            Ok(text) if !text.is_empty() => Self::Mirror(text),
            _ => Self::Published,
        }
    }

    /// The folder's address on the network, with a slash at its end, if there is one to ask.
    fn address(&self, challenge: &str, published: &str) -> Option<String> {
        match self {
            Self::Never => None,
            Self::Published => Some(published.to_owned()),
            Self::Mirror(base) => Some(format!("{}/{challenge}/", base.trim_end_matches('/'))),
        }
    }

    /// Puts a missing file, compressed as it is published, into `folder`. The reason it could not
    /// be is for people; nothing is left in the folder then.
    pub(super) fn get(
        &self,
        folder: &Path,
        file: &Published<'_>,
        published: &str,
    ) -> Result<(), String> {
        let challenge = folder.file_name().unwrap_or_default().to_string_lossy();
        let Some(address) = self.address(&challenge, published) else {
            return Err(format!("{MIRROR} is `none`, so it was not fetched"));
        };
        let name = format!("{}.gz", file.name);
        let url = format!("{address}{name}");
        let io = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(io)?;
        let part = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).map_err(io)?;
        tracing::info!("fetching {url}");
        let output = Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--location", "--proto", "=https,http"])
            .args(["--connect-timeout", "10", "--max-time", "900", "--retry", "2"])
            .args(["--max-filesize", &LONGEST.to_string(), "--output"])
            .arg(part.path())
            .args(["--", &url])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{url} needs the program curl: {error}"))?;
        if !output.status.success() {
            return Err(format!("{url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let found = study::files::sha256_hex(&std::fs::read(part.path()).map_err(io)?);
        if found != file.packed {
            return Err(format!("{url} has SHA-256 {found}, not that of the published file"));
        }
        part.as_file().sync_all().map_err(io)?;
        part.persist(folder.join(name)).map_err(|error| io(error.error))?;
        study::files::sync_folder(folder).map_err(io)
    }
}
