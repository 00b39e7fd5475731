//! When each run's holder was last heard of.
//!
//! Who holds a run is in the store; how long it has been silent is only known to a running
//! server. After a restart every holder has the whole lease to come back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use study::RunKey;

#[derive(Debug)]
pub(crate) struct Holds {
    started: Instant,
    lease: Duration,
    heard: Mutex<HashMap<RunKey, Instant>>,
}

impl Holds {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { started: Instant::now(), lease, heard: Mutex::default() }
    }

    /// Notes that the run's holder said something.
    pub(crate) fn hear(&self, key: &RunKey) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(key.clone(), Instant::now());
    }

    /// Forgets a run that is over.
    pub(crate) fn forget(&self, key: &RunKey) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Time until the run may go to another process.
    pub(crate) fn left(&self, key: &RunKey) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = heard.get(key).copied().unwrap_or(self.started);
        self.lease.saturating_sub(last.elapsed())
    }

    /// Runs that were heard of and are not over.
    pub(crate) fn held(&self) -> Vec<RunKey> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: Vec<RunKey> = heard.keys().cloned().collect();
        held.sort();
        held
    }
}
