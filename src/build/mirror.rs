//! `build mirror`: the submodules that builds need, fetched once.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use builder::{BuildOptions, MirrorOutcome};
use study::BugId;

use super::explain;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// What is to be mirrored, and from where.
pub struct Wanted<'a> {
    /// Only for these bugs.
    pub bugs: &'a [BugId],
    /// Folders with repositories on this machine.
    pub from: &'a [PathBuf],
    /// The framework's clone.
    pub repo: Option<&'a Path>,
    /// The toolchain of every bug.
    pub toolchain: &'a Option<String>,
    /// Only say it.
    pub dry_run: bool,
}

/// Fetches what is missing.
pub async fn mirror(cli: &Cli, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let home = Home::find()?;
    for folder in wanted.from {
        if !folder.is_dir() {
            return Err(Failure::input(anyhow!(
                "{} is no folder; --from expects one with repositories",
                folder.display()
            )));
        }
    }
    let mut options = BuildOptions::new(home.toolchains());
    options.bugs = wanted.bugs.to_vec();
    options.repo = wanted.repo.map(Path::to_owned);
    options.toolchain.clone_from(wanted.toolchain);
    options.dry_run = wanted.dry_run;
    let progress = Progress::new();
    let done = builder::mirror(&study, &options, wanted.from, &|line| progress.line(line))
        .await
        .map_err(explain)?;
    drop(progress);
    let mut rows = Rows::new(&["submodule", "commit", "address", "outcome"]);
    let mut missing = 0;
    for one in &done {
        let outcome = match &one.outcome {
            MirrorOutcome::There => "there already".to_owned(),
            MirrorOutcome::Copied { from } => format!("copied from {}", from.display()),
            MirrorOutcome::Fetched => "fetched".to_owned(),
            MirrorOutcome::Wanted => "to be fetched".to_owned(),
            MirrorOutcome::Missing { why } => {
                missing += 1;
                why.clone()
            }
        };
        rows.push([
            one.submodule.path.clone(),
            one.submodule.commit.short().to_owned(),
            one.submodule.url.clone(),
            outcome,
        ]);
    }
    output::print(cli.format, &done, &rows)?;
    if missing == 0 {
        Ok(())
    } else {
        Err(Failure::missing(anyhow!("{missing} submodules cannot be had; the table says why")))
    }
}
