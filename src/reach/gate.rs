//! What `run` and `status` do with the answers.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use anyhow::anyhow;
use reach::Finding;
use reach::findings;
use runner::Plan;
use study::{BugId, Study};

use super::Workload;
use crate::failure::Failure;

/// Bugs that this workload cannot see, with what `reach` found.
pub fn out_of_reach(
    study: &Study,
    workload: &Workload,
) -> Result<BTreeMap<BugId, Finding>, Failure> {
    let found = findings::read(&findings::file(study)).map_err(Failure::input)?;
    let ours = found.into_iter().filter(|finding| {
        finding.answer.out_of_reach()
            && finding.model == workload.model
            && finding.challenge == workload.challenge
            && finding.device == workload.device
    });
    Ok(ours.map(|finding| (finding.bug.clone(), finding)).collect())
}

/// Leaves bugs out of a plan on which time would be spent for nothing. On a terminal a person
/// decides; elsewhere bugs that were named are refused, and others are left out by name.
pub fn hold_back(
    study: &Study,
    workload: &Workload,
    named: &[BugId],
    plan: &mut Plan,
) -> Result<(), Failure> {
    let blind = out_of_reach(study, workload)?;
    let held: Vec<&Finding> = blind
        .values()
        .filter(|finding| plan.missing.iter().any(|run| run.experiment.bug == finding.bug))
        .collect();
    if held.is_empty() {
        return Ok(());
    }
    let runs = plan.missing.iter().filter(|run| blind.contains_key(&run.experiment.bug)).count();
    let names: Vec<&str> = held.iter().map(|finding| finding.bug.as_str()).collect();
    let names = names.join(", ");
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if terminal {
        for finding in &held {
            eprintln!("{}: {}, {}", finding.bug, finding.answer, finding.reason);
        }
        eprint!("This workload cannot show them. Make their {runs} runs anyway? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(Failure::input)?;
        if answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
    } else if let Some(finding) = held.iter().find(|finding| named.contains(&finding.bug)) {
        return Err(Failure::input(anyhow!(
            "{} is out of this workload's reach ({}: {}); --anyway runs it all the same, and \
             `reproduceml reach {}` looks again",
            finding.bug,
            finding.answer,
            finding.reason,
            finding.bug
        )));
    } else {
        eprintln!(
            "{} bugs are left out, with {runs} runs, since this workload cannot show them: {names}; \
             --anyway runs them all the same",
            held.len()
        );
    }
    plan.missing.retain(|run| !blind.contains_key(&run.experiment.bug));
    plan.experiments
        .retain(|(experiment, _)| !held.iter().any(|finding| finding.bug == experiment.bug));
    Ok(())
}

/// Bugs that no run of this study's workload can show, with the reason, for the funnel.
pub fn reasons(study: &Study) -> Result<BTreeMap<BugId, String>, Failure> {
    let reached = study::reach::of_own_workload(study).map_err(Failure::input)?;
    Ok(study::reach::blind(&reached))
}
