//! Handing work over in arrays, and following all jobs with one look at the queue.

mod follow;
mod submit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containers::Cancel;
use study::placed::{Class, Placed};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::commands::Commands;
use crate::error::SlurmError;
use crate::job::{JobId, Over};
use crate::journal::Journal;
use crate::nodes::{self, Nodes};
use crate::work::{Setup, Work};

/// One piece of work to do.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) cancel: Cancel,
    pub(crate) done: oneshot::Sender<Result<Over, SlurmError>>,
}

/// A job that is followed.
struct Followed {
    request: Request,
    nonce: String,
    /// What `sbatch` was told; nothing of a job that an earlier call submitted, whose record has it.
    options: Vec<String>,
    class: Option<Class>,
    began: Option<Instant>,
    /// Its node, once it has one.
    node: String,
    /// Looks at the queue that did not show it, one after another.
    unseen: u32,
    cancelled: bool,
}

/// Hands work over and follows it.
pub(crate) struct Dispatcher {
    setup: Setup,
    commands: Commands,
    journal: Journal,
    placed: Placed<Class>,
    nodes: Nodes,
    /// The classes of nodes that can take the work.
    can: BTreeSet<Class>,
    /// Those that cannot, with what the cluster says of it.
    cannot: BTreeMap<Class, String>,
    longest: usize,
    jobs: BTreeMap<JobId, Followed>,
    /// Jobs of an earlier call whose work is not asked for yet, with the mark of their files.
    kept: BTreeMap<JobId, (String, PathBuf)>,
    /// Work that is not handed over yet, since the cluster takes none now.
    waiting: Vec<Request>,
    /// Work that was refused with another, whose error is the one that is told.
    refused: Vec<Request>,
    batches: u64,
    /// Reasons of waiting that were said.
    told: BTreeSet<String>,
    /// Since when the cluster does not answer.
    silent: Option<Instant>,
}

/// How long work is collected that is handed over together.
const GATHER: Duration = Duration::from_millis(150);

impl Dispatcher {
    /// Asks the cluster for its nodes and whether any of them can take the `first` work.
    pub(crate) async fn new(
        setup: Setup,
        commands: Commands,
        journal: Journal,
        first: &Work,
    ) -> Result<Self, SlurmError> {
        let placed = Placed::read(nodes::file(&setup.folder), &setup.begun)?;
        let longest = commands.longest_array().await?.min(1000) as usize;
        let nodes = Nodes::read(&commands.nodes().await?, &setup.policy);
        let kept = journal.jobs();
        let mut dispatcher = Self {
            setup,
            commands,
            journal,
            placed,
            nodes,
            can: BTreeSet::new(),
            cannot: BTreeMap::new(),
            longest,
            jobs: BTreeMap::new(),
            kept,
            waiting: Vec::new(),
            refused: Vec::new(),
            batches: 0,
            told: BTreeSet::new(),
            silent: None,
        };
        dispatcher.place(first).await?;
        Ok(dispatcher)
    }

    /// Takes requests until nobody is left to make them.
    pub(crate) async fn follow(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let every = Duration::from_secs(u64::from(self.setup.policy.poll_seconds));
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(first) = request else { return };
                    tokio::time::sleep(GATHER).await;
                    self.take(first);
                    while let Ok(next) = requests.try_recv() {
                        self.take(next);
                    }
                    self.hand_over().await;
                }
                _ = look.tick() => {
                    if !self.jobs.is_empty() {
                        self.look().await;
                    }
                    if !self.waiting.is_empty() {
                        self.hand_over().await;
                    }
                }
            }
        }
    }

    /// Takes one request: work whose job an earlier call submitted is followed, other work waits.
    fn take(&mut self, request: Request) {
        let its = |at: &Path| *at == request.work.folder;
        let known = self.kept.iter().find(|(_, (_, at))| its(at)).map(|(id, _)| *id);
        let Some((id, (nonce, _))) = known.and_then(|id| self.kept.remove_entry(&id)) else {
            self.waiting.push(request);
            return;
        };
        let (options, class) = (Vec::new(), None);
        let followed = Followed::new(request, nonce, options, class);
        self.jobs.insert(id, followed);
    }
}

impl Followed {
    fn new(request: Request, nonce: String, options: Vec<String>, class: Option<Class>) -> Self {
        Self {
            request,
            nonce,
            options,
            class,
            began: None,
            node: String::new(),
            unseen: 0,
            cancelled: false,
        }
    }

    /// Notes beside the work which job did it, where, and how it was asked for.
    fn record(&self, id: JobId, state: &str) {
        let path = self.request.work.folder.join("job.json");
        let mut record = serde_json::json!({
            "job": id.to_string(), "state": state, "node": self.node, "class": self.class,
            "sbatch": self.options,
        });
        if self.options.is_empty()
            && let Some(earlier) = std::fs::read(&path).ok()
            && let Ok(earlier) = serde_json::from_slice::<serde_json::Value>(&earlier)
            && let Some(record) = record.as_object_mut()
        {
            for key in ["class", "sbatch"] {
                record.insert(key.to_owned(), earlier.get(key).cloned().unwrap_or_default());
            }
        }
        // It is for people; the work does not depend on it.
        if let Err(error) = study::files::write_whole(&path, format!("{record:#}\n").as_bytes()) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), SlurmError> {
    study::files::write_whole(path, content)
        .map_err(|source| SlurmError::Io { path: path.to_owned(), source })
}
