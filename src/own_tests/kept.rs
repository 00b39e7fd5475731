//! The runs that were kept, `own-tests/BUG.jsonl`, and what follows from them.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use runner::own_tests::{TestRun, compare};
use study::own_tests::{self as kept, OwnTests};
use study::{ArtifactId, Bug, BugId, Evaluation, Study};

use crate::failure::Failure;

/// The seed of one run, the same on both sides.
pub fn seed(study: &Study, bug: &BugId, run: u32) -> u32 {
    let key = format!("own tests of {bug}");
    study::seed::derive(study.config.study.meta_seed, &key, study.config.run.seed_policy, run)
}

/// The file of one bug's runs, below the study.
pub fn name(bug: &BugId) -> String {
    format!("own-tests/{bug}.jsonl")
}

fn file(study: &Study, bug: &BugId) -> PathBuf {
    study.root().join(name(bug))
}

/// The runs of one bug; none where none was made.
pub fn read(study: &Study, bug: &BugId) -> Result<Vec<TestRun>, Failure> {
    let path = file(study, bug);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::missing(anyhow!("{}: {error}", path.display()))),
    };
    let mut runs: Vec<TestRun> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        runs.push(serde_json::from_str(line).map_err(|error| damaged(&path, index, &error))?);
    }
    Ok(runs)
}

fn damaged(path: &Path, index: usize, error: &serde_json::Error) -> Failure {
    Failure::input(anyhow!(
        "{}, line {}: expected a run: {error}; remove the file to run the tests anew",
        path.display(),
        index + 1
    ))
}

/// Keeps the runs of one bug, in one order whichever ended first.
pub fn write(study: &Study, bug: &BugId, runs: &mut [TestRun]) -> Result<(), Failure> {
    runs.sort_by_key(|run| (run.run, run.repeated, run.evaluation));
    let mut text = String::new();
    for run in runs {
        text += &serde_json::to_string(run).map_err(Failure::stage)?;
        text.push('\n');
    }
    study::files::write_whole(&file(study, bug), text.as_bytes()).map_err(Failure::missing)
}

/// What the first `asked` runs of each side show.
pub fn conclude(
    bug: &Bug,
    buggy: &ArtifactId,
    corrected: &ArtifactId,
    runs: &[TestRun],
    asked: u32,
) -> OwnTests {
    let counted: Vec<TestRun> = runs.iter().filter(|run| run.run < asked).cloned().collect();
    let mut found = compare(&bug.id, buggy, corrected, &counted);
    found.runs = asked;
    if let Some(why) = builder::choose_tests(&bug.tests).not_run() {
        found.reason = format!("{}; {why}", found.reason);
    }
    found
}

/// What is recorded as found, and what the kept runs show, or why they show nothing.
pub type Again = (OwnTests, Result<OwnTests, String>);

/// Everything that is recorded as found, concluded again.
pub fn again(study: &Study) -> Result<Vec<Again>, Failure> {
    let recorded = kept::read(study).map_err(Failure::input)?;
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let corpus = study.corpus()?;
    let mut all = Vec::new();
    for one in recorded {
        let now = match corpus.iter().find(|bug| bug.id == one.bug) {
            None => Err("the bug is not in the corpus".to_owned()),
            Some(bug) => from_runs(study, bug, &one)?,
        };
        all.push((one, now));
    }
    Ok(all)
}

fn from_runs(
    study: &Study,
    bug: &Bug,
    recorded: &OwnTests,
) -> Result<Result<OwnTests, String>, Failure> {
    let runs = read(study, &bug.id)?;
    if runs.is_empty() {
        return Ok(Err("its runs are not there".to_owned()));
    }
    for run in &runs {
        let artifact = match run.evaluation {
            Evaluation::Buggy => &recorded.buggy,
            _ => &recorded.corrected,
        };
        let place = format!("run {} on the {} side", run.run, run.evaluation);
        if run.artifact != *artifact {
            let (is, expected) = (run.artifact.short(), artifact.short());
            return Ok(Err(format!("{place} is of artifact {is}, expected {expected}")));
        }
        let expected = seed(study, &bug.id, run.run);
        if run.seed != expected {
            let is = run.seed;
            return Ok(Err(format!(
                "{place} has the seed {is}, the study's meta seed gives {expected}"
            )));
        }
        if Some(&run.fix) != bug.fix.as_ref() {
            return Ok(Err(format!("{place} is of another fix, {}", run.fix)));
        }
    }
    let (buggy, corrected) = (&recorded.buggy, &recorded.corrected);
    Ok(Ok(conclude(bug, buggy, corrected, &runs, recorded.runs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_not_run_are_named_in_the_answer() {
        let id = BugId::of_pull_request(1);
        let artifact = ArtifactId::from_digest([1; 32]);
        let mut bug = Bug::untraced(id, "pytorch");
        bug.tests = ["test/test_nn.py", "test/cpp/api/nn.cpp"].map(str::to_owned).into();
        let found = conclude(&bug, &artifact, &artifact, &[], 2);
        assert_eq!(found.runs, 2);
        let why = "its tests in C++ are not run (test/cpp/api/nn.cpp)";
        assert!(found.reason.ends_with(why), "{}", found.reason);
        bug.tests.pop();
        assert!(!conclude(&bug, &artifact, &artifact, &[], 2).reason.contains("C++"));
    }
}
