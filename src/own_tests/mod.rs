//! `run --workload test:BUG`: the tests that a fix brought, on both artifacts, as an experiment.

pub mod args;
mod sandbox;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use containers::Docker;
use runner::own_tests::{self, TestRun};
use study::own_tests::{self as kept, OwnTests};
use study::{ArtifactRecord, Bug, BugId, CommitId, Evaluation, Study, Verdict};

use self::args::Tests;
use self::sandbox::Sandbox;
use crate::cli::{Cli, Executor, RunArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// A bug whose tests can be run, with all that runs of them have in common.
pub struct Subject {
    bug: Bug,
    fix: CommitId,
    buggy: ArtifactRecord,
    corrected: ArtifactRecord,
    /// The test files, of Python.
    files: Vec<String>,
    /// The test functions that the fix brought or changed; none: all.
    names: Vec<String>,
}

impl Subject {
    fn side(&self, evaluation: Evaluation) -> &ArtifactRecord {
        match evaluation {
            Evaluation::Buggy => &self.buggy,
            _ => &self.corrected,
        }
    }

    /// Whether a run that was kept is of these tests and artifacts still.
    fn has(&self, study: &Study, run: &TestRun) -> bool {
        run.artifact == self.side(run.evaluation).id
            && (&run.fix, &run.files, &run.names) == (&self.fix, &self.files, &self.names)
            && run.seed == seed(study, &self.bug.id, run.run)
    }
}

/// One run to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    evaluation: Evaluation,
    run: u32,
    repeated: bool,
}

/// Runs the tests that are missing, compares, keeps and prints what they showed.
pub async fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    if args.place.executor != Executor::Docker {
        return Err(Failure::input(anyhow!(
            "--workload: a fix's tests are somebody else's programs and run in containers alone; \
             leave out --executor"
        )));
    }
    let home = Home::for_containers(&study)?;
    let _lock = study.lock()?;
    let Some(clone) = miner::patch::local_clone(&study, None) else {
        return Err(Failure::missing(anyhow!(
            "--workload: the tests are in the fix's tree, and the study has no clone of {}; \
             `reproduceml mine` makes one",
            study.config.framework.repository
        )));
    };
    let subjects = subjects(&study, &clone, args)?;
    let runs = args.runs.unwrap_or(study.config.run.runs).max(1);
    if args.dry_run {
        return print_plan(cli, &study, &subjects, runs);
    }
    let docker = Docker::connect().await.map_err(crate::places::missing_docker)?;
    let progress = Progress::new();
    let mut found = Vec::new();
    for subject in &subjects {
        let mut kept = read(&study, subject)?;
        let missing: Vec<Planned> = plan(runs, &kept);
        if !missing.is_empty() {
            let total = missing.len();
            progress.line(&format!("{}: {total} runs of its tests to make", subject.bug.id));
            let sandbox = Sandbox::new(&docker, &study, &home, &clone, subject, args.gpus.clone())?;
            for (done, one) in missing.into_iter().enumerate() {
                progress.count(done as u64, total as u64);
                kept.push(sandbox.run(one).await?);
                // After each: what was run stays when the next call goes on.
                write(&study, subject, &kept)?;
            }
        }
        kept.retain(|run| run.run < runs);
        let (buggy, corrected) = (&subject.buggy.id, &subject.corrected.id);
        found.push(own_tests::compare(&subject.bug.id, buggy, corrected, &kept));
    }
    drop(progress);
    kept::keep(&study, &found).map_err(Failure::input)?;
    print(cli, &found)?;
    let invalid = found.iter().filter(|one| one.verdict == Verdict::Invalid).count();
    match invalid {
        0 => Ok(()),
        _ => Err(Failure::stage(anyhow!("the tests of {invalid} bugs could not be run"))),
    }
}

/// The bugs asked for, each with its tests and both artifacts; what is missing is said of bugs that
/// were named, and left out with a line of others.
fn subjects(study: &Study, clone: &Path, args: &RunArgs) -> Result<Vec<Subject>, Failure> {
    let corpus = study.corpus()?;
    let mut named: Vec<BugId> = args.bugs.clone();
    named.extend(args.workload.iter().filter_map(|one| match one {
        Tests::Of(bug) => Some(bug.clone()),
        Tests::All => None,
    }));
    let all = named.is_empty();
    if let Some(unknown) = named.iter().find(|id| !corpus.iter().any(|bug| bug.id == **id)) {
        return Err(Failure::input(anyhow!(
            "{unknown} is not in this study's corpus; `reproduceml status --format json` lists it"
        )));
    }
    let mut sides: BTreeMap<(BugId, Evaluation), ArtifactRecord> = BTreeMap::new();
    for (bug, evaluation, record) in study.store()?.builds()? {
        if record.is_built() {
            sides.insert((bug, evaluation), record);
        }
    }
    let mut found = Vec::new();
    for bug in corpus.into_iter().filter(|bug| all || named.contains(&bug.id)) {
        let side = |evaluation| sides.get(&(bug.id.clone(), evaluation)).cloned();
        let python: Vec<String> =
            bug.tests.iter().filter(|test| is_runnable(test)).cloned().collect();
        let missing = match (side(Evaluation::Buggy), side(Evaluation::Corrected), &bug.fix) {
            (.., None) => "it has no fix that was found",
            _ if python.is_empty() => "its fix brought no test in Python",
            (Some(buggy), Some(corrected), Some(fix)) => {
                let names = match &bug.buggy {
                    Some(before) => builder::changed_test_names(clone, before, fix, &python),
                    None => Vec::new(),
                };
                let fix = fix.clone();
                found.push(Subject { fix, buggy, corrected, files: python, names, bug });
                continue;
            }
            _ => "its two artifacts are not built; `reproduceml build` makes them",
        };
        if !all {
            return Err(Failure::input(anyhow!("--workload test:{}: {missing}", bug.id)));
        }
        if bug.fix.is_some() {
            eprintln!("{} is left out: {missing}", bug.id);
        }
    }
    if found.is_empty() {
        return Err(Failure::input(anyhow!("no bug of this study has both artifacts and a test")));
    }
    Ok(found)
}

/// Whether a test file of the corpus is one of Python by a plain path.
fn is_runnable(test: &str) -> bool {
    let path = Path::new(test);
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain && path.extension().is_some_and(|end| end == "py")
}

/// The seed of one run, the same on both sides.
fn seed(study: &Study, bug: &BugId, run: u32) -> u32 {
    let key = format!("own tests of {bug}");
    study::seed::derive(study.config.study.meta_seed, &key, study.config.run.seed_policy, run)
}

/// The runs that are missing: both sides in turn, and each side's first once more.
fn plan(runs: u32, kept: &[TestRun]) -> Vec<Planned> {
    let sides = [Evaluation::Buggy, Evaluation::Corrected];
    let mut all = Vec::new();
    for run in 0..runs {
        let mut order = sides;
        if run % 2 == 1 {
            order.reverse();
        }
        all.extend(order.map(|evaluation| Planned { evaluation, run, repeated: false }));
        if run == 0 {
            all.extend(order.map(|evaluation| Planned { evaluation, run, repeated: true }));
        }
    }
    let known = |one: &Planned| {
        kept.iter().any(|run| {
            (run.evaluation, run.run, run.repeated) == (one.evaluation, one.run, one.repeated)
        })
    };
    all.retain(|one| !known(one));
    all
}

fn file(study: &Study, subject: &Subject) -> std::path::PathBuf {
    kept::folder(study).join(format!("{}.jsonl", subject.bug.id))
}

/// The runs that were kept and are of the tests and artifacts as they are now.
fn read(study: &Study, subject: &Subject) -> Result<Vec<TestRun>, Failure> {
    let path = file(study, subject);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::missing(anyhow!("{}: {error}", path.display()))),
    };
    let mut runs: Vec<TestRun> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let run = serde_json::from_str(line).map_err(|error| {
            Failure::input(anyhow!(
                "{}, line {}: expected a run: {error}; remove the file to run the tests anew",
                path.display(),
                index + 1
            ))
        })?;
        runs.push(run);
    }
    runs.retain(|run| subject.has(study, run));
    Ok(runs)
}

fn write(study: &Study, subject: &Subject, runs: &[TestRun]) -> Result<(), Failure> {
    let mut text = String::new();
    for run in runs {
        text += &serde_json::to_string(run).map_err(Failure::stage)?;
        text.push('\n');
    }
    study::files::write_whole(&file(study, subject), text.as_bytes()).map_err(Failure::missing)
}

fn print_plan(cli: &Cli, study: &Study, subjects: &[Subject], runs: u32) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "missing", "tests", "functions"]);
    let mut entries = Vec::new();
    for subject in subjects {
        let missing = plan(runs, &read(study, subject)?).len();
        let (bug, files, names) = (&subject.bug.id, &subject.files, &subject.names);
        let functions = if names.is_empty() { "all".to_owned() } else { names.join(" ") };
        rows.push([bug.to_string(), missing.to_string(), files.join(" "), functions]);
        entries.push(serde_json::json!({
            "bug": bug, "missing": missing, "tests": files, "functions": names,
        }));
    }
    output::print(cli.format, &entries, &rows)
}

fn print(cli: &Cli, found: &[OwnTests]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "verdict", "equal pairs", "tests", "evidence", "reason"]);
    for one in found {
        rows.push([
            one.bug.to_string(),
            one.verdict.to_string(),
            format!("{}/{}", one.equal_pairs, one.pairs),
            one.tests.to_string(),
            if one.evidence { "yes" } else { "no" }.to_owned(),
            one.reason.clone(),
        ]);
    }
    output::print(cli.format, &found, &rows)
}
