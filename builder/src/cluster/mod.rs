//! Builds as jobs of a cluster: a job makes a chain, which is both sides of a pair, on one node.
//!
//! A job is the same program on a node that shares the study's folder. It writes nothing but its
//! own folder below `slurm/builds/` and the caches: this process, which alone opens the store, takes
//! over what is whole there when the job is over. So a database on a network file system is never
//! written by two machines, and a node that was given up and still works changes nothing.
//!
//! Ended in order, this process cancels its jobs. Killed, it leaves them at work: they need nobody,
//! and the next call waits for them where their orders are still what it wants.

mod node;
mod order;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures_util::stream::{self, StreamExt};
use slurm::{Cluster, Over, Setup, Stage, Work, quote};
use study::{ArtifactId, ArtifactRecord, ArtifactStatus, Store};

pub(crate) use self::node::dead as dead_containers;
pub use self::node::work;
pub(crate) use self::order::dead as dead_folders;
use self::order::{JobFolder, Order, OrderedToolchain};
use self::verdict::{Verdict, verdict};
use crate::error::BuildError;
use crate::event::Event;
use crate::failure::{Failure, FailureClass};
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::layout::{self, store_record};
use crate::log;
use crate::make::{Workshop, is_there};
use crate::options::{ClusterOptions, Unmade};
use crate::plan::Plan;
use crate::queue::{check_disk, enter, open_chains};
use crate::record::BuildRecord;
use crate::summary::Done;

/// How often a build starts over in one call because a node was lost or taken from it.
const AGAIN: u32 = 5;
/// Memory of a job beside that of its containers, in MiB.
const OWN_MEMORY_MIB: u32 = 256;

/// All that the jobs of a call have in common.
struct Yard<'a> {
    shop: &'a Workshop<'a>,
    store: &'a Store,
    plan: &'a Plan,
    nodes: &'a ClusterOptions,
    /// Jobs of a killed call that are still wanted.
    left: Mutex<Vec<(JobFolder, Order)>>,
}

/// Makes what is not there yet on the nodes of a cluster, and stores each result as it comes. What
/// came to no end is returned.
pub(crate) async fn make_all(
    shop: &Workshop<'_>,
    store: &Store,
    plan: &Plan,
    nodes: &ClusterOptions,
    done: &mut BTreeMap<ArtifactId, Done>,
) -> Result<Vec<Unmade>, BuildError> {
    let rounds = open_chains(plan, done);
    let Some(first) = rounds.iter().flatten().next().cloned() else { return Ok(Vec::new()) };
    let yard = Yard { shop, store, plan, nodes, left: Mutex::default() };
    yard.save_images(&rounds).await?;
    let wanted: Vec<Order> =
        rounds.iter().flatten().map(|chain| yard.order(chain)).collect::<Result<_, _>>()?;
    let left = yard.left_over(&wanted)?;
    let keep: BTreeSet<&Path> = left.iter().map(|(folder, _)| folder.0.as_path()).collect();
    let likely = JobFolder(order::root(shop.study).join("first"));
    let work = yard.work(&likely, &first);
    let (cluster, found) =
        Cluster::start(yard.setup()?, &work, |folder| keep.contains(folder)).await?;
    let say = |text: String| (shop.progress)(Event::Cluster(text));
    if found.cancelled > 0 {
        say(format!("{} jobs of a call that was killed were cancelled", found.cancelled));
    }
    if found.kept > 0 {
        say(format!("{} jobs of a call that was killed are at work and waited for", found.kept));
    }
    yard.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(left);
    let mut unmade = Vec::new();
    for chains in rounds {
        let making = chains.into_iter().map(|chain| yard.make_chain(&cluster, chain));
        let mut results = stream::iter(making).buffer_unordered(nodes.policy.jobs.max(1) as usize);
        while let Some(result) = results.next().await {
            let (made, not) = result?;
            unmade.extend(not);
            done.extend(
                made.into_iter().map(|record| (record.id.clone(), Done { record, now: true })),
            );
        }
    }
    Ok(unmade)
}

/// What would be handed over, for people to look at.
pub(crate) fn preview(
    shop: &Workshop<'_>,
    store: &Store,
    plan: &Plan,
    nodes: &ClusterOptions,
    done: &BTreeMap<ArtifactId, Done>,
) -> Result<Option<String>, BuildError> {
    let rounds = open_chains(plan, done);
    let chains = rounds.iter().flatten().count();
    let Some(first) = rounds.iter().flatten().next() else { return Ok(None) };
    let yard = Yard { shop, store, plan, nodes, left: Mutex::default() };
    let setup = yard.setup()?;
    let folder = JobFolder(order::root(shop.study).join("FOLDER"));
    let slurm::Preview { options, script } = slurm::preview(&setup, &yard.work(&folder, first));
    let kept = slurm::kept_together(&nodes.policy);
    Ok(Some(format!(
        "{chains} jobs named {}{kept}, one for each pair. The first:\nsbatch {}\n{script}",
        setup.name,
        options.join(" "),
    )))
}

impl Yard<'_> {
    fn setup(&self) -> Result<Setup, BuildError> {
        let study = self.shop.study;
        // Of all bugs, also those that this call leaves alone: their record is kept with theirs.
        let built = self.store.builds()?.into_iter().filter(|(_, _, record)| record.is_built());
        Ok(Setup {
            stage: Stage::Build,
            policy: self.nodes.policy.clone(),
            study: study.root().to_owned(),
            folder: order::root(study),
            root: order::root(study),
            name: format!("reproduceml-build-{}", layout::study_mark(study)),
            begun: built.map(|(bug, _, _)| bug.to_string()).collect(),
        })
    }

    /// The framework's clone, by a path that holds on nodes too.
    fn clone(&self) -> Option<PathBuf> {
        let clone = self.shop.clone.as_deref()?;
        Some(std::path::absolute(clone).unwrap_or_else(|_| clone.to_owned()))
    }

    fn jobs<'a>(&'a self, chain: &'a [ArtifactId]) -> impl Iterator<Item = &'a Job> {
        chain.iter().filter_map(|id| self.plan.jobs.get(id))
    }

    fn toolchains(&self, chain: &[ArtifactId]) -> Result<Vec<&ReadyToolchain>, BuildError> {
        let mut all: BTreeMap<&str, &ReadyToolchain> = BTreeMap::new();
        for job in self.jobs(chain) {
            all.insert(&job.identity.toolchain, self.shop.toolchain_of(job)?);
        }
        Ok(all.into_values().collect())
    }

    fn order(&self, chain: &[ArtifactId]) -> Result<Order, BuildError> {
        let shop = self.shop;
        let toolchains = self.toolchains(chain)?.into_iter();
        Ok(Order {
            chain: self.jobs(chain).cloned().collect(),
            toolchains: toolchains.map(|ready| OrderedToolchain::of(shop.study, ready)).collect(),
            limits: shop.limits,
            cpus: shop.limits.cpus.unwrap_or(f64::from(self.nodes.policy.cpus)),
            clone: self.clone(),
            scratch: self.nodes.scratch.clone(),
            mark: layout::study_mark(shop.study),
        })
    }

    /// What the job of a folder does.
    fn work(&self, folder: &JobFolder, chain: &[ArtifactId]) -> Work {
        let shop = self.shop;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let clone = self.clone().unwrap_or_else(|| shop.study.root().to_owned());
        let (bug, kin) = self.kin(chain);
        Work {
            bug,
            kin,
            folder: folder.0.clone(),
            environment: BTreeMap::from([
                ("REPRODUCEML_PROGRAM".to_owned(), text(&self.nodes.program)),
                ("REPRODUCEML_HOME".to_owned(), text(&self.nodes.home)),
                ("REPRODUCEML_CLONE".to_owned(), text(&clone)),
            ]),
            sees: &["REPRODUCEML_PROGRAM", "REPRODUCEML_HOME", "REPRODUCEML_CLONE"],
            lines: format!(
                r#""$REPRODUCEML_PROGRAM" --study {study} build work "$here" &
worker=$!
# It removes its containers when it is told to end, which a shell has to pass on.
trap 'kill "$worker" 2>/dev/null' TERM INT
wait "$worker"
code=$?
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
    code=$?
done
(exit "$code")
"#,
                study = quote(&text(shop.study.root()))
            ),
            gpus: 0,
            memory_mib: (shop.limits.memory >> 20) as u32 + OWN_MEMORY_MIB,
            minutes: shop.limits.seconds.div_ceil(60) * chain.len() as u64,
        }
    }

    /// The bug of a chain, and the others that share an artifact with it, or with one of those: the
    /// two artifacts of each of them must come from the same class of machines.
    fn kin(&self, chain: &[ArtifactId]) -> (String, Vec<String>) {
        let mut ids: BTreeSet<&ArtifactId> = chain.iter().collect();
        let mut bugs: Vec<&study::BugId> = Vec::new();
        loop {
            let before = (ids.len(), bugs.len());
            for want in &self.plan.wants {
                if ids.contains(&want.job) && !bugs.contains(&&want.bug) {
                    bugs.push(&want.bug);
                }
                if bugs.contains(&&want.bug) {
                    ids.insert(&want.job);
                }
            }
            if (ids.len(), bugs.len()) == before {
                break;
            }
        }
        let own = self.plan.wants.iter().find(|want| chain.contains(&want.job));
        let own = own.map(|want| &want.bug);
        let others = bugs.iter().filter(|bug| Some(**bug) != own).map(ToString::to_string);
        (own.map(ToString::to_string).unwrap_or_default(), others.collect())
    }

    /// Writes the images of the toolchains to where nodes find them.
    async fn save_images(&self, rounds: &[Vec<Vec<ArtifactId>>]) -> Result<(), BuildError> {
        let all: Vec<ArtifactId> = rounds.iter().flatten().flatten().cloned().collect();
        for ready in self.toolchains(&all)? {
            let archive = OrderedToolchain::of(self.shop.study, ready).archive;
            if archive.exists() {
                continue;
            }
            let text = format!("writing the image {} for the nodes", ready.tag);
            (self.shop.progress)(Event::Cluster(text));
            let docker = self.shop.docker;
            // With its name, where that is still the name of this image.
            let named = docker.image_id(&ready.tag).await?.as_ref() == Some(&ready.image_id);
            let name = if named { &ready.tag } else { &ready.image_id };
            docker.save_image(name, &archive).await?;
        }
        Ok(())
    }

    /// Jobs of a killed call that do what this call wants, in the same way.
    fn left_over(&self, wanted: &[Order]) -> Result<Vec<(JobFolder, Order)>, BuildError> {
        let mut left = Vec::new();
        for folder in order::folders(self.shop.study)? {
            if !folder.is_wanted() {
                continue;
            }
            // An order that cannot be read is none of this call's.
            let Ok(order) = folder.order() else { continue };
            if wanted.iter().any(|new| order.covers(new)) {
                left.push((folder, order));
            }
        }
        Ok(left)
    }

    /// The folder of a job that makes a chain: one that is at work already, or a new one.
    fn folder(&self, order: &Order) -> Result<JobFolder, BuildError> {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match left.iter().position(|(_, its)| its.covers(order)) {
            Some(at) => Ok(left.swap_remove(at).0),
            None => JobFolder::create(self.shop.study, order),
        }
    }

    /// Has one chain made; what was made or failed, and what came to no end.
    async fn make_chain(
        &self,
        cluster: &Cluster,
        chain: Vec<ArtifactId>,
    ) -> Result<(Vec<ArtifactRecord>, Vec<Unmade>), BuildError> {
        let shop = self.shop;
        let mut records = Vec::new();
        // A fault on an artifact that could not be made cannot be planted.
        let base = |id: &ArtifactId| self.plan.jobs.get(id).and_then(|job| job.base.as_ref());
        let can = |id: &&ArtifactId| {
            base(id).is_none_or(|base| chain.contains(base) || is_there(shop.study, base))
        };
        let mut open: Vec<ArtifactId> = chain.iter().filter(can).cloned().collect();
        for id in &open {
            let what = self.plan.jobs.get(id).map(Job::describe).unwrap_or_default();
            (shop.progress)(Event::Started { id: id.clone(), what });
        }
        let mut attempt = 0;
        while !open.is_empty() {
            attempt += 1;
            check_disk(shop)?;
            let folder = self.folder(&self.order(&open)?)?;
            let over = cluster.carry_out(&self.work(&folder, &open), shop.cancel).await?;
            if shop.cancel.is_cancelled() {
                return Err(BuildError::Interrupted);
            }
            let said = fs::read_to_string(&over.out).unwrap_or_default();
            for id in &chain {
                self.keep_job(&folder, id)?;
                if let Some(record) = self.take_over(&folder, id)? {
                    enter(shop, self.store, self.plan, &record)?;
                    open.retain(|one| one != id);
                    records.push(record);
                }
            }
            let verdict = if open.is_empty() { Verdict::Done } else { verdict(&over, &said) };
            match verdict {
                Verdict::Done => open.clear(),
                Verdict::Again(how) if attempt <= AGAIN => {
                    let text = format!("{} starts over: {how}", self.kin(&chain).0);
                    (shop.progress)(Event::Warning(text));
                }
                Verdict::Again(how) | Verdict::Later(how) => {
                    let unmade = open.drain(..);
                    let unmade =
                        unmade.map(|artifact| Unmade { artifact, reason: how.clone() }).collect();
                    layout::remove_folder(&folder.0)?;
                    return Ok((records, unmade));
                }
                Verdict::Failed(class, line) => {
                    let id = open.remove(0);
                    let record = self.fail(&folder, &id, &over, class, line)?;
                    enter(shop, self.store, self.plan, &record)?;
                    records.push(record);
                    let how = format!("{} was not begun: {class} before it", self.kin(&chain).0);
                    let unmade = open.drain(..);
                    let unmade =
                        unmade.map(|artifact| Unmade { artifact, reason: how.clone() }).collect();
                    layout::remove_folder(&folder.0)?;
                    return Ok((records, unmade));
                }
                Verdict::Broken(said) => {
                    return Err(BuildError::Node { node: over.on_node(), said });
                }
            }
            layout::remove_folder(&folder.0)?;
        }
        Ok((records, Vec::new()))
    }

    /// Keeps the submitted script and what became of the job with a build.
    fn keep_job(&self, folder: &JobFolder, id: &ArtifactId) -> Result<(), BuildError> {
        let kept = self.shop.places.build(id);
        fs::create_dir_all(&kept).map_err(BuildError::io(&kept))?;
        for name in ["job.sh", "job.json"] {
            let from = folder.0.join(name);
            if let Ok(bytes) = fs::read(&from) {
                let path = kept.join(name);
                study::files::write_whole(&path, &bytes).map_err(BuildError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Takes over what a node left of one build, if that is whole.
    fn take_over(
        &self,
        folder: &JobFolder,
        id: &ArtifactId,
    ) -> Result<Option<ArtifactRecord>, BuildError> {
        let left = folder.builds().join(id.as_str());
        let file = left.join("record.json");
        if !file.is_file() {
            return Ok(None);
        }
        let record = BuildRecord::read(&file)?;
        let status = match (&record.failure, &record.content) {
            (Some(failure), _) => {
                let (class, line) = (failure.class.to_string(), failure.line.clone());
                ArtifactStatus::Failed { class, line }
            }
            (None, Some(content)) => {
                let bytes = record.bytes;
                ArtifactStatus::Built { content: content.clone(), bytes }
            }
            (None, None) => return Ok(None),
        };
        if record.id != *id {
            return Ok(None);
        }
        if record.failure.is_none() {
            let artifact = folder.artifacts().join(id.as_str());
            if !artifact.join("record.json").is_file() {
                return Ok(None);
            }
            let all = &self.shop.places.artifacts;
            fs::create_dir_all(all).map_err(BuildError::io(all))?;
            let place = self.shop.places.artifact(id);
            layout::remove_folder(&place)?;
            fs::rename(&artifact, &place).map_err(BuildError::io(&place))?;
            study::files::sync_folder(all).map_err(BuildError::io(all))?;
        }
        order::move_files(&left, &self.shop.places.build(id))?;
        Ok(Some(store_record(&record, status)))
    }

    /// A build that the cluster ended for what it took: a failure, with as much of its log as the
    /// node wrote.
    fn fail(
        &self,
        folder: &JobFolder,
        id: &ArtifactId,
        over: &Over,
        class: FailureClass,
        line: String,
    ) -> Result<ArtifactRecord, BuildError> {
        let job =
            self.plan.jobs.get(id).ok_or_else(|| {
                BuildError::Request(format!("{}: it is not in the plan", id.short()))
            })?;
        let kept = self.shop.places.build(id);
        log::salvage(&folder.builds().join(id.as_str()), &kept, &line)
            .map_err(BuildError::io(&kept))?;
        let mut record = self.shop.begin_record(job, self.shop.toolchain_of(job)?, 1);
        record.host = BTreeMap::from([
            ("node".to_owned(), over.node.clone()),
            ("job".to_owned(), over.job.to_string()),
        ]);
        record.finished = study::store::now();
        record.seconds = over.seconds;
        let failure = Failure { class, step: "job".into(), line: line.clone(), line_number: None };
        record.failure = Some(failure);
        let path = kept.join("record.json");
        let json = record.to_json().map_err(|e| BuildError::io(&path)(e.into()))?;
        study::files::write_whole(&path, &json).map_err(BuildError::io(&path))?;
        Ok(store_record(&record, ArtifactStatus::Failed { class: class.to_string(), line }))
    }
}
