//! What a call of the build stage reports.

use std::collections::BTreeMap;
use std::time::Duration;

use study::{ArtifactId, ArtifactRecord, ArtifactStatus, Bug, BugId, Strategy, Study};

use crate::cost::{self, Dependents};
use crate::error::BuildError;
use crate::identity::Job;
use crate::options::{BugBuild, BuildOptions, BuildSummary, Estimate, Outcome, SideBuild};
use crate::pair;
use crate::plan::Plan;
use crate::record::{BuildRecord, CacheUse};
use crate::suits::{Suited, ToolchainChoice};

/// An artifact, made or failed, and whether that was in this call.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub record: ArtifactRecord,
    pub now: bool,
}

/// All that a summary tells of.
pub(crate) struct Report<'a> {
    pub study: &'a Study,
    pub bugs: &'a [Bug],
    /// The toolchains of the bugs, in their order.
    pub suited: &'a [Suited],
    pub plan: &'a Plan,
    pub done: &'a BTreeMap<ArtifactId, Done>,
    pub options: &'a BuildOptions,
}

impl Report<'_> {
    pub(crate) fn summary(&self, took: Duration) -> Result<BuildSummary, BuildError> {
        let Self { study, plan, done, options, .. } = self;
        let seen = Seen::read(study)?;
        let mut mismatches = pair::of_plan(study, plan)?;
        let mut bugs: Vec<BugBuild> = Vec::new();
        for (bug, suited) in self.bugs.iter().zip(self.suited) {
            let mut built = BugBuild {
                bug: bug.id.clone(),
                toolchain: ToolchainChoice {
                    name: suited.toolchain.recipe.name.clone(),
                    reason: suited.reason.clone(),
                },
                sides: Vec::new(),
                complete: false,
                mismatches: mismatches.remove(&bug.id).unwrap_or_default(),
                identical: None,
            };
            for want in plan.wants.iter().filter(|want| want.bug == bug.id) {
                let Some(job) = plan.jobs.get(&want.job) else { continue };
                let done = done.get(&want.job);
                let record =
                    BuildRecord::read(&study.build_dir(&want.job).join("record.json")).ok();
                let second = !built.sides.is_empty();
                built.sides.push(SideBuild {
                    evaluation: want.evaluation,
                    artifact: Some(want.job.clone()),
                    strategy: job.identity.strategy,
                    commit: job.identity.commit.clone(),
                    reason: job.reason.clone(),
                    refused: job.refused.clone(),
                    outcome: outcome(done, record.as_ref()),
                    seconds: done.map(|done| done.record.seconds),
                    cache: record.map(|record| record.cache),
                    objects: seen.objects(job, second.then_some(bug), suited),
                });
            }
            let contents = contents(plan, done, &bug.id);
            let both = contents.len() == 2 && contents.iter().all(Option::is_some);
            built.complete = both && built.mismatches.is_empty();
            built.identical = both.then(|| contents.first() == contents.last());
            bugs.push(built);
        }
        let count = |now: bool| {
            done.values().filter(|done| done.now == now && done.record.is_built()).count()
        };
        Ok(BuildSummary {
            pairs: bugs.iter().filter(|bug| bug.complete).count(),
            built: count(true),
            reused: count(false),
            failed: done.values().filter(|done| !done.record.is_built()).count(),
            rebuilt: Vec::new(),
            unmade: Vec::new(),
            dry_run: options.dry_run,
            estimate: forecast(study, plan, done, options.jobs.max(1))?,
            seconds: took.as_secs_f64(),
            left_out: Vec::new(),
            bugs,
        })
    }
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

/// What the study's earlier builds tell about those to come.
struct Seen {
    records: Vec<BuildRecord>,
    /// The newest dependency records of each toolchain, by its name.
    dependents: BTreeMap<String, Dependents>,
}

impl Seen {
    fn read(study: &Study) -> Result<Self, BuildError> {
        let mut ids: Vec<ArtifactId> = study
            .store()?
            .builds()?
            .into_iter()
            .filter(|(_, _, record)| record.is_built())
            .map(|(_, _, record)| record.id)
            .collect();
        ids.sort();
        ids.dedup();
        let mut records: Vec<BuildRecord> = ids
            .iter()
            .filter_map(|id| BuildRecord::read(&study.build_dir(id).join("record.json")).ok())
            .collect();
        records.sort_by(|a, b| a.finished.cmp(&b.finished));
        let mut dependents = BTreeMap::new();
        for record in records.iter().rev() {
            if !dependents.contains_key(&record.toolchain)
                && let Some(found) = cost::read(&study.build_dir(&record.id))
            {
                dependents.insert(record.toolchain.clone(), found);
            }
        }
        Ok(Self { records, dependents })
    }

    /// How many objects a source build is expected to compile: all of them, or those that depend
    /// on what the fix of `after` changed where its other side is built just before.
    fn objects(&self, job: &Job, after: Option<&Bug>, suited: &Suited) -> Option<u64> {
        if job.identity.strategy != Strategy::Source {
            return None;
        }
        let dependents = self.dependents.get(&suited.toolchain.recipe.name)?;
        Some(after.map_or(dependents.objects, |bug| dependents.cost(&bug.files)))
    }

    /// Means over the earlier builds of a strategy that began a chain, or that came after one on a
    /// warm cache: seconds, bytes of artifact, bytes of scratch.
    fn means(&self, strategy: Strategy, warm: bool) -> Option<(f64, f64, f64)> {
        let alike = |record: &&BuildRecord| record.identity.strategy == strategy;
        let near = |record: &&BuildRecord| {
            let CacheUse { hits, misses } = record.cache;
            strategy != Strategy::Source || (hits > misses) == warm
        };
        let mean = |records: Vec<&BuildRecord>| {
            let count = records.len() as f64;
            let sum = |of: fn(&BuildRecord) -> f64| records.iter().map(|r| of(r)).sum::<f64>();
            (count > 0.0).then(|| {
                (
                    sum(|r| r.seconds) / count,
                    sum(|r| r.bytes as f64) / count,
                    sum(|r| r.scratch_bytes as f64) / count,
                )
            })
        };
        let all = || self.records.iter().filter(alike);
        mean(all().filter(near).collect()).or_else(|| mean(all().collect()))
    }
}

/// What is still to be done will take about as long, and as much of the disk, as what the study
/// has seen of the same strategy: first sides like first sides, second ones like second ones.
pub(crate) fn forecast(
    study: &Study,
    plan: &Plan,
    done: &BTreeMap<ArtifactId, Done>,
    jobs: usize,
) -> Result<Option<Estimate>, BuildError> {
    let seen = Seen::read(study)?;
    let mut total = Estimate { seconds: 0.0, bytes: 0, scratch_bytes: 0 };
    let mut known = false;
    let mut chains = 0;
    for chain in &plan.chains {
        let open: Vec<&ArtifactId> = chain.iter().filter(|id| !done.contains_key(*id)).collect();
        chains += usize::from(!open.is_empty());
        for id in open {
            let Some(job) = plan.jobs.get(id) else { continue };
            let warm = chain.first() != Some(id);
            let Some((seconds, bytes, scratch)) = seen.means(job.identity.strategy, warm) else {
                continue;
            };
            known = true;
            total.seconds += seconds;
            total.bytes += bytes as u64;
            let at_once = jobs.min(chains.max(1)) as u64;
            total.scratch_bytes = total.scratch_bytes.max(scratch as u64 * at_once);
        }
    }
    Ok(known.then_some(total))
}
