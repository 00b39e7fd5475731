//! The layer of names: the changed functions and entries against a trace of the workload.

use std::collections::BTreeSet;
use std::rc::Rc;

use study::Bug;

use crate::answer::{Answer, Evidence, Layer, Strength};
use crate::change::{Change, Clone};
use crate::dictionary::Dictionary;
use crate::error::ReachError;
use crate::index::{Index, Library, Reached};
use crate::kernels::Dispatched;
use crate::leads::Lead;
use crate::trace::Trace;

/// What decides where names do not.
pub(crate) const COVERAGE: &str =
    "counting the changed lines that one epoch executes (--up-to lines)";

/// What decides where the traced version lacks a name.
const NEARER: &str = "a trace on a nearer version, or --up-to lines";

/// Judges fixes by names, with everything that was read kept for the next one.
pub struct Namer<'a> {
    pub(crate) clone: &'a Clone,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) trace: &'a Trace,
    /// The kernels of the trace.
    pub(crate) kernels: Dispatched,
    pub(crate) library: Library,
    /// The indices of the last fix: of neighbouring commits, one is often the other.
    pub(crate) indices: Vec<(git2::Oid, Rc<Index>)>,
}

impl<'a> Namer<'a> {
    /// A judge of fixes in one clone, for the workload of one trace.
    pub fn new(clone: &'a Clone, dictionary: &'a Dictionary, trace: &'a Trace) -> Self {
        let kernels = Dispatched::of(&trace.kernels);
        let library = Library::default();
        Self { clone, dictionary, trace, kernels, library, indices: Vec::new() }
    }

    /// Judges from now on for the workload of another trace; what was read is kept.
    pub fn turn_to(&mut self, trace: &'a Trace) {
        self.trace = trace;
        self.kernels = Dispatched::of(&trace.kernels);
    }

    /// The evidence for every part of a fix.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn judge(&mut self, bug: &Bug, change: &Change) -> Result<Vec<Evidence>, ReachError> {
        let leads = self.leads(bug, change)?;
        Ok(self.follow(&leads))
    }

    /// Holds what a fix leads to against the trace; parts of both sides that come to the same are
    /// one.
    pub(crate) fn follow(&self, leads: &[Lead]) -> Vec<Evidence> {
        let mut parts: Vec<Evidence> = Vec::new();
        for lead in leads {
            let part = match lead {
                Lead::Settled(part) => part.clone(),
                Lead::Names { part, reached } => self
                    .against_kernels(part, reached)
                    .unwrap_or_else(|| self.against_names(part, reached)),
                Lead::Function { path, installed, name } => {
                    self.python_function(path, installed, name)
                }
                Lead::Module { path, installed } => self.python_module(path, installed),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }

    fn python_function(&self, path: &str, installed: &str, name: &str) -> Evidence {
        let part = format!("{path}: {name}");
        let trace = self.trace;
        let has = |functions: &std::collections::BTreeMap<String, BTreeSet<String>>| {
            functions.get(installed).is_some_and(|names| names.contains(name))
        };
        if has(&trace.functions) {
            return traced(part, Answer::MayDiffer, "the traced epoch runs it");
        }
        if !has(&trace.known.functions) {
            let reason = format!("{} has no function of this name", trace.name());
            return unknown(&part, reason, NEARER);
        }
        // Engines call these from threads of their own, which the trace does not see.
        if trace.device != "cpu" && name.ends_with("backward") {
            let reason = "it may be called from a thread that is not traced".to_owned();
            return unknown(&part, reason, COVERAGE);
        }
        traced(part, Answer::NotExecuted, "the traced epoch does not run it")
    }

    fn python_module(&self, path: &str, installed: &str) -> Evidence {
        let part = format!("{path}: the module itself");
        if self.trace.modules.contains(installed) {
            return traced(part, Answer::MayDiffer, "it runs when it is imported, and it is");
        }
        if !self.trace.known.functions.contains_key(installed) {
            let reason = format!("{} has no such file with functions", self.trace.name());
            return unknown(&part, reason, NEARER);
        }
        traced(part, Answer::NotExecuted, "the workload does not import it")
    }

    /// What kernels alone tell, where the trace of a GPU names those that were dispatched.
    fn against_kernels(&self, part: &str, reached: &Reached) -> Option<Evidence> {
        if self.trace.device == "cpu" || !self.kernels.are_heard() {
            return None;
        }
        let part = || part.to_owned();
        if let Some(kernel) = &reached.kernel {
            if self.kernels.has(kernel) {
                let reason = format!("the workload dispatches the kernel {kernel}");
                return Some(traced(part(), Answer::MayDiffer, &reason));
            }
            let version = self.trace.name();
            if self.trace.known.kernels.contains(kernel) {
                let reason = format!(
                    "{version} has the kernel {kernel}, and the workload does not dispatch it"
                );
                return Some(traced(part(), Answer::NotExecuted, &reason));
            }
            // Under another name it may be among those that were dispatched; that the operators
            // which it serves are not executed would still exclude it.
            let named = self.against_names(&part(), reached);
            if named.answer != Answer::MayDiffer {
                return Some(named);
            }
            let reason = format!(
                "the workload dispatches no kernel {kernel}, of which {version} is not known to                  have one ({})",
                named.reason
            );
            return Some(unknown(&part(), reason, NEARER));
        }
        for word in &reached.device {
            if let Some(kernel) = self.kernels.with_word(word) {
                let reason = format!("the workload dispatches the kernel {kernel} with {word}");
                return Some(traced(part(), Answer::MayDiffer, &reason));
            }
        }
        let (kernel, way) = reached.kernels.iter().find(|(kernel, _)| self.kernels.has(kernel))?;
        let reason =
            format!("the workload dispatches the kernel {kernel} (by way of {})", way.join(", "));
        Some(traced(part(), Answer::MayDiffer, &reason))
    }

    /// What names lead to, against what the trace has.
    fn against_names(&self, part: &str, reached: &Reached) -> Evidence {
        let trace = self.trace;
        let part = part.to_owned();
        let way = |way: &[String]| match way {
            [_] | [] => String::new(),
            way => format!(" (by way of {})", way.join(", ")),
        };
        let mut unseen: Vec<&str> = Vec::new();
        let mut idle: Vec<String> = Vec::new();
        if !reached.crowded {
            for (operator, path) in &reached.operators {
                let (ran, known) = trace.operator(operator);
                if ran {
                    let reason = format!("the workload executes {operator}{}", way(path));
                    return traced(part, Answer::MayDiffer, &reason);
                }
                if known {
                    idle.push(operator.clone());
                } else {
                    unseen.push(operator);
                }
            }
            for (operator, path) in &reached.nodes {
                let in_place = format!("{operator}_");
                let (plain, also) = (trace.operator(operator), trace.operator(&in_place));
                if plain.0 || also.0 {
                    let reason =
                        format!("the workload executes {operator} and its derivative{}", way(path));
                    return traced(part, Answer::MayDiffer, &reason);
                }
                if plain.1 || also.1 {
                    idle.push(format!("the derivative of {operator}"));
                } else {
                    unseen.push(operator);
                }
            }
            for (binding, path) in &reached.bindings {
                // Names with a name space are operators; the others are Python's to call.
                let (ran, known) = match binding.rsplit_once("::") {
                    Some((_, last)) => {
                        let (plain, full) = (trace.operator(last), trace.operator(binding));
                        (plain.0 || full.0, plain.1 || full.1)
                    }
                    None => {
                        let operator = trace.operator(binding);
                        (
                            operator.0 || trace.builtins.contains(binding),
                            operator.1 || trace.known.builtins.contains(binding),
                        )
                    }
                };
                if ran {
                    let reason = format!("the workload calls {binding}{}", way(path));
                    return traced(part, Answer::MayDiffer, &reason);
                }
                if known {
                    idle.push(binding.clone());
                } else {
                    unseen.push(binding);
                }
            }
        }
        if let Some((operator, path)) =
            reached.callers.iter().find(|(operator, _)| trace.operator(operator).0)
        {
            let reason = format!("the workload executes {operator}, which calls it{}", way(path));
            return traced(part, Answer::MayDiffer, &reason);
        }
        if let Some(why) = reached.open.first() {
            return unknown(&part, why.clone(), COVERAGE);
        }
        if let Some(name) = unseen.first() {
            let reason = format!("it serves {name}, which {} does not have", trace.name());
            return unknown(&part, reason, NEARER);
        }
        if idle.is_empty() {
            if reached.only_frontends {
                let reason = "only programs in C++ use it, and the workload is Python";
                let mut part = traced(part, Answer::NotExecuted, reason);
                part.strength = Strength::Static;
                return part;
            }
            if reached.dead {
                let reason = "nothing in its file calls it, and nothing else can";
                let mut part = traced(part, Answer::NotExecuted, reason);
                part.strength = Strength::Static;
                return part;
            }
            let reason = "names do not lead from it to anything that a trace shows".to_owned();
            return unknown(&part, reason, COVERAGE);
        }
        if !trace.complete {
            let reason = format!("the profiler of {} does not hear every operator", trace.name());
            return unknown(&part, reason, "a trace on a newer version of the framework");
        }
        let shown = idle.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let more = idle.len().saturating_sub(4);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let reason = format!("it serves {shown}{more}, of which the workload executes nothing");
        traced(part, Answer::NotExecuted, &reason)
    }
}

pub(crate) fn traced(part: String, answer: Answer, reason: &str) -> Evidence {
    Evidence {
        layer: Layer::Operators,
        part,
        answer,
        strength: Strength::Traced,
        reason: reason.to_owned(),
        decides: String::new(),
    }
}

pub(crate) fn silent(path: &str) -> Evidence {
    let mut part =
        traced(path.to_owned(), Answer::NotInArtifact, "only comments and blank lines changed");
    part.strength = Strength::Static;
    part
}

/// Evidence of names that could not be taken.
pub fn missing(reason: String, decides: String) -> Evidence {
    Evidence { strength: Strength::Static, ..unknown("", reason, &decides) }
}

pub(crate) fn unknown(part: &str, reason: String, decides: &str) -> Evidence {
    Evidence {
        layer: Layer::Operators,
        part: part.to_owned(),
        answer: Answer::Unknown,
        strength: Strength::Traced,
        reason,
        decides: decides.to_owned(),
    }
}
