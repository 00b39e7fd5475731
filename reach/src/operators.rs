//! The layer of names: the changed functions and entries against a trace of the workload.

use std::collections::BTreeSet;
use std::rc::Rc;

use study::Bug;

use crate::answer::{Answer, Evidence, Layer, Strength};
use crate::change::{Change, Clone, FileChange, Side};
use crate::dictionary::Dictionary;
use crate::error::ReachError;
use crate::index::{Index, Library, Reached, is_header, is_source};
use crate::python;
use crate::schema;
use crate::trace::Trace;
use crate::units::{Symbol, UnitKind};

/// What decides where names do not.
const COVERAGE: &str = "counting the changed lines that one epoch executes (--up-to lines)";

/// Judges fixes by names, with everything that was read kept for the next one.
pub struct Namer<'a> {
    clone: &'a Clone,
    dictionary: &'a Dictionary,
    trace: &'a Trace,
    library: Library,
    /// The indices of the last fix: of neighbouring commits, one is often the other.
    indices: Vec<(git2::Oid, Rc<Index>)>,
}

/// What a part of a fix leads to, before it is held against a trace.
pub(crate) enum Lead {
    /// What no trace is needed for.
    Settled(Evidence),
    /// Operators, derivatives and names that Python calls.
    Names {
        /// The part, as `path: function`.
        part: String,
        /// What its names lead to.
        reached: Reached,
    },
    /// A Python function.
    Function {
        /// The file in the repository.
        path: String,
        /// The file in the installed package.
        installed: String,
        /// Its qualified name.
        name: String,
    },
    /// A Python file's own statements.
    Module {
        /// The file in the repository.
        path: String,
        /// The file in the installed package.
        installed: String,
    },
}

/// A changed piece of one file on one side.
struct Piece {
    title: String,
    names: Vec<Symbol>,
}

impl<'a> Namer<'a> {
    /// A judge of fixes in one clone, for the workload of one trace.
    pub fn new(clone: &'a Clone, dictionary: &'a Dictionary, trace: &'a Trace) -> Self {
        Self { clone, dictionary, trace, library: Library::default(), indices: Vec::new() }
    }

    /// Judges from now on for the workload of another trace; what was read is kept.
    pub fn turn_to(&mut self, trace: &'a Trace) {
        self.trace = trace;
    }

    /// The evidence for every part of a fix.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn judge(&mut self, bug: &Bug, change: &Change) -> Result<Vec<Evidence>, ReachError> {
        let leads = self.leads(bug, change)?;
        Ok(self.follow(&leads))
    }

    /// What the parts of a fix lead to on the trace's device.
    pub(crate) fn leads(&mut self, bug: &Bug, change: &Change) -> Result<Vec<Lead>, ReachError> {
        let mut leads = Vec::new();
        for file in &change.files {
            self.file(bug, file, &mut leads)?;
        }
        Ok(leads)
    }

    /// Holds what a fix leads to against the trace; parts of both sides that come to the same are
    /// one.
    pub(crate) fn follow(&self, leads: &[Lead]) -> Vec<Evidence> {
        let mut parts: Vec<Evidence> = Vec::new();
        for lead in leads {
            let part = match lead {
                Lead::Settled(part) => part.clone(),
                Lead::Names { part, reached } => self.against_trace(part.clone(), reached),
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

    fn file(
        &mut self,
        bug: &Bug,
        file: &FileChange,
        leads: &mut Vec<Lead>,
    ) -> Result<(), ReachError> {
        if !crate::scope::is_in_artifact(&file.kind) {
            return Ok(());
        }
        let path = file.path.as_str();
        if self.dictionary.operators.iter().chain(&self.dictionary.derivatives).any(|p| p == path) {
            self.list(file, leads);
        } else if let Some(installed) = self.dictionary.installed(path)
            && path.ends_with(".py")
        {
            self.python(file, &installed, leads);
        } else if is_source(path) && file.kind != "accelerator" {
            self.source(bug, file, leads)?;
        } else {
            let reason = format!("a change of kind {} can touch anything", file.kind);
            let decides = "comparing the values of both sides (--up-to values)";
            leads.push(Lead::Settled(unknown(path, reason, decides)));
        }
        Ok(())
    }

    /// A list of operators or derivatives.
    fn list(&self, file: &FileChange, leads: &mut Vec<Lead>) {
        let read = |side: &Side| match &side.content {
            Some(content) => schema::read(content),
            None => Some(Vec::new()),
        };
        let (Some(buggy), Some(corrected)) = (read(&file.buggy), read(&file.corrected)) else {
            let reason = "it cannot be read as a list of operators".to_owned();
            leads.push(Lead::Settled(unknown(&file.path, reason, COVERAGE)));
            return;
        };
        let derivative = self.dictionary.derivatives.contains(&file.path);
        let changed = schema::changed(&buggy, &corrected);
        if changed.is_empty() {
            leads.push(Lead::Settled(silent(&file.path)));
        }
        for entry in changed {
            let part = format!("{}: {}", file.path, entry.name);
            let mut reached = Reached::default();
            let way = vec![entry.name.clone()];
            if derivative {
                reached.nodes.insert(entry.base().to_owned(), way);
            } else {
                reached.operators.insert(entry.base().to_owned(), way);
            }
            leads.push(Lead::Names { part, reached });
        }
    }

    /// A Python file of the package.
    fn python(&self, file: &FileChange, installed: &str, leads: &mut Vec<Lead>) {
        let mut found: BTreeSet<Option<String>> = BTreeSet::new();
        let mut broken = false;
        for side in [&file.buggy, &file.corrected] {
            let Some(content) = &side.content else { continue };
            let parsed = python::read(content);
            broken |= parsed.broken;
            for line in side.lines.iter().copied().filter(|line| !parsed.is_silent(*line)) {
                found.insert(parsed.runs_in(line).map(|function| function.name.clone()));
                // A head is what the body is called with, too.
                if let Some(function) = parsed.head_of(line) {
                    found.insert(Some(function.name.clone()));
                }
            }
        }
        if broken {
            let reason = "it cannot be read as Python".to_owned();
            leads.push(Lead::Settled(unknown(&file.path, reason, COVERAGE)));
            return;
        }
        if found.is_empty() {
            leads.push(Lead::Settled(silent(&file.path)));
        }
        for function in found {
            let (path, installed) = (file.path.clone(), installed.to_owned());
            leads.push(match function {
                Some(name) => Lead::Function { path, installed, name },
                None => Lead::Module { path, installed },
            });
        }
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
            return unknown(&part, reason, "a trace on a nearer version, or --up-to lines");
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
            return unknown(&part, reason, "a trace on a nearer version, or --up-to lines");
        }
        traced(part, Answer::NotExecuted, "the workload does not import it")
    }

    /// A file of C, C++ or CUDA.
    fn source(
        &mut self,
        bug: &Bug,
        file: &FileChange,
        leads: &mut Vec<Lead>,
    ) -> Result<(), ReachError> {
        let path = &file.path;
        if self.trace.device == "cpu" && self.dictionary.is_gpu_only(path) {
            let mut part = traced(
                path.clone(),
                Answer::NotExecuted,
                "it is compiled for a GPU only, and the workload uses none",
            );
            part.strength = Strength::Static;
            leads.push(Lead::Settled(part));
            return Ok(());
        }
        if self.dictionary.is_opaque(path) || !self.dictionary.is_source(path) {
            let reason = "names do not show how this folder is reached".to_owned();
            leads.push(Lead::Settled(unknown(path, reason, COVERAGE)));
            return Ok(());
        }
        let before = leads.len();
        for (side, commit) in [(&file.buggy, &bug.buggy), (&file.corrected, &bug.fix)] {
            let (Some(content), Some(commit)) = (&side.content, commit) else { continue };
            if side.lines.is_empty() {
                continue;
            }
            let Some(tree) = self.clone.tree(commit)? else { continue };
            let index = self.index(&tree)?;
            if self.dictionary.is_frontend(path)
                && is_header(path)
                && self.is_confined(path, &index)
            {
                let reason = "only programs in C++ include it, and the workload is Python";
                let mut part = traced(path.clone(), Answer::NotExecuted, reason);
                part.strength = Strength::Static;
                leads.push(Lead::Settled(part));
                continue;
            }
            let pieces = match self.pieces(path, content, &side.lines, &index) {
                Ok(pieces) => pieces,
                Err(part) => {
                    leads.push(Lead::Settled(*part));
                    continue;
                }
            };
            for piece in pieces {
                let device = self.trace.device.clone();
                let symbols = &self.library.symbols;
                let reached = index.follow(&piece.names, path, symbols, self.dictionary, &device);
                leads.push(Lead::Names { part: format!("{path}: {}", piece.title), reached });
            }
        }
        if leads.len() == before {
            leads.push(Lead::Settled(silent(path)));
        }
        Ok(())
    }

    fn index(&mut self, tree: &git2::Tree<'_>) -> Result<Rc<Index>, ReachError> {
        if let Some((_, index)) = self.indices.iter().find(|(oid, _)| *oid == tree.id()) {
            return Ok(index.clone());
        }
        let index = Rc::new(self.library.index(self.clone, tree, self.dictionary)?);
        if self.indices.len() > 1 {
            self.indices.remove(0);
        }
        self.indices.push((tree.id(), index.clone()));
        Ok(index)
    }

    /// The changed pieces of one side of a file.
    fn pieces(
        &mut self,
        path: &str,
        content: &[u8],
        lines: &[u32],
        index: &Index,
    ) -> Result<Vec<Piece>, Box<Evidence>> {
        let units = self.library.read(content, self.dictionary);
        let mut found: Vec<Piece> = Vec::new();
        let mut add = |title: String, names: Vec<Symbol>| {
            if !found.iter().any(|piece| piece.title == title && piece.names == names) {
                found.push(Piece { title, names });
            }
        };
        for line in lines.iter().copied().filter(|line| !units.is_silent(*line)) {
            if let Some((_, included)) = units.includes.iter().find(|(at, _)| *at == line) {
                if is_header(path) && !self.is_confined(path, index) {
                    let reason = format!("a header that is used elsewhere now includes {included}");
                    return Err(Box::new(unknown(path, reason, COVERAGE)));
                }
                for unit in &units.units {
                    if unit.kind == UnitKind::Function {
                        add(unit.title.clone(), unit.names.clone());
                    }
                }
                continue;
            }
            match units.at(line) {
                Some(unit) if !unit.names.is_empty() => add(unit.title.clone(), unit.names.clone()),
                _ if units.broken.iter().any(|(first, last)| *first <= line && line <= *last) => {
                    let reason = format!("line {line} cannot be read as C++");
                    return Err(Box::new(unknown(path, reason, COVERAGE)));
                }
                Some(_) => {
                    let reason = format!("line {line} acts at file scope");
                    return Err(Box::new(unknown(path, reason, COVERAGE)));
                }
                // Closing braces of name spaces and the like.
                None => {}
            }
        }
        Ok(found)
    }

    /// Whether everything that includes a header is of a kind that a training in Python on this
    /// device does not use.
    fn is_confined(&self, header: &str, index: &Index) -> bool {
        let confined = |path: &str| {
            self.dictionary.is_frontend(path)
                || (self.trace.device == "cpu" && self.dictionary.is_gpu_only(path))
        };
        confined(header) && index.includers(header).iter().all(|path| confined(path))
    }

    /// What names lead to, against what the trace has.
    fn against_trace(&self, part: String, reached: &Reached) -> Evidence {
        let trace = self.trace;
        let way = |way: &[String]| match way {
            [_] | [] => String::new(),
            way => format!(" (by way of {})", way.join(", ")),
        };
        let mut unseen: Vec<&str> = Vec::new();
        let mut idle: Vec<String> = Vec::new();
        let crowded = reached.open.iter().any(|why| why.contains("more than"));
        if !crowded {
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
        if let Some(why) = reached.open.first() {
            return unknown(&part, why.clone(), COVERAGE);
        }
        if let Some(name) = unseen.first() {
            let reason = format!("it serves {name}, which {} does not have", trace.name());
            return unknown(&part, reason, "a trace on a nearer version, or --up-to lines");
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

fn traced(part: String, answer: Answer, reason: &str) -> Evidence {
    Evidence {
        layer: Layer::Operators,
        part,
        answer,
        strength: Strength::Traced,
        reason: reason.to_owned(),
        decides: String::new(),
    }
}

fn silent(path: &str) -> Evidence {
    let mut part =
        traced(path.to_owned(), Answer::NotInArtifact, "only comments and blank lines changed");
    part.strength = Strength::Static;
    part
}

/// Evidence of names that could not be taken.
pub fn missing(reason: String, decides: String) -> Evidence {
    Evidence { strength: Strength::Static, ..unknown("", reason, &decides) }
}

fn unknown(part: &str, reason: String, decides: &str) -> Evidence {
    Evidence {
        layer: Layer::Operators,
        part: part.to_owned(),
        answer: Answer::Unknown,
        strength: Strength::Traced,
        reason,
        decides: decides.to_owned(),
    }
}
