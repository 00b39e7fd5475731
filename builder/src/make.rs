//! Making one artifact: attempt it, try again when the daemon fails, and store what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containers::{Cancel, ContainerError, Docker};
use study::{ArtifactId, ArtifactRecord, ArtifactStatus, Study};

use crate::bench::{Bench, Stop};
use crate::content::Content;
use crate::error::BuildError;
use crate::event::Event;
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::layout::{self, Places};
use crate::log::LogFile;
use crate::options::DecidedLimits;
use crate::provenance;
use crate::record::{BuildRecord, CacheUse, ImageRef};
use crate::share;

/// How often a build is tried when the daemon fails under it.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; the third waits five times as long.
const PAUSE: Duration = Duration::from_secs(1);

/// What all builds of one call share.
pub(crate) struct Workshop<'a> {
    pub docker: &'a Docker,
    pub study: &'a Study,
    pub places: Places,
    /// By their identity, as the artifacts' identities name them.
    pub toolchains: &'a BTreeMap<String, ReadyToolchain>,
    pub clone: Option<PathBuf>,
    pub limits: DecidedLimits,
    /// Processors of each build.
    pub cpus: f64,
    pub cancel: &'a Cancel,
    pub progress: &'a (dyn Fn(Event) + Send + Sync),
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

    /// The toolchain of an artifact.
    pub(crate) fn toolchain_of(&self, job: &Job) -> Result<&ReadyToolchain, BuildError> {
        self.toolchains.get(&job.identity.toolchain).ok_or_else(|| {
            BuildError::Request(format!("{}: its toolchain is not at hand", job.describe()))
        })
    }

    /// The folder of an artifact that is there already: one of this call, or the study's.
    pub(crate) fn find(&self, id: &ArtifactId) -> PathBuf {
        let own = self.places.artifact(id);
        if own.is_dir() { own } else { self.study.artifact_dir(id) }
    }

    /// One attempt. The inner error is the daemon's.
    async fn attempt(
        &self,
        job: &Job,
        attempt: u32,
    ) -> Result<Result<ArtifactRecord, ContainerError>, BuildError> {
        let toolchain = self.toolchain_of(job)?;
        let scratch = self.places.scratch.join(job.id.as_str());
        layout::remove_folder(&scratch)?;
        fs::create_dir_all(&scratch).map_err(BuildError::io(&scratch))?;
        let folder = self.places.build(&job.id);
        let log = LogFile::create(&folder).map_err(BuildError::io(&folder))?;
        // Tells whoever looks on what the log that is growing here belongs to.
        let note = folder.join("building.json");
        let text = serde_json::json!({
            "what": job.describe(), "since": study::store::now(), "process": std::process::id(),
        });
        study::files::write_whole(&note, text.to_string().as_bytes())
            .map_err(BuildError::io(&note))?;
        let mut bench = Bench {
            shop: self,
            toolchain,
            job,
            scratch: scratch.clone(),
            log,
            record: self.begin_record(job, toolchain, attempt),
            began: Instant::now(),
            without_cache: false,
        };
        let outcome = bench.work().await;
        let Bench { log, mut record, began, .. } = bench;
        log.finish().map_err(BuildError::io(&folder))?;
        // Left behind it says nothing: without a growing log nobody reads it.
        let _ = fs::remove_file(&note);
        record.finished = study::store::now();
        record.seconds = began.elapsed().as_secs_f64();
        record.scratch_bytes = containers::folder_bytes(&scratch);
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

    /// The record of a build that begins.
    pub(crate) fn begin_record(
        &self,
        job: &Job,
        toolchain: &ReadyToolchain,
        attempt: u32,
    ) -> BuildRecord {
        let info = self.docker.info();
        let mut host = BTreeMap::from([
            ("architecture".to_owned(), info.architecture.clone()),
            ("docker".to_owned(), info.version.clone()),
            ("operating_system".to_owned(), info.operating_system.clone()),
            ("vectors".to_owned(), vectors(self.docker)),
        ]);
        host.extend(self.places.host.clone());
        BuildRecord {
            id: job.id.clone(),
            identity: job.identity.clone(),
            toolchain: toolchain.toolchain.recipe.name.clone(),
            image: ImageRef {
                tag: toolchain.tag.clone(),
                id: toolchain.image_id.clone(),
                base: toolchain.base_id.clone(),
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
            submodules: Vec::new(),
            patches: Vec::new(),
            scratch_bytes: 0,
            reason: job.reason.clone(),
            overlay: Vec::new(),
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
        let all = self.places.artifacts.clone();
        fs::create_dir_all(&all).map_err(BuildError::io(&all))?;
        let part = all.join(format!(".part-{}", job.id));
        layout::remove_folder(&part)?;
        fs::create_dir(&part).map_err(BuildError::io(&part))?;
        let files = part.join("files");
        layout::move_folder(&scratch.join("out"), &files)?;
        share::share(self.study, &files, &made.content)?;
        let fault = job.identity.fault.iter().map(|digest| ("fault.py".to_owned(), digest.clone()));
        let release = job.identity.release.iter().map(|r| (r.name.clone(), r.sha256.clone()));
        let inputs: Vec<(String, String)> = fault.chain(release).collect();
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
        let place = self.places.artifact(&job.id);
        // Only a build that is done again finds one; what it replaces has the same identity.
        layout::remove_folder(&place)?;
        fs::rename(&part, &place).map_err(BuildError::io(&place))?;
        study::files::sync_folder(&all).map_err(BuildError::io(&all))
    }
}

/// The vector instructions of the machine that builds: configure scripts try them out, so the two
/// sides of a pair must have seen the same. Not known of a daemon on another machine.
fn vectors(docker: &Docker) -> String {
    if !docker.host().starts_with("unix:") {
        return "unknown".into();
    }
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
            ("avx", std::is_x86_feature_detected!("avx")),
            ("fma", std::is_x86_feature_detected!("fma")),
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ];
        let has: Vec<&str> = all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        has.join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    "of the architecture".into()
}

/// Whether an artifact lies whole under its identity.
pub(crate) fn is_there(study: &Study, id: &ArtifactId) -> bool {
    study.artifact_dir(id).join("record.json").is_file()
}
