//! The one thread that writes sessions' messages, many with one sync.
//!
//! While a transaction is synced, the messages of other clients gather; the next transaction takes
//! them all. A message is answered when its transaction is on disk.

use std::sync::Arc;
use std::thread::JoinHandle;

use study::store::{Holder, SessionOutcome, SessionRefusal, SessionWrite};
use study::{Store, StoreError};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::event::Event;

/// Most writes in one transaction.
const BATCH: usize = 256;

/// Why a write was not kept.
#[derive(Debug)]
pub(crate) enum LedgerError {
    /// The write itself is refused.
    Refused(SessionRefusal),
    /// Nothing could be written.
    Store(Arc<StoreError>),
    /// The ledger has ended.
    Closed,
}

type Answer = Result<SessionOutcome, LedgerError>;
type Entry = ((Holder, SessionWrite), oneshot::Sender<Answer>);

/// Sends writes to the thread; the thread ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Entry>,
}

impl Ledger {
    /// Starts the thread.
    pub(crate) fn start(
        store: Arc<Store>,
        events: broadcast::Sender<Event>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, entries) = mpsc::channel(BATCH);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write_all(&store, &events, entries))?;
        Ok((Self { queue }, thread))
    }

    /// Writes, and returns when it is on disk.
    pub(crate) async fn write(&self, holder: Holder, write: SessionWrite) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.queue.send(((holder, write), answer)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.unwrap_or(Err(LedgerError::Closed))
    }
}

fn write_all(store: &Store, events: &broadcast::Sender<Event>, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = entries.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH {
            let Ok(next) = entries.try_recv() else { break };
            batch.push(next);
        }
        let (writes, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        match store.apply_session_writes(&writes) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // A session that is gone asks again when it comes back.
                    let _ = answer.send(outcome.map_err(LedgerError::Refused));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                let _ = events.send(Event::StorageTrouble { message: error.to_string() });
                tracing::error!("{error}");
                for answer in answers {
                    let _ = answer.send(Err(LedgerError::Store(Arc::clone(&error))));
                }
            }
        }
    }
}
