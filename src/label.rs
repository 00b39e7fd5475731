//! `label`: people's labels, and what the study makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use miner::labels::{Criterion, Labels, agreement, disagreements, filter};
use study::{Bug, BugId, Study};

use crate::cli::{Cli, LabelArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Imports or exports labels, or shows progress and agreement.
pub fn label(cli: &Cli, args: &LabelArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    if let Some(file) = &args.import {
        return import(&study, file);
    }
    let labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    if let Some(file) = &args.export {
        return labels.write(file).map_err(Failure::input);
    }
    let corpus = study.corpus()?;
    show(cli, &corpus, &labels)
}

fn import(study: &Study, file: &Path) -> Result<(), Failure> {
    let _lock = study.lock()?;
    if !file.is_file() {
        return Err(Failure::input(anyhow::anyhow!("{} is no file", file.display())));
    }
    let given = Labels::read(file).map_err(Failure::input)?;
    let mut labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    let changed = labels.merge(given);
    labels.write(&study.labels_file()).map_err(Failure::input)?;
    eprintln!("{changed} labels are new or changed");
    if study.corpus_file().exists() {
        crate::mine::select(study)?;
    }
    Ok(())
}

/// The bugs that the labels exclude, with the reason. Where nobody has labelled anything the
/// study has no filter.
pub fn excluded(study: &Study, corpus: &[Bug]) -> Result<BTreeMap<BugId, String>, Failure> {
    let labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    if labels.iter().next().is_none() {
        return Ok(BTreeMap::new());
    }
    let (_, lost) = filter(corpus, &labels);
    Ok(lost.into_iter().map(|lost| (lost.bug, format!("labels: {}", lost.reason))).collect())
}

fn show(cli: &Cli, corpus: &[Bug], labels: &Labels) -> Result<(), Failure> {
    let raters = labels.raters();
    let mut rows = Rows::new(&["what", "who or which", "value"]);
    let mut progress = Vec::new();
    for rater in &raters {
        let done = corpus
            .iter()
            .filter(|bug| labels.get(&bug.id, rater).is_some_and(|label| label.is_complete()))
            .count();
        let of = corpus.len();
        rows.push(["labelled", rater, &format!("{done} of {of}")]);
        progress.push(serde_json::json!({"rater": rater, "labelled": done, "bugs": of}));
    }
    let mut kappas = Vec::new();
    for criterion in Criterion::ALL {
        let Some(kappa) = agreement::on(labels, &raters, *criterion) else { continue };
        let value = kappa.kappa.map_or("undefined".to_owned(), |value| format!("{value:.2}"));
        let interval = kappa.interval.map_or(String::new(), |(a, b)| format!(" ({a:.2} to {b:.2})"));
        let text = format!("{value}{interval}, {}", kappa.reading());
        rows.push(["kappa", criterion.as_str(), &text]);
        kappas.push(serde_json::json!({
            "criterion": criterion.as_str(), "kappa": kappa.kappa, "interval": kappa.interval,
            "reading": kappa.reading(),
        }));
    }
    let mut open = Vec::new();
    for found in disagreements(labels) {
        let answers: Vec<String> =
            found.answers.iter().map(|(who, what)| format!("{who}: {}", what.as_str())).collect();
        let place = format!("{} {}", found.bug, found.criterion.as_str());
        rows.push(["disagreement", &place, &answers.join(", ")]);
        open.push(serde_json::json!({
            "bug": found.bug, "criterion": found.criterion.as_str(), "answers": answers,
        }));
    }
    let value = serde_json::json!({"raters": progress, "agreement": kappas, "disagreements": open});
    output::print(cli.format, &value, &rows)
}
