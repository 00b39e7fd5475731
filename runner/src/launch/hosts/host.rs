//! One Docker host: connected, made ready, watched, and connected again when it was lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use containers::{ContainerError, Docker, Network, STUDY_LABEL};
use tokio::sync::{OnceCell, watch};

use super::bring::Common;
use super::{Class, HostSetup, connect};
use crate::launch::{LaunchError, Seat};

/// What went wrong on a host.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is this machine's fault, and would be the same with any host.
    Here(LaunchError),
    /// It may pass.
    Passing(String),
    /// The host cannot take runs as it is.
    ForGood(String),
}

impl From<ContainerError> for Trouble {
    fn from(error: ContainerError) -> Self {
        if error.is_passing() { Self::Passing(error.brief()) } else { Self::ForGood(error.brief()) }
    }
}

/// A host that can take runs.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) docker: Docker,
    pub(super) class: Class,
    /// Which time it became ready.
    time: u64,
    /// The volume of each folder that was brought to it.
    pub(super) folders: tokio::sync::Mutex<BTreeMap<PathBuf, String>>,
    /// Held while an image is brought.
    pub(super) images: tokio::sync::Mutex<()>,
    /// Whether its containers reach the server.
    pub(super) reaches: OnceCell<()>,
}

/// How a host is.
#[derive(Debug)]
pub(super) enum State {
    /// It is being connected to, or brought what it needs.
    Preparing,
    /// It takes runs.
    Ready(Arc<Ready>),
    /// It takes none.
    Down {
        since: Instant,
        why: String,
        /// Nothing will change that in this call.
        for_good: bool,
    },
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Runs at a time.
    jobs: usize,
    busy: usize,
    /// GPUs that no run has.
    gpus: Vec<String>,
}

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) setup: HostSetup,
    on_gpus: bool,
    inner: Mutex<Inner>,
    /// The last time it was ready and was lost.
    losses: watch::Sender<u64>,
}

/// Between two signs of life.
const EVERY: Duration = Duration::from_secs(5);
/// How long a sign of life may take.
const SIGN: Duration = Duration::from_secs(10);
/// So many in a row must be missing.
const MISSES: u32 = 3;
/// Between two attempts to reach a host that is lost.
const AGAIN: Duration = Duration::from_secs(10);

impl Host {
    pub(super) fn new(setup: HostSetup, device: &str) -> Self {
        let on_gpus = device == "cuda";
        let mut gpus = setup.gpus.clone();
        if gpus.is_empty() && on_gpus {
            gpus.push("0".to_owned());
        }
        let inner = Inner { state: State::Preparing, jobs: 0, busy: 0, gpus };
        Self { setup, on_gpus, inner: Mutex::new(inner), losses: watch::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network of its containers.
    pub(super) fn network(&self) -> Network {
        match self.setup.network.as_str() {
            "bridge" => Network::Bridge,
            "host" => Network::Host,
            name => Network::Named(name.to_owned()),
        }
    }

    /// Whether its runs train on GPUs.
    pub(super) fn on_gpus(&self) -> bool {
        self.on_gpus
    }

    pub(super) fn ready(&self) -> Option<Arc<Ready>> {
        match &self.inner().state {
            State::Ready(ready) => Some(ready.clone()),
            State::Preparing | State::Down { .. } => None,
        }
    }

    /// What is wrong with it.
    pub(super) fn why(&self) -> String {
        match &self.inner().state {
            State::Down { why, .. } => why.clone(),
            State::Preparing => "it is being prepared".to_owned(),
            State::Ready(_) => "it was lost for a moment".to_owned(),
        }
    }

    /// Its class, if it takes runs; else whether it may do so yet.
    pub(super) fn standing(&self, patience: Duration) -> Result<Class, bool> {
        match &self.inner().state {
            State::Ready(ready) => Ok(ready.class.clone()),
            State::Preparing => Err(true),
            State::Down { since, for_good, .. } => Err(!for_good && since.elapsed() < patience),
        }
    }

    /// How many more runs it takes now.
    pub(super) fn room(&self) -> usize {
        let inner = self.inner();
        let room = inner.jobs.saturating_sub(inner.busy);
        if self.on_gpus { room.min(inner.gpus.len()) } else { room }
    }

    /// Takes a place for a run.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        if self.room() == 0 {
            return None;
        }
        let mut inner = self.inner();
        let gpu = if self.on_gpus { inner.gpus.pop() } else { None };
        inner.busy += 1;
        drop(inner);
        let held = Held { host: self.clone(), gpu: gpu.clone() };
        Some(Seat::on(self.setup.name.clone(), gpu, held))
    }

    /// Returns when the host is lost that was `ready`.
    pub(super) async fn lost(&self, ready: &Ready) {
        let mut losses = self.losses.subscribe();
        // The sender lives as long as the host.
        let _ = losses.wait_for(|lost| *lost >= ready.time).await;
    }

    fn set_down(&self, ready: Option<&Ready>, why: &str, for_good: bool) -> bool {
        let mut inner = self.inner();
        let changed = match (&inner.state, ready) {
            // Only the one that was meant: it may be ready again.
            (State::Ready(now), Some(then)) => now.time == then.time,
            (State::Down { for_good, .. }, _) => !for_good,
            (State::Preparing, _) => true,
            (State::Ready(_), None) => false,
        };
        if changed {
            let since = match &inner.state {
                State::Down { since, .. } => *since,
                State::Preparing | State::Ready(_) => Instant::now(),
            };
            inner.state = State::Down { since, why: why.to_owned(), for_good };
        }
        drop(inner);
        if let (true, Some(ready)) = (changed, ready) {
            self.losses.send_replace(ready.time);
        }
        changed
    }

    /// After trouble that may be the end of the host: looks whether it is.
    pub(super) async fn suspect(&self, ready: &Ready, why: &str, common: &Common) {
        if !lives(&ready.docker).await && self.set_down(Some(ready), why, false) {
            (common.tell)(&format!("host {} is lost: {why}", self.setup.name));
        }
    }

    /// It takes no more runs in this call.
    pub(super) fn give_up(&self, ready: &Ready, why: &str, common: &Common) {
        if self.set_down(Some(ready), why, true) {
            (common.tell)(&format!("host {} takes no more runs: {why}", self.setup.name));
        }
    }

    /// Makes it ready and watches it, for as long as the call lasts.
    pub(super) async fn keep(self: Arc<Self>, common: Arc<Common>, docker: Option<Docker>) {
        // Said once, not every time that it is tried again; of one without a connection it was said.
        let mut told = docker.is_none();
        let mut docker = docker;
        let mut time = 0;
        loop {
            let connected = match docker.take() {
                Some(docker) => Ok(docker),
                None => connect(&self.setup).await,
            };
            let prepared = match connected {
                Ok(docker) => self.prepare(&common, docker, time + 1).await,
                Err(error) => Err(Trouble::Passing(error.brief())),
            };
            match prepared {
                Ok(ready) => {
                    time += 1;
                    let ready = Arc::new(ready);
                    self.open(&ready);
                    if time > 1 {
                        (common.tell)(&format!("host {} is back", self.setup.name));
                    }
                    self.watch(&ready, &common).await;
                    told = true;
                    if matches!(self.inner().state, State::Down { for_good: true, .. }) {
                        return;
                    }
                }
                Err(Trouble::Passing(why)) => {
                    if self.set_down(None, &why, false) && !told {
                        let name = &self.setup.name;
                        (common.tell)(&format!("host {name} takes no runs yet: {why}"));
                        told = true;
                    }
                }
                Err(trouble @ (Trouble::ForGood(_) | Trouble::Here(_))) => {
                    let why = match trouble {
                        Trouble::Here(error) => error.to_string(),
                        Trouble::ForGood(why) | Trouble::Passing(why) => why,
                    };
                    self.set_down(None, &why, true);
                    (common.tell)(&format!("host {} takes no runs: {why}", self.setup.name));
                    return;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn open(&self, ready: &Arc<Ready>) {
        let mut inner = self.inner();
        inner.jobs = self.setup.jobs.unwrap_or(if self.on_gpus {
            self.setup.gpus.len().max(1)
        } else {
            ready.docker.info().processors as usize
        });
        inner.state = State::Ready(ready.clone());
    }

    /// Looks for signs of life until there is none.
    async fn watch(&self, ready: &Ready, common: &Common) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.lost(ready) => return,
            }
            if let Err(error) = ready.docker.ping(SIGN).await {
                self.suspect(ready, &error.brief(), common).await;
            }
        }
    }

    async fn prepare(&self, common: &Common, docker: Docker, time: u64) -> Result<Ready, Trouble> {
        // What an earlier call, or this one before the host was lost, left running.
        let labels = |stage| [(STUDY_LABEL, common.label.as_str()), ("reproduceml.stage", stage)];
        docker.remove_leftovers(&labels("bring")).await?;
        let left = docker.remove_leftovers(&labels("run")).await?.len();
        if left > 0 {
            let name = &self.setup.name;
            (common.tell)(&format!("{left} containers that were left on host {name} are removed"));
        }
        let mut ready = Ready {
            docker,
            class: Class::default(),
            time,
            folders: tokio::sync::Mutex::default(),
            images: tokio::sync::Mutex::default(),
            reaches: OnceCell::new(),
        };
        common.bring_image(self, &ready, &common.image).await?;
        common.bring_folder(self, &ready, &common.client).await?;
        common.open_arrays(&ready).await?;
        ready.class = match &self.setup.class {
            Some(class) => Class(BTreeMap::from([("class".to_owned(), class.clone())])),
            None => common.probe(self, &ready).await?,
        };
        Ok(ready)
    }
}

/// Whether there is any sign of life.
async fn lives(docker: &Docker) -> bool {
    for miss in 1..=MISSES {
        if docker.ping(SIGN).await.is_ok() {
            return true;
        }
        if miss < MISSES {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    false
}

/// A run's place on a host, free again when this is dropped.
struct Held {
    host: Arc<Host>,
    gpu: Option<String>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.host.inner();
        inner.busy = inner.busy.saturating_sub(1);
        inner.gpus.extend(self.gpu.take());
    }
}

#[cfg(test)]
impl Host {
    /// Pretends that the host is ready, for tests of what rests on that.
    pub(super) fn pretend(
        &self,
        docker: &Docker,
        class: &str,
        jobs: usize,
        time: u64,
    ) -> Arc<Ready> {
        let ready = Arc::new(Ready {
            docker: docker.clone(),
            class: Class(BTreeMap::from([("class".to_owned(), class.to_owned())])),
            time,
            folders: tokio::sync::Mutex::default(),
            images: tokio::sync::Mutex::default(),
            reaches: OnceCell::new(),
        });
        let mut inner = self.inner();
        inner.jobs = jobs;
        inner.state = State::Ready(ready.clone());
        ready
    }

    /// Pretends that it is lost.
    pub(super) fn pretend_lost(&self, ready: &Ready, for_good: bool) {
        assert!(self.set_down(Some(ready), "gone", for_good));
    }
}
