//! `label`: people's labels, and what the study makes of them.

mod card;
mod input;
mod session;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use miner::labels::{CONSENSUS, Criterion, Labels, disagreements, filter};
use study::{Bug, BugId, Resolution, Study};

use self::session::{Session, Task};
use crate::cli::{Cli, LabelArgs, LabelCommand};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Asks for labels, imports or exports them, shows progress and agreement, or settles
/// disagreements.
pub async fn label(cli: &Cli, args: &LabelArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    if let Some(file) = &args.import {
        return import(&study, file);
    }
    let labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    if let Some(file) = &args.export {
        return labels.write(file).map_err(Failure::input);
    }
    let bugs = people_judge(study.corpus()?);
    match &args.what {
        Some(LabelCommand::Status) => status::status(cli, &bugs, &labels),
        Some(LabelCommand::Resolve { repo }) => {
            let tasks = unsettled(bugs, &labels);
            ask(cli, study, CONSENSUS.to_owned(), repo.clone(), labels, tasks).await
        }
        None => {
            let rater = rater(args.rater.clone())?;
            let tasks = unlabelled(bugs, &labels, &rater, &args.bug)?;
            ask(cli, study, rater, args.repo.clone(), labels, tasks).await
        }
    }
}

/// The bugs that people judge: a planted fault is what it is.
fn people_judge(corpus: Vec<Bug>) -> Vec<Bug> {
    corpus.into_iter().filter(|bug| bug.resolution != Resolution::Planted).collect()
}

fn rater(given: Option<String>) -> Result<String, Failure> {
    let say =
        |what: &str| Failure::input(anyhow::anyhow!("{what}; say who labels with --rater NAME"));
    let name = given.or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Err(say("the rater has no name"));
    }
    if name.chars().any(char::is_control) {
        return Err(say("the rater's name holds characters that cannot be shown"));
    }
    if name.eq_ignore_ascii_case(CONSENSUS) {
        return Err(say("`consensus` is no rater but what `label resolve` writes"));
    }
    Ok(name.to_owned())
}

/// What the rater has not answered in full, or the bugs that were asked for.
fn unlabelled(
    bugs: Vec<Bug>,
    labels: &Labels,
    rater: &str,
    wanted: &[BugId],
) -> Result<Vec<Task>, Failure> {
    if let Some(missing) = wanted.iter().find(|id| !bugs.iter().any(|bug| bug.id == **id)) {
        return Err(Failure::input(anyhow::anyhow!(
            "{missing}: the corpus has no such bug to label"
        )));
    }
    let open = |bug: &Bug| match wanted.is_empty() {
        true => !labels.get(&bug.id, rater).is_some_and(|label| label.is_complete()),
        false => wanted.contains(&bug.id),
    };
    let task = |bug| Task { bug, asked: Criterion::ALL.to_vec(), others: Vec::new() };
    Ok(bugs.into_iter().filter(open).map(task).collect())
}

/// What raters disagree on.
fn unsettled(bugs: Vec<Bug>, labels: &Labels) -> Vec<Task> {
    let mut open: BTreeMap<BugId, Vec<Criterion>> = BTreeMap::new();
    for found in disagreements(labels) {
        open.entry(found.bug).or_default().push(found.criterion);
    }
    let task = |bug: Bug| {
        let asked = open.get(&bug.id)?.clone();
        let others = labels.of(&bug.id).filter(|label| label.rater != CONSENSUS).cloned();
        Some(Task { others: others.collect(), bug, asked })
    };
    bugs.into_iter().filter_map(task).collect()
}

async fn ask(
    cli: &Cli,
    study: Study,
    rater: String,
    repo: Option<PathBuf>,
    labels: Labels,
    tasks: Vec<Task>,
) -> Result<(), Failure> {
    let clone = miner::patch::local_clone(&study, repo.as_deref());
    if let (Some(repo), None) = (&repo, &clone) {
        return Err(Failure::input(anyhow::anyhow!("{}: there is no clone here", repo.display())));
    }
    let session = Session::new(study, rater.clone(), clone, labels);
    // People take their time, and Ctrl-C must be heard meanwhile.
    let asked = tokio::task::spawn_blocking(move || session.run(&tasks)).await;
    let outcome = asked.map_err(Failure::stage)??;
    let mut rows = Rows::new(&["rater", "answers", "bugs answered", "of"]);
    let counts = [outcome.answers, outcome.bugs, outcome.of].map(|count| count.to_string());
    rows.push([rater].into_iter().chain(counts));
    output::print(cli.format, &outcome, &rows)
}

fn import(study: &Study, file: &Path) -> Result<(), Failure> {
    if !file.is_file() {
        return Err(Failure::input(anyhow::anyhow!("{} is no file", file.display())));
    }
    let given = Labels::read(file).map_err(Failure::input)?;
    let _lock = session::lock(study)?;
    let corpus = match study.corpus_file().exists() {
        true => Some(study.corpus()?),
        false => None,
    };
    if let Some(corpus) = &corpus {
        let known: BTreeSet<&BugId> = corpus.iter().map(|bug| &bug.id).collect();
        let strange: BTreeSet<&BugId> =
            given.iter().map(|label| &label.bug).filter(|bug| !known.contains(bug)).collect();
        if let Some(first) = strange.first() {
            eprintln!(
                "warning: {} labelled bugs are not in the corpus, {first} for one; they are kept",
                strange.len()
            );
        }
    }
    let mut labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    let changed = labels.merge(given);
    labels.write(&study.labels_file()).map_err(Failure::stage)?;
    eprintln!("{changed} labels are new or changed");
    match corpus {
        Some(_) => crate::mine::select(study),
        None => Ok(()),
    }
}

/// The bugs that the labels exclude, with the reason. Where nobody has labelled anything the
/// study has no filter; planted faults need no labels.
pub fn excluded(study: &Study, corpus: &[Bug]) -> Result<BTreeMap<BugId, String>, Failure> {
    let labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    if labels.iter().next().is_none() {
        return Ok(BTreeMap::new());
    }
    let (_, lost) = filter(&people_judge(corpus.to_vec()), &labels);
    Ok(lost.into_iter().map(|lost| (lost.bug, format!("labels: {}", lost.reason))).collect())
}
