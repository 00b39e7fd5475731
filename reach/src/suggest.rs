//! What would reach a change that the study's workload does not: another model of which there is a
//! trace, or a small module whose operators were traced one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use study::Bug;

use crate::answer::{Answer, Evidence};
use crate::change::Change;
use crate::error::ReachError;
use crate::leads::Lead;
use crate::operators::Namer;
use crate::trace::{FORMAT as TRACE_FORMAT, Known, Trace};

/// The form of the file of modules that this version reads.
pub const FORMAT: &str = "reproduceml-modules/1";

/// Modules that are named for one fix.
const NAMED: usize = 3;

/// What small modules of a framework execute, as `python3 -m reproduceml_client.modules` wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// [`FORMAT`].
    pub format: String,
    /// The framework.
    pub framework: String,
    /// Its version.
    pub version: String,
    /// Where they were traced: `cpu` or `cuda`.
    pub device: String,
    /// Whether every operator that ran is named.
    pub complete: bool,
    /// The modules.
    pub modules: Vec<Module>,
}

/// One module and what it executes, forward and backward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// How it is written in Python.
    pub call: String,
    /// The shapes of its inputs.
    pub inputs: Vec<String>,
    /// Why it did not come to its end in the traced build; what it executed until then counts.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Operators that ran.
    pub operators: BTreeSet<String>,
    /// Autograd nodes that were built or ran.
    pub nodes: BTreeSet<String>,
    /// Built-in functions that were called.
    pub builtins: BTreeSet<String>,
    /// Python functions that ran, by file.
    pub functions: BTreeMap<String, BTreeSet<String>>,
}

impl Modules {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read or is not of this form.
    pub fn read(path: &Path) -> Result<Self, ReachError> {
        let text = std::fs::read_to_string(path).map_err(ReachError::io(path))?;
        let wrong = |what: String| {
            ReachError::form(
                path,
                format!("{what}; write it anew with `python3 -m reproduceml_client.modules`"),
            )
        };
        let modules: Self =
            serde_json::from_str(&text).map_err(|e| wrong(format!("these are no modules: {e}")))?;
        if modules.format != FORMAT {
            return Err(wrong(format!("`format` is `{}`; expected `{FORMAT}`", modules.format)));
        }
        Ok(modules)
    }

    /// Each as something that may be named.
    pub fn candidates(self) -> Vec<Candidate> {
        let of = |module: Module| Candidate {
            kind: Kind::Module,
            name: module.call,
            stopped: module.stopped,
            trace: Trace {
                format: TRACE_FORMAT.to_owned(),
                framework: self.framework.clone(),
                version: self.version.clone(),
                device: self.device.clone(),
                model: String::new(),
                challenge: module.inputs.join(" | "),
                batches: 1,
                complete: self.complete,
                operators: module.operators,
                nodes: module.nodes,
                kernels: BTreeSet::new(),
                functions: module.functions,
                builtins: module.builtins,
                modules: BTreeSet::new(),
                known: Known::default(),
            },
            on_gpu: false,
        };
        self.modules.into_iter().map(of).collect()
    }
}

/// What is named: the name of a kind in tables and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A model that `run --model` trains.
    Model,
    /// A module that a model of the user's own may contain.
    Module,
    /// The fix's own test, as `run --workload` runs it.
    Test,
}

impl Kind {
    /// The word in tables and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Module => "module",
            Self::Test => "test",
        }
    }
}

/// A workload that may be named, with what it executes.
#[derive(Debug, Clone)]
pub struct Candidate {
    kind: Kind,
    name: String,
    stopped: Option<String>,
    trace: Trace,
    /// Whether it was traced on a CPU and stands for the same on a GPU.
    on_gpu: bool,
}

impl Candidate {
    /// The model of a trace.
    pub fn of_model(trace: Trace) -> Self {
        let name = trace.model.clone();
        Self { kind: Kind::Model, name, stopped: None, trace, on_gpu: false }
    }

    /// The same on a GPU, by the operators that it dispatches on a CPU.
    #[must_use]
    pub fn on_gpu(&self) -> Self {
        let trace = Trace { device: "cuda".to_owned(), ..self.trace.clone() };
        Self { trace, on_gpu: true, ..self.clone() }
    }

    /// What it executes.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The trace's device.
    pub fn device(&self) -> &str {
        &self.trace.device
    }
}

/// A workload that would reach a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// What it is.
    pub kind: Kind,
    /// The model's name, or how the module is written in Python.
    pub workload: String,
    /// The model's challenge, or the shapes of the module's inputs.
    pub input: String,
    /// `cpu` or `cuda`.
    pub device: String,
    /// What of the change it executes.
    pub reason: String,
}

/// The candidates that execute some of a fix: all models, then the modules that execute most of
/// its parts and least of everything else.
///
/// # Errors
/// If the clone is damaged.
pub fn suggest<'a>(
    namer: &mut Namer<'a>,
    bug: &Bug,
    change: &Change,
    candidates: &'a [Candidate],
) -> Result<Vec<Suggestion>, ReachError> {
    let mut models = Vec::new();
    let mut modules = Vec::new();
    // What a change leads to depends on the device alone.
    let mut leads: (&str, Vec<Lead>) = ("", Vec::new());
    for candidate in candidates {
        namer.turn_to(&candidate.trace);
        if leads.0 != candidate.device() {
            leads = (candidate.device(), namer.leads(bug, change)?);
        }
        let parts = namer.follow(&leads.1);
        let reached: Vec<&Evidence> =
            parts.iter().filter(|part| part.answer == Answer::MayDiffer).collect();
        let Some(first) = reached.first() else { continue };
        let mut reason = format!("{}: {}", first.part, first.reason);
        if candidate.on_gpu {
            reason += "; on a GPU, by the operators that it dispatches on a CPU";
        }
        if let Some(why) = &candidate.stopped {
            reason += &format!("; the traced build stopped it ({why})");
        }
        let suggestion = Suggestion {
            kind: candidate.kind,
            workload: candidate.name.clone(),
            input: candidate.trace.challenge.clone(),
            device: candidate.trace.device.clone(),
            reason,
        };
        match candidate.kind {
            Kind::Module => {
                // What stops is named last: a build with the missing library is needed. What is
                // called for the operator itself goes before what calls it on its way.
                let called = |name: &String| {
                    reached.iter().any(|part| names(&part.reason, "executes", name))
                };
                let own = candidate.trace.builtins.iter().any(called);
                let rank = (candidate.stopped.is_some(), !own, std::cmp::Reverse(reached.len()));
                modules.push((rank, candidate.trace.operators.len(), suggestion));
            }
            Kind::Model | Kind::Test => models.push(suggestion),
        }
    }
    modules.sort_by_key(|(rank, operators, _)| (*rank, *operators));
    models.extend(modules.into_iter().take(NAMED).map(|(_, _, suggestion)| suggestion));
    Ok(models)
}

/// Whether a sentence has `name` as the word after `verb`.
fn names(sentence: &str, verb: &str, name: &str) -> bool {
    let mut words = sentence.split_whitespace().skip_while(|word| *word != verb);
    words.nth(1) == Some(name)
}

/// Why nothing was found, from the kinds of the changed files and the evidence.
pub fn why_none(bug: &Bug, evidence: &[Evidence]) -> String {
    let kinds = bug.scope.join(", ");
    if evidence.iter().any(|part| part.answer == Answer::NotInArtifact && part.part.is_empty()) {
        return format!("nothing of the artifact changed, so no training can show it ({kinds})");
    }
    if bug.fix.is_none() {
        return "it has no fix that was found".to_owned();
    }
    if bug.scope.iter().any(|kind| kind == "onnx") {
        return "it belongs to the export to ONNX, which no training runs".to_owned();
    }
    if !evidence.is_empty() && evidence.iter().all(|part| part.reason.contains("programs in C++")) {
        return "only programs in C++ use it, and workloads are Python".to_owned();
    }
    if evidence.iter().all(|part| part.answer == Answer::Unknown) {
        return "names do not tell what would reach it".to_owned();
    }
    "no traced model and no module of the list executes it".to_owned()
}
