//! `reach`: can this study's workload see a bug at all?

pub mod args;
mod counting;
mod epoch;
pub mod gate;
mod suggest;
mod trace;

use std::collections::BTreeMap;

use anyhow::anyhow;
use containers::Docker;
use reach::findings::{self, settle};
use reach::lines::{self, Covered};
use reach::suggest::Candidate;
use reach::{Answer, Dictionary, Evidence, Finding, Namer, Trace, values};
use study::{ArtifactRecord, ArtifactStatus, Bug, BugId, Evaluation, Store, Study};

use self::args::{Depth, ReachArgs};
use self::epoch::Watcher;
pub use self::epoch::open_to_all;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// The model, the data and the device that the question is about.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The model's name.
    pub model: String,
    /// The challenge's name.
    pub challenge: String,
    /// `cpu` or `cuda`.
    pub device: String,
}

impl Workload {
    /// The study's, unless told otherwise.
    pub fn of(study: &Study, model: Option<&str>, challenge: Option<&str>) -> Self {
        let config = &study.config;
        Self {
            model: model.unwrap_or(&config.model.name).to_owned(),
            challenge: challenge.unwrap_or(&config.challenge.name).to_owned(),
            device: config.run.device.clone(),
        }
    }
}

/// Answers for each bug, keeps the answers, and prints them.
pub async fn reach(cli: &Cli, args: &ReachArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let _lock = study.lock()?;
    let store = study.store()?;
    let home = Home::find()?;
    let bugs = chosen(&study, &args.bugs)?;
    let mut workload = Workload::of(&study, args.model.as_deref(), args.challenge.as_deref());
    if let Some(device) = &args.device {
        workload.device.clone_from(device);
    }
    let sides = sides(&store)?;
    let dictionary = dictionary(&home, &study)?;
    let path = miner::patch::local_clone(&study, args.repo.as_deref());
    let clone = match &path {
        Some(path) => Some(reach::Clone::open(path).map_err(Failure::input)?),
        None => None,
    };
    let trace = trace::find(&study, &home, &workload, args.trace.as_deref(), &sides).await?;
    let names = Names { clone: clone.as_ref(), dictionary: dictionary.as_ref() };
    let progress = Progress::new();
    let candidates = match args.suggest {
        true => suggest::candidates(&study, &home, &workload)?,
        false => Vec::new(),
    };
    // Names can be followed by any trace; the workload's bugs are judged by its own alone.
    let any = trace.as_ref().or_else(|| candidates.first().map(Candidate::trace));
    let mut namer = match (&clone, &dictionary, any) {
        (Some(clone), Some(dictionary), Some(trace)) => Some(Namer::new(clone, dictionary, trace)),
        _ => None,
    };
    let docker = match args.up_to {
        Depth::Operators => None,
        _ => Some(Docker::connect().await.map_err(crate::places::missing_docker)?),
    };
    let watcher = match &docker {
        Some(docker) => Some(Watcher::new(docker, &study, &store, &home, &workload, path)?),
        None => None,
    };
    let mut found = Vec::new();
    for bug in &bugs {
        progress.line(&format!("{}", bug.id));
        let pair = sides.get(&bug.id);
        let mut evidence = cheap(bug, pair, &names, trace.as_ref(), namer.as_mut())?;
        if !settle(&evidence).0.out_of_reach()
            && let (Some(watcher), Some(pair)) = (&watcher, pair)
        {
            watched(bug, pair, &names, watcher, args.up_to, &mut evidence).await?;
        }
        found.push(finding(bug, &workload, evidence));
    }
    findings::keep(&findings::file(&study), &found).map_err(Failure::input)?;
    if !args.suggest {
        drop(progress);
        return print(cli, &found);
    }
    let mut suggested = Vec::new();
    let open = |answer: Answer| answer.out_of_reach() || answer == Answer::Unknown;
    for (bug, finding) in bugs.iter().zip(&found).filter(|(_, finding)| open(finding.answer)) {
        progress.line(&format!("{}: what would reach it", bug.id));
        let namer = namer.as_mut();
        suggested.push(suggest::suggest(bug, finding, clone.as_ref(), namer, &candidates)?);
    }
    drop(progress);
    suggest::print(cli, &found, &suggested)
}

/// What names are read from.
struct Names<'a> {
    clone: Option<&'a reach::Clone>,
    dictionary: Option<&'a Dictionary>,
}

/// The two sides of a bug that are built.
type Pair = BTreeMap<Evaluation, ArtifactRecord>;

fn sides(store: &Store) -> Result<BTreeMap<BugId, Pair>, Failure> {
    let mut sides: BTreeMap<BugId, Pair> = BTreeMap::new();
    for (bug, evaluation, record) in store.builds()? {
        sides.entry(bug).or_default().insert(evaluation, record);
    }
    Ok(sides)
}

/// The bugs asked for, else all whose fix was found.
fn chosen(study: &Study, asked: &[BugId]) -> Result<Vec<Bug>, Failure> {
    let corpus = study.corpus()?;
    if let Some(unknown) = asked.iter().find(|id| !corpus.iter().any(|bug| bug.id == **id)) {
        return Err(Failure::input(anyhow!(
            "{unknown} is not in this study's corpus; `reproduceml status --format json` lists it"
        )));
    }
    let wanted = |bug: &Bug| match asked.is_empty() {
        true => bug.fix.is_some(),
        false => asked.contains(&bug.id),
    };
    Ok(corpus.into_iter().filter(wanted).collect())
}

fn dictionary(home: &Home, study: &Study) -> Result<Option<Dictionary>, Failure> {
    let path = home.operators().join(format!("{}.toml", study.config.framework.name));
    match path.is_file() {
        true => Ok(Some(Dictionary::read(&path).map_err(Failure::input)?)),
        false => Ok(None),
    }
}

/// The evidence that needs no run of the bug's own artifacts.
fn cheap(
    bug: &Bug,
    pair: Option<&Pair>,
    names: &Names<'_>,
    trace: Option<&Trace>,
    namer: Option<&mut Namer<'_>>,
) -> Result<Vec<Evidence>, Failure> {
    if let Some(scope) = reach::scope::scope(bug) {
        return Ok(vec![scope]);
    }
    let content = |side| match pair.and_then(|pair| pair.get(&side)).map(|record| &record.status) {
        Some(ArtifactStatus::Built { content, .. }) => content.clone(),
        _ => String::new(),
    };
    let (buggy, corrected) = (content(Evaluation::Buggy), content(Evaluation::Corrected));
    if let Some(bytes) = reach::scope::bytes(&buggy, &corrected) {
        return Ok(vec![bytes]);
    }
    let missing = |reason: &str, decides: &str| {
        Ok(vec![reach::operators::missing(reason.to_owned(), decides.to_owned())])
    };
    if bug.fix.is_none() {
        return missing("it has no fix that was found", "`reproduceml mine` with a full clone");
    }
    let Some(clone) = names.clone else {
        return missing("there is no clone to read the fix from", "a clone, named by --repo");
    };
    if names.dictionary.is_none() {
        return missing(
            "nobody has said how names lead to operators in this framework",
            "a file for the framework in data/operators/",
        );
    }
    let (Some(namer), Some(_)) = (namer, trace) else {
        return missing(
            "there is no trace of this workload",
            "one made with `python3 -m reproduceml_client.operators` and named by --trace",
        );
    };
    match clone.change(bug).map_err(Failure::input)? {
        Some(change) => namer.judge(bug, &change).map_err(Failure::input),
        None => missing("the clone lacks a commit of its pair", "a clone with the whole history"),
    }
}

/// The evidence of one epoch of each side.
async fn watched(
    bug: &Bug,
    pair: &Pair,
    names: &Names<'_>,
    watcher: &Watcher<'_>,
    depth: Depth,
    evidence: &mut Vec<Evidence>,
) -> Result<(), Failure> {
    let change = match names.clone {
        Some(clone) => clone.change(bug).map_err(Failure::input)?,
        None => None,
    };
    if let (Some(change), Some(dictionary), Some(clone)) = (&change, names.dictionary, names.clone)
    {
        let mut covered = Covered::default();
        for (side, counts) in [
            (Evaluation::Buggy, &mut covered.buggy),
            (Evaluation::Corrected, &mut covered.corrected),
        ] {
            *counts = watcher.lines(bug, side, pair, change, clone, dictionary).await?;
        }
        evidence.extend(lines::judge(change, &covered, dictionary));
    }
    if depth < Depth::Values || settle(evidence).0.out_of_reach() {
        return Ok(());
    }
    let buggy = watcher.values(bug, Evaluation::Buggy, pair).await?;
    let corrected = watcher.values(bug, Evaluation::Corrected, pair).await?;
    evidence.push(values::judge(buggy.as_ref(), corrected.as_ref()));
    Ok(())
}

fn finding(bug: &Bug, workload: &Workload, evidence: Vec<Evidence>) -> Finding {
    let (answer, strength, reason, decides) = settle(&evidence);
    Finding {
        bug: bug.id.clone(),
        model: workload.model.clone(),
        challenge: workload.challenge.clone(),
        device: workload.device.clone(),
        answer,
        strength,
        reason,
        decides: if answer == Answer::Unknown { decides } else { String::new() },
        evidence,
    }
}

fn print(cli: &Cli, found: &[Finding]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "answer", "strength", "reason", "would decide"]);
    for finding in found {
        rows.push([
            finding.bug.as_str(),
            finding.answer.as_str(),
            finding.strength.as_str(),
            &finding.reason,
            &finding.decides,
        ]);
    }
    let count = |answer| found.iter().filter(|finding| finding.answer == answer).count();
    let counts: BTreeMap<&str, usize> =
        Answer::ALL.iter().map(|answer| (answer.as_str(), count(*answer))).collect();
    output::print(cli.format, &serde_json::json!({"findings": found, "counts": counts}), &rows)?;
    let told: Vec<String> = Answer::ALL
        .iter()
        .filter(|answer| count(**answer) > 0)
        .map(|answer| format!("{} {answer}", count(*answer)))
        .collect();
    eprintln!("{} bugs: {}", found.len(), told.join(", "));
    Ok(())
}
