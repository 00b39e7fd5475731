//! One attempt at one artifact: its steps in their containers, and its smoke test.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use containers::{ContainerError, ContainerExit, ContainerSpec, DiskLimit, Ended};
use study::Strategy;

use crate::ansi::Plain;
use crate::classify::classify;
use crate::content::{Content, give_to, take_over};
use crate::error::BuildError;
use crate::event::Event;
use crate::failure::{Failure, FailureClass};
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::log::LogFile;
use crate::make::Workshop;
use crate::overlay::{self, OverlaidFile};
use crate::record::{BuildRecord, StepRecord};
use crate::toolchain::Step;
use crate::{cost, layout, source, submodules};

/// Why a single attempt ended without an artifact.
pub(crate) enum Stop {
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

/// One attempt in progress.
pub(crate) struct Bench<'a> {
    pub shop: &'a Workshop<'a>,
    pub toolchain: &'a ReadyToolchain,
    pub job: &'a Job,
    pub scratch: PathBuf,
    pub log: LogFile,
    pub record: BuildRecord,
    pub began: Instant,
    /// Whether every object is compiled anew.
    pub without_cache: bool,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Goes through all of it, up to a tested artifact in the scratch folder's `out/`.
    pub(crate) async fn work(&mut self) -> Result<Content, Stop> {
        let user = self.shop.docker.sandbox_user();
        for name in ["src", "out", "record"] {
            let path = self.path(name);
            fs::create_dir(&path).map_err(BuildError::io(&path))?;
        }
        if let Some(reason) = self.job.refused.clone() {
            return Err(self.failed(FailureClass::Overlay, "overlay", reason));
        }
        match self.job.identity.strategy {
            Strategy::Source => self.build_source(user).await?,
            Strategy::Release if self.job.release.is_some() => self.lay_out()?,
            Strategy::Release => self.take_release(user).await?,
            Strategy::Fault => self.plant_fault(user).await?,
            Strategy::Overlay => {
                self.lay_out()?;
                self.take_back()?;
            }
            Strategy::Auto => {
                let text = "`auto` is no strategy of an artifact".to_owned();
                return Err(Stop::Error(BuildError::Request(text)));
            }
        }
        let out = self.path("out");
        take_over(&out)?;
        let content = Content::of(&out)?;
        if content.files.is_empty() {
            let line = "the steps left nothing in /out".to_owned();
            return Err(self.failed(FailureClass::Package, "package", line));
        }
        self.smoke(user).await?;
        Ok(content)
    }

    /// Strategy `source`: the commit's tree through the recipe's steps.
    async fn build_source(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        let recipe = &self.toolchain.toolchain.recipe;
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
        let order = source::Order {
            clone: clone.clone(),
            commit: commit.clone(),
            mirrors: submodules::mirrors_dir(self.shop.study),
            recipe: recipe.clone(),
            target: target.clone(),
        };
        match tokio::task::spawn_blocking(move || order.lay_out()).await {
            Ok(Ok(laid)) => {
                self.record.tree = Some(laid.tree);
                self.record.submodules = laid.submodules;
                self.record.patches = laid.patches;
            }
            Ok(Err(source::LayOutError::Study(error))) => return Err(Stop::Error(error)),
            Ok(Err(source::LayOutError::Commit(line))) => {
                return Err(self.failed(FailureClass::Checkout, "checkout", line));
            }
            Err(error) => {
                return Err(self.failed(FailureClass::Checkout, "checkout", error.to_string()));
            }
        }
        let cache = layout::compiler_cache_dir(self.shop.study);
        fs::create_dir_all(&cache).map_err(BuildError::io(&cache))?;
        for folder in [&target, &self.path("out"), &self.path("record")] {
            give_to(folder, user)?;
        }
        layout::own_folder(&cache, user)?;
        let mut outcome = Ok(None);
        for step in source::steps(recipe) {
            let spec = self.spec(&step.run, user);
            let spec = spec
                .read_write(&target, "/src")
                .read_write(&self.path("out"), "/out")
                .read_write(&self.path("record"), "/record")
                .read_write(&cache, "/cache")
                .read_only(&self.toolchain.toolchain.folder, "/toolchain");
            outcome = self.step(&step, &spec).await;
            if outcome.is_err() {
                break;
            }
        }
        self.record.cache = source::cache_use(&self.path("record"));
        if let (Ok(_), Some(folder)) = (&outcome, &recipe.sources.ninja) {
            let deps = self.path("record").join(source::NINJA_DEPS);
            cost::keep(&deps, folder, &self.shop.places.build(&self.job.id))?;
        }
        outcome.map(|_| ())
    }

    /// A failure that no log tells of.
    fn failed(&self, class: FailureClass, step: &str, line: String) -> Stop {
        Stop::Failure(Failure { class, step: step.to_owned(), line, line_number: None })
    }

    /// A released package as it is: its files under new names, and what it is.
    fn lay_out(&mut self) -> Result<(), Stop> {
        let (Some(folder), Some(release)) = (&self.job.release, &self.job.identity.release) else {
            let text = "a release needs its files".to_owned();
            return Err(Stop::Error(BuildError::Request(text)));
        };
        let io = |e| Stop::Error(BuildError::io("log.zst")(e));
        self.log.line(&format!("+ [release] {} {}", release.name, release.sha256)).map_err(io)?;
        let site = self.path("out").join("site");
        fs::create_dir(&site).map_err(BuildError::io(&site))?;
        layout::link_tree(&folder.join("site"), &site)?;
        let about = serde_json::json!({
            "release": release.name,
            "sha256": release.sha256,
            "image": self.toolchain.image_id,
        });
        let path = self.path("out").join("release.json");
        fs::write(&path, format!("{about:#}\n")).map_err(BuildError::io(&path))?;
        Ok(())
    }

    /// Strategy `overlay`: takes the fix back in the release that was laid out.
    fn take_back(&mut self) -> Result<(), Stop> {
        let job = self.job;
        let fix = job.identity.release.as_ref().and_then(|release| release.without.as_ref());
        let (Some(clone), Some(buggy), Some(fix)) = (&self.shop.clone, &job.identity.commit, fix)
        else {
            let text = "an overlay needs a clone and the fix's commits".to_owned();
            return Err(Stop::Error(BuildError::Request(text)));
        };
        let site = self.path("out").join("site");
        let wrong = |e: git2::Error| {
            Stop::Error(BuildError::io(clone)(std::io::Error::other(e.message().to_owned())))
        };
        let repository = git2::Repository::open(clone).map_err(wrong)?;
        let read = |path: &str| layout::read_below(&site, path);
        let taken = overlay::take_back(&repository, (buggy, fix), &job.files, &read);
        let taken = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                return Err(self.failed(FailureClass::Overlay, "overlay", refusal.to_string()));
            }
        };
        let io = |e| Stop::Error(BuildError::io("log.zst")(e));
        self.log.line(&format!("+ [overlay] without {fix}")).map_err(io)?;
        for file in taken {
            let released = read(&file.path).map_err(BuildError::io(site.join(&file.path)))?;
            layout::replace_below(&site, &file.path, file.content.as_deref())?;
            let digest = |bytes: Option<Vec<u8>>| bytes.map(|b| study::files::sha256_hex(&b));
            let kept = OverlaidFile {
                path: file.path,
                released: digest(released),
                without_fix: digest(file.content),
            };
            let what = match (&kept.released, &kept.without_fix) {
                (None, _) => "there again",
                (_, None) => "gone again",
                _ => "as before the fix",
            };
            self.log.line(&format!("{}: {what}", kept.path)).map_err(io)?;
            self.record.overlay.push(kept);
        }
        Ok(())
    }

    /// Strategy `release`: the package that the image holds, named with its version.
    async fn take_release(&mut self, user: (u32, u32)) -> Result<(), Stop> {
        let recipe = &self.toolchain.toolchain.recipe;
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
            "image": self.toolchain.image_id,
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
                let folder = self.shop.find(base);
                layout::copy_tree(&folder.join("files"), &self.path("out"))?;
                // What was compiled was compiled there.
                let below = BuildRecord::read(&folder.join("record.json"))?;
                self.record.tree = below.tree;
                self.record.submodules = below.submodules;
                self.record.patches = below.patches;
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
        let toolchain = &self.toolchain.toolchain;
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
        let recipe = &self.toolchain.toolchain.recipe;
        let mut spec =
            ContainerSpec::new(&self.toolchain.image_id, &["sh", "-eu", "-c", run], user);
        let jobs = (shop.cpus.ceil() as u64).max(1).to_string();
        let fixed = [
            ("HOME", "/tmp"),
            ("JOBS", jobs.as_str()),
            ("CCACHE_LOGFILE", "/record/ccache.debug"),
            ("CCACHE_DIR", "/cache"),
            ("CCACHE_NOHASHDIR", "true"),
            ("CCACHE_COMPILERCHECK", "content"),
            ("CCACHE_STATSLOG", "/record/ccache.log"),
            ("CCACHE_TEMPDIR", "/tmp/ccache"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONHASHSEED", "0"),
            // For recipes that set no other: the same for all commits, so that no side of a pair
            // has a date of its own.
            ("SOURCE_DATE_EPOCH", "1577836800"),
        ];
        for (name, value) in fixed {
            spec = spec.env(name, value);
        }
        if self.without_cache {
            spec = spec.env("CCACHE_DISABLE", "1");
        }
        for (name, value) in recipe.environment.iter().chain(&self.job.identity.flags) {
            spec = spec.env(name, value);
        }
        for (name, value) in &shop.places.labels {
            spec = spec.label(name, value);
        }
        spec = spec.label("reproduceml.artifact", self.job.id.as_str());
        let limits = &shop.limits;
        spec.limits.memory = Some(limits.memory);
        spec.limits.time = Some(limits.seconds);
        spec.limits.silence = limits.silence;
        spec.limits.processes = Some(limits.processes);
        spec.limits.cpus = Some(shop.cpus);
        spec.limits.cpu_weight = limits.cpu_weight;
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
            let mut plain = Plain::default();
            let mut sink = |_, bytes: &[u8]| {
                scanner.push(&plain.strip(bytes));
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
