//! Handing runs over in arrays, and following all jobs with one look at the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use containers::Cancel;
use study::SameHardware;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::commands::Commands;
use super::job::{End, JobId, Seen, State, script_status};
use super::journal::{Handed, Journal, remove_secrets};
use super::nodes::{self, Nodes};
use super::script::{Batch, Names, as_lines, environment};
use super::{SlurmError, SlurmSetup};
use crate::launch::Launch;
use crate::launch::placed::{Class, Placed};
use crate::launch::reached_as;

/// One run to make.
pub(super) struct Request {
    pub(super) launch: Launch,
    pub(super) cancel: Cancel,
    pub(super) done: oneshot::Sender<Result<Over, SlurmError>>,
}

/// A job that is over.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) seen: Seen,
    pub(super) end: End,
    /// The exit status that the script wrote, if it came so far.
    pub(super) status: Option<i64>,
    /// Seconds for which it was seen to run.
    pub(super) seconds: f64,
    /// The file with the client's output.
    pub(super) out: PathBuf,
}

/// A job that is followed.
struct Followed {
    request: Request,
    nonce: String,
    placement: Vec<String>,
    class: Option<Class>,
    began: Option<Instant>,
    /// Its node, once it has one.
    node: String,
    /// Looks at the queue that did not show it, one after another.
    unseen: u32,
    cancelled: bool,
}

/// Hands runs over and follows them.
pub(super) struct Dispatcher {
    setup: SlurmSetup,
    commands: Commands,
    journal: Journal,
    placed: Placed<Class>,
    nodes: Nodes,
    /// The classes of nodes that can take a run.
    can: BTreeSet<Class>,
    /// Those that cannot, with what the cluster says of it.
    cannot: BTreeMap<Class, String>,
    longest: usize,
    jobs: BTreeMap<JobId, Followed>,
    /// Runs that are not handed over yet, since the cluster takes none now.
    waiting: Vec<Request>,
    /// Runs that were refused with another, whose error is the one that is told.
    refused: Vec<Request>,
    batches: u64,
    /// Reasons of waiting that were said.
    told: BTreeSet<String>,
    /// Since when the cluster does not answer.
    silent: Option<Instant>,
}

/// How long runs are collected that are handed over together.
const GATHER: Duration = Duration::from_millis(150);
/// After so many looks that did not show a job it is looked up elsewhere.
const UNSEEN: u32 = 3;
/// Reasons of waiting that do not end by themselves.
const STUCK: &[&str] = &["Limit", "Invalid", "BadConstraints", "NodeNotAvail", "JobHeld", "Admin"];

impl Dispatcher {
    /// Asks the cluster for its nodes and whether any of them can take the `first` run.
    pub(super) async fn new(
        setup: SlurmSetup,
        commands: Commands,
        journal: Journal,
        first: &Launch,
    ) -> Result<Self, SlurmError> {
        let placed = Placed::read(nodes::file(&setup.folder()), &setup.begun)?;
        let longest = commands.longest_array().await?.min(1000) as usize;
        let nodes = Nodes::read(&commands.nodes().await?, &setup.policy);
        let mut dispatcher = Self {
            setup,
            commands,
            journal,
            placed,
            nodes,
            can: BTreeSet::new(),
            cannot: BTreeMap::new(),
            longest,
            jobs: BTreeMap::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            batches: 0,
            told: BTreeSet::new(),
            silent: None,
        };
        dispatcher.place(&first.bug, first).await?;
        Ok(dispatcher)
    }

    /// Takes requests until nobody is left to make them.
    pub(super) async fn follow(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let every = Duration::from_secs(u64::from(self.setup.policy.poll_seconds));
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(first) = request else { return };
                    tokio::time::sleep(GATHER).await;
                    self.waiting.push(first);
                    while let Ok(next) = requests.try_recv() {
                        self.waiting.push(next);
                    }
                    self.hand_over().await;
                }
                _ = look.tick() => {
                    if !self.jobs.is_empty() {
                        self.look().await;
                    }
                    if !self.waiting.is_empty() {
                        self.hand_over().await;
                    }
                }
            }
        }
    }

    /// Hands over what waits, an array for each bug.
    async fn hand_over(&mut self) {
        let mut groups: Vec<(String, Vec<Request>)> = Vec::new();
        for request in self.waiting.drain(..) {
            let bug = &request.launch.bug;
            let longest = self.longest;
            match groups.iter_mut().rev().find(|(its, runs)| its == bug && runs.len() < longest) {
                Some((_, runs)) => runs.push(request),
                None => groups.push((bug.clone(), vec![request])),
            }
        }
        for (bug, runs) in groups {
            if let Err((error, runs)) = self.submit(&bug, runs).await {
                if passes(&error) {
                    tracing::warn!("the cluster takes no job now and is asked again: {error}");
                    self.waiting.extend(runs);
                    continue;
                }
                let mut runs = runs.into_iter();
                if let Some(first) = runs.next() {
                    // Nobody listens only if the call is at its end.
                    let _ = first.done.send(Err(error));
                }
                self.refused.extend(runs);
            }
        }
    }

    /// Submits one array; on failure the runs come back.
    async fn submit(
        &mut self,
        bug: &str,
        runs: Vec<Request>,
    ) -> Result<(), (SlurmError, Vec<Request>)> {
        self.batches += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nonce = format!("{:x}-{}", now.as_micros(), self.batches);
        let prepared = self.prepare(bug, &nonce, &runs).await;
        let submitted = match prepared {
            Ok(prepared) => {
                let job = self.commands.submit(&prepared.options, &prepared.script).await;
                job.map(|job| (job, prepared))
            }
            Err(error) => Err(error),
        };
        let (job, prepared) = match submitted {
            Ok(submitted) => submitted,
            Err(error) => {
                for run in &runs {
                    remove_secrets(&run.launch.folder, &nonce);
                }
                if let Err(other) = self.journal.strike(&nonce) {
                    tracing::warn!("{other}");
                }
                return Err((error, runs));
            }
        };
        let folders: Vec<PathBuf> = runs.iter().map(|run| run.launch.folder.clone()).collect();
        if let Err(error) =
            self.journal.enter(&nonce, Handed { job: Some(job), runs: folders.clone() })
        {
            // The jobs are found by their name all the same.
            tracing::warn!("{error}");
        }
        let array = runs.len() > 1;
        for (task, request) in (0..).zip(runs) {
            let id = JobId { job, task: array.then_some(task) };
            let followed = Followed {
                request,
                nonce: nonce.clone(),
                placement: prepared.options.clone(),
                class: prepared.class.clone(),
                began: None,
                node: String::new(),
                unseen: 0,
                cancelled: false,
            };
            followed.record(id, "SUBMITTED");
            self.jobs.insert(id, followed);
        }
        Ok(())
    }

    /// Writes what a batch of jobs needs, and enters it into the journal.
    async fn prepare(
        &mut self,
        bug: &str,
        nonce: &str,
        runs: &[Request],
    ) -> Result<Prepared, SlurmError> {
        let Some(first) = runs.first() else { return Err(SlurmError::Ended) };
        let (class, placement) = self.place(bug, &first.launch).await?;
        let batch = Batch { nonce, placement: &placement, ..self.batch() };
        let root = self.setup.study.join("runs");
        let below: Vec<String> =
            runs.iter().map(|run| below_runs(&self.setup.study, &run.launch.folder)).collect();
        let options = batch.options(&first.launch, runs.len());
        let script = batch.script(&root, &below, &first.launch);
        let handed =
            Handed { job: None, runs: runs.iter().map(|run| run.launch.folder.clone()).collect() };
        self.journal.enter(nonce, handed)?;
        let names = Names::of(nonce);
        let images = self.setup.images();
        for run in runs {
            let launch = &run.launch;
            let server = reached_as(&launch.server, self.setup.server.as_deref());
            let secrets = as_lines(&environment(launch, &server, images.as_deref()));
            write_private(&launch.folder.join(&names.launch), &secrets)?;
            let kept = launch.folder.join("job.sh");
            write(&kept, script.as_bytes())?;
        }
        let script = first.launch.folder.join("job.sh");
        Ok(Prepared { options, script, class })
    }

    /// The part of a batch that all have in common.
    fn batch(&self) -> Batch<'_> {
        Batch {
            policy: &self.setup.policy,
            study: &self.setup.study,
            python: &self.setup.python,
            gpus: self.setup.policy.gpus_for(&self.setup.device),
            nonce: "",
            placement: &[],
        }
    }

    /// The class of nodes of a bug's runs, and the options that keep them there.
    async fn place(
        &mut self,
        bug: &str,
        launch: &Launch,
    ) -> Result<(Option<Class>, Vec<String>), SlurmError> {
        let policy = self.setup.policy.clone();
        if policy.same == SameHardware::Any {
            let spared = policy.exclude.iter().map(|nodes| format!("--exclude={nodes}"));
            let placement: Vec<String> = spared.collect();
            if self.can.is_empty() {
                self.try_on(launch, &placement).await?.map_err(|said| no_class(&said))?;
                self.can.insert(Class::default());
            }
            return Ok((None, placement));
        }
        loop {
            let Some(class) = self.placed.choose(bug, &self.nodes, &self.cannot)? else {
                let said = self.cannot.values().next().map_or("", String::as_str);
                return Err(no_class(said));
            };
            let placement = self.nodes.keep_on(&class, &policy);
            if !self.can.contains(&class) {
                if let Err(said) = self.try_on(launch, &placement).await? {
                    tracing::debug!("no runs on {class}: {said}");
                    self.cannot.insert(class, said);
                    continue;
                }
                self.can.insert(class.clone());
            }
            self.placed.fix(bug, &class)?;
            return Ok((Some(class), placement));
        }
    }

    /// Whether a run could ever have a node there; if not, what the cluster says.
    async fn try_on(
        &self,
        launch: &Launch,
        placement: &[String],
    ) -> Result<Result<(), String>, SlurmError> {
        let script = self.setup.folder().join("probe.sh");
        write(&script, b"#!/bin/bash\n")?;
        let batch = Batch { placement, ..self.batch() };
        match self.commands.could_run(&batch.options(launch, 1), &script).await {
            Ok(()) => Ok(Ok(())),
            Err(error) if passes(&error) => Err(error),
            Err(SlurmError::Refused { said, .. }) => Ok(Err(said)),
            Err(error) => Err(error),
        }
    }

    /// One look at the queue, and what follows of it for each job.
    async fn look(&mut self) {
        let queue = match self.commands.queue().await {
            Ok(queue) => queue,
            Err(error) => {
                if self.silent.is_none() {
                    tracing::warn!("the cluster does not answer, and is asked again: {error}");
                    self.silent = Some(Instant::now());
                }
                return;
            }
        };
        if let Some(since) = self.silent.take() {
            tracing::warn!("the cluster answers again, after {} s", since.elapsed().as_secs());
        }
        let seen: BTreeMap<JobId, Seen> = queue.into_iter().map(|seen| (seen.id, seen)).collect();
        self.cancel_some(&seen).await;
        let missing = self.missing(&seen).await;
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(one) = seen.get(&id).or_else(|| missing.get(&id)) else { continue };
            let Some(followed) = self.jobs.get_mut(&id) else { continue };
            if !one.node.is_empty() {
                followed.node.clone_from(&one.node);
            }
            match one.state {
                State::Waiting => {
                    if is_stuck(&one.reason) && self.told.insert(one.reason.clone()) {
                        let reason = &one.reason;
                        tracing::warn!(
                            "job {id} waits: {reason}; `scontrol show job {id}` says more"
                        );
                    }
                }
                State::Running => {
                    followed.began.get_or_insert_with(Instant::now);
                }
                State::Ended(end) => self.ended(one.clone(), end),
            }
        }
    }

    /// Cancels the jobs that are asked to end, and those of the study that nobody asked for: a
    /// submission whose answer was lost on its way.
    async fn cancel_some(&mut self, seen: &BTreeMap<JobId, Seen>) {
        let mut unwanted: Vec<JobId> = seen
            .iter()
            .filter(|(id, one)| {
                !matches!(one.state, State::Ended(_)) && !self.jobs.contains_key(id)
            })
            .map(|(id, _)| *id)
            .collect();
        for (id, followed) in &mut self.jobs {
            if followed.request.cancel.is_cancelled() && !followed.cancelled {
                followed.cancelled = true;
                unwanted.push(*id);
            }
        }
        if !unwanted.is_empty()
            && let Err(error) = self.commands.cancel(&unwanted).await
        {
            tracing::warn!("{error}");
        }
    }

    /// What is known of jobs that several looks at the queue did not show. Of an array that is
    /// still known, a task that never began and is not listed was cancelled while it waited: Slurm
    /// keeps no record of such a task. Of others the accounts may know, else what the script left.
    async fn missing(&mut self, seen: &BTreeMap<JobId, Seen>) -> BTreeMap<JobId, Seen> {
        let mut lost = BTreeSet::new();
        for (id, followed) in &mut self.jobs {
            followed.unseen = if seen.contains_key(id) { 0 } else { followed.unseen + 1 };
            if followed.unseen >= UNSEEN {
                lost.insert(*id);
            }
        }
        if lost.is_empty() {
            return BTreeMap::new();
        }
        let known: BTreeSet<u64> = seen.keys().map(|id| id.job).collect();
        let began = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.began.is_some());
        let (cancelled, lost): (BTreeSet<JobId>, BTreeSet<JobId>) =
            lost.into_iter().partition(|id| known.contains(&id.job) && !began(id));
        let accounts = if lost.is_empty() {
            Vec::new()
        } else {
            self.commands.accounts(&lost.iter().map(|id| id.job).collect()).await
        };
        let accounts: BTreeMap<JobId, Seen> =
            accounts.into_iter().map(|seen| (seen.id, seen)).collect();
        let over = |id: JobId, end: End| Seen {
            id,
            state: State::Ended(end),
            code: None,
            node: String::new(),
            reason: String::new(),
        };
        let lost = lost
            .into_iter()
            .map(|id| (id, accounts.get(&id).cloned().unwrap_or_else(|| over(id, End::Forgotten))));
        lost.chain(cancelled.into_iter().map(|id| (id, over(id, End::Cancelled)))).collect()
    }

    /// A job is over: its secrets go, its end is recorded, and who waits for it is told.
    fn ended(&mut self, mut seen: Seen, end: End) {
        let Some(followed) = self.jobs.remove(&seen.id) else { return };
        let Followed { nonce, .. } = &followed;
        let folder = &followed.request.launch.folder;
        let names = Names::of(nonce);
        remove_secrets(folder, nonce);
        let file = folder.join(&names.status);
        let status = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let _ = std::fs::remove_file(&file); // It may never have been there.
        if seen.node.is_empty() {
            seen.node.clone_from(&followed.node);
        }
        followed.record(seen.id, &format!("{end:?}"));
        if !self.jobs.values().any(|other| other.nonce == *nonce)
            && let Err(error) = self.journal.strike(nonce)
        {
            tracing::warn!("{error}");
        }
        let out = folder.join(&names.out);
        let code = status.or(seen.code.map(|(status, _)| status));
        let answer = match (end, code) {
            (End::Failed, Some(script_status::NOT_SHARED)) => {
                let root = self.setup.study.display();
                let said =
                    last_line(&out).unwrap_or_else(|| format!("{} does not see {root}", seen.node));
                Err(SlurmError::NotShared { said })
            }
            (End::Failed, Some(script_status::NO_PROGRAM)) => {
                let said = last_line(&out).unwrap_or_else(|| seen.node.clone());
                Err(SlurmError::NoProgram { said })
            }
            _ => {
                let seconds = followed.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
                Ok(Over { seen, end, status, seconds, out })
            }
        };
        // Nobody listens only if the call is at its end.
        let _ = followed.request.done.send(answer);
    }
}

/// What a batch is submitted with.
struct Prepared {
    options: Vec<String>,
    script: PathBuf,
    class: Option<Class>,
}

impl Followed {
    /// Notes beside the run which job made it, where, and how it was asked for.
    fn record(&self, id: JobId, state: &str) {
        let record = serde_json::json!({
            "job": id.to_string(), "state": state, "node": self.node, "class": self.class,
            "sbatch": self.placement,
        });
        let path = self.request.launch.folder.join("job.json");
        // It is for people; the run does not depend on it.
        if let Err(error) = study::files::write_whole(&path, format!("{record:#}\n").as_bytes()) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

/// Whether a job that waits for this reason may wait for ever.
fn is_stuck(reason: &str) -> bool {
    STUCK.iter().any(|word| reason.contains(word))
}

/// What is said where no node can take a run.
fn no_class(said: &str) -> SlurmError {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    SlurmError::NoClass { said }
}

/// Whether a cluster that refuses now may take the same jobs later.
fn passes(error: &SlurmError) -> bool {
    let SlurmError::Refused { said, .. } = error else { return false };
    let said = said.to_lowercase();
    ["unable to contact", "timed out", "temporarily", "maxsubmit", "job submit limit", "try again"]
        .iter()
        .any(|words| said.contains(words))
}

/// A run's folder as the script names it, below the folder of all runs.
pub(super) fn below_runs(study: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(study.join("runs")).unwrap_or(folder);
    below.to_string_lossy().into_owned()
}

fn last_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

fn write(path: &Path, content: &[u8]) -> Result<(), SlurmError> {
    study::files::write_whole(path, content)
        .map_err(|source| SlurmError::Io { path: path.to_owned(), source })
}

/// Writes a file that only its owner can read, from its first byte on.
fn write_private(path: &Path, content: &str) -> Result<(), SlurmError> {
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| SlurmError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_the_name_by_which_they_reach_the_server() {
        assert_eq!(reached_as("tls:0.0.0.0:4747", Some("login1")), "tls:login1:4747");
        assert_eq!(reached_as("tcp:[::]:1", Some("[fe80::1]")), "tcp:[fe80::1]:1");
        assert_eq!(reached_as("tcp:127.0.0.1:1", None), "tcp:127.0.0.1:1");
        assert_eq!(reached_as("unix:/a:b", Some("x")), "unix:/a:b");
    }

    #[test]
    fn waiting_for_others_is_not_being_stuck() {
        for reason in ["(Resources)", "Priority", "None", "Dependency", "BeginTime"] {
            assert!(!is_stuck(reason), "{reason}");
        }
        for reason in ["PartitionTimeLimit", "BadConstraints", "JobHeldAdmin", "AssocGrpCpuLimit"] {
            assert!(is_stuck(reason), "{reason}");
        }
    }

    #[test]
    fn what_may_pass_is_asked_again_and_what_may_not_is_said() {
        let refused = |said: &str| SlurmError::Refused { program: "sbatch", said: said.to_owned() };
        for said in [
            "Unable to contact slurm controller (connect failure)",
            "Batch job submission failed: Socket timed out on send/recv operation",
            "Batch job submission failed: QOSMaxSubmitJobPerUserLimit",
        ] {
            assert!(passes(&refused(said)), "{said}");
        }
        assert!(!passes(&refused("invalid partition specified: gpux")));
        assert!(!passes(&SlurmError::Ended));
    }
}
