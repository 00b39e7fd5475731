//! `run --workload test:BUG`: the tests that a fix brought, on both artifacts, as an experiment.

pub mod args;
mod kept;
mod sandbox;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use anyhow::anyhow;
use containers::Docker;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use runner::own_tests::TestRun;
use study::own_tests::OwnTests;
use study::{ArtifactRecord, Bug, BugId, CommitId, Evaluation, Study, Verdict};

use self::args::Tests;
pub use self::kept::{again, name};
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
            && run.seed == kept::seed(study, &self.bug.id, run.run)
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
    let cuda = study.config.run.device == "cuda" || !args.gpus.is_empty();
    let (jobs, gpus) = crate::run::parallel(&study, args.jobs, &args.gpus, cuda)?;
    let gpus = if cuda { gpus } else { Vec::new() };
    let progress = Progress::new();
    let mut found = Vec::new();
    for subject in &subjects {
        let (mut known, others) = read(&study, subject)?;
        if others {
            // From what is in the file alone follows what is found.
            kept::write(&study, &subject.bug.id, &mut known)?;
        }
        let missing: Vec<Planned> = plan(runs, &known);
        if !missing.is_empty() {
            let total = missing.len();
            progress.line(&format!("{}: {total} runs of its tests to make", subject.bug.id));
            let sandbox = Sandbox::new(&docker, &study, &home, &clone, subject)?;
            make(&study, &sandbox, &missing, (jobs, &gpus), &mut known, &progress).await?;
        }
        let (buggy, corrected) = (&subject.buggy.id, &subject.corrected.id);
        found.push(kept::conclude(&subject.bug, buggy, corrected, &known, runs));
    }
    drop(progress);
    study::own_tests::keep(&study, &found).map_err(Failure::input)?;
    print(cli, &found)?;
    let invalid = found.iter().filter(|one| one.verdict == Verdict::Invalid).count();
    match invalid {
        0 => Ok(()),
        _ => Err(Failure::stage(anyhow!("the tests of {invalid} bugs could not be run"))),
    }
}

/// Makes the missing runs of one subject, as many at the same time as `jobs` says, and keeps each.
/// After a failure no further one begins.
async fn make(
    study: &Study,
    sandbox: &Sandbox<'_>,
    missing: &[Planned],
    (jobs, gpus): (usize, &[String]),
    known: &mut Vec<TestRun>,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut waiting = missing.iter();
    let mut free: VecDeque<&str> = gpus.iter().map(String::as_str).collect();
    let mut under_way = FuturesUnordered::new();
    let mut failed = None;
    let mut done = 0;
    loop {
        while failed.is_none()
            && under_way.len() < jobs.max(1)
            && let Some(one) = waiting.next()
        {
            let gpu = free.pop_front();
            under_way.push(async move { (gpu, sandbox.run(*one, gpu).await) });
        }
        let Some((gpu, run)) = under_way.next().await else { break };
        free.extend(gpu);
        match run {
            Ok(run) => known.push(run),
            Err(failure) => {
                failed.get_or_insert(failure);
                continue;
            }
        }
        done += 1;
        progress.count(done, missing.len() as u64);
        // After each: what was run stays when the next call goes on.
        kept::write(study, &sandbox.subject().bug.id, known)?;
    }
    failed.map_or(Ok(()), Err)
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
        let chosen = builder::choose_tests(&bug.tests);
        let missing = match (side(Evaluation::Buggy), side(Evaluation::Corrected), &bug.fix) {
            (.., None) => "it has no fix that was found".to_owned(),
            _ if chosen.python.is_empty() => chosen.none(),
            (Some(buggy), Some(corrected), Some(fix)) => {
                let names = match &bug.buggy {
                    Some(before) => builder::changed_test_names(clone, before, fix, &chosen.python),
                    None => Vec::new(),
                };
                let fix = fix.clone();
                let files = chosen.python;
                found.push(Subject { fix, buggy, corrected, files, names, bug });
                continue;
            }
            _ => "its two artifacts are not built; `reproduceml build` makes them".to_owned(),
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

/// The runs that are missing: both sides in turn, and each side's first once more.
fn plan(runs: u32, known: &[TestRun]) -> Vec<Planned> {
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
    let is_known = |one: &Planned| {
        known.iter().any(|run| {
            (run.evaluation, run.run, run.repeated) == (one.evaluation, one.run, one.repeated)
        })
    };
    all.retain(|one| !is_known(one));
    all
}

/// The runs that were kept and are of the tests and artifacts as they are now, and whether there
/// are others beside them.
fn read(study: &Study, subject: &Subject) -> Result<(Vec<TestRun>, bool), Failure> {
    let mut runs = kept::read(study, &subject.bug.id)?;
    let all = runs.len();
    runs.retain(|run| subject.has(study, run));
    let others = runs.len() < all;
    Ok((runs, others))
}

fn print_plan(cli: &Cli, study: &Study, subjects: &[Subject], runs: u32) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "missing", "tests", "functions"]);
    let mut entries = Vec::new();
    for subject in subjects {
        let missing = plan(runs, &read(study, subject)?.0).len();
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
