//! The fix's own tests on both artifacts of a pair: the first evidence that the bug is in the one
//! and not in the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use containers::{Cancel, ContainerSpec, Docker};
use serde::{Deserialize, Serialize};
use study::{ArtifactId, ArtifactStatus, Bug, BugId, CommitId, Evaluation, Study};

use crate::changed_tests;
use crate::checkout;
use crate::content::give_to;
use crate::error::BuildError;
use crate::gc;
use crate::image::ReadyToolchain;
use crate::log::LogFile;
use crate::options::BuildOptions;
use crate::plan;
use crate::queue::find_clone;
use crate::suits::{self, Assignment, LeftOut, Suited};
use crate::{layout, lock};

/// What a fix's tests did on the two artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The bug.
    pub bug: BugId,
    /// The test files.
    pub tests: Vec<String>,
    /// The artifact that has the bug.
    pub buggy: ArtifactId,
    /// Whether all tests passed on it.
    pub buggy_passes: bool,
    /// The artifact that has the fix.
    pub corrected: ArtifactId,
    /// Whether all tests passed on it.
    pub corrected_passes: bool,
}

impl Probe {
    /// Whether the tests fail before the fix and pass after it.
    #[must_use]
    pub fn is_evidence(&self) -> bool {
        !self.buggy_passes && self.corrected_passes
    }
}

/// What a call of [`probe`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probes {
    /// The bugs whose tests were run, in the study's order.
    pub probes: Vec<Probe>,
    /// All others.
    pub left_out: Vec<LeftOut>,
}

/// Runs the tests that each fix brought or changed on both artifacts of its pair, in the sandbox of
/// a build. Bugs without tests, without a pair, or on a toolchain that does not say how to run tests
/// are named as left out. What was probed before is read from `builds/probes/<bug>.json` unless an
/// artifact has changed.
///
/// # Errors
/// As [`build`](crate::build).
pub async fn probe(study: &Study, options: &BuildOptions) -> Result<Probes, BuildError> {
    let _lock = study.lock()?;
    let bugs = plan::bugs(study, options)?;
    let clone = find_clone(study, options);
    let Assignment { bugs, suited, left_out } =
        suits::for_bugs(study, options, clone.as_deref(), bugs)?;
    let docker = Docker::connect().await?;
    gc::clean(&docker, study, false).await?;
    let pairs = pairs(study)?;
    let mut found = Probes { probes: Vec::new(), left_out };
    for (bug, Suited { toolchain, .. }) in bugs.iter().zip(&suited) {
        let recipe = toolchain.recipe.probe.as_ref();
        let (pair, fix, recipe) = match (pairs.get(&bug.id), &bug.fix, recipe) {
            _ if bug.tests.is_empty() => {
                found.leave_out(bug, "its fix changed no test".to_owned());
                continue;
            }
            (Some(pair), Some(fix), Some(recipe)) => (pair, fix, recipe),
            (None, ..) | (_, None, _) => {
                let reason = "it has no two artifacts; `reproduceml build` makes them";
                found.leave_out(bug, reason.to_owned());
                continue;
            }
            (_, _, None) => {
                let name = &toolchain.recipe.name;
                let reason = format!(
                    "the toolchain {name} does not say how to run tests (its toolchain.toml has \
                     no [probe])"
                );
                found.leave_out(bug, reason);
                continue;
            }
        };
        let (buggy, corrected) = pair;
        let place = study.root().join("builds/probes").join(format!("{}.json", bug.id));
        let before: Option<Probe> =
            fs::read(&place).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(probe) = before
            && (&probe.buggy, &probe.corrected, &probe.tests) == (buggy, corrected, &bug.tests)
        {
            found.probes.push(probe);
            continue;
        }
        let Some(clone) = &clone else {
            return Err(plan::no_clone(study, "the fix's tests are in it"));
        };
        let cancel = &options.cancel;
        let ready = lock::ready(&docker, study, toolchain, true, cancel, &|_| {}).await?;
        let work = Work::begin(study, options, &docker, &ready, clone, (bug, fix))?;
        let buggy_passes = work.passes(&recipe.run, buggy, Evaluation::Buggy).await?;
        let corrected_passes = work.passes(&recipe.run, corrected, Evaluation::Corrected).await?;
        work.end()?;
        let (Some(buggy_passes), Some(corrected_passes)) = (buggy_passes, corrected_passes) else {
            let reason = format!(
                "none of its tests was run, see builds/probes/{}-{}/log.zst",
                bug.id,
                if buggy_passes.is_none() { Evaluation::Buggy } else { Evaluation::Corrected }
            );
            found.leave_out(bug, reason);
            continue;
        };
        let probe = Probe {
            bug: bug.id.clone(),
            tests: bug.tests.clone(),
            buggy: buggy.clone(),
            buggy_passes,
            corrected: corrected.clone(),
            corrected_passes,
        };
        let json =
            serde_json::to_vec_pretty(&probe).map_err(|e| BuildError::io(&place)(e.into()))?;
        study::files::write_whole(&place, &json).map_err(BuildError::io(&place))?;
        found.probes.push(probe);
    }
    Ok(found)
}

impl Probes {
    fn leave_out(&mut self, bug: &Bug, reason: String) {
        self.left_out.push(LeftOut { bug: bug.id.clone(), reason });
    }
}

/// The two artifacts of each bug that has both.
fn pairs(study: &Study) -> Result<BTreeMap<BugId, (ArtifactId, ArtifactId)>, BuildError> {
    let mut sides: BTreeMap<(BugId, Evaluation), ArtifactId> = BTreeMap::new();
    for (bug, evaluation, record) in study.store()?.builds()? {
        if matches!(record.status, ArtifactStatus::Built { .. }) {
            sides.insert((bug, evaluation), record.id);
        }
    }
    Ok(sides
        .iter()
        .filter(|((_, evaluation), _)| *evaluation == Evaluation::Buggy)
        .filter_map(|((bug, _), buggy)| {
            let corrected = sides.get(&(bug.clone(), Evaluation::Corrected))?;
            Some((bug.clone(), (buggy.clone(), corrected.clone())))
        })
        .collect())
}

/// The status with which a probe says that it ran no test.
const NONE_RAN: i64 = 3;

/// One bug's tests, laid out.
struct Work<'a> {
    study: &'a Study,
    options: &'a BuildOptions,
    docker: &'a Docker,
    ready: &'a ReadyToolchain,
    bug: &'a Bug,
    /// The fix's whole tree.
    tree: PathBuf,
    /// The test functions that the fix brought or changed.
    names: Vec<String>,
}

impl<'a> Work<'a> {
    /// Lays out the fix's tree, once for both sides.
    fn begin(
        study: &'a Study,
        options: &'a BuildOptions,
        docker: &'a Docker,
        ready: &'a ReadyToolchain,
        clone: &Path,
        (bug, fix): (&'a Bug, &CommitId),
    ) -> Result<Self, BuildError> {
        let tree = layout::scratch_dir(study).join(format!("probe-{}", bug.id));
        layout::remove_folder(&tree)?;
        fs::create_dir_all(&tree).map_err(BuildError::io(&tree))?;
        checkout::export(clone, fix, &tree)
            .map_err(|error| BuildError::Request(error.to_string()))?;
        give_to(&tree, docker.sandbox_user())?;
        let names = match &bug.buggy {
            Some(buggy) => changed_tests::names(clone, buggy, fix, &bug.tests),
            None => Vec::new(),
        };
        Ok(Self { study, options, docker, ready, bug, tree, names })
    }

    fn end(self) -> Result<(), BuildError> {
        layout::remove_folder(&self.tree)
    }

    /// Whether the fix's tests pass on an artifact; none if none of them was run. The log is kept.
    async fn passes(
        &self,
        run: &str,
        artifact: &ArtifactId,
        side: Evaluation,
    ) -> Result<Option<bool>, BuildError> {
        let (study, bug) = (self.study, self.bug);
        let folder = study.root().join("builds/probes").join(format!("{}-{side}", bug.id));
        let mut log = LogFile::create(&folder).map_err(BuildError::io(&folder))?;
        // Paths from the repository go through the environment, never into the shell's words.
        let safe = bug.tests.iter().filter(|test| {
            !test.starts_with('-')
                && test.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        });
        let tests: Vec<&str> = safe.map(String::as_str).collect();
        let user = self.docker.sandbox_user();
        let mut spec = ContainerSpec::new(&self.ready.image_id, &["sh", "-eu", "-c", run], user)
            .read_only(&self.tree, "/src")
            .read_only(&study.artifact_dir(artifact).join("files"), "/artifact")
            .read_only(&self.ready.toolchain.folder, "/toolchain")
            .env("TESTS", &tests.join(" "))
            .env("TEST_NAMES", &self.names.join(" "))
            .env("PYTHONPATH", "/artifact/site")
            .env("HOME", "/tmp")
            .label(containers::STUDY_LABEL, &layout::study_mark(study));
        for (name, value) in &self.ready.toolchain.recipe.environment {
            spec = spec.env(name, value);
        }
        let limits = self.options.limits.decide(&study.config);
        spec.limits.memory = Some(limits.memory);
        spec.limits.time = Some(limits.seconds);
        spec.limits.processes = Some(limits.processes);
        let cancel: &Cancel = &self.options.cancel;
        let exit = self.docker.run(&spec, &mut |_, bytes| log.write(bytes), cancel).await?;
        log.finish().map_err(BuildError::io(&folder))?;
        match exit.ended {
            containers::Ended::Cancelled => Err(BuildError::Interrupted),
            containers::Ended::ByItself if exit.status == Some(NONE_RAN) => Ok(None),
            _ => Ok(Some(exit.success())),
        }
    }
}
