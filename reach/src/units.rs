//! A source file as units: functions and what stands at file scope, each with the names it
//! declares and the names it mentions.

use std::collections::HashMap;

/// A name, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(u32);

/// All names that were met.
#[derive(Debug, Default)]
pub struct Symbols {
    numbers: HashMap<Box<str>, Symbol>,
    names: Vec<Box<str>>,
}

impl Symbols {
    /// The number of a name.
    pub fn of(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.numbers.get(name) {
            return *symbol;
        }
        let symbol = Symbol(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(name.into());
        self.numbers.insert(name.into(), symbol);
        symbol
    }

    /// The number of a name, if it was met.
    pub fn get(&self, name: &str) -> Option<Symbol> {
        self.numbers.get(name).copied()
    }

    /// The name of a number.
    pub fn name(&self, symbol: Symbol) -> &str {
        self.names.get(symbol.0 as usize).map_or("", |name| name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Their names, from the first met.
    pub fn iter(&self) -> impl Iterator<Item = (Symbol, &str)> {
        self.names
            .iter()
            .enumerate()
            .map(|(index, name)| (Symbol(u32::try_from(index).unwrap_or(u32::MAX)), name.as_ref()))
    }
}

/// How a unit mentions a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// By itself: an address, a type, a variable.
    Plain,
    /// As what is called, or by its full name in the name space of operators' own functions.
    Called,
    /// Through the dispatcher's interface or as a method, where a trace names it.
    Dispatched,
    /// In the arguments of a registration under this name.
    Registered(Symbol),
    /// In the arguments of a registration that no trace shows.
    Hidden,
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitKind {
    /// A function with its body.
    Function,
    /// A macro's definition.
    Macro,
    /// Anything else at file or class scope.
    Scope,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What it is.
    pub kind: UnitKind,
    /// The names by which others reach it; a method is reached by its class.
    pub names: Vec<Symbol>,
    /// A function that no other file can call.
    pub local: bool,
    /// A function that a GPU runs, by the name of its title (`__global__`).
    pub kernel: bool,
    /// For people.
    pub title: String,
    /// First line, from 1.
    pub first: u32,
    /// Last line.
    pub last: u32,
    /// What it mentions, sorted, each once.
    pub mentions: Vec<(Symbol, How)>,
}

/// A macro that glues names together: `prefix ## parameter ## suffix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paste {
    /// The macro.
    pub name: Symbol,
    /// What stands before the parameter.
    pub before: String,
    /// What stands after it.
    pub after: String,
}

/// A file.
#[derive(Debug, Default)]
pub struct Units {
    /// Its units, in their order; a class comes after what is in it.
    pub units: Vec<Unit>,
    /// Which units mention a name.
    pub by_mention: HashMap<Symbol, Vec<u32>>,
    /// Which units declare a name.
    pub by_name: HashMap<Symbol, Vec<u32>>,
    /// Glueing macros.
    pub pastes: Vec<Paste>,
    /// Lines that hold nothing but comments or nothing at all, from 1: `silent[0]` is line 1.
    pub silent: Vec<bool>,
    /// Files that it includes, with the lines of the directives.
    pub includes: Vec<(u32, String)>,
    /// Name spaces that it opens.
    pub namespaces: Vec<Symbol>,
    /// Lines that could not be understood.
    pub broken: Vec<(u32, u32)>,
}

impl Units {
    /// Sets up the tables after all units are there.
    pub(crate) fn finish(&mut self) {
        for (index, unit) in self.units.iter_mut().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            unit.mentions.sort();
            unit.mentions.dedup();
            let mut last = None;
            for (symbol, _) in &unit.mentions {
                if last != Some(*symbol) {
                    self.by_mention.entry(*symbol).or_default().push(index);
                    last = Some(*symbol);
                }
            }
            for symbol in &unit.names {
                self.by_name.entry(*symbol).or_default().push(index);
            }
        }
    }

    /// Whether a line (from 1) says nothing.
    pub fn is_silent(&self, line: u32) -> bool {
        self.silent.get((line as usize).wrapping_sub(1)).copied().unwrap_or(true)
    }

    /// The innermost unit that holds a line.
    pub fn at(&self, line: u32) -> Option<&Unit> {
        self.units
            .iter()
            .filter(|unit| unit.first <= line && line <= unit.last)
            .min_by_key(|unit| (unit.last - unit.first, unit.kind == UnitKind::Scope))
    }
}

/// Marks the lines of `source` on which no leaf of its tree that is not a comment stands.
pub(crate) fn silent_lines(source: &[u8], root: tree_sitter::Node<'_>) -> Vec<bool> {
    let lines = source.split(|byte| *byte == b'\n').count();
    let mut silent = vec![true; lines];
    let mut cursor = root.walk();
    loop {
        let node = cursor.node();
        let comment = node.kind() == "comment";
        if !comment && cursor.goto_first_child() {
            continue;
        }
        if !comment && node.end_byte() > node.start_byte() {
            for row in node.start_position().row..=node.end_position().row {
                // A token that ends with its line break does not speak on the next line.
                if row == node.end_position().row
                    && row > node.start_position().row
                    && node.end_position().column == 0
                {
                    continue;
                }
                if let Some(line) = silent.get_mut(row) {
                    *line = false;
                }
            }
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return silent;
            }
        }
    }
}
