//! The training, step by step as the Python client does it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use protocol::{Digest, Dtype, Job};
use serde_json::{Map, Value, json};
use tch::nn::{Optimizer, OptimizerConfig, Sgd};
use tch::{Kind, Reduction, Tensor};

use crate::digest::{self, Parameter};
use crate::environment::{self, Variables, control};
use crate::error::RunError;
use crate::libtorch::{self, Switch};
use crate::manifest;
use crate::models::{self, About, Network, Shape};
use crate::session::{Array, Session};

/// The Python client's, so that predictions do not depend on the client.
const EVALUATION_BATCH: i64 = 256;

/// The target that the loss leaves out, as PyTorch's default.
const IGNORED: i64 = -100;

/// Named spans of time in seconds, one after another.
struct Clock {
    spans: BTreeMap<&'static str, f64>,
    first: Instant,
    last: Instant,
}

impl Clock {
    fn new(started: Instant) -> Self {
        Self { spans: BTreeMap::new(), first: started, last: started }
    }

    /// Ends the span `name`; returns its length.
    fn lap(&mut self, name: &'static str) -> f64 {
        let now = Instant::now();
        let span = (now - self.last).as_secs_f64();
        *self.spans.entry(name).or_default() += span;
        self.last = now;
        span
    }

    fn total(&self) -> Map<String, Value> {
        let spans = self.spans.iter().map(|(name, span)| ((*name).to_owned(), json!(span)));
        let total = (self.last - self.first).as_secs_f64();
        spans.chain([("total".to_owned(), json!(total))]).collect()
    }
}

/// The samples of one split, and the classes of the training samples.
struct Split {
    x: Tensor,
    y: Option<Tensor>,
}

/// What the manifest needs to know of a run.
pub struct Facts<'a> {
    /// The job.
    pub job: &'a Job,
    /// The run's seed.
    pub seed: u32,
    /// The environment.
    pub variables: &'a Variables,
    /// The artifact's folder.
    pub artifact: Option<&'a Path>,
    /// One entry a control.
    pub controls: &'a [Value],
    /// The model.
    pub about: About,
    /// Dtype, shape and digest of each array, by name.
    pub arrays: &'a Map<String, Value>,
    /// The arrays' names in the order in which they were used.
    pub order_of_use: &'a [String],
}

/// One run: from the job of a session to results that the server has accepted.
pub struct Run<'a> {
    session: &'a Session,
    variables: &'a Variables,
    artifact: Option<PathBuf>,
    clock: Clock,
    controls: Vec<Value>,
    arrays: Map<String, Value>,
    order_of_use: Vec<String>,
}

impl<'a> Run<'a> {
    /// A run that began at `started`.
    pub fn new(session: &'a Session, variables: &'a Variables, started: Instant) -> Self {
        let artifact = variables.get("REPRODUCEML_ARTIFACT").filter(|text| !text.is_empty());
        Self {
            session,
            variables,
            artifact: artifact.map(PathBuf::from),
            clock: Clock::new(started),
            controls: environment::report(variables),
            arrays: Map::new(),
            order_of_use: Vec::new(),
        }
    }

    /// Does everything.
    ///
    /// # Errors
    /// [`RunError`], whatever goes wrong.
    pub fn execute(mut self) -> Result<(), RunError> {
        let session = self.session;
        let job = session.job();
        check(job)?;
        self.check_artifact()?;
        let seed = session.seed()?;
        self.clock.lap("import");
        self.controls.extend(set_controls());
        self.controls.push(seed_libtorch(seed));
        let (network, about) = models::build(&job.model, shape(job)?)?;
        // Right before the weights are drawn, as in the Python client.
        self.controls.push(seed_libtorch(seed));
        network.draw()?;
        let sgd = Sgd { momentum: job.momentum, ..Sgd::default() };
        let mut optimizer = sgd.build(network.store(), job.learning_rate)?;
        self.clock.lap("build");
        let splits = self.fetch_splits(job)?;
        self.clock.lap("data");
        session.epoch(0, None, parameters_digest(&network)?, 0.0, None)?;
        let train = splits.get("train").ok_or_else(|| missing_split(job))?;
        for number in 1..=job.epochs {
            self.train_epoch(job, number, &network, &mut optimizer, train)?;
        }
        for name in ["validation", "test"] {
            if let Some(split) = splits.get(name) {
                let (shape, bytes) = predict(&network, &split.x, job.challenge.classes)?;
                session.predictions(name, &shape, &bytes)?;
            }
        }
        self.clock.lap("predict");
        session.manifest(manifest::collect(&Facts {
            job,
            seed,
            variables: self.variables,
            artifact: self.artifact.as_deref(),
            controls: &self.controls,
            about,
            arrays: &self.arrays,
            order_of_use: &self.order_of_use,
        }))?;
        self.clock.lap("manifest");
        session.finish(self.clock.total())?;
        Ok(())
    }

    /// Refuses an artifact whose framework would not be the one that computes.
    fn check_artifact(&self) -> Result<(), RunError> {
        let Some(artifact) = &self.artifact else { return Ok(()) };
        if !artifact.is_dir() {
            return Err(RunError::Job(format!(
                "REPRODUCEML_ARTIFACT names {}, which is no folder",
                artifact.display()
            )));
        }
        if !artifact.join("site").is_dir() {
            return Ok(());
        }
        let libraries = environment::artifact_libraries(artifact);
        let libraries = libraries.canonicalize().unwrap_or(libraries);
        let loaded = manifest::loaded_libraries();
        if loaded.iter().any(|path| path.starts_with(&libraries)) {
            return Ok(());
        }
        Err(RunError::Job(format!(
            "the artifact has packages in site/, and this client computes with another libtorch; \
             expected {}/libtorch_cpu.so of version 2.11. Use the Python client for it",
            libraries.display()
        )))
    }

    fn array(&mut self, name: &str) -> Result<Array, RunError> {
        let array = self.session.array(name)?;
        let header = &array.header;
        let about = json!({"dtype": header.dtype, "shape": header.shape, "sha256": header.sha256});
        if self.arrays.insert(name.to_owned(), about).is_none() {
            self.order_of_use.push(name.to_owned());
        }
        Ok(array)
    }

    fn fetch_splits(&mut self, job: &Job) -> Result<BTreeMap<&'static str, Split>, RunError> {
        let mut splits = BTreeMap::new();
        for name in ["train", "validation", "test"] {
            if !job.splits.iter().any(|split| split == name) {
                continue;
            }
            let x = self.array(&format!("{name}/x"))?;
            let sample = x.header.shape.get(1..).unwrap_or_default();
            if x.header.dtype != Dtype::F4 || sample != job.challenge.shape {
                return Err(RunError::Job(format!(
                    "{name}/x has dtype {:?} and shape {:?}; expected F4 and samples of {:?}",
                    x.header.dtype, x.header.shape, job.challenge.shape
                )));
            }
            let x = tensor(&x, Kind::Float)?;
            let y = match name {
                "train" => Some(tensor(&self.array("train/y")?, Kind::Int64)?),
                _ => None,
            };
            splits.insert(name, Split { x, y });
        }
        Ok(splits)
    }

    fn train_epoch(
        &mut self,
        job: &Job,
        number: u32,
        network: &Network,
        optimizer: &mut Optimizer,
        train: &Split,
    ) -> Result<(), RunError> {
        let samples = train.x.size().first().copied().unwrap_or(0);
        let order = self.array(&format!("order/{number}"))?;
        let expected = [u64::try_from(samples).unwrap_or(0)];
        if order.header.dtype != Dtype::U4 || order.header.shape != expected {
            return Err(RunError::Job(format!(
                "order/{number} has dtype {:?} and shape {:?}; expected U4 and {expected:?}",
                order.header.dtype, order.header.shape
            )));
        }
        let order = places(&order)?;
        let batches = batches(samples, i64::from(job.batch_size), job.drop_last);
        if batches.is_empty() {
            return Err(RunError::Job(format!(
                "{samples} samples make no full batch of {}, and the last one is dropped",
                job.batch_size
            )));
        }
        self.clock.lap("data");
        let (mut sum, mut seen, mut traced) = (0.0, 0.0, Vec::new());
        for (index, (start, stop)) in batches.into_iter().enumerate() {
            let chosen = order.f_narrow(0, start, stop - start)?;
            let loss = step(network, optimizer, train, &chosen)?;
            let size = (stop - start) as f64;
            sum += loss * size;
            seen += size;
            if job.trace {
                traced.push(json!({
                    "batch": index,
                    "loss_bits": protocol::Bits::of(loss),
                    "parameters": parameters_digest(network)?,
                }));
            }
        }
        let seconds = self.clock.lap("train");
        let extra =
            (!traced.is_empty()).then(|| Map::from_iter([("batches".into(), traced.into())]));
        self.session.epoch(
            number,
            Some(sum / seen),
            parameters_digest(network)?,
            seconds,
            extra,
        )?;
        self.clock.lap("report");
        Ok(())
    }
}

/// Refuses what this client cannot do.
fn check(job: &Job) -> Result<(), RunError> {
    let refuse = |message: String| Err(RunError::Job(message));
    if job.framework != "pytorch" {
        return refuse(format!("no framework {:?}; this client has pytorch", job.framework));
    }
    if job.model_source.is_some() {
        return refuse("the study's own model is Python, which this client cannot run".to_owned());
    }
    if job.fault {
        return refuse("the planted fault is Python, which this client cannot run".to_owned());
    }
    if job.device != "cpu" {
        return refuse(format!("this client computes on cpu, not on {}", job.device));
    }
    if job.batch_size == 0 {
        return refuse("the job's batch_size is 0; expected a number from 1".to_owned());
    }
    let has = |name: &str| job.splits.iter().any(|split| split == name);
    if has("train") && has("test") { Ok(()) } else { Err(missing_split(job)) }
}

fn missing_split(job: &Job) -> RunError {
    RunError::Job(format!("the job's splits are {:?}; train and test are needed", job.splits))
}

fn shape(job: &Job) -> Result<Shape, RunError> {
    let sizes: Vec<i64> =
        job.challenge.shape.iter().filter_map(|size| i64::try_from(*size).ok()).collect();
    match (sizes.as_slice(), i64::try_from(job.challenge.classes)) {
        ([channels, height, width], Ok(classes)) if job.challenge.shape.len() == 3 => {
            Ok(Shape { channels: *channels, height: *height, width: *width, classes })
        }
        _ => Err(RunError::Job(format!(
            "samples have the shape {:?}; expected channels, height, width",
            job.challenge.shape
        ))),
    }
}

/// Takes every source of non-determinism away that libtorch lets one; a report.
fn set_controls() -> Vec<Value> {
    let mut report: Vec<Value> = Switch::ALL
        .iter()
        .map(|(switch, number, name)| match libtorch::set(*number) {
            Some(true) => control(name, switch.value(), "set", ""),
            Some(false) => control(name, switch.value(), "failed", "it reads back differently"),
            None => control(name, switch.value(), "failed", "libtorch refused"),
        })
        .collect();
    tch::set_num_threads(1);
    tch::set_num_interop_threads(1);
    for (name, found) in [
        ("threads intra-op", tch::get_num_threads()),
        ("threads inter-op", tch::get_num_interop_threads()),
    ] {
        report.push(match found {
            1 => control(name, 1.into(), "set", ""),
            found => control(name, 1.into(), "failed", &format!("it reads back as {found}")),
        });
    }
    report
}

fn seed_libtorch(seed: u32) -> Value {
    tch::manual_seed(i64::from(seed));
    control("seed torch cpu", seed.into(), "set", "")
}

fn tensor(array: &Array, kind: Kind) -> Result<Tensor, RunError> {
    let expected = if kind == Kind::Float { Dtype::F4 } else { Dtype::I8 };
    if array.header.dtype != expected {
        return Err(RunError::Job(format!(
            "an array has dtype {:?}; expected {expected:?}",
            array.header.dtype
        )));
    }
    let shape: Vec<i64> =
        array.header.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
    Ok(Tensor::f_from_data_size(&array.bytes, &shape, kind)?)
}

/// The places of an order, as indices.
fn places(order: &Array) -> Result<Tensor, RunError> {
    let places: Vec<i64> = order
        .bytes
        .chunks_exact(4)
        .filter_map(|four| Some(i64::from(u32::from_le_bytes(four.try_into().ok()?))))
        .collect();
    Ok(Tensor::f_from_slice(&places)?)
}

/// The (start, stop) positions of an epoch's batches.
fn batches(samples: i64, size: i64, drop_last: bool) -> Vec<(i64, i64)> {
    (0..)
        .map(|index| (index * size, ((index + 1) * size).min(samples)))
        .take_while(|(start, _)| *start < samples)
        .filter(|(start, stop)| stop - start == size || !drop_last)
        .collect()
}

/// Trains on one batch; returns its mean loss.
fn step(
    network: &Network,
    optimizer: &mut Optimizer,
    train: &Split,
    chosen: &Tensor,
) -> Result<f64, RunError> {
    let y = train.y.as_ref().ok_or_else(|| RunError::Job("no classes to train with".into()))?;
    let x = train.x.f_index_select(0, chosen)?;
    let y = y.f_index_select(0, chosen)?;
    optimizer.zero_grad();
    let output = network.forward(&x, true)?;
    let loss = output.f_nll_loss_nd(&y, None::<&Tensor>, Reduction::Mean, IGNORED)?;
    loss.f_backward()?;
    optimizer.step();
    Ok(loss.f_double_value(&[])?)
}

/// Shape and bytes of the log-probabilities of a split.
fn predict(network: &Network, x: &Tensor, classes: u64) -> Result<(Vec<u64>, Vec<u8>), RunError> {
    let samples = x.size().first().copied().unwrap_or(0);
    let output = tch::no_grad(|| {
        let parts = batches(samples, EVALUATION_BATCH, false)
            .into_iter()
            .map(|(start, stop)| network.forward(&x.f_narrow(0, start, stop - start)?, false))
            .collect::<Result<Vec<_>, _>>()?;
        Tensor::f_cat(&parts, 0)
    })?;
    let bytes = bytes(&output, 4)?;
    Ok((vec![u64::try_from(samples).unwrap_or(0), classes], bytes))
}

/// The elements of a tensor in C order, each of so many bytes.
fn bytes(tensor: &Tensor, size: usize) -> Result<Vec<u8>, RunError> {
    let tensor = tensor.f_contiguous()?;
    let count = tensor.numel();
    let mut bytes = vec![0; count * size];
    tensor.f_copy_data_u8(&mut bytes, count)?;
    Ok(bytes)
}

/// The digest of all parameters as they are now.
fn parameters_digest(network: &Network) -> Result<Digest, RunError> {
    let parameters = network
        .store()
        .variables()
        .into_iter()
        .map(|(name, value)| {
            let shape = value.size().iter().map(|n| u64::try_from(*n).unwrap_or(0)).collect();
            Ok(Parameter { name, dtype: "f4", shape, bytes: bytes(&value.detach(), 4)? })
        })
        .collect::<Result<Vec<_>, RunError>>()?;
    Ok(digest::of_parameters(parameters))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use protocol::{ChallengeJob, Order};

    use super::*;

    fn job() -> Job {
        Job {
            experiment: "pr1-buggy-0123456789ab".into(),
            bug: "pr1".into(),
            evaluation: "buggy".into(),
            run: 0,
            framework: "pytorch".into(),
            model: "lenet".into(),
            model_source: None,
            model_class: None,
            challenge: ChallengeJob {
                name: "synthetic".into(),
                shape: vec![1, 28, 28],
                classes: 10,
            },
            splits: vec!["train".into(), "test".into()],
            epochs: 1,
            batch_size: 4,
            drop_last: false,
            learning_rate: 0.1,
            momentum: 0.5,
            order: Order::Fixed,
            device: "cpu".into(),
            trace: false,
            seed: 1,
            fault: false,
        }
    }

    #[test]
    fn jobs_that_this_client_cannot_do_are_refused() {
        assert!(check(&job()).is_ok());
        type Change = fn(&mut Job);
        let cases: [(Change, &str); 6] = [
            (|job| job.framework = "tinynn".into(), "has pytorch"),
            (|job| job.model_source = Some("class M: pass".into()), "own model"),
            (|job| job.fault = true, "planted fault"),
            (|job| job.device = "cuda".into(), "on cpu"),
            (|job| job.batch_size = 0, "batch_size"),
            (|job| job.splits = vec!["train".into()], "test are needed"),
        ];
        for (change, words) in cases {
            let mut job = job();
            change(&mut job);
            let error = check(&job).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), "job");
        }
    }

    #[test]
    fn the_last_batch_is_kept_or_dropped() {
        assert_eq!(batches(10, 4, false), [(0, 4), (4, 8), (8, 10)]);
        assert_eq!(batches(10, 4, true), [(0, 4), (4, 8)]);
        assert_eq!(batches(3, 4, true), []);
        assert_eq!(batches(0, 4, false), []);
    }

    #[test]
    fn a_network_learns_what_is_easy() {
        tch::manual_seed(1);
        let (network, _) = models::build("lenet", shape(&job()).unwrap()).unwrap();
        network.draw().unwrap();
        let sgd = Sgd { momentum: 0.5, ..Sgd::default() };
        let mut optimizer = sgd.build(network.store(), 0.05).unwrap();
        // Ten images, each bright in a row of its own.
        let x = Tensor::zeros([10, 1, 28, 28], tch::kind::FLOAT_CPU);
        for class in 0..10 {
            let _ = x.get(class).get(0).get(2 * class + 4).fill_(3.0);
        }
        let y = Tensor::arange(10, tch::kind::INT64_CPU);
        let train = Split { x: x.copy(), y: Some(y) };
        let chosen = Tensor::arange(10, tch::kind::INT64_CPU);
        let first = step(&network, &mut optimizer, &train, &chosen).unwrap();
        let before = parameters_digest(&network).unwrap();
        let mut last = first;
        for _ in 0..60 {
            last = step(&network, &mut optimizer, &train, &chosen).unwrap();
        }
        assert!(last < first / 4.0, "{first} {last}");
        assert_ne!(parameters_digest(&network).unwrap(), before);
        let (shape, scores) = predict(&network, &x, 10).unwrap();
        assert_eq!(shape, [10, 10]);
        let numbers: Vec<f32> = scores
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        for (class, row) in numbers.chunks(10).enumerate() {
            let best = (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            assert_eq!(best, class);
        }
    }
}
