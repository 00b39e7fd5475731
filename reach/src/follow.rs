//! Where names lead: from what a fix changed, through whatever mentions it, to operators, autograd
//! nodes and functions that Python calls.
//!
//! Names are followed without types. A name that two things share leads to the users of both, so
//! that too much is reached rather than too little.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::dictionary::Dictionary;
use crate::index::{Index, Reached, is_header};
use crate::units::{How, Symbol, Symbols, UnitKind};

/// Names from which nothing can be concluded any more: more than this many and they reach
/// everything.
const MOST_NAMES: usize = 300;

/// A search in an index.
struct Search<'a> {
    index: &'a Index,
    symbols: &'a Symbols,
    dictionary: &'a Dictionary,
    cpu: bool,
    /// The name that led to a name.
    led: HashMap<Name, Option<Name>>,
    waiting: VecDeque<Name>,
    /// Files elsewhere that include a header which declares a name of the folders for programs in
    /// C++.
    guests: HashMap<Symbol, BTreeSet<String>>,
    reached: Reached,
}

/// A name, and whether it is declared in the folders that only programs in C++ use. There it is
/// another thing than elsewhere, and only files that include those folders' headers can mean it.
type Name = (Symbol, bool);

impl Index {
    /// Follows `start` (names that the file `path` declares) to whatever uses them.
    pub fn follow(
        &self,
        start: &[Symbol],
        path: &str,
        symbols: &Symbols,
        dictionary: &Dictionary,
        device: &str,
    ) -> Reached {
        let cpu = device == "cpu";
        let reached = Reached {
            only_frontends: dictionary.is_frontend(path),
            only_gpu: dictionary.is_gpu_only(path),
            open: self.unreadable.iter().cloned().collect(),
            ..Reached::default()
        };
        let mut search = Search {
            index: self,
            symbols,
            dictionary,
            cpu,
            led: HashMap::new(),
            waiting: VecDeque::new(),
            guests: HashMap::new(),
            reached,
        };
        let frontend = dictionary.is_frontend(path);
        for symbol in start {
            search.add((*symbol, frontend), None);
        }
        while let Some(symbol) = search.waiting.pop_front() {
            if search.led.len() > MOST_NAMES {
                let way = format!("names lead from it to more than {MOST_NAMES} others");
                search.reached.open.push(way);
                search.reached.crowded = true;
                break;
            }
            search.step(symbol);
        }
        search.reached
    }

    /// Files outside of the folders for programs in C++ that include a header from there which
    /// declares a name.
    fn guests(&self, symbol: Symbol, dictionary: &Dictionary) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (path, units) in &self.files {
            let declares = units.by_name.contains_key(&symbol);
            if declares && dictionary.is_frontend(path) && is_header(path) {
                let includers = self.includers(path);
                found.extend(includers.into_iter().filter(|path| !dictionary.is_frontend(path)));
            }
        }
        found
    }
}

impl Search<'_> {
    fn add(&mut self, name: Name, from: Option<Name>) {
        if let std::collections::hash_map::Entry::Vacant(place) = self.led.entry(name) {
            place.insert(from);
            self.waiting.push_back(name);
        }
    }

    fn way(&self, name: Name) -> Vec<String> {
        let mut way = vec![self.symbols.name(name.0).to_owned()];
        let mut at = name;
        while let Some(Some(before)) = self.led.get(&at) {
            way.push(self.symbols.name(before.0).to_owned());
            at = *before;
        }
        way.reverse();
        way
    }

    /// The way to a name, for people; nothing where it is where the way began.
    fn along(&self, name: Name) -> String {
        match self.way(name).as_slice() {
            [] | [_] => String::new(),
            way => format!(" (by way of {})", way.join(", ")),
        }
    }

    /// Whether a file can mean a name of the folders for programs in C++.
    fn is_guest(&mut self, symbol: Symbol, path: &str) -> bool {
        let (index, dictionary) = (self.index, self.dictionary);
        let guests = self.guests.entry(symbol);
        guests.or_insert_with(|| index.guests(symbol, dictionary)).contains(path)
    }

    /// Looks at one name: what it is, and what mentions it.
    fn step(&mut self, symbol: Name) {
        let name = self.symbols.name(symbol.0).to_owned();
        let mut explained = false;
        let mut through_trace = false;
        let frontend = symbol.1;
        if !frontend && let Some(operators) = self.index.operators.get(&symbol.0) {
            through_trace = true;
            for (operator, key) in operators {
                explained = true;
                let elsewhere =
                    self.cpu && key.as_ref().is_some_and(|k| self.dictionary.gpu_keys.contains(k));
                if !elsewhere {
                    let way = self.way(symbol);
                    self.reached.operators.entry(operator.clone()).or_insert(way);
                }
            }
        }
        if self.dictionary.exports.as_ref().is_some_and(|prefix| name.starts_with(prefix.as_str()))
        {
            explained = true;
            let way = self.way(symbol);
            self.reached.operators.entry(name.clone()).or_insert(way);
        }
        if !through_trace
            && !frontend
            && let Some(operators) = self.index.derivatives.get(&symbol.0)
        {
            explained = true;
            for operator in operators {
                let way = self.way(symbol);
                self.reached.nodes.entry(operator.clone()).or_insert(way);
            }
        }
        explained |= self.users(symbol, through_trace);
        explained |= self.glued(&name, symbol);
        if !explained && !frontend {
            self.dead_end(symbol.0, &name);
        }
    }

    /// Adds whatever mentions the name; whether anything does. What calls an operator through the
    /// dispatcher need not be followed: the trace names the operator itself.
    fn users(&mut self, name: Name, through_trace: bool) -> bool {
        let mut any = false;
        let index = self.index;
        let (symbol, frontend) = name;
        for (path, units) in &index.files {
            let Some(users) = units.by_mention.get(&symbol) else { continue };
            if frontend && !self.dictionary.is_frontend(path) && !self.is_guest(symbol, path) {
                continue;
            }
            for unit in users.iter().filter_map(|at| units.units.get(*at as usize)) {
                let at = unit.mentions.partition_point(|(other, _)| *other < symbol);
                let hows = unit.mentions.iter().skip(at).take_while(|(other, _)| *other == symbol);
                for (_, how) in hows {
                    // Past an operator, only what calls its function without the dispatcher.
                    if through_trace
                        && (*how != How::Called
                            || !self.dictionary.is_direct(path)
                            || self.dictionary.is_opaque(path))
                        && !matches!(how, How::Registered(_) | How::Hidden)
                    {
                        continue;
                    }
                    if self.cpu && self.dictionary.is_gpu_only(path) {
                        any = true;
                        continue;
                    }
                    any |= self.mentioned(name, *how, path, unit);
                }
            }
        }
        any
    }

    fn mentioned(&mut self, symbol: Name, how: How, path: &str, unit: &crate::units::Unit) -> bool {
        let name = self.symbols.name(symbol.0).to_owned();
        let frontend = self.dictionary.is_frontend(path);
        self.reached.only_frontends &= frontend;
        self.reached.only_gpu &= self.dictionary.is_gpu_only(path);
        if unit.kernel {
            let mut way = self.way(symbol);
            way.push(unit.title.clone());
            self.reached.kernels.entry(unit.title.clone()).or_insert(way);
        }
        if self.dictionary.is_opaque(path) {
            let why = format!("{path} mentions {name}{}", self.along(symbol));
            self.reached.open.push(why);
            return true;
        }
        match how {
            How::Hidden => {
                let way = self.along(symbol);
                let why = format!("{path} registers {name} in a way that no trace shows{way}");
                self.reached.open.push(why);
            }
            How::Registered(key) => {
                let key = self.symbols.name(key).to_owned();
                let way = self.way(symbol);
                self.reached.bindings.entry(key).or_insert(way);
            }
            How::Plain | How::Called | How::Dispatched => {
                if unit.names.is_empty() && !frontend {
                    let way = self.along(symbol);
                    let why =
                        format!("{path}, line {}, uses {name} at file scope{way}", unit.first);
                    self.reached.open.push(why);
                }
                for user in unit.names.clone() {
                    self.add((user, frontend), Some(symbol));
                }
            }
        }
        true
    }

    /// Follows names that macros glue together; whether there are such.
    fn glued(&mut self, name: &str, symbol: Name) -> bool {
        let index = self.index;
        let mut wanted = Vec::new();
        for (_, units) in &index.files {
            for paste in &units.pastes {
                let rest = name.strip_prefix(paste.before.as_str());
                let rest = rest.and_then(|rest| rest.strip_suffix(paste.after.as_str()));
                let part = rest.filter(|rest| !rest.is_empty() && *rest != name);
                if let Some(part) = part.and_then(|part| self.symbols.get(part)) {
                    wanted.push((paste.name, part));
                }
            }
        }
        wanted.sort();
        wanted.dedup();
        let mut any = false;
        for (macro_name, part) in wanted {
            for (path, units) in &index.files {
                let Some(users) = units.by_mention.get(&macro_name) else { continue };
                for unit in users.iter().filter_map(|at| units.units.get(*at as usize)) {
                    let both = unit.mentions.iter().any(|(other, _)| *other == part)
                        || unit.names.contains(&part);
                    if both && unit.kind != UnitKind::Macro {
                        any |= self.mentioned(symbol, How::Plain, path, unit);
                    }
                }
            }
        }
        any
    }

    /// A name that nothing mentions.
    fn dead_end(&mut self, symbol: Symbol, name: &str) {
        let mut defined = false;
        let mut harmless = true;
        for (path, units) in &self.index.files {
            for unit in units.by_name.get(&symbol).into_iter().flatten() {
                let unit = units.units.get(*unit as usize);
                if unit.is_some_and(|unit| unit.kind == UnitKind::Function) {
                    defined = true;
                    // What no other file can call and its own does not is never called.
                    let local = unit.is_some_and(|unit| unit.local);
                    self.reached.dead |= local;
                    harmless &= local
                        || self.dictionary.is_frontend(path)
                        || (self.cpu && self.dictionary.is_gpu_only(path));
                }
            }
        }
        if defined && !harmless {
            self.reached.open.push(format!("nothing that was read calls {name}"));
        }
    }
}
