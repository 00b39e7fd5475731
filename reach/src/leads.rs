//! What the parts of a fix lead to: the half of the layer of names that reads the fix.

use std::collections::BTreeSet;
use std::rc::Rc;

use study::Bug;

use crate::answer::{Answer, Evidence, Strength};
use crate::change::{Change, FileChange, Side};
use crate::error::ReachError;
use crate::index::{Index, Reached, is_header, is_source};
use crate::operators::{COVERAGE, Namer, silent, traced, unknown};
use crate::python;
use crate::schema;
use crate::units::{Unit, UnitKind};

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

impl Namer<'_> {
    /// What the parts of a fix lead to on the trace's device.
    pub(crate) fn leads(&mut self, bug: &Bug, change: &Change) -> Result<Vec<Lead>, ReachError> {
        let mut leads = Vec::new();
        for file in &change.files {
            self.file(bug, file, &mut leads)?;
        }
        Ok(leads)
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
        let opaque = self.dictionary.is_opaque(path) || !self.dictionary.is_source(path);
        // What is dispatched to a GPU is named wherever it comes from.
        let kernels_tell = self.kernels.are_heard() && self.dictionary.is_gpu_only(path);
        if opaque && !kernels_tell {
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
                let mut reached = match opaque {
                    false => index.follow(&piece.names, path, symbols, self.dictionary, &device),
                    true => Reached {
                        open: vec!["names do not show how this folder is reached".to_owned()],
                        ..Reached::default()
                    },
                };
                if self.dictionary.is_gpu_only(path) || is_header(path) {
                    reached.kernel = piece.kernel.then(|| piece.title.clone());
                    let names = piece.names.iter();
                    reached.device = names.map(|name| symbols.name(*name).to_owned()).collect();
                }
                if reached.crowded {
                    reached.callers = index.callers(&piece, symbols, self.dictionary, &device);
                }
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

    /// The changed functions and entries of one side of a file.
    fn pieces(
        &mut self,
        path: &str,
        content: &[u8],
        lines: &[u32],
        index: &Index,
    ) -> Result<Vec<Unit>, Box<Evidence>> {
        let units = self.library.read(content, self.dictionary);
        let mut found: Vec<Unit> = Vec::new();
        let mut add = |unit: &Unit| {
            let known = |piece: &Unit| (&piece.title, &piece.names) == (&unit.title, &unit.names);
            if !found.iter().any(known) {
                found.push(unit.clone());
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
                        add(unit);
                    }
                }
                continue;
            }
            match units.at(line) {
                Some(unit) if !unit.names.is_empty() => add(unit),
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
}
