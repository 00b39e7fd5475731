//! A study's sequential design: declared before the first run, kept to, and shown.

mod again;
mod forecast;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use runner::{Judge, Plan};
use serde_json::Value;
use stats::sequential::Subject;
use study::design::{Declaration, Record, RecordError};
use study::{BugId, Evaluation, Experiment, Store, Study};

use crate::cli::RunArgs;
use crate::failure::Failure;

pub use again::again;
pub use forecast::Costs;
pub use judge::Looks;

/// The design that a call of `run` keeps to: what was declared, or what is to be.
pub struct Standing {
    record: Record,
    /// Whether it has yet to be written.
    fresh: bool,
    subjects: Vec<Subject>,
}

impl Standing {
    /// The design of a study and a plan; nothing where the study has a fixed number of runs.
    /// `bugs` are all bugs that the study can run now. Nothing is written.
    pub fn of(
        study: &Study,
        store: &Store,
        args: &RunArgs,
        plan: &Plan,
        bugs: &BTreeSet<BugId>,
    ) -> Result<Option<Self>, Failure> {
        let known = read(study)?;
        if study.config.run.design.is_none() {
            return match known {
                None => Ok(None),
                Some(_) => Err(changed(study, "run.design", "a design", "none")),
            };
        }
        for (given, option) in [(args.runs.is_some(), "--runs"), (args.only.is_some(), "--only")] {
            if given {
                return Err(Failure::input(anyhow!(
                    "{option}: this study has a sequential design, which says how many runs of \
                     both sides there are; leave the option out"
                )));
            }
        }
        let here: BTreeSet<&BugId> = plan.experiments.iter().map(|(e, _)| &e.bug).collect();
        let all = bugs.iter().chain(here.iter().copied()).collect::<BTreeSet<_>>().len();
        // What was counted at the declaration stands; the design may state another number itself.
        let family = known.as_ref().map_or(all as u32, |record| record.declaration.family);
        let Some(declaration) = Declaration::of(&study.config, family, workload(plan)) else {
            return Ok(None);
        };
        let subjects = subjects(plan);
        let (record, fresh) = match known {
            Some(record) => match record.declaration.difference(&declaration) {
                None => (record, false),
                Some((key, was, is)) => {
                    if !record.looks.is_empty() || any_run(store)? {
                        return Err(changed(study, &key, &was, &is));
                    }
                    (Record { declaration, looks: Vec::new() }, true)
                }
            },
            None if any_run(store)? => {
                return Err(Failure::input(anyhow!(
                    "run.design: a sequential design must be declared before the first run, and \
                     this study has finished runs; take `[run.design]` out of study.toml, or begin \
                     a new study with `reproduceml init DIR --from {}`",
                    study.root().display()
                )));
            }
            None => (Record { declaration, looks: Vec::new() }, true),
        };
        let standing = Self { record, fresh, subjects };
        standing.check()?;
        Ok(Some(standing))
    }

    /// What was declared, or will be.
    fn declaration(&self) -> &Declaration {
        &self.record.declaration
    }

    /// What the design is expected to cost.
    pub fn costs(&self, plan: &Plan, store: &Store) -> Result<Costs<'_>, Failure> {
        Costs::of(self.declaration(), plan, store)
    }

    /// What is left of a plan after the looks that were taken.
    pub fn rest(&self, study: &Study, store: &Store, plan: &Plan) -> Plan {
        let looks = Looks::new(study, store, self.record.clone(), self.subjects.clone());
        runner::part(plan, self.declaration().runs(), &looks.ended())
    }

    /// Declares the design if that has yet to be done, and gives what takes its looks.
    pub fn begin<'a>(self, study: &'a Study, store: &'a Store) -> Result<Looks<'a>, Failure> {
        let record = if self.fresh {
            Record::declare(study, self.record.declaration).map_err(explain)?
        } else {
            self.record
        };
        Ok(Looks::new(study, store, record, self.subjects))
    }

    /// Refuses more bugs than the error was shared among, and other artifacts than were looked at.
    fn check(&self) -> Result<(), Failure> {
        let looked = self.record.looks.iter().map(|look| &look.bug);
        let bugs: BTreeSet<&BugId> =
            looked.chain(self.subjects.iter().map(|subject| &subject.bug)).collect();
        let family = self.declaration().family;
        if bugs.len() > family as usize {
            return Err(Failure::input(anyhow!(
                "run.design.family: the error of this design is shared among {family} bugs, and \
                 with this call there would be {}; a study whose bugs are not all built when its \
                 first run begins states their number as `family`",
                bugs.len()
            )));
        }
        for subject in &self.subjects {
            if let Some(look) = self.record.last(&subject.bug, subject.evaluation)
                && look.experiments != subject.experiments
            {
                return Err(Failure::input(anyhow!(
                    "{}: looks were taken at {} and {}, and this call would run {} and {}; build \
                     the artifacts that were looked at, or begin a new study",
                    subject.bug,
                    look.experiments[0],
                    look.experiments[1],
                    subject.experiments[0],
                    subject.experiments[1]
                )));
            }
        }
        Ok(())
    }
}

/// What a study declared and looked at.
pub fn read(study: &Study) -> Result<Option<Record>, Failure> {
    Record::read(study).map_err(explain)
}

fn explain(error: RecordError) -> Failure {
    match error {
        error @ RecordError::Io { .. } => Failure::missing(error),
        error @ RecordError::Damaged { .. } => Failure::input(error),
    }
}

fn changed(study: &Study, key: &str, was: &str, is: &str) -> Failure {
    Failure::input(anyhow!(
        "{key}: {was} was declared in {} before the first run, and now it is {is}; a sequential \
         design stands once runs are made: restore the key, or begin a new study with `reproduceml \
         init DIR --from {}`",
        study.design_file().display(),
        study.root().display()
    ))
}

/// Whether any run of the study has been made.
fn any_run(store: &Store) -> Result<bool, Failure> {
    let states = store.experiment_states()?;
    Ok(states.iter().any(|state| state.finished > 0))
}

/// The comparisons of a plan.
fn subjects(plan: &Plan) -> Vec<Subject> {
    let corrected: BTreeMap<&BugId, &Experiment> = plan
        .experiments
        .iter()
        .filter(|(experiment, _)| experiment.evaluation == Evaluation::Corrected)
        .map(|(experiment, _)| (&experiment.bug, experiment))
        .collect();
    let sides = plan.experiments.iter().filter_map(|(side, _)| {
        let other =
            corrected.get(&side.bug).filter(|_| side.evaluation != Evaluation::Corrected)?;
        Some(Subject {
            bug: side.bug.clone(),
            evaluation: side.evaluation,
            experiments: [side.id(), other.id()],
        })
    });
    sides.collect()
}

/// What all experiments of a plan share, by key of study.toml.
fn workload(plan: &Plan) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let Some((first, _)) = plan.experiments.first() else { return keys };
    let Ok(Value::Object(attributes)) = serde_json::to_value(first) else { return keys };
    for (attribute, table) in [
        ("framework", "framework.name"),
        ("model", "model"),
        ("challenge", "challenge"),
        ("hyperparameters", "run"),
        ("seed_policy", "run.seed_policy"),
        ("meta_seed", "study.meta_seed"),
        ("device", "run.device"),
    ] {
        match attributes.get(attribute) {
            Some(Value::Object(inner)) => keys.extend(
                inner.iter().map(|(name, value)| (format!("{table}.{name}"), value.clone())),
            ),
            Some(value) => {
                keys.insert(table.to_owned(), value.clone());
            }
            None => {}
        }
    }
    keys
}

/// What is said of the comparisons of a design, for tables: bug, side, and where it stands.
pub fn lines(record: &Record) -> Vec<(String, String, String)> {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for look in &record.looks {
        let verdict = look.stop.map_or("goes on", |stop| stop.as_str());
        let saved = record.declaration.runs().saturating_sub(look.runs);
        let saved = match look.stop {
            Some(_) if saved > 0 => format!(", {saved} runs a side saved"),
            _ => String::new(),
        };
        let text = format!("{verdict}{saved}: {}", look.reason);
        seen.insert((look.bug.to_string(), look.evaluation.to_string()), text);
    }
    seen.into_iter().map(|((bug, side), text)| (bug, side, text)).collect()
}
