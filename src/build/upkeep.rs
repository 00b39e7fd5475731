//! `build report`, `build verify` and `build gc`.

use anyhow::anyhow;

use super::{explain, sides};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Counts failed builds.
pub fn report(cli: &Cli) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let counts = builder::report(&study).map_err(explain)?;
    let mut rows = Rows::new(&["toolchain", "class", "sides", "which"]);
    for count in &counts {
        rows.push([
            count.toolchain.clone(),
            count.class.clone(),
            count.sides.len().to_string(),
            sides(&count.sides),
        ]);
    }
    output::print(cli.format, &counts, &rows)
}

/// Compares the two artifacts of each bug.
pub fn compare(cli: &Cli) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let pairs = builder::compare(&study).map_err(explain)?;
    let mut rows = Rows::new(&["bug", "same", "differs", "not explained"]);
    for pair in &pairs {
        let named = |path: &String| match pair.sections.get(path) {
            Some(sections) => {
                let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
                format!("{path} ({})", names.join(" "))
            }
            None => path.clone(),
        };
        let difference = &pair.difference;
        let mut differs: Vec<String> = difference.changed.iter().map(named).collect();
        differs.extend(
            difference.only_first.iter().map(|path| format!("{path} ({} only)", pair.first)),
        );
        differs
            .extend(difference.only_second.iter().map(|path| format!("{path} (corrected only)")));
        let unexplained = pair.unexplained.iter().chain(&pair.mismatches);
        rows.push([
            pair.bug.to_string(),
            format!("{} files", difference.same),
            if pair.identical { "nothing: identical".to_owned() } else { differs.join(", ") },
            unexplained.cloned().collect::<Vec<_>>().join("; "),
        ]);
    }
    output::print(cli.format, &pairs, &rows)
}

/// Computes every digest again.
pub fn verify(cli: &Cli) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let found = builder::verify(&study).map_err(explain)?;
    let mut rows = Rows::new(&["artifact", "state"]);
    for one in &found {
        let state =
            if one.problems.is_empty() { "whole".to_owned() } else { one.problems.join("; ") };
        rows.push([one.id.short().to_owned(), state]);
    }
    output::print(cli.format, &found, &rows)?;
    let bad = found.iter().filter(|one| !one.problems.is_empty()).count();
    if bad == 0 {
        return Ok(());
    }
    Err(Failure::stage(anyhow!(
        "{bad} of {} artifacts are not what was built; remove their folders below artifacts/ and \
         call `reproduceml build` to have them again",
        found.len()
    )))
}

/// Removes what interrupted builds left behind.
pub async fn gc(cli: &Cli, dry_run: bool) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let found = builder::collect_garbage(&study, dry_run).await.map_err(explain)?;
    let mut rows = Rows::new(&[if dry_run { "would be removed" } else { "removed" }]);
    for one in &found {
        rows.push([one.to_string()]);
    }
    output::print(cli.format, &found, &rows)
}
