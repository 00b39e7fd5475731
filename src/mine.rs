//! `mine`: release notes and git history to the corpus.

use std::collections::BTreeMap;

use miner::{MineError, MineOptions, Progress as Event};
use study::{BugId, Study, selection};

use crate::cli::{Cli, MineArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// Makes or renews the corpus, and decides which bugs go on.
pub async fn mine(cli: &Cli, args: &MineArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let _lock = study.lock()?;
    let options = MineOptions {
        notes: args.notes.clone(),
        repo: args.repo.clone(),
        offline: args.offline,
        branch: args.branch.clone(),
        token: std::env::var("GITHUB_TOKEN").ok().filter(|token| !token.is_empty()),
        api_base: std::env::var("REPRODUCEML_GITHUB_API").ok(),
    };
    let progress = Progress::new();
    let summary =
        miner::mine(&study, &options, &|event| show(&progress, event)).await.map_err(explain)?;
    drop(progress);
    select(&study)?;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    let mut rows = Rows::new(&["what", "count"]);
    rows.push(["releases".to_owned(), summary.releases.to_string()]);
    rows.push(["entries".to_owned(), summary.entries.to_string()]);
    rows.push(["pull requests".to_owned(), summary.pull_requests.to_string()]);
    rows.push(["bugs".to_owned(), summary.bugs.to_string()]);
    for (resolution, count) in &summary.by_resolution {
        rows.push([format!("resolution {resolution}"), count.to_string()]);
    }
    for (kind, count) in &summary.by_scope {
        rows.push([format!("scope {kind}"), count.to_string()]);
    }
    if let Some(expected) = &summary.expected {
        rows.push(["pull requests expected".to_owned(), expected.bugs.to_string()]);
        rows.push(["difference".to_owned(), format!("{:+}", expected.difference)]);
        for way in &expected.ways {
            rows.push([way.what.to_owned(), way.count.to_string()]);
        }
    }
    output::print(cli.format, &summary, &rows)
}

/// Decides which bugs go on, from the corpus, the labels and `study.toml`.
pub fn select(study: &Study) -> Result<(), Failure> {
    let corpus = study.corpus()?;
    let excluded: BTreeMap<BugId, String> = crate::label::excluded(study, &corpus)?;
    let choices = selection::select(&study.config, &corpus, &excluded);
    Ok(selection::write(&study.selection_file(), &choices)?)
}

fn show(progress: &Progress, event: Event) {
    match event {
        Event::Notes(notes) => tracing::info!("{notes} notes read"),
        Event::Objects(done, total) | Event::Fixes(done, total) => {
            progress.count(done as u64, total as u64);
        }
        Event::Commits(commits) => tracing::debug!("{commits} commits read"),
    }
}

fn explain(error: MineError) -> Failure {
    match error {
        MineError::Github(_) => Failure::missing(error),
        _ => Failure::input(error),
    }
}
