//! `status`: the funnel.

use std::collections::BTreeMap;
use std::time::Duration;

use study::funnel::Funnel;
use study::{BugId, Store, Study, Verdict};

use crate::cli::{Cli, Format};
use crate::design;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::reach::gate;
use crate::{doctor, hosts, stats_cmd, studies};

/// How long Docker hosts may take to answer.
const HOSTS: Duration = Duration::from_secs(5);

/// Losses of one step that the table shows.
const SHOWN: usize = 12;

/// Prints how many bugs came through each step, and why the others did not; for people also what
/// the next stages lack here.
pub async fn status(cli: &Cli) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let funnel = funnel(&study, &study.store()?)?;
    let shown = if cli.format == Format::Table { SHOWN } else { usize::MAX };
    let mut rows = Rows::new(&["step", "bugs", "lost", "reason"]);
    for (step, count, losses) in funnel.steps() {
        rows.push([step, &count.to_string(), "", ""]);
        for loss in losses.iter().take(shown) {
            rows.push(["", "", loss.bug.as_str(), &loss.reason]);
        }
        if losses.len() > shown {
            let more = losses.len() - shown;
            rows.push(["", "", "…", &format!("and {more} more; --format json lists all")]);
        }
    }
    let mut value = serde_json::to_value(&funnel).map_err(Failure::stage)?;
    if let Some(record) = design::read(&study)? {
        for (bug, side, text) in design::lines(&record) {
            rows.push(["looks", "", &format!("{bug} {side}"), &text]);
        }
        value["looks"] = serde_json::to_value(&record.looks).map_err(Failure::stage)?;
    }
    output::print(cli.format, &value, &rows)?;
    if cli.format == Format::Table {
        for line in doctor::attention(&study).await {
            eprintln!("{line}");
        }
        for host in hosts::look(&study, HOSTS).await {
            eprintln!("host {}", host.line());
        }
    }
    Ok(())
}

/// The funnel, as far as the stages have come.
pub fn funnel(study: &Study, store: &Store) -> Result<Funnel, Failure> {
    let corpus = match study.corpus() {
        Ok(corpus) => corpus,
        Err(study::StudyError::Corpus(study::corpus::CorpusError::Missing { .. })) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let choices = if corpus.is_empty() {
        Vec::new()
    } else {
        study::selection::read(&study.selection_file())?
    };
    let blind = gate::reasons(study)?;
    Ok(study::funnel::count(&corpus, &choices, store, &blind, &verdicts(study, store)?)?)
}

/// What `stats` concluded last; nothing, and a warning, if that was about other runs or rules than
/// the study has now.
fn verdicts(study: &Study, store: &Store) -> Result<BTreeMap<BugId, (Verdict, String)>, Failure> {
    let Some(analysis) = last_analysis(study)? else { return Ok(BTreeMap::new()) };
    if analysis.inputs != stats_cmd::present_inputs(study, store)? {
        tracing::warn!(
            "the analysis is out of date: runs or study.toml have changed since, so none of its \
             verdicts counts; call `reproduceml stats`"
        );
        return Ok(BTreeMap::new());
    }
    Ok(of_bugs(analysis))
}

/// What `stats` concluded last, be it out of date or not.
pub fn last_verdicts(study: &Study) -> Result<BTreeMap<BugId, (Verdict, String)>, Failure> {
    Ok(last_analysis(study)?.map(of_bugs).unwrap_or_default())
}

/// What is read of an analysis.
#[derive(serde::Deserialize)]
struct Analysis {
    #[serde(default)]
    inputs: Option<String>,
    verdicts: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    bug: BugId,
    kind: String,
    verdict: Verdict,
    reason: String,
}

fn of_bugs(analysis: Analysis) -> BTreeMap<BugId, (Verdict, String)> {
    // A negative control has its bug's name, and says nothing of the bug.
    let bugs = analysis.verdicts.into_iter().filter(|entry| entry.kind != "aa");
    bugs.map(|entry| (entry.bug, (entry.verdict, entry.reason))).collect()
}

fn last_analysis(study: &Study) -> Result<Option<Analysis>, Failure> {
    let path = study.analysis_file();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::input(anyhow::anyhow!("{}: {error}", path.display())));
        }
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Failure::input(anyhow::anyhow!(
            "{}: {error}; write it anew with `reproduceml stats`",
            path.display()
        ))
    })
}
