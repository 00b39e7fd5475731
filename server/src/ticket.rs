//! Tickets: each lets one process hold one run.
//!
//! A ticket names its run and the moment it was issued, under a code (HMAC-SHA-256) that only the
//! holder of the study's `server.key` can make. A restarted server therefore accepts the tickets
//! of the one before, without keeping a list. Of two tickets for one run the newer one wins.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use study::{ExperimentId, RunKey, Study};

use crate::error::ServerError;

/// A ticket's text. It is as good as a password for its run, so it is not printed in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    /// A ticket for one run of a study, made beside a server that may be running or not. It is
    /// newer than those before it as far as the clocks of their machines agree.
    ///
    /// # Errors
    /// [`ServerError`] if the study's key cannot be read or made.
    pub fn issue(study: &Study, key: &RunKey) -> Result<Self, ServerError> {
        Ok(Tickets::of(study)?.issue(key))
    }

    /// The text to give to the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// Makes and reads tickets.
pub(crate) struct Tickets {
    key: [u8; 64],
    newest: AtomicU64,
}

impl Tickets {
    /// The tickets of a study.
    pub(crate) fn of(study: &Study) -> Result<Self, ServerError> {
        Self::open(&study.root().join("server.key"))
    }

    /// Reads the key at `path`, or makes one that only its owner can read.
    fn open(path: &Path) -> Result<Self, ServerError> {
        let io = |source| ServerError::Io { path: path.to_owned(), source };
        if !path.exists() {
            let key = random::<64>()?;
            write_private(path, hex::encode(key).as_bytes()).map_err(io)?;
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let mut key = [0; 64];
        hex::decode_to_slice(text.trim(), &mut key)
            .map_err(|_| ServerError::Key { path: path.to_owned() })?;
        Ok(Self { key, newest: AtomicU64::new(0) })
    }

    /// A ticket for `key`, newer than all before it.
    pub(crate) fn issue(&self, key: &RunKey) -> Ticket {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let next = |newest: u64| Some(now.max(newest.saturating_add(1)));
        let before = self.newest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        let issued = before.ok().and_then(next).unwrap_or(now);
        let code = hex::encode(self.code(key, issued).finalize().into_bytes());
        Ticket(format!("rml1.{}.{}.{issued}.{code}", key.experiment, key.run))
    }

    /// The run that a ticket is for and when it was issued, if this study's key made it.
    pub(crate) fn read(&self, ticket: &str) -> Option<(RunKey, u64)> {
        let mut parts = ticket.strip_prefix("rml1.")?.rsplitn(4, '.');
        let code = hex::decode(parts.next()?).ok()?;
        let issued = parts.next()?.parse().ok()?;
        let run = parts.next()?.parse().ok()?;
        let experiment = ExperimentId::new(parts.next()?).ok()?;
        let key = RunKey { experiment, run };
        // Compares in constant time.
        self.code(&key, issued).verify_slice(&code).ok()?;
        Some((key, issued))
    }

    fn code(&self, key: &RunKey, issued: u64) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.key.into());
        mac.update(b"reproduceml/ticket/v1\0");
        mac.update(key.experiment.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(&key.run.to_be_bytes());
        mac.update(&issued.to_be_bytes());
        mac
    }
}

fn random<const N: usize>() -> Result<[u8; N], ServerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| ServerError::Random(e.to_string()))?;
    Ok(bytes)
}

/// Writes a file whole that only its owner can read; a file that came meanwhile stays.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.error),
        _ => study::files::sync_folder(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tickets_of_this_key_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.key");
        let tickets = Tickets::open(&path).unwrap();
        let experiment = ExperimentId::new("pr1.x-buggy-0123456789ab").unwrap();
        let key = RunKey { experiment, run: 7 };
        let (one, two) = (tickets.issue(&key), tickets.issue(&key));
        let (read, first) = tickets.read(one.as_str()).unwrap();
        assert_eq!(read, key);
        assert!(tickets.read(two.as_str()).unwrap().1 > first, "each is newer than the last");
        let again = Tickets::open(&path).unwrap();
        assert!(again.read(one.as_str()).is_some(), "a restarted server accepts it");
        let text = one.as_str();
        for at in 0..text.len() {
            let mut bad = text.as_bytes().to_vec();
            bad[at] ^= 1;
            let bad = String::from_utf8(bad).unwrap();
            assert!(tickets.read(&bad).is_none(), "changed at {at}");
            assert!(tickets.read(&text[..at]).is_none(), "cut at {at}");
        }
        let other = Tickets::open(&folder.path().join("other.key")).unwrap();
        assert!(other.read(text).is_none());
        assert!(!format!("{one:?}").contains("pr1"), "tickets are not printed");
    }

    #[test]
    fn the_key_is_private_and_a_wrong_one_is_explained() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.key");
        Tickets::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "no key").unwrap();
        let error = Tickets::open(&path).err().unwrap().to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
