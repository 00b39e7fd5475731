//! `build probe`: each fix's own tests on both artifacts.

use std::path::Path;

use builder::{BuildOptions, LeftOut};
use study::BugId;

use super::explain;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::studies;

/// Runs the tests that the fixes brought, on both artifacts of each pair.
pub async fn probe(cli: &Cli, bugs: &[BugId], repo: Option<&Path>) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let mut options = BuildOptions::new(Home::for_containers(&study)?.toolchains());
    options.bugs = bugs.to_vec();
    options.repo = repo.map(Path::to_owned);
    let found = builder::probe(&study, &options).await.map_err(explain)?;
    let mut rows =
        Rows::new(&["bug", "buggy", "corrected", "evidence", "tests, or why none was run"]);
    for probe in &found.probes {
        let word = |passes| if passes { "passes" } else { "fails" };
        rows.push([
            probe.bug.to_string(),
            word(probe.buggy_passes).to_owned(),
            word(probe.corrected_passes).to_owned(),
            if probe.is_evidence() { "yes" } else { "no" }.to_owned(),
            probe.tests.join(" "),
        ]);
    }
    for LeftOut { bug, reason } in &found.left_out {
        rows.push([bug.to_string(), "-".into(), "-".into(), "-".into(), reason.clone()]);
    }
    output::print(cli.format, &found, &rows)
}
