//! `gc`: what no result rests on any more.

use std::time::Duration;

use serde::Serialize;
use study::prune::{self, Prunable};

use crate::cli::{Cli, GcArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// What was found, and removed unless it was only listed.
#[derive(Debug, Serialize)]
struct Collected {
    removed: bool,
    bytes: u64,
    items: Vec<Prunable>,
}

/// Removes old things that no result rests on, or lists them.
pub fn gc(cli: &Cli, args: &GcArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let _lock = study.lock()?;
    let days = u64::from(args.keep_days.unwrap_or(study.config.nightly.keep_days));
    let items = prune::prunable(&study, Duration::from_secs(days * 24 * 3600))?;
    let mut rows = Rows::new(&["what", "bytes", "where", "why"]);
    for item in &items {
        if !args.dry_run {
            prune::remove(item)?;
        }
        rows.push([
            item.what.to_owned(),
            item.bytes.to_string(),
            item.path.display().to_string(),
            item.why.to_owned(),
        ]);
    }
    let bytes = items.iter().map(|item| item.bytes).sum();
    let count = items.len();
    match (count, args.dry_run) {
        (0, _) => eprintln!("nothing that is older than {days} days can go"),
        (_, true) => eprintln!("{count} would go, {bytes} bytes"),
        (_, false) => eprintln!("{count} are gone, {bytes} bytes"),
    }
    let collected = Collected { removed: !args.dry_run, bytes, items };
    output::print(cli.format, &collected, &rows)
}
