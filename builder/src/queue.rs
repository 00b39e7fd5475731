//! The build stage: plan, reuse, make, store, in chains that may run at the same time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use containers::Docker;
use futures_util::stream::{self, StreamExt};
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, Bug, BugId, CommitId, Evaluation, Resolution,
    Store, Strategy, Study,
};

use crate::choose::{Chooser, Chosen};
use crate::error::BuildError;
use crate::event::Event;
use crate::failure::FailureClass;
use crate::gc;
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::layout::{Places, store_record};
use crate::make::{Workshop, is_there};
use crate::options::{BuildOptions, BuildSummary, Estimate, Retry};
use crate::plan::{self, Plan};
use crate::rebuild::Rebuilt;
use crate::record::BuildRecord;
use crate::release::{Shelf, releases};
use crate::suits::{self, Assignment};
use crate::summary::{self, Done};
use crate::toolchain::Toolchain;
use crate::{cluster, lock, pair, source};

/// Builds the artifacts of a study's selected bugs, or of those that are asked for.
///
/// What is there already is not made again; what failed before is not tried again unless asked
/// for ([`BuildOptions::retry`]) or its failure is of the passing kind. The study is taken for
/// this process while it works ([`Study::lock`]), and what an interrupted call left is cleaned up
/// first.
///
/// # Errors
/// See [`BuildError`]. That a commit does not build is a result in the summary, not an error.
pub async fn build(
    study: &Study,
    options: &BuildOptions,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<BuildSummary, BuildError> {
    let began = Instant::now();
    let _lock = study.lock()?;
    let bugs = plan::bugs(study, options)?;
    let clone = find_clone(study, options);
    let mut assignment = suits::for_bugs(study, options, clone.as_deref(), bugs)?;
    for suited in &assignment.suited {
        check_suits(&suited.toolchain, study)?;
    }
    let tip = clone.as_deref().and_then(|clone| tip(clone, &study.config.framework.branch));
    let store = study.store()?;

    let docker = Docker::connect().await?;
    if !options.dry_run {
        for leftover in gc::clean(&docker, study, false).await? {
            progress(Event::Cleaned { what: leftover.to_string() });
        }
    }
    let toolchains = ready_toolchains(&docker, study, options, &mut assignment, progress).await?;
    let Assignment { bugs, suited, left_out } = assignment;
    let of_bugs: Vec<&ReadyToolchain> =
        suited.iter().filter_map(|s| toolchains.get(&s.toolchain.recipe.name)).collect();
    let mut chosen = BTreeMap::new();
    for ready in toolchains.values() {
        let shelf = Shelf::new(&docker, study, ready, &options.cancel, progress, options.dry_run);
        let bugs = bugs.iter().zip(&of_bugs).filter(|(_, used)| used.identity == ready.identity);
        let bugs: Vec<&Bug> = bugs.map(|(bug, _)| bug).collect();
        chosen.extend(choose_all(shelf, &bugs, clone.as_deref()).await?);
    }
    let request = plan::Request { study, options, toolchains: &of_bugs, tip, chosen: &chosen };
    let plan = plan::plan(&request, &bugs)?;
    let by_identity: BTreeMap<String, ReadyToolchain> =
        toolchains.values().map(|ready| (ready.identity.clone(), ready.clone())).collect();
    if plan.needs_clone() {
        let Some(clone) = &clone else {
            return Err(plan::no_clone(study, "its commits are to be built from source"));
        };
        if !options.dry_run {
            source::missing_mirrors(study, clone, &plan.commits(&by_identity))?;
        }
    }
    if !options.dry_run {
        look_elsewhere(study, &store, &plan, options, progress).await?;
    }
    let mut done = known(study, &store, &plan, options)?;
    progress(Event::Planned { artifacts: plan.jobs.len(), known: done.len() });
    let (mut rebuilt, mut unmade) = (Vec::new(), Vec::new());
    let jobs = options.jobs.max(1);
    let cores = f64::from(docker.info().processors);
    let shop = Workshop {
        docker: &docker,
        study,
        places: Places::of(study),
        toolchains: &by_identity,
        clone,
        limits: options.limits.decide(&study.config),
        cpus: options.limits.cpus.unwrap_or((cores / jobs as f64).max(0.5)),
        cancel: &options.cancel,
        progress,
    };
    if let Some(nodes) = options.cluster.as_ref().filter(|_| options.dry_run)
        && let Some(text) = cluster::preview(&shop, &store, &plan, nodes, &done)?
    {
        progress(Event::Cluster(text));
    }
    if !options.dry_run {
        assign(&store, &plan, &done)?;
        if options.rebuild {
            rebuilt = make_again(&shop, &plan, &done).await?;
        }
        check_forecast(&shop, &summary::forecast(study, &plan, &done, jobs)?, jobs)?;
        unmade = match &options.cluster {
            Some(nodes) => cluster::make_all(&shop, &store, &plan, nodes, &mut done).await?,
            None => {
                make_all(&shop, &store, &plan, jobs, &mut done).await?;
                Vec::new()
            }
        };
        for (bug, evaluation) in pair::refused(study, &plan)? {
            store.withdraw_artifact(&bug, evaluation)?;
        }
    }
    let report =
        summary::Report { study, bugs: &bugs, suited: &suited, plan: &plan, done: &done, options };
    Ok(BuildSummary { left_out, rebuilt, unmade, ..report.summary(began.elapsed())? })
}

/// Decides how each mined bug's pair is made.
async fn choose_all(
    shelf: Shelf<'_>,
    bugs: &[&Bug],
    clone: Option<&Path>,
) -> Result<BTreeMap<BugId, Chosen>, BuildError> {
    let study = shelf.study;
    let strategy = study.config.build.strategy;
    let repository = match clone {
        Some(path) => Some(git2::Repository::open(path).map_err(|error| {
            plan::no_clone(study, &format!("{}: {}", path.display(), error.message()))
        })?),
        None => None,
    };
    if repository.is_none() && matches!(strategy, Strategy::Overlay | Strategy::Auto) {
        return Err(plan::no_clone(study, "what a fix changed is read from its history"));
    }
    let tag_pattern = &study.config.framework.tag_pattern;
    let mut chooser = Chooser { shelf, strategy, repository, tag_pattern };
    let mut all = BTreeMap::new();
    for bug in bugs.iter().filter(|bug| bug.resolution != Resolution::Planted) {
        let chosen = chooser.choose(bug, plan::commits(bug)?).await?;
        all.insert(bug.id.clone(), chosen);
    }
    Ok(all)
}

/// Builds again what is there already.
async fn make_again(
    shop: &Workshop<'_>,
    plan: &Plan,
    done: &BTreeMap<ArtifactId, Done>,
) -> Result<Vec<Rebuilt>, BuildError> {
    let mut rebuilt = Vec::new();
    for id in done.iter().filter(|(_, done)| done.record.is_built()).map(|(id, _)| id) {
        if shop.cancel.is_cancelled() {
            return Err(BuildError::Interrupted);
        }
        check_disk(shop)?;
        if let Some(job) = plan.jobs.get(id) {
            rebuilt.push(shop.make_again(job).await?);
        }
    }
    Ok(rebuilt)
}

/// What of a plan is still to be made: chains that need nothing of another chain, and then those
/// with a fault on an artifact that another chain makes.
pub(crate) fn open_chains(
    plan: &Plan,
    done: &BTreeMap<ArtifactId, Done>,
) -> [Vec<Vec<ArtifactId>>; 2] {
    let chains = plan.chains.iter().map(|chain| {
        chain.iter().filter(|id| !done.contains_key(*id)).cloned().collect::<Vec<_>>()
    });
    let waits = |chain: &Vec<ArtifactId>| {
        let base = |id| plan.jobs.get(id).and_then(|job: &Job| job.base.as_ref());
        chain.iter().filter_map(base).any(|base| !chain.contains(base) && !done.contains_key(base))
    };
    let (later, first) = chains.filter(|chain| !chain.is_empty()).partition(waits);
    [first, later]
}

/// Makes what is not there yet and stores each result as it comes.
async fn make_all(
    shop: &Workshop<'_>,
    store: &Store,
    plan: &Plan,
    jobs: usize,
    done: &mut BTreeMap<ArtifactId, Done>,
) -> Result<(), BuildError> {
    for chains in open_chains(plan, done) {
        let making = chains.into_iter().map(|chain| make_chain(shop, store, plan, chain));
        let mut results = stream::iter(making).buffer_unordered(jobs);
        while let Some(result) = results.next().await {
            done.extend(
                result?.into_iter().map(|record| (record.id.clone(), Done { record, now: true })),
            );
        }
    }
    Ok(())
}

async fn make_chain(
    shop: &Workshop<'_>,
    store: &Store,
    plan: &Plan,
    chain: Vec<ArtifactId>,
) -> Result<Vec<ArtifactRecord>, BuildError> {
    let mut made = Vec::new();
    for id in chain {
        let Some(job) = plan.jobs.get(&id) else { continue };
        if shop.cancel.is_cancelled() {
            return Err(BuildError::Interrupted);
        }
        // A fault on an artifact that could not be made cannot be planted.
        if job.base.as_ref().is_some_and(|base| !is_there(shop.study, base)) {
            continue;
        }
        check_disk(shop)?;
        (shop.progress)(Event::Started { id: id.clone(), what: job.describe() });
        let record = shop.make(job).await?;
        enter(shop, store, plan, &record)?;
        made.push(record);
    }
    Ok(made)
}

/// Stores what came of a build, and says it.
pub(crate) fn enter(
    shop: &Workshop<'_>,
    store: &Store,
    plan: &Plan,
    record: &ArtifactRecord,
) -> Result<(), BuildError> {
    let id = &record.id;
    store.put_artifact(record)?;
    for want in plan.wants.iter().filter(|want| want.job == *id) {
        store.assign_artifact(&want.bug, want.evaluation, id)?;
    }
    (shop.progress)(match &record.status {
        ArtifactStatus::Built { bytes, .. } => {
            Event::Built { id: id.clone(), seconds: record.seconds, bytes: *bytes }
        }
        ArtifactStatus::Failed { class, line } => {
            Event::Failed { id: id.clone(), class: class.clone(), line: line.clone() }
        }
    });
    Ok(())
}

pub(crate) fn check_disk(shop: &Workshop<'_>) -> Result<(), BuildError> {
    let root = shop.study.root();
    let free = containers::free_bytes(root).map_err(BuildError::io(root))?;
    if free < shop.limits.free {
        return Err(BuildError::Disk {
            path: root.to_owned(),
            free_mib: free >> 20,
            needed_mib: shop.limits.free >> 20,
        });
    }
    Ok(())
}

/// What of a plan needs no work: artifacts that are there, and failures that stand.
fn known(
    study: &Study,
    store: &Store,
    plan: &Plan,
    options: &BuildOptions,
) -> Result<BTreeMap<ArtifactId, Done>, BuildError> {
    let mut known = BTreeMap::new();
    for id in plan.jobs.keys() {
        let record = match store.artifact(id)? {
            Some(record) if record.is_built() && is_there(study, id) => Some(record),
            Some(record) if !record.is_built() => stands(&record, options.retry).then_some(record),
            // The process ended between the artifact's last file operation and the store's.
            _ if is_there(study, id) => adopt(study, store, id)?,
            _ => None,
        };
        if let Some(record) = record {
            known.insert(id.clone(), Done { record, now: false });
        }
    }
    Ok(known)
}

/// Fetches what the study's folder has not and another place has. What cannot be had is made.
async fn look_elsewhere(
    study: &Study,
    store: &Store,
    plan: &Plan,
    options: &BuildOptions,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<(), BuildError> {
    let Some(elsewhere) = &options.elsewhere else { return Ok(()) };
    for id in plan.jobs.keys().filter(|id| !is_there(study, id)) {
        let failed = store.artifact(id)?.is_some_and(|record| !record.is_built());
        if failed {
            continue;
        }
        match elsewhere.obtain(study, id).await {
            Ok(true) => progress(Event::Obtained { id: id.clone() }),
            Ok(false) => {}
            Err(reason) => {
                // The next one would most likely wait as long for the same answer.
                progress(Event::Warning(format!("{reason}. What is missing is built here")));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a failure is not to be tried again.
fn stands(record: &ArtifactRecord, retry: Option<Retry>) -> bool {
    let ArtifactStatus::Failed { class, .. } = &record.status else { return true };
    if retry == Some(Retry::All) {
        return false;
    }
    match class.parse::<FailureClass>() {
        Ok(class) => !class.is_passing() && retry != Some(Retry::Class(class)),
        // A class of a later program: leave it alone.
        Err(_) => true,
    }
}

/// Takes an artifact that is whole but not in the store.
fn adopt(
    study: &Study,
    store: &Store,
    id: &ArtifactId,
) -> Result<Option<ArtifactRecord>, BuildError> {
    let record = BuildRecord::read(&study.artifact_dir(id).join("record.json"))?;
    let Some(content) = record.content.clone().filter(|_| record.id == *id) else {
        return Ok(None);
    };
    let status = ArtifactStatus::Built { content, bytes: record.bytes };
    let record = store_record(&record, status);
    store.put_artifact(&record)?;
    Ok(Some(record))
}

/// Ties what is there already to the bugs that want it.
fn assign(store: &Store, plan: &Plan, done: &BTreeMap<ArtifactId, Done>) -> Result<(), BuildError> {
    let tied: BTreeMap<(String, Evaluation), ArtifactId> = store
        .builds()?
        .into_iter()
        .map(|(bug, evaluation, record)| ((bug.to_string(), evaluation), record.id))
        .collect();
    for want in &plan.wants {
        let key = (want.bug.to_string(), want.evaluation);
        if done.contains_key(&want.job) && tied.get(&key) != Some(&want.job) {
            store.assign_artifact(&want.bug, want.evaluation, &want.job)?;
        }
    }
    Ok(())
}

/// The toolchains of a call by name: locked and on the daemon, or only named for a plan. Where one
/// of several has a base that cannot be had here, its bugs are left out and the others go on.
async fn ready_toolchains(
    docker: &Docker,
    study: &Study,
    options: &BuildOptions,
    assignment: &mut Assignment,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<BTreeMap<String, ReadyToolchain>, BuildError> {
    let wanted: BTreeMap<String, Toolchain> = assignment
        .suited
        .iter()
        .map(|suited| (suited.toolchain.recipe.name.clone(), suited.toolchain.clone()))
        .collect();
    let mut ready = BTreeMap::new();
    let mut missing = None;
    for (name, toolchain) in wanted {
        let one = if options.dry_run {
            lock::planned(docker, study, &toolchain).await
        } else {
            let (frozen, cancel) = (options.frozen, &options.cancel);
            lock::ready(docker, study, &toolchain, frozen, cancel, progress).await
        };
        match one {
            Ok(one) => {
                ready.insert(name, one);
            }
            Err(error @ BuildError::BaseImage { .. }) => {
                progress(Event::Warning(format!("the bugs of {name} are left out: {error}")));
                assignment.leave_out(&name, &error.to_string());
                missing = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if ready.is_empty() => Err(error),
        _ => Ok(ready),
    }
}

/// Stops before the first build when the plan cannot fit on the disk.
fn check_forecast(
    shop: &Workshop<'_>,
    forecast: &Option<Estimate>,
    jobs: usize,
) -> Result<(), BuildError> {
    let Some(estimate) = forecast else { return Ok(()) };
    let root = shop.study.root();
    let free = containers::free_bytes(root).map_err(BuildError::io(root))?;
    let needed = shop.limits.free + estimate.bytes + estimate.scratch_bytes;
    if free < needed {
        (shop.progress)(Event::Warning(format!(
            "the plan is expected to need {} MiB with {jobs} builds at a time, and {} MiB are free",
            needed >> 20,
            free >> 20
        )));
        return Err(BuildError::Disk {
            path: root.to_owned(),
            free_mib: free >> 20,
            needed_mib: needed >> 20,
        });
    }
    Ok(())
}

fn check_suits(toolchain: &Toolchain, study: &Study) -> Result<(), BuildError> {
    let name = &study.config.framework.name;
    let suits = &toolchain.recipe.suits.frameworks;
    if !suits.is_empty() && !suits.contains(name) {
        let text = format!(
            "the toolchain {} is for {}, the study's framework is {name}; set build.toolchain in \
             study.toml",
            toolchain.recipe.name,
            suits.join(", ")
        );
        return Err(BuildError::Request(text));
    }
    let recipe = &toolchain.recipe;
    let strategy = study.config.build.strategy;
    let lacks = match strategy {
        Strategy::Release => recipe.release.is_none() && recipe.wheels.is_empty(),
        Strategy::Overlay => releases(recipe).is_empty(),
        _ => false,
    };
    if lacks {
        let text = format!(
            "build.strategy is `{strategy}`, and the toolchain {} holds no released package{}; \
             set build.toolchain in study.toml",
            recipe.name,
            if strategy == Strategy::Overlay { " to lay a fix over" } else { "" }
        );
        return Err(BuildError::Request(text));
    }
    Ok(())
}

/// The local clone: the option, or what study.toml names if that is a folder.
pub(crate) fn find_clone(study: &Study, options: &BuildOptions) -> Option<PathBuf> {
    let named = study.config.framework.clone.as_deref().map(|path| study.resolve(path));
    options.repo.clone().or(named).filter(|path| path.is_dir())
}

/// The newest commit of the main line.
fn tip(clone: &Path, branch: &str) -> Option<CommitId> {
    let repository = git2::Repository::open(clone).ok()?;
    let commit = [format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")]
        .iter()
        .find_map(|name| repository.find_reference(name).ok()?.peel_to_commit().ok())?;
    CommitId::new(commit.id().to_string()).ok()
}
