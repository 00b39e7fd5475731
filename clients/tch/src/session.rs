//! The client's session: every call returns once what it said is on the server's disk.
//!
//! A connection that is lost is dialled again with growing pauses and the same message sent again;
//! the server takes a repetition as what it is. A thread tells the server that the client is alive
//! while it trains.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::{
    ArrayHeader, Bits, Digest, Dtype, ErrorCode, Hello, Job, Reply, Request, VERSIONS, Wire,
    WireError,
};
use serde_json::{Map, Value};

use crate::dial::{Stream, dial};
use crate::error::ServerError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest array that is accepted, in bytes: more than any challenge has.
const LONGEST_ARRAY: u64 = 16 << 30;

/// How a session is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// `unix:/path` or `tcp:host:port`.
    pub address: String,
    /// What lets this process hold one run.
    pub ticket: String,
    /// The server's token, where it asks for one.
    pub token: Option<String>,
    /// The longest wait for one answer.
    pub timeout: Duration,
    /// How long a lost server is tried again.
    pub patience: Duration,
    /// A folder that keeps arrays by their digest.
    pub cache: Option<PathBuf>,
}

/// An array of the server's, its digest checked and told back.
#[derive(Debug)]
pub struct Array {
    /// Dtype, shape and digest.
    pub header: ArrayHeader,
    /// Its elements, little-endian, in C order.
    pub bytes: Vec<u8>,
}

/// One run, held by this process.
pub struct Session {
    shared: Arc<Shared>,
    job: Job,
}

struct Shared {
    opening: Opening,
    hello: Hello,
    line: Mutex<Line>,
    closed: Mutex<bool>,
    closing: Condvar,
}

/// The connection, while there is one, and what the server said at its first.
struct Line {
    wire: Option<Wire<Box<dyn Stream>>>,
    known: Option<(Job, u32)>,
    heartbeat: Duration,
}

/// Why one try at a request did not succeed.
enum Trouble {
    /// The connection failed; another may not.
    Connection(String),
    /// The server refused.
    Refused { code: ErrorCode, message: String, retry_after: Option<f64> },
    /// It will not be otherwise the next time.
    Final(ServerError),
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Message(error @ protocol::MessageError::TooLong { .. }) => {
                Self::Final(error.into())
            }
            error => Self::Connection(error.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

type Connection = Wire<Box<dyn Stream>>;

fn receive(wire: &mut Connection) -> Result<Reply, Trouble> {
    match wire.receive()? {
        Reply::Error { code, message, retry_after } => {
            Err(Trouble::Refused { code, message, retry_after })
        }
        reply => Ok(reply),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked left is a connection at worst, which is then dialled again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Opens the session that the ticket authorises.
    ///
    /// # Errors
    /// [`ServerError`] when the server cannot be reached for as long as patience lasts, or refuses.
    pub fn connect(opening: Opening) -> Result<Self, ServerError> {
        let holder = holder().map_err(|error| ServerError::Lost {
            address: opening.address.clone(),
            seconds: 0.0,
            last: format!("the system gave no random bytes: {error}"),
        })?;
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            ticket: opening.ticket.clone(),
            holder,
            token: opening.token.clone(),
            client: concat!("tch/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let line = Line { wire: None, known: None, heartbeat: Duration::from_secs(1) };
        let shared = Arc::new(Shared {
            opening,
            hello,
            line: Mutex::new(line),
            closed: Mutex::new(false),
            closing: Condvar::new(),
        });
        let job = shared.retry(|shared, line| {
            shared.open(line)?;
            let known = line.known.as_ref().map(|(job, _)| job.clone());
            known.ok_or_else(|| Trouble::Connection("the server told of no job".to_owned()))
        })?;
        let beating = Arc::clone(&shared);
        std::thread::spawn(move || beating.beat());
        Ok(Self { shared, job })
    }

    /// What to do.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The run's seed, which is on the server's disk.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn seed(&self) -> Result<u32, ServerError> {
        let seed = self.job.seed;
        self.say(&Request::Seed { seed })?;
        Ok(seed)
    }

    /// The array `name` (`train/x`, `order/1`, …).
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn array(&self, name: &str) -> Result<Array, ServerError> {
        let (seed, name) = (self.job.seed, name.to_owned());
        let described = self.ask(&Request::Describe { seed, name: name.clone() }, |reply, _| {
            array_header("describe", reply)
        })?;
        let array = match self.cached(&described) {
            Some(bytes) => Array { header: described, bytes },
            None => {
                let request = Request::Fetch { seed, name: name.clone() };
                let array = self.ask(&request, |reply, wire| {
                    let header = array_header("fetch", reply)?;
                    let bytes = wire.receive_data(&header, LONGEST_ARRAY)?;
                    Ok(Array { header, bytes })
                })?;
                self.keep(&array);
                array
            }
        };
        // Computed from the bytes that are here, as receiving or reading the cache has checked.
        self.say(&Request::Acknowledge { seed, name, sha256: array.header.sha256 })?;
        Ok(array)
    }

    /// Hands over what the run is made of.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn manifest(&self, manifest: Map<String, Value>) -> Result<(), ServerError> {
        self.say(&Request::Manifest { seed: self.job.seed, manifest })
    }

    /// Reports epoch `number` (0: after initialisation, without a loss).
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn epoch(
        &self,
        number: u32,
        loss: Option<f64>,
        parameters: Digest,
        seconds: f64,
        extra: Option<Map<String, Value>>,
    ) -> Result<(), ServerError> {
        let loss = loss.map(Bits::of);
        self.say(&Request::Epoch { seed: self.job.seed, number, loss, parameters, seconds, extra })
    }

    /// Hands over the final log-probabilities of a split, samples × classes, in binary32.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn predictions(&self, split: &str, shape: &[u64], bytes: &[u8]) -> Result<(), ServerError> {
        let array = ArrayHeader::describe(Dtype::F4, shape, bytes)?;
        let (seed, split) = (self.job.seed, split.to_owned());
        let request = Request::Predictions { seed, split, epoch: None, array };
        self.shared.retry(|shared, line| {
            let wire = shared.connected(line)?;
            wire.send(&request)?;
            wire.send_data(bytes)?;
            is_ok("predictions", receive(wire)?)
        })
    }

    /// Ends the run; returns the metrics that the server computed and keeps.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn finish(&self, timings: Map<String, Value>) -> Result<Map<String, Value>, ServerError> {
        let request = Request::Finish { seed: self.job.seed, timings };
        let metrics = self.ask(&request, |reply, _| match reply {
            Reply::Finished { metrics } => Ok(metrics),
            _ => Err(Trouble::Final(ServerError::Answer { asked: "finish" })),
        })?;
        self.close();
        Ok(metrics)
    }

    /// Ends the run with the reason why it failed.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn fail(&self, kind: &str, message: &str) -> Result<(), ServerError> {
        let message: String = message.chars().take(4000).collect();
        let (kind, traceback) = (kind.to_owned(), message.clone());
        self.say(&Request::Fail { seed: self.job.seed, kind, message, traceback })?;
        self.close();
        Ok(())
    }

    /// Ends the connection and the heartbeat; what was acknowledged stays.
    pub fn close(&self) {
        self.shared.close();
        locked(&self.shared.line).wire = None;
    }

    fn say(&self, request: &Request) -> Result<(), ServerError> {
        self.ask(request, |reply, _| is_ok("a message", reply))
    }

    fn ask<T>(
        &self,
        request: &Request,
        mut take: impl FnMut(Reply, &mut Connection) -> Result<T, Trouble>,
    ) -> Result<T, ServerError> {
        self.shared.retry(|shared, line| {
            let wire = shared.connected(line)?;
            wire.send(request)?;
            let reply = receive(wire)?;
            take(reply, wire)
        })
    }

    /// The array of this description, if the cache has it unchanged.
    fn cached(&self, header: &ArrayHeader) -> Option<Vec<u8>> {
        let folder = self.shared.opening.cache.as_ref()?;
        let bytes = std::fs::read(folder.join(header.sha256.to_string())).ok()?;
        let found = ArrayHeader::describe(header.dtype, &header.shape, &bytes).ok()?;
        (found == *header).then_some(bytes)
    }

    fn keep(&self, array: &Array) {
        let Some(folder) = &self.shared.opening.cache else { return };
        let keep = || {
            std::fs::create_dir_all(folder)?;
            let partial = folder.join(format!("{}.partial", self.shared.hello.holder));
            std::fs::write(&partial, &array.bytes)?;
            std::fs::rename(partial, folder.join(array.header.sha256.to_string()))
        };
        if let Err(error) = keep() {
            eprintln!("reproduceml: the array is not kept in {}: {error}", folder.display());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.close();
    }
}

fn is_ok(asked: &'static str, reply: Reply) -> Result<(), Trouble> {
    match reply {
        Reply::Ok => Ok(()),
        _ => Err(Trouble::Final(ServerError::Answer { asked })),
    }
}

fn array_header(asked: &'static str, reply: Reply) -> Result<ArrayHeader, Trouble> {
    match reply {
        Reply::Array { array, .. } => Ok(array),
        _ => Err(Trouble::Final(ServerError::Answer { asked })),
    }
}

/// This process's own random name.
fn holder() -> io::Result<String> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex::encode(bytes))
}

impl Shared {
    fn close(&self) {
        *locked(&self.closed) = true;
        self.closing.notify_all();
    }

    fn connected<'a>(&self, line: &'a mut Line) -> Result<&'a mut Connection, Trouble> {
        self.open(line)?;
        line.wire.as_mut().ok_or_else(|| Trouble::Connection("not connected".to_owned()))
    }

    /// Says hello unless there is a connection.
    fn open(&self, line: &mut Line) -> Result<(), Trouble> {
        if line.wire.is_some() {
            return Ok(());
        }
        let mut wire = Wire::new(dial(&self.opening.address, self.opening.timeout)?);
        wire.send(&Request::Hello(self.hello.clone()))?;
        let Reply::Welcome { version, attempt, heartbeat_seconds, job, .. } = receive(&mut wire)?
        else {
            return Err(Trouble::Connection("hello was answered with something else".to_owned()));
        };
        if !VERSIONS.contains(&version) {
            return Err(Trouble::Connection(format!("the server speaks version {version}")));
        }
        let told = (*job, attempt);
        if line.known.as_ref().is_some_and(|known| *known != told) {
            return Err(Trouble::Refused {
                code: ErrorCode::HoldLost,
                message: "the server now tells of another job or attempt; start over".to_owned(),
                retry_after: None,
            });
        }
        line.known = Some(told);
        line.heartbeat = Duration::try_from_secs_f64(heartbeat_seconds).unwrap_or(FIRST_PAUSE);
        line.wire = Some(wire);
        Ok(())
    }

    /// Tries until it succeeds, is refused for good, or patience ends.
    fn retry<T>(
        &self,
        mut attempt: impl FnMut(&Self, &mut Line) -> Result<T, Trouble>,
    ) -> Result<T, ServerError> {
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = {
                let mut line = locked(&self.line);
                let tried = attempt(self, &mut line);
                if tried.is_err() {
                    line.wire = None;
                }
                tried
            };
            let (last, wait, is_news) = match tried {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => {
                    self.close();
                    return Err(error);
                }
                Err(Trouble::Refused { code, message, retry_after: None }) => {
                    self.close();
                    return Err(ServerError::Refused { code, message });
                }
                Err(Trouble::Refused { code, message, retry_after: Some(seconds) }) => {
                    let wait = Duration::try_from_secs_f64(seconds).unwrap_or(pause).max(pause);
                    (format!("{code}: {message}"), wait, true)
                }
                Err(Trouble::Connection(message)) => {
                    (message, self.shortened(pause), pause == FIRST_PAUSE)
                }
            };
            if begin.elapsed() + wait > self.opening.patience {
                self.close();
                return Err(ServerError::Lost {
                    address: self.opening.address.clone(),
                    seconds: self.opening.patience.as_secs_f64(),
                    last,
                });
            }
            if is_news {
                eprintln!("reproduceml: {last}; trying again");
            }
            std::thread::sleep(wait);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A pause shortened by up to a half, so that many clients do not come back at once. The clock
    /// is random enough for it, and no generator of the training is touched.
    fn shortened(&self, pause: Duration) -> Duration {
        let nanoseconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        pause.mul_f64(0.5 + f64::from(nanoseconds % 1000) / 2000.0)
    }

    /// Tells the server that the client is alive, until the session is closed.
    fn beat(&self) {
        loop {
            let interval = locked(&self.line).heartbeat;
            let closed = locked(&self.closed);
            let (closed, _) = self
                .closing
                .wait_timeout_while(closed, interval, |closed| !*closed)
                .unwrap_or_else(PoisonError::into_inner);
            if *closed {
                return;
            }
            drop(closed);
            let mut line = locked(&self.line);
            let beat = self.connected(&mut line).and_then(|wire| {
                wire.send(&Request::Ping)?;
                receive(wire)
            });
            if beat.is_err() {
                line.wire = None; // The next call finds out what it was.
            }
        }
    }
}

#[cfg(test)]
mod tests;
