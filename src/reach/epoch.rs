//! One watched epoch of an artifact, with the study's own data and seed, in a container and without
//! a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use containers::{Cancel, ContainerSpec, Docker, LogStream};
use protocol::Order;
use reach::lines::FileCounts;
use reach::values::Values;
use reach::{Change, Dictionary, Layer, lines};
use runner::Overrides;
use serde::Deserialize;
use server::ServerConfig;
use server::challenge::Datasets;
use study::{Bug, DataOrder, Evaluation, Experiment, Store, Study};

use super::counting::{self, Counting};
use super::{Pair, Workload};
use crate::failure::Failure;
use crate::home::Home;

/// Watches epochs of a study's artifacts.
pub struct Watcher<'a> {
    pub(super) docker: &'a Docker,
    pub(super) study: &'a Study,
    pub(super) store: &'a Store,
    pub(super) home: &'a Home,
    pub(super) clone: Option<PathBuf>,
    workload: Workload,
    datasets: Datasets,
}

/// What the client prints at the end.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Seen {
    initial: Option<String>,
    #[serde(default)]
    batches: Vec<(String, Option<f64>)>,
    #[serde(default)]
    lines: BTreeMap<String, Vec<u32>>,
    #[serde(default)]
    possible: BTreeMap<String, Vec<u32>>,
    /// The compiler's files of counts, by the path they were compiled for, in base 64.
    #[serde(default)]
    pub(super) counts: BTreeMap<String, String>,
}

impl<'a> Watcher<'a> {
    /// A watcher of one workload.
    pub fn new(
        docker: &'a Docker,
        study: &'a Study,
        store: &'a Store,
        home: &'a Home,
        workload: &Workload,
        clone: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let config = ServerConfig::loopback(study.root().join("data"));
        let datasets = Datasets::new(
            config.data_dir.clone(),
            config.fetch.clone(),
            config.limits.cache,
            config.limits.synthetic,
        );
        Ok(Self { docker, study, store, home, clone, workload: workload.clone(), datasets })
    }

    /// The parameters of one side, batch by batch; none if its epoch does not end.
    pub async fn values(
        &self,
        bug: &Bug,
        side: Evaluation,
        pair: &Pair,
    ) -> Result<Option<Values>, Failure> {
        let Some(record) = pair.get(&side).filter(|record| record.is_built()) else {
            return Ok(None);
        };
        let files = self.study.artifact_dir(&record.id).join("files");
        let watch = serde_json::json!({"digests": true});
        let seen = self.epoch(bug, side, &record.image, &files, &watch).await?;
        Ok(seen.map(|seen| Values { initial: seen.initial, batches: seen.batches }))
    }

    /// The counted lines of one side: of Python in the artifact itself, of compiled code in a copy
    /// whose changed objects count.
    pub async fn lines(
        &self,
        bug: &Bug,
        side: Evaluation,
        pair: &Pair,
        change: &Change,
        clone: &reach::Clone,
        dictionary: &Dictionary,
    ) -> Result<Option<FileCounts>, Failure> {
        let Some(record) = pair.get(&side).filter(|record| record.is_built()) else {
            return Ok(None);
        };
        let of = |layer| -> Vec<String> {
            let files = change.files.iter();
            let wanted = files.filter(|file| lines::is_countable(file, dictionary) == Some(layer));
            wanted.map(|file| file.path.clone()).collect()
        };
        let (python, compiled) = (of(Layer::LinesPython), of(Layer::LinesCpp));
        let mut counts = FileCounts::new();
        if !python.is_empty() {
            let installed: BTreeMap<String, String> = python
                .iter()
                .filter_map(|path| Some((dictionary.installed(path)?, path.clone())))
                .collect();
            let wanted: BTreeMap<&String, [u32; 0]> =
                installed.keys().map(|name| (name, [])).collect();
            let watch = serde_json::json!({"lines": wanted});
            let files = self.study.artifact_dir(&record.id).join("files");
            let Some(seen) = self.epoch(bug, side, &record.image, &files, &watch).await? else {
                return Ok(None);
            };
            for (name, path) in &installed {
                if let Some(possible) = seen.possible.get(name) {
                    let executed = seen.lines.get(name).map(Vec::as_slice).unwrap_or_default();
                    counts.insert(path.clone(), lines::from_python(possible, executed));
                }
            }
        }
        if !compiled.is_empty() {
            let commit = match side {
                Evaluation::Buggy => bug.buggy.as_ref(),
                _ => bug.fix.as_ref(),
            };
            let Some(commit) = commit else { return Ok(None) };
            let sources =
                clone.compiled_with(commit, &compiled, dictionary).map_err(Failure::input)?;
            let counting = Counting { commit, sources: &sources, record };
            match counting::count(self, bug, side, &counting).await? {
                Some(found) => counts.extend(found),
                None => return Ok(None),
            }
        }
        Ok(Some(counts))
    }

    /// Trains one epoch in a container; none if it did not end well.
    pub(super) async fn epoch(
        &self,
        bug: &Bug,
        side: Evaluation,
        image: &str,
        artifact: &Path,
        watch: &serde_json::Value,
    ) -> Result<Option<Seen>, Failure> {
        let job = tempfile::Builder::new().prefix("reproduceml-").tempdir();
        let job = job.map_err(Failure::missing)?;
        self.write_job(bug, side, job.path())?;
        let command = ["python3", "-B", "-m", "reproduceml_client.watch"];
        let run = &self.study.config.run;
        let mut spec = ContainerSpec::new(image, &command, self.docker.sandbox_user())
            .read_only(&self.home.client(), "/client")
            .read_only(artifact, "/artifact")
            .read_only(job.path(), "/job")
            .env("PYTHONPATH", "/client")
            .env("HOME", "/tmp")
            .env("REPRODUCEML_ARTIFACT", "/artifact")
            .env("REPRODUCEML_JOB", "/job")
            .env("REPRODUCEML_WATCH", &watch.to_string())
            .label(containers::STUDY_LABEL, &crate::places::study_label(self.study));
        spec.workdir = Some("/tmp".into());
        spec.limits.memory = Some(u64::from(run.memory_mib) << 20);
        spec.limits.time = Some(60 * u64::from(run.timeout_minutes));
        if self.workload.device == "cuda" {
            spec.gpus = Some(Vec::new());
        }
        let (text, last) = match run_quietly(self.docker, &spec).await? {
            Ok(text) => (text, String::new()),
            Err(last) => (String::new(), last),
        };
        match serde_json::from_str(text.trim_end().lines().last().unwrap_or("")) {
            Ok(seen) => Ok(Some(seen)),
            Err(_) => {
                eprintln!("warning: {} {side}: the watched epoch did not end: {last}", bug.id);
                Ok(None)
            }
        }
    }

    /// Writes the job of run 0 of one side, with its arrays, into a folder.
    fn write_job(&self, bug: &Bug, side: Evaluation, folder: &Path) -> Result<(), Failure> {
        let experiment = self.experiment(bug, side)?;
        let dataset = self.datasets.get(&experiment).map_err(Failure::input)?;
        let seed = experiment.seed(0);
        let source = match &experiment.model.source {
            Some(path) => {
                Some(std::fs::read_to_string(self.study.resolve(path)).map_err(Failure::input)?)
            }
            None => None,
        };
        let settings = &experiment.hyperparameters;
        let job = serde_json::json!({
            "experiment": experiment.id(), "run": 0, "framework": experiment.framework,
            "model": experiment.model.name, "model_source": source,
            "model_class": source.as_ref().map(|_| &experiment.model.name),
            "challenge": {
                "name": experiment.challenge.name, "shape": dataset.shape,
                "classes": dataset.classes,
            },
            "splits": dataset.splits(), "epochs": 1, "batch_size": settings.batch_size,
            "drop_last": settings.drop_last, "learning_rate": settings.learning_rate,
            "momentum": settings.momentum, "order": "fixed", "device": experiment.device,
            "trace": true, "seed": seed, "fault": false,
        });
        let order = match experiment.challenge.order {
            DataOrder::Fixed => Order::Fixed,
            DataOrder::PerEpoch => Order::PerEpoch,
        };
        let mut names = vec!["order/1".to_owned(), "train/y".to_owned()];
        names.extend(dataset.splits().iter().map(|split| format!("{split}/x")));
        let mut headers = BTreeMap::new();
        for name in names {
            let array = dataset.array(&name, order, seed, settings.epochs);
            let array = array.ok_or_else(|| Failure::input(anyhow!("there is no array {name}")))?;
            let path = folder.join(name.replace('/', "-"));
            std::fs::write(&path, array.data.as_slice()).map_err(Failure::missing)?;
            headers.insert(name, array.header);
        }
        let write = |name: &str, value: &serde_json::Value| {
            std::fs::write(folder.join(name), value.to_string()).map_err(Failure::missing)
        };
        write("job.json", &job)?;
        write("arrays.json", &serde_json::to_value(&headers).map_err(Failure::stage)?)?;
        open_to_all(folder)
    }

    /// The experiment of one side, as `run` would plan it; that of a bug which `run` does not plan,
    /// since its other side failed, is made after another's.
    fn experiment(&self, bug: &Bug, side: Evaluation) -> Result<Experiment, Failure> {
        let overrides = Overrides {
            model: Some(self.workload.model.clone()),
            challenge: Some(self.workload.challenge.clone()),
            ..Overrides::default()
        };
        let models = runner::Models::read(&self.home.client(), &self.study.config.framework.name)
            .map_err(Failure::input)?;
        let plan =
            runner::plan(self.study, self.store, &overrides, &models).map_err(Failure::input)?;
        let planned =
            |found: &&(Experiment, u32)| found.0.bug == bug.id && found.0.evaluation == side;
        if let Some((experiment, _)) = plan.experiments.iter().find(planned) {
            return Ok(experiment.clone());
        }
        let other = plan.experiments.into_iter().next();
        other
            .map(|(other, _)| Experiment { bug: bug.id.clone(), evaluation: side, ..other })
            .ok_or_else(|| Failure::input(anyhow!("no bug of this study has both its artifacts")))
    }
}

/// Runs a container: its standard output, or the last line of what it said else.
pub(super) async fn run_quietly(
    docker: &Docker,
    spec: &ContainerSpec,
) -> Result<Result<String, String>, Failure> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream: LogStream, bytes: &[u8]| {
        tracing::debug!("{}", String::from_utf8_lossy(bytes).trim_end());
        match stream {
            LogStream::Stdout => out.extend_from_slice(bytes),
            LogStream::Stderr => err.extend_from_slice(bytes),
        }
        Ok(())
    };
    let exit = docker.run(spec, &mut sink, &Cancel::new()).await;
    let exit = exit.map_err(crate::places::missing_docker)?;
    if exit.success() {
        return Ok(Ok(String::from_utf8_lossy(&out).into_owned()));
    }
    let text = String::from_utf8_lossy(&err).into_owned();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    let how = match (exit.status, exit.signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(status), None) => format!("status {status}"),
        _ => "an unknown end".to_owned(),
    };
    Ok(Err(format!("{how} ({last})")))
}

/// Containers run as another user.
pub fn open_to_all(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))
        .map_err(Failure::missing)
}
