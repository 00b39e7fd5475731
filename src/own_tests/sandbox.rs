//! Where a fix's tests run: a container of the artifact's image with the fix's tree, without network.

use std::path::Path;

use anyhow::anyhow;
use containers::{Cancel, ContainerExit, ContainerSpec, Docker, Ended, LogStream};
use runner::own_tests::{TestRun, parse};
use study::Study;

use super::kept::seed;
use super::{Planned, Subject};
use crate::failure::Failure;
use crate::home::Home;

/// Bytes of results that one run may write: a test that is given millions of numbers keeps few.
const MOST_BYTES: u64 = 64 << 20;

/// Runs the tests of one bug.
pub struct Sandbox<'a> {
    docker: &'a Docker,
    study: &'a Study,
    home: &'a Home,
    subject: &'a Subject,
    scratch: tempfile::TempDir,
}

impl<'a> Sandbox<'a> {
    /// Lays out the fix's tree.
    pub fn new(
        docker: &'a Docker,
        study: &'a Study,
        home: &'a Home,
        clone: &Path,
        subject: &'a Subject,
    ) -> Result<Self, Failure> {
        let place = study.cache_dir().join("scratch");
        std::fs::create_dir_all(&place).map_err(Failure::missing)?;
        let scratch = tempfile::Builder::new().prefix("tests-").tempdir_in(&place);
        let scratch = scratch.map_err(Failure::missing)?;
        let tree = scratch.path().join("src");
        std::fs::create_dir(&tree).map_err(Failure::missing)?;
        builder::export_tree(clone, &subject.fix, &tree)
            .map_err(|error| Failure::input(anyhow!("{error}")))?;
        Ok(Self { docker, study, home, subject, scratch })
    }

    /// Whose tests they are.
    pub fn subject(&self) -> &Subject {
        self.subject
    }

    /// One run of all tests on one side, on a GPU where one is given.
    pub async fn run(&self, one: Planned, gpu: Option<&str>) -> Result<TestRun, Failure> {
        let (subject, study) = (self.subject, self.study);
        let record = subject.side(one.evaluation);
        let out = tempfile::Builder::new().prefix("out-").tempdir_in(self.scratch.path());
        let out = out.map_err(Failure::missing)?;
        crate::reach::open_to_all(out.path())?;
        let seed = seed(study, &subject.bug.id, one.run);
        let told = serde_json::json!({
            "framework": study.config.framework.name, "source": "/src", "files": subject.files,
            "names": subject.names, "seed": seed, "out": "/out/tests.jsonl",
        });
        let command = ["python3", "-B", "-m", "reproduceml_client.own_tests"];
        let artifact = study.artifact_dir(&record.id).join("files");
        let mut spec = ContainerSpec::new(&record.image, &command, self.docker.sandbox_user())
            .read_only(&self.home.client(), "/client")
            .read_only(&artifact, "/artifact")
            .read_only(&self.scratch.path().join("src"), "/src")
            .read_write(out.path(), "/out")
            .env("PYTHONPATH", "/client")
            .env("HOME", "/tmp")
            .env("REPRODUCEML_ARTIFACT", "/artifact")
            .env("REPRODUCEML_TESTS", &told.to_string())
            .label(containers::STUDY_LABEL, &crate::places::study_label(study));
        spec.workdir = Some("/tmp".into());
        let limits = &study.config.run;
        spec.limits.memory = Some(u64::from(limits.memory_mib) << 20);
        spec.limits.time = Some(60 * u64::from(limits.timeout_minutes));
        spec.gpus = gpu.map(|gpu| vec![gpu.to_owned()]);
        let mut last = Vec::new();
        let mut sink = |stream: LogStream, bytes: &[u8]| {
            tracing::debug!("{}", String::from_utf8_lossy(bytes).trim_end());
            if stream == LogStream::Stderr {
                last.extend_from_slice(bytes);
                // Only its last line is told.
                let long = last.len().saturating_sub(4096);
                last.drain(..long);
            }
            Ok(())
        };
        let exit = self.docker.run(&spec, &mut sink, &Cancel::new()).await;
        let exit = exit.map_err(crate::places::missing_docker)?;
        if exit.ended == Ended::Cancelled {
            return Err(Failure::Interrupted);
        }
        let ended = how(&exit, &String::from_utf8_lossy(&last));
        let text = results(&out.path().join("tests.jsonl"))?;
        let tests = parse(&text, ended.as_deref()).map_err(|what| {
            Failure::stage(anyhow!("{}, {}: {what}", subject.bug.id, one.evaluation))
        })?;
        Ok(TestRun {
            evaluation: one.evaluation,
            artifact: record.id.clone(),
            fix: subject.fix.clone(),
            files: subject.files.clone(),
            names: subject.names.clone(),
            run: one.run,
            seed,
            repeated: one.repeated,
            ended,
            tests,
        })
    }
}

/// What a container left, which is not trusted to be short or to be a file.
fn results(path: &Path) -> Result<String, Failure> {
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(Failure::missing(anyhow!("{}: {error}", path.display()))),
    };
    if !about.is_file() || about.len() > MOST_BYTES {
        return Err(Failure::stage(anyhow!(
            "the tests left {} bytes of results, expected a file of at most {MOST_BYTES}",
            about.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(Failure::missing)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How the process ended; none where it ended well.
fn how(exit: &ContainerExit, said: &str) -> Option<String> {
    if exit.success() {
        return None;
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
    let last = if last.is_empty() { String::new() } else { format!(": {last}") };
    Some(match (&exit.ended, exit.status, exit.signal) {
        (Ended::Timeout, ..) => "it took longer than run.timeout_minutes".to_owned(),
        (_, _, Some(signal)) => format!("signal {signal}"),
        (_, Some(status), _) => format!("status {status}{last}"),
        (_, None, None) => format!("an end without a status{last}"),
    })
}
