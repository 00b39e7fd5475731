//! `build lock`: what the study's toolchains are made of, and whether that has moved.

use std::path::Path;

use anyhow::anyhow;
use builder::{BuildOptions, Moved, Toolchain};
use containers::Cancel;

use super::explain;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// Locks the toolchains named, or those that the study's bugs are built with; or checks the lock.
pub async fn lock(
    cli: &Cli,
    names: &[String],
    check: bool,
    repo: Option<&Path>,
) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let home = Home::find()?;
    let dir = home.toolchains();
    if check {
        let known = builder::list(&dir);
        let all: Vec<Toolchain> =
            known.iter().filter_map(|name| Toolchain::read(&dir, name).ok()).collect();
        let moved = builder::check_lock(&study, &all, &Cancel::new()).await.map_err(explain)?;
        print(cli, &moved)?;
        return if moved.is_empty() {
            Ok(())
        } else {
            Err(Failure::stage(anyhow!(
                "{} things are not as they were locked; `reproduceml build lock` takes them as they \
                 are now, and artifacts are then built anew",
                moved.len()
            )))
        };
    }
    let toolchains: Vec<Toolchain> = if names.is_empty() {
        let mut options = BuildOptions::new(dir);
        options.repo = repo.map(Path::to_owned);
        builder::toolchains_in_use(&study, &options).map_err(explain)?
    } else {
        names
            .iter()
            .map(|name| Toolchain::read(&dir, name))
            .collect::<Result<_, _>>()
            .map_err(explain)?
    };
    let progress = Progress::new();
    let moved = builder::lock_toolchains(&study, &toolchains, &Cancel::new(), &|event| {
        super::make::show(&progress, event);
    })
    .await
    .map_err(explain)?;
    drop(progress);
    print(cli, &moved)
}

fn print(cli: &Cli, moved: &[Moved]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["toolchain", "what", "locked", "now"]);
    for one in moved {
        rows.push([
            one.toolchain.clone(),
            one.what.clone(),
            one.locked.clone(),
            one.now.clone().unwrap_or_else(|| "not there".into()),
        ]);
    }
    output::print(cli.format, &moved, &rows)
}
