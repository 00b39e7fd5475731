//! Handing work over: placed on a class of nodes, written down, submitted.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use study::SameHardware;
use study::placed::Class;

use super::{Dispatcher, Followed, Request, write};
use crate::error::SlurmError;
use crate::job::JobId;
use crate::journal::{Handed, remove_secrets};
use crate::nodes;
use crate::script::{Batch, Names, as_lines, below};
use crate::work::{Stage, Work};

/// What a batch is submitted with.
struct Prepared {
    options: Vec<String>,
    script: PathBuf,
    class: Option<Class>,
}

impl Dispatcher {
    /// Hands over what waits, an array for each bug.
    pub(super) async fn hand_over(&mut self) {
        let mut groups: Vec<(String, Vec<Request>)> = Vec::new();
        for request in self.waiting.drain(..) {
            let bug = &request.work.bug;
            let longest = self.longest;
            match groups.iter_mut().rev().find(|(its, all)| its == bug && all.len() < longest) {
                Some((_, all)) => all.push(request),
                None => groups.push((bug.clone(), vec![request])),
            }
        }
        for (_, all) in groups {
            if let Err((error, all)) = self.submit(all).await {
                if error.passes() {
                    tracing::warn!("the cluster takes no job now and is asked again: {error}");
                    self.waiting.extend(all);
                    continue;
                }
                let mut all = all.into_iter();
                if let Some(first) = all.next() {
                    // Nobody listens only if the call is at its end.
                    let _ = first.done.send(Err(error));
                }
                self.refused.extend(all);
            }
        }
    }

    /// Submits one array of work for one bug; on failure the work comes back.
    async fn submit(&mut self, all: Vec<Request>) -> Result<(), (SlurmError, Vec<Request>)> {
        self.batches += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nonce = format!("{:x}-{}", now.as_micros(), self.batches);
        let submitted = match self.prepare(&nonce, &all).await {
            Ok(prepared) => {
                let job = self.commands.submit(&prepared.options, &prepared.script).await;
                job.map(|job| (job, prepared))
            }
            Err(error) => Err(error),
        };
        let (job, prepared) = match submitted {
            Ok(submitted) => submitted,
            Err(error) => {
                for request in &all {
                    remove_secrets(&request.work.folder, &nonce);
                }
                if let Err(other) = self.journal.strike(&nonce) {
                    tracing::warn!("{other}");
                }
                return Err((error, all));
            }
        };
        let folders: Vec<PathBuf> = all.iter().map(|one| one.work.folder.clone()).collect();
        if let Err(error) = self.journal.enter(&nonce, Handed { job: Some(job), folders }) {
            // The jobs are found by their name all the same.
            tracing::warn!("{error}");
        }
        let array = all.len() > 1;
        for (task, request) in (0..).zip(all) {
            let id = JobId { job, task: array.then_some(task) };
            let (options, class) = (prepared.options.clone(), prepared.class.clone());
            let followed = Followed::new(request, nonce.clone(), options, class);
            followed.record(id, "SUBMITTED");
            self.jobs.insert(id, followed);
        }
        Ok(())
    }

    /// Writes what a batch of jobs needs, and enters it into the journal.
    async fn prepare(&mut self, nonce: &str, all: &[Request]) -> Result<Prepared, SlurmError> {
        let Some(Request { work: first, .. }) = all.first() else { return Err(SlurmError::Ended) };
        let (class, placement) = self.place(first).await?;
        let batch = Batch { setup: &self.setup, nonce, placement: &placement };
        let tasks: Vec<String> =
            all.iter().map(|one| below(&self.setup.root, &one.work.folder)).collect();
        let options = batch.options(first, all.len());
        let script = batch.script(&tasks, first);
        let folders = all.iter().map(|one| one.work.folder.clone()).collect();
        self.journal.enter(nonce, Handed { job: None, folders })?;
        let names = Names::of(nonce);
        for Request { work, .. } in all {
            let secrets = as_lines(&work.environment);
            write_private(&work.folder.join(&names.launch), &secrets)?;
            write(&work.folder.join("job.sh"), script.as_bytes())?;
        }
        let script = first.folder.join("job.sh");
        Ok(Prepared { options, script, class })
    }

    /// The class of nodes of a bug's work, and the options that keep it there.
    pub(super) async fn place(
        &mut self,
        work: &Work,
    ) -> Result<(Option<Class>, Vec<String>), SlurmError> {
        let (stage, policy) = (self.setup.stage, self.setup.policy.clone());
        if policy.same == SameHardware::Any {
            let spared = policy.exclude.iter().map(|nodes| format!("--exclude={nodes}"));
            let placement: Vec<String> = spared.collect();
            if self.can.is_empty() {
                self.try_on(work, &placement).await?.map_err(|said| no_class(stage, &said))?;
                self.can.insert(Class::default());
            }
            return Ok((None, placement));
        }
        let bugs = || std::iter::once(&work.bug).chain(&work.kin);
        let known = bugs().find(|bug| self.placed.get(bug).is_some()).unwrap_or(&work.bug);
        loop {
            let Some(class) = nodes::choose(&self.placed, stage, known, &self.nodes, &self.cannot)?
            else {
                let said = self.cannot.values().next().map_or("", String::as_str);
                return Err(no_class(stage, said));
            };
            let placement = self.nodes.keep_on(&class, &policy);
            if !self.can.contains(&class) {
                if let Err(said) = self.try_on(work, &placement).await? {
                    tracing::debug!("nothing on {class}: {said}");
                    self.cannot.insert(class, said);
                    continue;
                }
                self.can.insert(class.clone());
            }
            for bug in bugs() {
                self.placed.fix(bug, &class)?;
            }
            return Ok((Some(class), placement));
        }
    }

    /// Whether the work could ever have a node there; if not, what the cluster says.
    async fn try_on(
        &self,
        work: &Work,
        placement: &[String],
    ) -> Result<Result<(), String>, SlurmError> {
        let script = self.setup.folder.join("probe.sh");
        write(&script, b"#!/bin/bash\n")?;
        let batch = Batch { setup: &self.setup, nonce: "", placement };
        match self.commands.could_run(&batch.options(work, 1), &script).await {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.passes() => Err(error),
            Err(SlurmError::Refused { said, .. }) => Ok(Err(said)),
            Err(error) => Err(error),
        }
    }
}

/// What is said where no node can take the work.
fn no_class(stage: Stage, said: &str) -> SlurmError {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    SlurmError::NoClass { stage, said }
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
