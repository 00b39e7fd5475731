//! What a call of the build stage reports.

use std::collections::BTreeMap;
use std::time::Duration;

use study::{ArtifactId, ArtifactRecord, ArtifactStatus, BugId, Study};

use crate::error::BuildError;
use crate::options::{BugBuild, BuildSummary, Estimate, Outcome, SideBuild};
use crate::plan::Plan;
use crate::record::BuildRecord;

/// An artifact, made or failed, and whether that was in this call.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub record: ArtifactRecord,
    pub now: bool,
}

pub(crate) fn summary(
    study: &Study,
    plan: &Plan,
    done: &BTreeMap<ArtifactId, Done>,
    dry_run: bool,
    took: Duration,
) -> Result<BuildSummary, BuildError> {
    let mut bugs: Vec<BugBuild> = Vec::new();
    for want in &plan.wants {
        let Some(job) = plan.jobs.get(&want.job) else { continue };
        let done = done.get(&want.job);
        let record = BuildRecord::read(&study.build_dir(&want.job).join("record.json")).ok();
        let side = SideBuild {
            evaluation: want.evaluation,
            artifact: Some(want.job.clone()),
            strategy: job.identity.strategy,
            commit: job.identity.commit.clone(),
            outcome: outcome(done, record.as_ref()),
            seconds: done.map(|done| done.record.seconds),
            cache: record.map(|record| record.cache),
        };
        match bugs.last_mut().filter(|last| last.bug == want.bug) {
            Some(last) => last.sides.push(side),
            None => bugs.push(BugBuild {
                bug: want.bug.clone(),
                sides: vec![side],
                complete: false,
                identical: None,
            }),
        }
    }
    for bug in &mut bugs {
        let contents = contents(plan, done, &bug.bug);
        bug.complete = contents.len() == 2 && contents.iter().all(Option::is_some);
        bug.identical = bug.complete.then(|| contents.first() == contents.last());
    }
    let count =
        |now: bool| done.values().filter(|done| done.now == now && done.record.is_built()).count();
    Ok(BuildSummary {
        pairs: bugs.iter().filter(|bug| bug.complete).count(),
        built: count(true),
        reused: count(false),
        failed: done.values().filter(|done| !done.record.is_built()).count(),
        dry_run,
        estimate: estimate(study, plan, done)?,
        seconds: took.as_secs_f64(),
        bugs,
    })
}

/// The digests of a bug's two artifacts.
fn contents(plan: &Plan, done: &BTreeMap<ArtifactId, Done>, bug: &BugId) -> Vec<Option<String>> {
    plan.wants
        .iter()
        .filter(|want| want.bug == *bug)
        .map(|want| match &done.get(&want.job)?.record.status {
            ArtifactStatus::Built { content, .. } => Some(content.clone()),
            ArtifactStatus::Failed { .. } => None,
        })
        .collect()
}

fn outcome(done: Option<&Done>, record: Option<&BuildRecord>) -> Outcome {
    let Some(done) = done else { return Outcome::Pending };
    match &done.record.status {
        ArtifactStatus::Built { bytes, .. } if done.now => Outcome::Built { bytes: *bytes },
        ArtifactStatus::Built { bytes, .. } => Outcome::Reused { bytes: *bytes },
        ArtifactStatus::Failed { class, line } => Outcome::Failed {
            class: class.clone(),
            line: line.clone(),
            log: format!("builds/{}/log.zst", done.record.id),
            line_number: record
                .and_then(|record| record.failure.as_ref())
                .and_then(|failure| failure.line_number),
        },
    }
}

/// What is still to be done will take about as long as what the study's store has seen of the
/// same strategy, on average.
fn estimate(
    study: &Study,
    plan: &Plan,
    done: &BTreeMap<ArtifactId, Done>,
) -> Result<Option<Estimate>, BuildError> {
    let seen: Vec<ArtifactRecord> =
        study.store()?.builds()?.into_iter().map(|(_, _, record)| record).collect();
    let mut total = Estimate { seconds: 0.0, bytes: 0 };
    let mut known = false;
    for job in plan.jobs.values().filter(|job| !done.contains_key(&job.id)) {
        let like: Vec<(f64, u64)> = seen
            .iter()
            .filter(|record| record.strategy == job.identity.strategy)
            .filter_map(|record| match &record.status {
                ArtifactStatus::Built { bytes, .. } => Some((record.seconds, *bytes)),
                ArtifactStatus::Failed { .. } => None,
            })
            .collect();
        if let Ok(count) = u32::try_from(like.len())
            && count > 0
        {
            known = true;
            total.seconds +=
                like.iter().map(|(seconds, _)| seconds).sum::<f64>() / f64::from(count);
            total.bytes += like.iter().map(|(_, bytes)| bytes).sum::<u64>() / u64::from(count);
        }
    }
    Ok(known.then_some(total))
}
