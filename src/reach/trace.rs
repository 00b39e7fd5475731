//! Where the trace of a workload comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containers::{Cancel, ContainerSpec, Docker, LogStream};
use reach::Trace;
use study::{ArtifactRecord, BugId, Evaluation, Study};

use super::{Pair, Workload};
use crate::failure::Failure;
use crate::home::Home;

/// Memory of a traced epoch where study.toml gives less, in MiB: a trace needs more than a run.
const MEMORY_MIB: u32 = 4096;

/// The trace that was named; else one of the study's or of the program's own that is of this
/// workload; else a new one of an artifact that is built, where Docker is there.
pub async fn find(
    study: &Study,
    home: &Home,
    workload: &Workload,
    named: Option<&Path>,
    sides: &BTreeMap<BugId, Pair>,
) -> Result<Option<Trace>, Failure> {
    let framework = &study.config.framework.name;
    let fits = |trace: &Trace| {
        trace.is_of(framework, &workload.model, &workload.challenge, &workload.device)
    };
    if let Some(path) = named {
        let trace = Trace::read(path).map_err(Failure::input)?;
        if !fits(&trace) {
            return Err(Failure::input(anyhow::anyhow!(
                "{}: this is a trace of {} on {} ({}, {}); expected {} on {} ({}, {})",
                path.display(),
                trace.model,
                trace.challenge,
                trace.framework,
                trace.device,
                workload.model,
                workload.challenge,
                framework,
                workload.device
            )));
        }
        return Ok(Some(trace));
    }
    for folder in [reach::findings::traces_dir(study), home.traces()] {
        for path in files(&folder) {
            let trace = Trace::read(&path).map_err(Failure::input)?;
            if fits(&trace) {
                return Ok(Some(trace));
            }
        }
    }
    // The newest: what an older version lacks, a trace of it says nothing about.
    let corpus = study.corpus()?;
    let fixed_at = |bug: &BugId| {
        corpus.iter().find(|known| known.id == *bug).and_then(|known| known.fixed_at.clone())
    };
    let built = sides
        .iter()
        .filter_map(|(bug, pair)| Some((fixed_at(bug), pair.get(&Evaluation::Corrected)?)))
        .filter(|(_, record)| record.is_built() && record.fault.is_none())
        .max_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, record)| record);
    match built {
        Some(record) => make(study, home, workload, record).await,
        None => Ok(None),
    }
}

/// The traces of a folder, by name.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    found.sort();
    found
}

/// Traces one short epoch in a container of an artifact's image, and keeps the trace in the study.
async fn make(
    study: &Study,
    home: &Home,
    workload: &Workload,
    record: &ArtifactRecord,
) -> Result<Option<Trace>, Failure> {
    let Ok(docker) = Docker::connect().await else {
        eprintln!("warning: no Docker daemon answers, so the workload cannot be traced");
        return Ok(None);
    };
    let Ok(challenge) = server::challenge::Known::parse(&workload.challenge) else {
        return Ok(None);
    };
    let shape: Vec<String> = challenge.shape().iter().map(ToString::to_string).collect();
    let framework = &study.config.framework.name;
    let mut command: Vec<String> = [
        ["python3", "-B"].as_slice(),
        &["-m", "reproduceml_client.operators"],
        &["--framework", framework],
        &["--model", &workload.model],
        &["--challenge", &workload.challenge],
        &["--device", &workload.device],
        &["--shape", &shape.join(",")],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    command.push(format!("--momentum={}", study.config.run.momentum));
    command.push(format!("--learning-rate={}", study.config.run.learning_rate));
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let artifact = study.artifact_dir(&record.id).join("files");
    let mut spec = ContainerSpec::new(&record.image, &words, docker.sandbox_user())
        .read_only(&home.client(), "/client")
        .read_only(&artifact, "/artifact")
        .env("PYTHONPATH", "/client")
        .env("HOME", "/tmp")
        .env("REPRODUCEML_ARTIFACT", "/artifact")
        .label(containers::STUDY_LABEL, &crate::places::study_label(study));
    if let Some(source) = &study.config.model.source {
        spec = spec.read_only(&study.resolve(source), "/model.py");
        spec.command.extend(["--model-file", "/model.py"].map(str::to_owned));
        spec.command.extend(["--model-class".to_owned(), workload.model.clone()]);
    }
    let memory = study.config.run.memory_mib.max(MEMORY_MIB);
    spec.limits.memory = Some(u64::from(memory) << 20);
    if workload.device == "cuda" {
        spec.gpus = Some(Vec::new());
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream: LogStream, bytes: &[u8]| {
        match stream {
            LogStream::Stdout => out.extend_from_slice(bytes),
            LogStream::Stderr => err.extend_from_slice(bytes),
        }
        Ok(())
    };
    let exit = docker.run(&spec, &mut sink, &Cancel::new()).await;
    let exit = exit.map_err(crate::places::missing_docker)?;
    if !exit.success() {
        let text = String::from_utf8_lossy(&err);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        eprintln!("warning: the workload could not be traced: {last}");
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    let name =
        format!("{framework}-{}-{}-{}.json", workload.model, workload.challenge, workload.device);
    let path = reach::findings::traces_dir(study).join(name);
    let trace = Trace::parse(&text, &path).map_err(Failure::stage)?;
    study::files::write_whole(&path, text.as_bytes()).map_err(Failure::missing)?;
    Ok(Some(trace))
}
