//! Which artifacts a study's bugs need, each once, in an order that helps the compiler cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use study::selection::{self, Choice};
use study::{ArtifactId, Bug, BugId, CommitId, Evaluation, Resolution, Strategy, Study};

use crate::choose::{Base, Chosen, Way};
use crate::error::BuildError;
use crate::identity::{Identity, Job, ReleaseIdentity};
use crate::image::ReadyToolchain;
use crate::options::BuildOptions;
use crate::toolchain::Recipe;

/// One side of a bug and the artifact it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Want {
    pub bug: BugId,
    pub evaluation: Evaluation,
    pub job: ArtifactId,
}

/// All artifacts of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// Distinct artifacts.
    pub jobs: BTreeMap<ArtifactId, Job>,
    /// Which side of which bug needs which, bug by bug.
    pub wants: Vec<Want>,
    /// Artifacts to be made one after the other; two chains may go on at the same time.
    pub chains: Vec<Vec<ArtifactId>>,
}

impl Plan {
    /// Whether any artifact is built from a commit.
    pub(crate) fn needs_clone(&self) -> bool {
        self.jobs.values().any(|job| match job.identity.strategy {
            Strategy::Source => true,
            Strategy::Overlay => job.refused.is_none(),
            _ => false,
        })
    }

    /// The commits that are built from source, each with its toolchain's recipe.
    pub(crate) fn commits<'a>(
        &self,
        toolchains: &'a BTreeMap<String, ReadyToolchain>,
    ) -> BTreeMap<CommitId, &'a Recipe> {
        self.jobs
            .values()
            .filter(|job| job.identity.strategy == Strategy::Source)
            .filter_map(|job| {
                let ready = toolchains.get(&job.identity.toolchain)?;
                Some((job.identity.commit.clone()?, &ready.toolchain.recipe))
            })
            .collect()
    }

    fn add(&mut self, bug: &BugId, sides: Vec<(Evaluation, Job)>, below: Vec<Job>) {
        let known: BTreeSet<ArtifactId> = self.jobs.keys().cloned().collect();
        let mut chain = Vec::new();
        let mut remember = |plan: &mut Self, job: &Job| {
            if !known.contains(&job.id) && !chain.contains(&job.id) {
                chain.push(job.id.clone());
            }
            plan.jobs.insert(job.id.clone(), job.clone());
        };
        for job in &below {
            remember(self, job);
        }
        for (evaluation, job) in sides {
            remember(self, &job);
            self.wants.push(Want { bug: bug.clone(), evaluation, job: job.id.clone() });
        }
        if !chain.is_empty() {
            self.chains.push(chain);
        }
    }
}

/// What a plan is made from.
pub(crate) struct Request<'a> {
    pub study: &'a Study,
    pub options: &'a BuildOptions,
    /// The toolchain of each bug, in the bugs' order.
    pub toolchains: &'a [&'a ReadyToolchain],
    /// The newest commit of the main line, for faults on top of a source build.
    pub tip: Option<CommitId>,
    /// How each mined bug's pair is made.
    pub chosen: &'a BTreeMap<BugId, Chosen>,
}

/// The bugs to build, in the order in which their fixes came.
pub(crate) fn bugs(study: &Study, options: &BuildOptions) -> Result<Vec<Bug>, BuildError> {
    let corpus = study::corpus::read(&study.corpus_file())?;
    let choices: BTreeMap<BugId, Choice> = selection::read(&study.selection_file())?
        .into_iter()
        .map(|choice| (choice.bug.clone(), choice))
        .collect();
    for wanted in &options.bugs {
        if !corpus.iter().any(|bug| bug.id == *wanted) {
            let text = format!(
                "the corpus has no bug {wanted}; `reproduceml status` lists what it has, and \
                 `reproduceml mine` adds what study.toml names"
            );
            return Err(BuildError::Request(text));
        }
        if let Some(Choice { lost_at: Some(_), reason, .. }) = choices.get(wanted) {
            return Err(BuildError::Request(format!("{wanted} left the study before: {reason}")));
        }
    }
    let mut chosen: Vec<Bug> = corpus
        .into_iter()
        .filter(|bug| choices.get(&bug.id).is_some_and(|choice| choice.lost_at.is_none()))
        .filter(|bug| options.bugs.is_empty() || options.bugs.contains(&bug.id))
        .collect();
    // Neighbours in time share most of their objects.
    chosen.sort_by(|a, b| (&a.fixed_at, &a.id).cmp(&(&b.fixed_at, &b.id)));
    Ok(chosen)
}

/// Decides the artifacts of the bugs.
pub(crate) fn plan(request: &Request<'_>, bugs: &[Bug]) -> Result<Plan, BuildError> {
    let mut plan = Plan::default();
    for (bug, toolchain) in bugs.iter().zip(request.toolchains) {
        if bug.resolution == Resolution::Planted {
            let (sides, below) = fault_pair(request, toolchain, bug)?;
            plan.add(&bug.id, sides, below);
        } else {
            let sides = commit_pair(request, toolchain, bug)?;
            plan.add(&bug.id, sides, Vec::new());
        }
    }
    // Builds of one toolchain share the compiler's cache; within one, the bugs stay in the order
    // of their fixes.
    let toolchain_of = |chain: &Vec<ArtifactId>| {
        let job = chain.first().and_then(|id| plan.jobs.get(id));
        let used = job.map(|job| &job.identity.toolchain);
        request.toolchains.iter().position(|ready| Some(&ready.identity) == used)
    };
    let mut chains = std::mem::take(&mut plan.chains);
    chains.sort_by_key(toolchain_of);
    plan.chains = chains;
    Ok(plan)
}

/// The two commits of a mined bug.
pub(crate) fn commits(bug: &Bug) -> Result<(&CommitId, &CommitId), BuildError> {
    match (&bug.buggy, &bug.fix) {
        (Some(buggy), Some(fix)) => Ok((buggy, fix)),
        _ => Err(BuildError::Request(format!(
            "{}: the corpus says it is resolved but names no commits; run `reproduceml mine` again",
            bug.id
        ))),
    }
}

fn commit_pair(
    request: &Request<'_>,
    toolchain: &ReadyToolchain,
    bug: &Bug,
) -> Result<Vec<(Evaluation, Job)>, BuildError> {
    let (buggy, fix) = commits(bug)?;
    let Some(Chosen { way, reason }) = request.chosen.get(&bug.id) else {
        return Err(BuildError::Request(format!("{}: no strategy was chosen", bug.id)));
    };
    let source = |commit| Job::new(source_identity(request, toolchain, commit), None, None);
    let (first, second) = match way {
        Way::Source => (source(buggy), source(fix)),
        Way::Overlay { base, files } => {
            let mut job = release_job(request, toolchain, base, Some((buggy, fix)));
            job.files.clone_from(files);
            (job, release_job(request, toolchain, base, None))
        }
        Way::Same(base) => (
            release_job(request, toolchain, base, None),
            release_job(request, toolchain, base, None),
        ),
        Way::Releases(before, after) => (
            release_job(request, toolchain, before, None),
            release_job(request, toolchain, after, None),
        ),
        Way::Refused(Some(base)) => {
            let mut job = release_job(request, toolchain, base, Some((buggy, fix)));
            job.refused = Some(reason.clone());
            (job, release_job(request, toolchain, base, None))
        }
        Way::Refused(None) => {
            let refused = |commit: &CommitId| {
                let strategy = match request.study.config.build.strategy {
                    Strategy::Auto => Strategy::Overlay,
                    strategy => strategy,
                };
                let identity =
                    Identity { commit: Some(commit.clone()), ..bare(request, toolchain, strategy) };
                Job { refused: Some(reason.clone()), ..Job::new(identity, None, None) }
            };
            (refused(buggy), refused(fix))
        }
    };
    let because = |job| Job { reason: reason.clone(), ..job };
    Ok(vec![(Evaluation::Buggy, because(first)), (Evaluation::Corrected, because(second))])
}

/// The artifact of a release, as it is or without the fix between two commits.
fn release_job(
    request: &Request<'_>,
    toolchain: &ReadyToolchain,
    base: &Base,
    without: Option<(&CommitId, &CommitId)>,
) -> Job {
    let strategy = if without.is_some() { Strategy::Overlay } else { Strategy::Release };
    let release = ReleaseIdentity {
        name: base.release().name(),
        sha256: match base {
            Base::Ready(laid_out) => laid_out.sha256.clone(),
            Base::Planned(_) => String::new(),
        },
        without: without.map(|(_, fix)| fix.clone()),
    };
    let identity = Identity {
        commit: without.map(|(buggy, _)| buggy.clone()),
        release: Some(release),
        ..bare(request, toolchain, strategy)
    };
    let folder = match base {
        Base::Ready(laid_out) => Some(laid_out.folder.clone()),
        Base::Planned(_) => None,
    };
    Job { release: folder, ..Job::new(identity, None, None) }
}

/// An identity of which nothing but repository, strategy and toolchain is decided.
fn bare(request: &Request<'_>, toolchain: &ReadyToolchain, strategy: Strategy) -> Identity {
    Identity {
        commit: None,
        fault: None,
        flags: BTreeMap::new(),
        release: None,
        repository: request.study.config.framework.repository.clone(),
        strategy,
        toolchain: toolchain.identity.clone(),
    }
}

type FaultPair = (Vec<(Evaluation, Job)>, Vec<Job>);

fn fault_pair(
    request: &Request<'_>,
    toolchain: &ReadyToolchain,
    bug: &Bug,
) -> Result<FaultPair, BuildError> {
    let fault = request.study.config.faults.iter().find(|fault| fault.id == bug.id);
    let Some(fault) = fault else {
        let text = format!(
            "{}: the corpus has it as a planted fault, study.toml has no [[fault]] of that name; \
             run `reproduceml mine` again",
            bug.id
        );
        return Err(BuildError::Request(text));
    };
    let file = fault_file(request, &fault.file)?;
    let bytes = std::fs::read(&file).map_err(BuildError::io(&file))?;
    let digest = study::files::sha256_hex(&bytes);
    let config = &request.study.config;
    let recipe = &toolchain.toolchain.recipe;
    let compiled = match config.build.strategy {
        Strategy::Source => true,
        _ => recipe.release.is_none() && !recipe.steps.is_empty(),
    };
    let base = if compiled {
        let Some(tip) = &request.tip else {
            return Err(no_clone(request.study, "a fault is planted on its newest commit"));
        };
        source_identity(request, toolchain, tip)
    } else {
        bare(request, toolchain, Strategy::Release)
    };
    let corrected = Job::new(base.clone(), None, None);
    let identity = Identity { fault: Some(digest), strategy: Strategy::Fault, ..base };
    let below = compiled.then(|| corrected.id.clone());
    let artificial = Job::new(identity, Some(file), below);
    let sides = vec![(Evaluation::Corrected, corrected), (Evaluation::Artificial, artificial)];
    Ok((sides, Vec::new()))
}

fn source_identity(
    request: &Request<'_>,
    toolchain: &ReadyToolchain,
    commit: &CommitId,
) -> Identity {
    let config = &request.study.config;
    let mut flags = toolchain.toolchain.recipe.flags.clone();
    flags.extend(config.build.flags.clone());
    Identity { commit: Some(commit.clone()), flags, ..bare(request, toolchain, Strategy::Source) }
}

/// A fault's file: in the study itself, in its `faults/`, or among those of the program.
fn fault_file(request: &Request<'_>, name: &str) -> Result<PathBuf, BuildError> {
    let study = request.study;
    let mut places = vec![study.resolve(name), study.resolve("faults").join(name)];
    if let Some(folder) = &request.options.faults_dir {
        places.push(folder.join(name));
    }
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        BuildError::Request(format!(
            "study.toml names the fault file {name}, which is in none of: {}",
            places.join(", ")
        ))
    })
}

/// The clone is needed and not at hand.
pub(crate) fn no_clone(study: &Study, why: &str) -> BuildError {
    BuildError::NoClone {
        repository: study.config.framework.repository.clone(),
        what: format!(
            "{why}; name a local clone with --repo or as framework.clone in study.toml (`git \
             clone https://github.com/{}`)",
            study.config.framework.repository
        ),
    }
}
