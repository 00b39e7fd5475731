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
        let chosen = changed_tests::choose(&bug.tests);
        let (pair, fix, recipe) = match (pairs.get(&bug.id), &bug.fix, recipe) {
            _ if chosen.python.is_empty() => {
                found.leave_out(bug, chosen.none());
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
        let before = work.come_to(&recipe.run, buggy, Evaluation::Buggy).await?;
        let after = work.come_to(&recipe.run, corrected, Evaluation::Corrected).await?;
        work.end()?;
        let log = |side| format!("see builds/probes/{}-{side}/log.zst", bug.id);
        let (buggy_passes, corrected_passes) = match (&before, &after) {
            (CameTo::NoneRan, _) | (_, CameTo::NoneRan) => {
                let none = before == CameTo::NoneRan;
                let side = if none { Evaluation::Buggy } else { Evaluation::Corrected };
                found.leave_out(bug, format!("none of its tests was run, {}", log(side)));
                continue;
            }
            // It says nothing of the fix: its tests want something else than the framework.
            (CameTo::NotImported(why), CameTo::NotImported(_)) => {
                let see = log(Evaluation::Corrected);
                let reason = format!(
                    "error: its tests cannot be imported beside either artifact ({why}), {see}"
                );
                found.leave_out(bug, reason);
                continue;
            }
            _ => (before == CameTo::Passed, after == CameTo::Passed),
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

    /// What the fix's tests come to on an artifact. The log is kept.
    async fn come_to(
        &self,
        run: &str,
        artifact: &ArtifactId,
        side: Evaluation,
    ) -> Result<CameTo, BuildError> {
        let (study, bug) = (self.study, self.bug);
        let folder = study.root().join("builds/probes").join(format!("{}-{side}", bug.id));
        let mut log = LogFile::create(&folder).map_err(BuildError::io(&folder))?;
        // Paths from the repository go through the environment, never into the shell's words.
        let tests = changed_tests::choose(&bug.tests).python;
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
        let mut said = Said::default();
        let mut sink = |_, bytes: &[u8]| {
            said.take(bytes);
            log.write(bytes)
        };
        let exit = self.docker.run(&spec, &mut sink, cancel).await?;
        log.finish().map_err(BuildError::io(&folder))?;
        match exit.ended {
            containers::Ended::Cancelled => Err(BuildError::Interrupted),
            containers::Ended::ByItself if exit.status == Some(NONE_RAN) => Ok(CameTo::NoneRan),
            _ if exit.success() => Ok(CameTo::Passed),
            _ => Ok(said.not_imported().map_or(CameTo::Failed, CameTo::NotImported)),
        }
    }
}

/// What the tests came to on one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CameTo {
    /// All that ran passed.
    Passed,
    /// Some did not.
    Failed,
    /// A test file cannot be imported; what was said about it.
    NotImported(String),
    /// None ran.
    NoneRan,
}

/// What a probe says, as far as it tells of imports: a line of it at a time.
#[derive(Debug, Default)]
struct Said {
    line: Vec<u8>,
    /// What Python could not import, where that is all that went wrong.
    import: Option<String>,
    /// A test ran and did not pass.
    failed: bool,
}

impl Said {
    /// Bytes of a line that are looked at.
    const LONGEST: usize = 500;

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < Self::LONGEST => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
        let error = ["ModuleNotFoundError: ", "ImportError: ", "SyntaxError: "];
        if line.contains(" cannot be imported: ")
            || (error.iter().any(|error| line.starts_with(error))
                && !line.starts_with("ImportError: Failed to import test module"))
        {
            self.import = Some(line);
        } else if (line.starts_with("FAIL: ") || line.starts_with("ERROR: "))
            && !line.contains("unittest.loader._FailedTest")
            && !line.contains("(unittest.loader.")
        {
            self.failed = true;
        }
    }

    fn not_imported(mut self) -> Option<String> {
        self.end_line();
        self.import.filter(|_| !self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    fn said(text: &str) -> Option<String> {
        let mut said = Said::default();
        // As a container's output comes: in any pieces.
        text.as_bytes().chunks(7).for_each(|piece| said.take(piece));
        said.not_imported()
    }

    #[test]
    fn a_test_that_cannot_be_imported_is_told_from_one_that_fails() {
        let unittest = "E\n=====\nERROR: tests.test_a (unittest.loader._FailedTest)\n-----\n\
                        ImportError: Failed to import test module: tests.test_a\nTraceback:\n\
                        ModuleNotFoundError: No module named 'scipy'\n\n\nFAILED (errors=1)\n";
        assert_eq!(said(unittest).as_deref(), Some("ModuleNotFoundError: No module named 'scipy'"));
        let pytorch = "test/test_nn.py cannot be imported: ImportError(\"cannot import name 'x'\")";
        assert_eq!(said(pytorch).as_deref(), Some(pytorch));
        let script = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'y'";
        assert!(said(script).is_some());
        // A test that ran and asked for a module in its middle has run.
        let inside = "ERROR: test_b (tests.test_b.B)\nModuleNotFoundError: No module named 'z'\n";
        assert_eq!(said(inside), None);
        assert_eq!(said("FAIL: test_c (tests.C.test_c)\nAssertionError: 1 != 2\n"), None);
        assert_eq!(said(""), None);
    }
}
