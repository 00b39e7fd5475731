//! One connection's session: from `hello` to its end.

mod opening;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{ErrorCode, Job, Reply, Request};
use serde_json::{Map, Value};
use study::store::{EpochRecord, Holder, SessionWrite};
use study::{Experiment, ExperimentId, RunKey, RunStatus, Store, StoreError, Study};
use tokio::sync::{broadcast, watch};

use crate::bytes;
use crate::challenge::{Dataset, Datasets};
use crate::config::ServerConfig;
use crate::connection::{Connection, Stream};
use crate::event::Event;
use crate::hold::Holds;
use crate::ledger::Ledger;
use crate::predictions;
use crate::refusal::{End, Refusal, STORAGE_PAUSE, ledger_refusal, shutting_down};
use crate::ticket::Tickets;

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) study: Arc<Study>,
    pub(crate) config: ServerConfig,
    pub(crate) tickets: Tickets,
    pub(crate) holds: Holds,
    pub(crate) datasets: Datasets,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Shared {
    pub(crate) fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

/// An opened session.
struct Session {
    shared: Arc<Shared>,
    ledger: Ledger,
    holder: Holder,
    experiment: Experiment,
    dataset: Arc<Dataset>,
    job: Box<Job>,
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    ledger: Ledger,
    mut stream: Box<dyn Stream>,
    mut stop: watch::Receiver<bool>,
) {
    let limits = shared.config.limits.clone();
    let mut connection = Connection::new(&mut *stream, &limits);
    let mut key = None;
    let end = run(&shared, ledger, &mut connection, &mut stop, &mut key).await;
    if let End::Refused(refusal) = &end {
        tracing::warn!("{}: {}", refusal.code, refusal.message);
        // The client may be gone; it will ask again.
        let _ = connection.reply(&refusal.reply()).await;
        shared.tell(Event::Refused { key, code: refusal.code, message: refusal.message.clone() });
    } else if let End::Gone(error) = &end {
        tracing::debug!("{error}");
    }
    connection.close().await;
}

async fn run(
    shared: &Arc<Shared>,
    ledger: Ledger,
    connection: &mut Connection<'_>,
    stop: &mut watch::Receiver<bool>,
    key: &mut Option<RunKey>,
) -> End {
    let hello = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return shutting_down().into(),
        hello = connection.request(shared.config.limits.hello) => hello,
    };
    let hello = match hello {
        Ok(Request::Hello(hello)) => hello,
        Ok(_) => return Refusal::never(ErrorCode::OutOfTurn, "the first message is hello").into(),
        Err(error) => return error.into(),
    };
    let session = match opening::open(shared, ledger, hello, connection).await {
        Ok(session) => session,
        Err(end) => return end,
    };
    *key = Some(session.holder.key.clone());
    loop {
        let lease = shared.config.limits.lease;
        let request = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return shutting_down().into(),
            request = connection.request(lease) => request,
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        shared.holds.hear(&session.holder.key);
        if let Err(end) = session.answer(request, connection).await {
            return end;
        }
    }
}

/// Runs blocking work on its own thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Refusal::never(ErrorCode::Internal, format!("the server's own fault: {error}")))
    })
}

impl Session {
    async fn answer(&self, request: Request, connection: &mut Connection<'_>) -> Result<(), End> {
        if let Some(found) = seed_of(&request)
            && found != self.job.seed
        {
            return Err(self.wrong_seed(found).await.into());
        }
        let reply = match request {
            Request::Ping => Reply::Pong,
            Request::Bye => return Err(End::Bye),
            Request::Hello(_) => {
                return Err(Refusal::never(ErrorCode::OutOfTurn, "hello was said already").into());
            }
            Request::Seed { .. } => Reply::Ok,
            Request::Describe { name, .. } => {
                let array = self.served(&name)?;
                Reply::Array { name, array: array.header }
            }
            Request::Fetch { name, .. } => {
                let array = self.served(&name)?;
                connection.reply(&Reply::Array { name, array: array.header }).await?;
                connection.send_data(&array.data).await?;
                return Ok(());
            }
            Request::Acknowledge { name, sha256, .. } => {
                let array = self.served(&name)?;
                if array.header.sha256 != sha256 {
                    let what = format!(
                        "the client has other bytes for {name}: {sha256}, not {}; fetch it again",
                        array.header.sha256
                    );
                    return Err(Refusal::later(ErrorCode::Integrity, what, 0.0).into());
                }
                let digest = sha256.to_string();
                self.write(SessionWrite::Acknowledge { array: name, digest }).await?
            }
            Request::Manifest { manifest, .. } => {
                self.write(SessionWrite::Manifest(Value::Object(manifest))).await?
            }
            Request::Epoch { number, loss, parameters, seconds, extra, .. } => {
                let record = EpochRecord {
                    epoch: number,
                    loss_bits: loss.map(|bits| bits.0),
                    digest: parameters.to_string(),
                    seconds,
                    extra: extra.map(Value::Object),
                };
                self.epoch(record).await?
            }
            Request::Predictions { split, epoch, array, .. } => {
                self.predictions(&split, epoch, &array, connection).await?
            }
            Request::Finish { timings, .. } => self.finish(timings).await?,
            Request::Fail { kind, message, traceback, .. } => {
                self.fail(&kind, &message, &traceback).await?
            }
        };
        Ok(connection.reply(&reply).await?)
    }

    async fn write(&self, write: SessionWrite) -> Result<Reply, Refusal> {
        match self.ledger.write(self.holder.clone(), write).await {
            Ok(_) => Ok(Reply::Ok),
            Err(error) => Err(ledger_refusal(error, Duration::ZERO)),
        }
    }

    fn served(&self, name: &str) -> Result<crate::challenge::dataset::Served, Refusal> {
        let job = &self.job;
        self.dataset.array(name, job.order, job.seed, job.epochs).ok_or_else(|| {
            let what = format!(
                "there is no array {:?}; there are <split>/x, train/y and order/1 to order/{}",
                name.chars().take(80).collect::<String>(),
                job.epochs
            );
            Refusal::never(ErrorCode::UnknownArray, what)
        })
    }

    async fn epoch(&self, record: EpochRecord) -> Result<Reply, Refusal> {
        let wrong = |what: String| Err(Refusal::never(ErrorCode::OutOfTurn, what));
        if record.epoch > self.job.epochs {
            return wrong(format!(
                "epoch {} was reported, the job has {}",
                record.epoch, self.job.epochs
            ));
        }
        if record.loss_bits.is_some() != (record.epoch > 0) {
            return wrong(format!(
                "epoch {} must come {} loss",
                record.epoch,
                if record.epoch > 0 { "with a" } else { "without" }
            ));
        }
        if !record.seconds.is_finite() || record.seconds < 0.0 {
            return wrong(format!("epoch {} took {} seconds", record.epoch, record.seconds));
        }
        let event = Event::Epoch {
            key: self.holder.key.clone(),
            number: record.epoch,
            loss: record.loss_bits.map(f64::from_bits),
            seconds: record.seconds,
        };
        let reply = self.write(SessionWrite::Epoch(record)).await?;
        self.shared.tell(event);
        Ok(reply)
    }

    async fn predictions(
        &self,
        split: &str,
        epoch: Option<u32>,
        array: &protocol::ArrayHeader,
        connection: &mut Connection<'_>,
    ) -> Result<Reply, End> {
        let Some((split, shape)) = self.dataset.predictions(split) else {
            let what = format!("predictions are for one of {:?}", self.job.splits);
            return Err(Refusal::never(ErrorCode::OutOfTurn, what).into());
        };
        if epoch.is_some_and(|epoch| epoch > self.job.epochs) {
            let what = format!("the job has {} epochs", self.job.epochs);
            return Err(Refusal::never(ErrorCode::OutOfTurn, what).into());
        }
        let expected: u64 = shape.iter().product::<u64>().saturating_mul(4);
        let fits = array.dtype == protocol::Dtype::F4 && array.shape == shape;
        if let (Err(error), _) | (Ok(()), Err(error)) = (
            array.check(expected).map_err(|e| e.to_string()),
            if fits { Ok(()) } else { Err(String::new()) },
        ) {
            let what = format!("predictions for {split} are f4 {shape:?}. {error}");
            return Err(Refusal::never(ErrorCode::OutOfTurn, what).into());
        }
        let data = connection.data(array).await?;
        array.verify(&data).map_err(|e| Refusal::later(ErrorCode::Integrity, e, 0.0))?;
        let Some(metrics) = self.dataset.grade(split, &bytes::f32_values(&data)) else {
            let what = "the predictions cannot be graded";
            return Err(Refusal::never(ErrorCode::Internal, what).into());
        };
        let named = epoch.map_or_else(|| split.to_owned(), |e| format!("{split}@{e}"));
        let run_dir = self.shared.study.run_dir(&self.holder.key);
        let (digest, file) = (array.sha256, named.clone());
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            predictions::keep(&run_dir, &file, &digest, &data).map_err(|(path, error)| {
                let message = format!("{}: {error}; make room or allow writing", path.display());
                shared.tell(Event::StorageTrouble { message: message.clone() });
                Refusal::later(ErrorCode::Storage, message, STORAGE_PAUSE)
            })
        })
        .await?;
        let write = SessionWrite::Metrics {
            split: named,
            digest: digest.to_string(),
            metrics: metrics.headline().map(|(name, value)| (name.to_owned(), value)).into(),
            details: serde_json::json!({
                "classes": metrics.classes,
                "confusion": metrics.confusion,
            }),
        };
        Ok(self.write(write).await?)
    }

    async fn finish(&self, timings: Map<String, Value>) -> Result<Reply, Refusal> {
        let write = SessionWrite::Finish {
            epochs: self.job.epochs,
            splits: vec!["test".to_owned()],
            timings: Value::Object(timings),
        };
        self.write(write).await?;
        let key = &self.holder.key;
        let metrics = {
            let (shared, key) = (Arc::clone(&self.shared), key.clone());
            blocking(move || Ok(accepted(&shared, &key)?)).await?
        };
        self.shared.holds.forget(key);
        self.shared.tell(Event::Finished { key: key.clone(), metrics: metrics.clone() });
        let metrics = metrics.into_iter().map(|(name, value)| (name, value.into())).collect();
        Ok(Reply::Finished { metrics })
    }

    async fn fail(&self, kind: &str, message: &str, traceback: &str) -> Result<Reply, Refusal> {
        let reason = format!("{kind}: {message}");
        let whole =
            if traceback.is_empty() { reason.clone() } else { format!("{reason}\n{traceback}") };
        let reply = self.write(SessionWrite::Fail { reason: whole }).await?;
        self.shared.holds.forget(&self.holder.key);
        self.shared.tell(Event::Failed { key: self.holder.key.clone(), reason });
        Ok(reply)
    }

    /// Marks the experiment and ends the run.
    async fn wrong_seed(&self, found: u32) -> Refusal {
        let (expected, key) = (self.job.seed, self.holder.key.clone());
        let reason = format!(
            "the client of run {} used seed {found} where {expected} is the run's",
            key.run
        );
        let failed = self.write(SessionWrite::Fail { reason: reason.clone() }).await;
        let marked = {
            let (shared, reason) = (Arc::clone(&self.shared), reason.clone());
            let id: ExperimentId = self.experiment.id();
            blocking(move || Ok(shared.store.mark_invalid(&id, &reason)?)).await
        };
        // Unmarked, the client must ask again, so that the mark is made in the end.
        if let Err(refusal) = failed.and(marked) {
            return refusal;
        }
        self.shared.holds.forget(&key);
        self.shared.tell(Event::SeedMismatch { key, expected, found });
        Refusal::never(ErrorCode::SeedMismatch, reason)
    }
}

/// The accepted metrics of a run; predictions that were not accepted are removed.
fn accepted(shared: &Shared, key: &RunKey) -> Result<BTreeMap<String, f64>, StoreError> {
    let digests = shared.store.prediction_digests(key)?;
    let mut metrics = BTreeMap::new();
    for split in digests.keys() {
        for (name, value) in shared.store.metrics(key, split)? {
            metrics.insert(format!("{split}/{name}"), value);
        }
    }
    if shared.store.run(key)?.is_some_and(|run| run.status == RunStatus::Finished) {
        predictions::sweep(&shared.study.run_dir(key), digests.iter());
    }
    Ok(metrics)
}

fn seed_of(request: &Request) -> Option<u32> {
    match request {
        Request::Hello(_) | Request::Ping | Request::Bye => None,
        Request::Seed { seed }
        | Request::Describe { seed, .. }
        | Request::Fetch { seed, .. }
        | Request::Acknowledge { seed, .. }
        | Request::Manifest { seed, .. }
        | Request::Epoch { seed, .. }
        | Request::Predictions { seed, .. }
        | Request::Finish { seed, .. }
        | Request::Fail { seed, .. } => Some(*seed),
    }
}
