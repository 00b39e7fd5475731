//! The sources of one commit by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use git2::{Oid, Tree};

use crate::change::Clone;
use crate::cpp;
use crate::dictionary::Dictionary;
use crate::error::ReachError;
use crate::schema::{self, Entry};
use crate::units::{Symbol, Symbols, Units};

/// Files that were read, by content: commits share most of them.
#[derive(Default)]
pub struct Library {
    /// The names of all of them.
    pub symbols: Symbols,
    files: HashMap<Oid, Rc<Units>>,
    lists: HashMap<Oid, Rc<Option<Vec<Entry>>>>,
}

/// The sources of a commit.
pub struct Index {
    pub(crate) files: Vec<(String, Rc<Units>)>,
    /// By the last part of an included path: the path as it is written, and the including file.
    included: HashMap<String, Vec<(String, usize)>>,
    /// Functions that carry out operators: operator and dispatch key.
    pub(crate) operators: HashMap<Symbol, Vec<(String, Option<String>)>>,
    /// Operators whose derivative mentions a name.
    pub(crate) derivatives: HashMap<Symbol, BTreeSet<String>>,
    /// A list could not be read, so nothing can be excluded.
    pub unreadable: Option<String>,
}

/// What names lead to, each with the names on the way, from the changed one.
#[derive(Debug, Default)]
pub struct Reached {
    /// Operators.
    pub operators: BTreeMap<String, Vec<String>>,
    /// Operators in whose derivative it is used.
    pub nodes: BTreeMap<String, Vec<String>>,
    /// Functions that Python calls by this name.
    pub bindings: BTreeMap<String, Vec<String>>,
    /// The changed function is itself a kernel of a GPU, of this name.
    pub kernel: Option<String>,
    /// Words by which the names of kernels tell that they run what changed.
    pub device: Vec<String>,
    /// Kernels that use it.
    pub kernels: BTreeMap<String, Vec<String>>,
    /// Operators that call it, where it is a method of which names alone do not tell.
    pub callers: Vec<(String, Vec<String>)>,
    /// Why more may be reached than is named here.
    pub open: Vec<String>,
    /// Whether names lead to so many others that which ones says nothing.
    pub(crate) crowded: bool,
    /// A function that no other file can call, and its own does not.
    pub dead: bool,
    /// Nothing outside of folders that only programs in C++ use.
    pub only_frontends: bool,
    /// Nothing outside of files that are compiled for a GPU only.
    pub only_gpu: bool,
}

impl Library {
    /// Reads the sources of a tree; what an earlier tree shared is not read again.
    ///
    /// # Errors
    /// If the clone is damaged.
    pub fn index(
        &mut self,
        clone: &Clone,
        tree: &Tree<'_>,
        dictionary: &Dictionary,
    ) -> Result<Index, ReachError> {
        let mut files = Vec::new();
        for (path, oid) in clone.files(tree, &dictionary.sources)? {
            if is_source(&path) && dictionary.is_source(&path) {
                files.push((path, self.units(clone, oid, dictionary)?));
            }
        }
        let mut included: HashMap<String, Vec<(String, usize)>> = HashMap::new();
        for (at, (_, units)) in files.iter().enumerate() {
            for (_, name) in &units.includes {
                let name = name.trim_matches(['"', '<', '>']).trim_start_matches("../");
                let last = name.rsplit('/').next().unwrap_or(name).to_owned();
                included.entry(last).or_default().push((name.to_owned(), at));
            }
        }
        let mut index = Index {
            files,
            included,
            operators: HashMap::new(),
            derivatives: HashMap::new(),
            unreadable: None,
        };
        for path in dictionary.operators.iter().chain(&dictionary.derivatives) {
            let Ok(found) = tree.get_path(std::path::Path::new(path)) else { continue };
            let Some(entries) = &*self.list(clone, found.id())? else {
                index.unreadable = Some(format!("{path} cannot be read as a list of operators"));
                continue;
            };
            for entry in entries {
                if dictionary.operators.contains(path) {
                    for (function, key) in entry.functions() {
                        let symbol = self.symbols.of(&function);
                        let operator = (entry.base().to_owned(), key);
                        index.operators.entry(symbol).or_default().push(operator);
                    }
                } else {
                    for text in entry.texts() {
                        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
                            let symbol = self.symbols.of(word);
                            let operator = entry.base().to_owned();
                            index.derivatives.entry(symbol).or_default().insert(operator);
                        }
                    }
                }
            }
        }
        Ok(index)
    }

    /// One source file of a tree.
    pub(crate) fn read(&mut self, content: &[u8], dictionary: &Dictionary) -> Units {
        cpp::read(content, dictionary, &mut self.symbols)
    }

    fn units(
        &mut self,
        clone: &Clone,
        oid: Oid,
        dictionary: &Dictionary,
    ) -> Result<Rc<Units>, ReachError> {
        if let Some(units) = self.files.get(&oid) {
            return Ok(units.clone());
        }
        let units = Rc::new(cpp::read(&clone.blob(oid)?, dictionary, &mut self.symbols));
        self.files.insert(oid, units.clone());
        Ok(units)
    }

    fn list(&mut self, clone: &Clone, oid: Oid) -> Result<Rc<Option<Vec<Entry>>>, ReachError> {
        if let Some(list) = self.lists.get(&oid) {
            return Ok(list.clone());
        }
        let list = Rc::new(schema::read(&clone.blob(oid)?));
        self.lists.insert(oid, list.clone());
        Ok(list)
    }
}

/// Whether a path is one of C, C++ or CUDA.
pub fn is_source(path: &str) -> bool {
    let ending = path.rsplit('.').next().unwrap_or("");
    matches!(ending, "c" | "cc" | "cpp" | "cxx" | "h" | "hh" | "hpp" | "inl" | "cu" | "cuh")
}

/// Whether a path is a header.
pub fn is_header(path: &str) -> bool {
    let ending = path.rsplit('.').next().unwrap_or("");
    matches!(ending, "h" | "hh" | "hpp" | "inl" | "cuh")
}

impl Index {
    /// The operators that a function carries out, with their dispatch keys.
    pub(crate) fn carried_out_by(&self, function: Symbol) -> &[(String, Option<String>)] {
        self.operators.get(&function).map_or(&[], Vec::as_slice)
    }

    /// All sources, by path.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Units)> {
        self.files.iter().map(|(path, units)| (path.as_str(), &**units))
    }

    /// The files that include a header, directly or through others, by the end of its path.
    pub fn includers(&self, header: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![header.to_owned()];
        while let Some(header) = waiting.pop() {
            let last = header.rsplit('/').next().unwrap_or(&header);
            for (name, at) in self.included.get(last).into_iter().flatten() {
                let Some((path, _)) = self.files.get(*at) else { continue };
                let meant = header == *name
                    || header.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('/'));
                if meant && found.insert(path.clone()) && is_header(path) {
                    waiting.push(path.clone());
                }
            }
        }
        found
    }
}
