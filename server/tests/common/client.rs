//! A client in Rust that says what a test wants it to say.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use protocol::{
    ArrayHeader, Bits, Digest, Dtype, ErrorCode, Hello, Job, Reply, Request, Wire, WireError,
};

pub struct Client<S = UnixStream> {
    pub wire: Wire<S>,
    pub job: Job,
    pub attempt: u32,
}

/// What an error reply says.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: ErrorCode,
    pub message: String,
    pub retry_after: Option<f64>,
}

pub fn holder(number: u64) -> String {
    format!("{number:032x}")
}

pub fn hello(ticket: &str, holder: &str) -> Hello {
    Hello {
        versions: vec![1],
        ticket: ticket.to_owned(),
        holder: holder.to_owned(),
        token: None,
        client: "test".to_owned(),
    }
}

/// A connection on which nothing was said yet.
pub fn dial(address: &str) -> std::io::Result<Wire<UnixStream>> {
    let path = address.strip_prefix("unix:").expect("a Unix socket's address");
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(Wire::new(stream))
}

pub fn refused(reply: Reply) -> Result<Reply, Refused> {
    match reply {
        Reply::Error { code, message, retry_after } => Err(Refused { code, message, retry_after }),
        other => Ok(other),
    }
}

impl Client {
    /// Opens a session; a lost connection is the outer error, a refusal the inner one.
    pub fn open(address: &str, hello: Hello) -> Result<Result<Self, Refused>, WireError> {
        Self::over(dial(address)?, hello)
    }
}

impl<S: Read + Write> Client<S> {
    /// As `open`, over any connection.
    pub fn over(mut wire: Wire<S>, hello: Hello) -> Result<Result<Self, Refused>, WireError> {
        wire.send(&Request::Hello(hello))?;
        Ok(match refused(wire.receive()?) {
            Ok(Reply::Welcome { job, attempt, .. }) => Ok(Self { wire, job: *job, attempt }),
            Ok(other) => panic!("hello was answered with {other:?}"),
            Err(refusal) => Err(refusal),
        })
    }

    /// Sends a request and the bytes that belong to it, and waits for the answer.
    pub fn ask(
        &mut self,
        request: &Request,
        data: &[u8],
    ) -> Result<Result<Reply, Refused>, WireError> {
        self.wire.send(request)?;
        self.wire.send_data(data)?;
        Ok(refused(self.wire.receive()?))
    }

    /// As `ask`, for tests in which the connection holds.
    pub fn say(&mut self, request: &Request) -> Result<Reply, Refused> {
        self.ask(request, &[]).unwrap()
    }
}

/// The digest of a run's parameters after an epoch, made up.
pub fn parameters(seed: u32, epoch: u32) -> Digest {
    Digest::of(format!("{seed}/{epoch}").as_bytes())
}

pub fn epoch(seed: u32, number: u32) -> Request {
    let loss = (number > 0).then(|| Bits::of(1.0 / f64::from(number)));
    Request::Epoch {
        seed,
        number,
        loss,
        parameters: parameters(seed, number),
        seconds: 0.1,
        extra: None,
    }
}

/// Made-up predictions for `samples`.
pub fn predictions(seed: u32, split: &str, samples: u64) -> (Request, Vec<u8>) {
    let scores = (0..samples * 10).map(|i| ((i * 7919 + u64::from(seed)) % 101) as f32);
    let data: Vec<u8> = scores.flat_map(|s| (-s).to_le_bytes()).collect();
    let array = ArrayHeader::describe(Dtype::F4, &[samples, 10], &data).unwrap();
    (Request::Predictions { seed, split: split.to_owned(), epoch: None, array }, data)
}

/// Everything a whole run says, with the bytes that follow each request.
pub fn story(job: &Job) -> Vec<(Request, Vec<u8>)> {
    let seed = job.seed;
    let manifest = serde_json::Map::from_iter([("seed".to_owned(), seed.into())]);
    let mut story = vec![(Request::Seed { seed }, vec![])];
    story.push((Request::Manifest { seed, manifest }, vec![]));
    story.extend((0..=job.epochs).map(|n| (epoch(seed, n), vec![])));
    story.push(predictions(seed, "validation", 10));
    story.push(predictions(seed, "test", 20));
    story.push((Request::Finish { seed, timings: serde_json::Map::default() }, vec![]));
    story
}
