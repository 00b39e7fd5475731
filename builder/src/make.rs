//! Making one artifact: lay out, run the recipe's steps, plant the fault, test, store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containers::{Cancel, ContainerError, ContainerExit, ContainerSpec, DiskLimit, Docker, Ended};
use study::{ArtifactId, ArtifactRecord, ArtifactStatus, Strategy, Study};

use crate::classify::{Failure, FailureClass, classify};
use crate::content::{Content, give_to, take_over};
use crate::error::BuildError;
use crate::event::Event;
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::log::LogFile;
use crate::options::DecidedLimits;
use crate::provenance;
use crate::record::{BuildRecord, CacheUse, ImageRef, StepRecord};
use crate::toolchain::Step;
use crate::{checkout, layout};

/// How often a build is tried when the daemon fails under it.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; the third waits five times as long.
const PAUSE: Duration = Duration::from_secs(1);

/// What all builds of one call share.
pub(crate) struct Workshop<'a> {
    pub docker: &'a Docker,
    pub study: &'a Study,
    pub toolchain: &'a ReadyToolchain,
    pub clone: Option<PathBuf>,
    pub limits: DecidedLimits,
    /// Processors of each build.
    pub cpus: f64,
    pub cancel: &'a Cancel,
    pub progress: &'a (dyn Fn(Event) + Send + Sync),
}

/// Why a single attempt ended without an artifact.
enum Stop {
    /// This is the result.
    Failure(Failure),
    /// The daemon failed; worth another attempt.
    Daemon(ContainerError),
    /// The whole stage must stop.
    Error(BuildError),
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Docker(inner) | BuildError::Container(inner) => Self::Daemon(inner),
            other => Self::Error(other),
        }
    }
}

impl From<ContainerError> for Stop {
    fn from(error: ContainerError) -> Self {
        match error {
            // The study's own disk: no other build would fare better.
            ContainerError::Log { source } => Self::Error(BuildError::io("log.zst")(source)),
            other => Self::Daemon(other),
        }
    }
}

/// A finished attempt: what goes into the store.
struct Made {
    record: BuildRecord,
    content: Content,
}

impl Workshop<'_> {
    /// Makes one artifact and stores it, or stores why it cannot be made.
    pub(crate) async fn make(&self, job: &Job) -> Result<ArtifactRecord, BuildError> {
        let mut attempt = 1;
        loop {
            match self.attempt(job, attempt).await? {
                Err(error) if attempt < ATTEMPTS && !self.cancel.is_cancelled() => {
                    let pause = PAUSE * if attempt == 1 { 1 } else { 5 };
                    let text = format!("{}: {error}; trying again", job.describe());
                    (self.progress)(Event::Warning(text));
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                Err(error) => {
                    // A daemon that is gone is for the user to bring back.
                    let _ = Docker::connect_to(self.docker.host()).await?;
                    return Err(error.into());
                }
                Ok(record) => return Ok(record),
            }
        }
    }

    /// One attempt. The inner error is the daemon's.
    async fn attempt(
        &self,
        job: &Job,
        attempt: u32,
    ) -> Result<Result<ArtifactRecord, ContainerError>, BuildError> {
        let scratch = layout::scratch_dir(self.study).join(job.id.as_str());
        layout::remove_folder(&scratch)?;
        fs::create_dir_all(&scratch).map_err(BuildError::io(&scratch))?;
        let folder = self.study.build_dir(&job.id);
        let log = LogFile::create(&folder).map_err(BuildError::io(&folder))?;
        let mut bench = Bench {
            shop: self,
            job,
            scratch: scratch.clone(),
            log,
            record: self.begin_record(job, attempt),
            began: Instant::now(),
        };
        let outcome = bench.work().await;
        let Bench { log, mut record, began, .. } = bench;
        log.finish().map_err(BuildError::io(&folder))?;
        record.finished = study::store::now();
        record.seconds = began.elapsed().as_secs_f64();
        let status = match outcome {
            Ok(content) => {
                record.content = Some(content.digest.clone());
                record.bytes = content.bytes;
                let made = Made { record: record.clone(), content };
                self.store_artifact(job, &scratch, &made)?;
                ArtifactStatus::Built { content: made.content.digest, bytes: made.content.bytes }
            }
            Err(Stop::Failure(failure)) => {
                record.failure = Some(failure.clone());
                ArtifactStatus::Failed { class: failure.class.to_string(), line: failure.line }
            }
            Err(Stop::Daemon(error)) => {
                layout::remove_folder(&scratch)?;
                return Ok(Err(error));
            }
            Err(Stop::Error(error)) => {
                layout::remove_folder(&scratch)?;
                return Err(error);
            }
        };
        let path = folder.join("record.json");
        let json = record.to_json().map_err(|e| BuildError::io(&path)(e.into()))?;
        study::files::write_whole(&path, &json).map_err(BuildError::io(&path))?;
        layout::remove_folder(&scratch)?;
        Ok(Ok(layout::store_record(&record, status)))
    }

    fn begin_record(&self, job: &Job, attempt: u32) -> BuildRecord {
        let info = self.docker.info();
        let host = BTreeMap::from([
            ("architecture".to_owned(), info.architecture.clone()),
            ("docker".to_owned(), info.version.clone()),
            ("operating_system".to_owned(), info.operating_system.clone()),
        ]);
        BuildRecord {
            id: job.id.clone(),
            identity: job.identity.clone(),
            toolchain: self.toolchain.toolchain.recipe.name.clone(),
            image: ImageRef {
                tag: self.toolchain.tag.clone(),
                id: self.toolchain.image_id.clone(),
                base: self.toolchain.base_id.clone(),
            },
            started: study::store::now(),
            finished: String::new(),
            seconds: 0.0,
            attempts: attempt,
            steps: Vec::new(),
            cache: CacheUse::default(),
            fault_file: job
                .fault
                .as_ref()
                .and_then(|file| file.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
            tree: None,
            limits: self.limits.describe(),
            host,
            smoke: None,
            failure: None,
            content: None,
            bytes: 0,
        }
    }

    /// Puts a whole and tested artifact under its identity, in one step.
    fn store_artifact(&self, job: &Job, scratch: &Path, made: &Made) -> Result<(), BuildError> {
        let all = self.study.artifacts_dir();
        fs::create_dir_all(&all).map_err(BuildError::io(&all))?;
        let part = all.join(format!(".part-{}", job.id));
        layout::remove_folder(&part)?;
        fs::create_dir(&part).map_err(BuildError::io(&part))?;
        let files = part.join("files");
        fs::rename(scratch.join("out"), &files).map_err(BuildError::io(&files))?;
        let inputs: Vec<(String, String)> = job
            .identity
            .fault
            .iter()
            .map(|digest| ("fault.py".to_owned(), digest.clone()))
            .collect();
        let statement = provenance::statement(&made.record, &made.content, &inputs);
        let documents = [
            ("provenance.json", serde_json::to_vec_pretty(&statement)),
            ("content.json", serde_json::to_vec_pretty(&made.content)),
            ("record.json", made.record.to_json()),
        ];
        for (name, bytes) in documents {
            let path = part.join(name);
            let bytes = bytes.map_err(|e| BuildError::io(&path)(e.into()))?;
            study::files::write_whole(&path, &bytes).map_err(BuildError::io(&path))?;
        }
        let place = self.study.artifact_dir(&job.id);
        // Only a build that is done again finds one; what it replaces has the same identity.
        layout::remove_folder(&place)?;
        fs::rename(&part, &place).map_err(BuildError::io(&place))?;
        study::files::sync_folder(&all).map_err(BuildError::io(&all))
    }
}

/// One attempt in progress.
struct Bench<'a> {
    shop: &'a Workshop<'a>,
    job: &'a Job,
    scratch: PathBuf,
    log: LogFile,
    record: BuildRecord,
    began: Instant,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    async fn work(&mut self) -> Result<Content, Stop> {
        let user = self.shop.docker.sandbox_user();
        for name in ["src", "out", "record"] {
            let path = self.path(name);
            fs::create_dir(&path).map_err(BuildError::io(&path))?;
        }
        match self.job.identity.strategy {
            Strategy::Source => self.build_source(user).await?,
            Strategy::Release => self.take_release(user).await?,
            Strategy::Fault => self.plant_fault(user).await?,
            Strategy::Overlay => {
                let text = "the strategy `overlay` is not there yet; use `source`".to_owned();
                return Err(Stop::Error(BuildError::Request(text)));
            }
        }
        let out = self.path("out");
        take_over(&out)?;
        let content = Content::of(&out)?;
        if content.files.is_empty() {
            return Err(Stop::Failure(Failure {
                class: FailureClass::Package,
                step: "package".into(),
                line: "the steps left nothing in /out".into(),
                line_number: None,
            }));
        }
        self.smoke(user).await?;
        Ok(content)
    }

    /// Strategy `source`: the commit's tree through the recipe's steps.
    async fn build_source(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        let recipe = &self.shop.toolchain.toolchain.recipe;
        let request = |text: String| Stop::Error(BuildError::Request(text));
        let (Some(commit), Some(clone)) = (&self.job.identity.commit, &self.shop.clone) else {
            return Err(request("a source build needs a commit and a clone".into()));
        };
        if recipe.steps.is_empty() {
            return Err(request(format!(
                "the toolchain {} has no steps and cannot build from source; choose another in \
                 study.toml",
                recipe.name
            )));
        }
        let target = self.path("src");
        let (from, what, to) = (clone.clone(), commit.clone(), target.clone());
        let exported =
            tokio::task::spawn_blocking(move || checkout::export(&from, &what, &to)).await;
        match exported {
            Ok(Ok(done)) => self.record.tree = Some(done.tree),
            Ok(Err(checkout::CheckoutError::Io { path, source })) => {
                return Err(Stop::Error(BuildError::Io { path, source }));
            }
            Ok(Err(error)) => return Err(self.checkout_failed(error.to_string())),
            Err(error) => return Err(self.checkout_failed(error.to_string())),
        }
        let cache = layout::compiler_cache_dir(self.shop.study);
        fs::create_dir_all(&cache).map_err(BuildError::io(&cache))?;
        for folder in [&target, &self.path("out"), &self.path("record")] {
            give_to(folder, user)?;
        }
        layout::own_folder(&cache, user)?;
        let mut outcome = Ok(None);
        for step in recipe.steps.clone() {
            let spec = self.spec(&step.run, user);
            let spec = spec
                .read_write(&target, "/src")
                .read_write(&self.path("out"), "/out")
                .read_write(&self.path("record"), "/record")
                .read_write(&cache, "/cache");
            outcome = self.step(&step, &spec).await;
            if outcome.is_err() {
                break;
            }
        }
        let stats = fs::read_to_string(self.path("record").join("ccache.log")).unwrap_or_default();
        self.record.cache = CacheUse::from_stats_log(&stats);
        outcome.map(|_| ())
    }

    fn checkout_failed(&self, line: String) -> Stop {
        Stop::Failure(Failure {
            class: FailureClass::Checkout,
            step: "checkout".into(),
            line,
            line_number: None,
        })
    }

    /// Strategy `release`: the package that the image holds, named with its version.
    async fn take_release(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        let recipe = &self.shop.toolchain.toolchain.recipe;
        let Some(release) = recipe.release.clone() else {
            let text = format!(
                "the toolchain {} holds no released package (its toolchain.toml has no [release])",
                recipe.name
            );
            return Err(Stop::Error(BuildError::Request(text)));
        };
        let step =
            Step { name: "version".into(), kind: FailureClass::Import, run: release.version };
        let spec = self.spec(&step.run, user);
        let version = self.step(&step, &spec).await?;
        let about = serde_json::json!({
            "package": release.package,
            "version": version.unwrap_or_default(),
            "image": self.shop.toolchain.image_id,
        });
        let path = self.path("out").join("release.json");
        fs::write(&path, format!("{about:#}\n")).map_err(BuildError::io(&path))?;
        Ok(())
    }

    /// Strategy `fault`: a released package or a built commit, and the fault's file beside it.
    async fn plant_fault(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        match &self.job.base {
            None => self.take_release(user).await?,
            Some(base) => {
                let files = self.shop.study.artifact_dir(base).join("files");
                layout::copy_tree(&files, &self.path("out"))?;
            }
        }
        let Some(file) = &self.job.fault else {
            let text = "a planted fault needs its file".to_owned();
            return Err(Stop::Error(BuildError::Request(text)));
        };
        let bytes = fs::read(file).map_err(BuildError::io(file))?;
        if Some(study::files::sha256_hex(&bytes)) != self.job.identity.fault {
            let text = format!("{} changed while the build was under way", file.display());
            return Err(Stop::Error(BuildError::Request(text)));
        }
        let path = self.path("out").join("fault.py");
        fs::write(&path, bytes).map_err(BuildError::io(&path))?;
        Ok(())
    }

    /// The test that an artifact must pass, in the image that will run it.
    async fn smoke(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        let toolchain = &self.shop.toolchain.toolchain;
        let step = Step {
            name: "smoke".into(),
            kind: FailureClass::Train,
            run: toolchain.recipe.smoke.run.clone(),
        };
        let spec = self
            .spec(&step.run, user)
            .read_only(&self.path("out"), "/artifact")
            .read_only(&toolchain.folder, "/toolchain")
            .env("PYTHONPATH", "/artifact/site")
            .env("REPRODUCEML_ARTIFACT", "/artifact");
        let last = self.step(&step, &spec).await?;
        self.record.smoke = last.as_deref().and_then(|line| serde_json::from_str(line).ok());
        if !self.record.smoke.as_ref().is_some_and(serde_json::Value::is_object) {
            return Err(Stop::Failure(Failure {
                class: FailureClass::Train,
                step: step.name,
                line: format!(
                    "the smoke test ended well but its last line is no JSON object: {}",
                    last.unwrap_or_default()
                ),
                line_number: None,
            }));
        }
        Ok(())
    }

    /// A sandbox for one step, without any folder yet.
    fn spec(&self, run: &str, user: (u32, u32)) -> ContainerSpec {
        let shop = self.shop;
        let recipe = &shop.toolchain.toolchain.recipe;
        let mut spec =
            ContainerSpec::new(&shop.toolchain.image_id, &["sh", "-eu", "-c", run], user);
        let jobs = (shop.cpus.ceil() as u64).max(1).to_string();
        let fixed = [
            ("HOME", "/tmp"),
            ("JOBS", jobs.as_str()),
            ("CCACHE_DIR", "/cache"),
            ("CCACHE_NOHASHDIR", "true"),
            ("CCACHE_COMPILERCHECK", "content"),
            ("CCACHE_STATSLOG", "/record/ccache.log"),
            ("CCACHE_TEMPDIR", "/tmp/ccache"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONHASHSEED", "0"),
        ];
        for (name, value) in fixed {
            spec = spec.env(name, value);
        }
        for (name, value) in recipe.environment.iter().chain(&self.job.identity.flags) {
            spec = spec.env(name, value);
        }
        spec = spec
            .label(containers::STUDY_LABEL, &layout::study_mark(shop.study))
            .label("reproduceml.artifact", self.job.id.as_str());
        let limits = &shop.limits;
        spec.limits.memory = Some(limits.memory);
        spec.limits.time = Some(limits.seconds);
        spec.limits.silence = limits.silence;
        spec.limits.processes = Some(limits.processes);
        spec.limits.cpus = Some(shop.cpus);
        spec.limits.file_size = Some(limits.disk);
        spec.limits.disk = Some(DiskLimit {
            folders: vec![self.scratch.clone()],
            max_bytes: limits.disk,
            min_free: limits.free,
        });
        spec
    }

    /// Runs one step and returns its last line of output.
    async fn step(&mut self, step: &Step, spec: &ContainerSpec) -> Result<Option<String>, Stop> {
        let id = &self.job.id;
        let shop = self.shop;
        (shop.progress)(Event::Step { id: id.clone(), step: step.name.clone() });
        let io = |e| Stop::Error(BuildError::io("log.zst")(e));
        self.log.line(&format!("+ [{}] {}", step.name, step.run)).map_err(io)?;
        let mut scanner = self.log.scanner().map_err(io)?;
        let first_line = scanner.lines() + 1;
        let exit = {
            let (log, scanner) = (&mut self.log, &mut scanner);
            let mut sink = |_, bytes: &[u8]| {
                scanner.push(bytes);
                (shop.progress)(Event::Output {
                    id: id.clone(),
                    text: String::from_utf8_lossy(bytes).into_owned(),
                });
                log.write(bytes)
            };
            shop.docker.run(spec, &mut sink, shop.cancel).await?
        };
        self.log.line(&ending(&exit)).map_err(io)?;
        if exit.ended == Ended::Cancelled {
            return Err(Stop::Error(BuildError::Interrupted));
        }
        let success = exit.success();
        let kind = kind_of(step, &exit);
        let failed = (!success).then(|| exit.clone());
        self.record.steps.push(StepRecord { name: step.name.clone(), first_line, exit });
        match failed {
            Some(exit) => Err(Stop::Failure(classify(&step.name, kind, &exit, scanner))),
            None => Ok(scanner.last_line()),
        }
    }
}

/// The class of a step's failure when its log does not tell; a smoke test says it by its status.
fn kind_of(step: &Step, exit: &ContainerExit) -> FailureClass {
    match (step.kind, exit.status) {
        (FailureClass::Train, Some(10)) => FailureClass::Import,
        (FailureClass::Train, Some(12)) => FailureClass::Fault,
        (kind, _) => kind,
    }
}

/// The line that closes a step in the log.
fn ending(exit: &ContainerExit) -> String {
    let how = match (&exit.ended, exit.status) {
        (Ended::ByItself, Some(status)) => format!("status {status}"),
        (Ended::ByItself, None) => "unknown status".to_owned(),
        (Ended::Timeout, _) => "ended: it took too long".to_owned(),
        (Ended::Silence, _) => "ended: it was silent for too long".to_owned(),
        (Ended::Disk(why), _) => format!("ended: {why}"),
        (Ended::Log, _) => "ended: it printed too much".to_owned(),
        (Ended::Cancelled, _) => "ended: interrupted".to_owned(),
    };
    let memory = if exit.oom_killed { ", out of memory" } else { "" };
    format!("= {how}{memory} after {:.1} s", exit.duration.as_secs_f64())
}

/// Whether an artifact lies whole under its identity.
pub(crate) fn is_there(study: &Study, id: &ArtifactId) -> bool {
    study.artifact_dir(id).join("record.json").is_file()
}
