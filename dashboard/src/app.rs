//! What all answers share: the study, the store for reading, and the newest snapshot of both.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use study::{Store, Study};
use tokio::sync::{Semaphore, watch};

use crate::config::{Config, DashboardError};
use crate::error::Problem;
use crate::login::Sessions;
use crate::model::{Files, Snapshot, under_way};

/// A store that is written to all the time is read anew at most this often; who was told of a
/// change waits as long before looking.
pub(crate) const FRESH: Duration = Duration::from_millis(400);
/// Streams of events at once.
const STREAMS: usize = 128;
/// Pages made at once: they wait for the store and the disk, not for each other.
const WORKERS: usize = 16;

/// What all answers share.
pub(crate) struct App {
    pub study: Arc<Study>,
    pub store: Store,
    pub config: Config,
    pub address: SocketAddr,
    pub sessions: Sessions,
    pub stopped: watch::Receiver<bool>,
    pub streams: Arc<Semaphore>,
    workers: Semaphore,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    files: Option<Arc<Files>>,
    /// With the moment at which reading it began: what changed later may be missing.
    snapshot: Option<(Arc<Snapshot>, Instant)>,
}

/// A number that changes when the study does.
pub(crate) type Version = u64;

impl App {
    pub fn new(
        study: Arc<Study>,
        config: Config,
        address: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, DashboardError> {
        let path = study.root().join("study.db");
        if !path.exists() {
            // A study on which nothing but `init` ran; reading needs a file to read.
            drop(study.store()?);
        }
        let store = Store::open_read_only(&path)?;
        Ok(Self {
            study,
            store,
            config,
            address,
            sessions: Sessions::default(),
            stopped,
            streams: Arc::new(Semaphore::new(STREAMS)),
            workers: Semaphore::new(WORKERS),
            kept: Mutex::default(),
        })
    }

    /// Runs what reads the store or the disk where it may block.
    pub async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _permit = self.workers.acquire().await.map_err(Problem::internal)?;
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(Problem::internal)?
    }

    /// The study as it is now, or was at most [`FRESH`] before this was asked.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let asked = Instant::now();
        // Others wait here while one reads: they would read the same.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((snapshot, at)) = &kept.snapshot
            && asked.saturating_duration_since(*at) < FRESH
        {
            return Ok(Arc::clone(snapshot));
        }
        let began = Instant::now();
        let version = self.store.data_version()?;
        // Asked once: of a build that begins or ends meanwhile, page and stamp must say the same.
        let building = under_way(&self.study);
        let stamps = Files::stamps(&self.study, &building);
        let files = match &kept.files {
            Some(files) if files.stamps == stamps => Arc::clone(files),
            _ => Arc::new(Files::read(&self.study, stamps)),
        };
        let snapshot = match &kept.snapshot {
            Some((snapshot, _)) if snapshot.is_of(&files, version) => Arc::clone(snapshot),
            _ => Arc::new(Snapshot::read(
                &self.study,
                &self.store,
                Arc::clone(&files),
                version,
                building,
            )?),
        };
        kept.files = Some(files);
        kept.snapshot = Some((Arc::clone(&snapshot), began));
        Ok(snapshot)
    }

    /// The number of the study's state.
    pub fn version(&self) -> Result<Version, Problem> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.store.data_version()?.hash(&mut hasher);
        Files::stamps(&self.study, &under_way(&self.study)).hash(&mut hasher);
        Ok(hasher.finish())
    }
}
