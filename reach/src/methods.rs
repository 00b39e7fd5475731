//! Who calls a method, by its own name. Names alone reach a method by its class, and of a class
//! that everything uses they tell nothing; the chain of calls from a method to an operator may.

use std::collections::{HashMap, VecDeque};

use crate::dictionary::Dictionary;
use crate::index::Index;
use crate::units::{How, Symbol, Symbols, Unit, UnitKind};

/// Methods and functions that are followed: further ones are far from what changed.
const MOST_CALLERS: usize = 300;

/// A method of a class, or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Callee {
    Method(Symbol, Symbol),
    Function(Symbol),
}

impl Callee {
    fn name(self) -> Symbol {
        match self {
            Self::Method(_, name) | Self::Function(name) => name,
        }
    }

    /// What a unit is to its callers.
    fn of(unit: &Unit, symbols: &Symbols) -> Option<Self> {
        let own = *unit.names.first()?;
        match unit.title.rsplit_once("::") {
            // A method is reached by its class.
            Some((class, method)) if class.rsplit("::").next() == Some(symbols.name(own)) => {
                Some(Self::Method(own, symbols.get(method)?))
            }
            _ => Some(Self::Function(own)),
        }
    }

    fn spelled(self, symbols: &Symbols) -> String {
        match self {
            Self::Method(class, name) => {
                format!("{}::{}", symbols.name(class), symbols.name(name))
            }
            Self::Function(name) => symbols.name(name).to_owned(),
        }
    }
}

impl Index {
    /// Operators that call a method (`Class::method`), the nearest first, with the calls on the way.
    ///
    /// A function calls a method that it names together with the method's class, or from within the
    /// class. That one is called does not follow for others of the same name, so this can only show
    /// that something is executed.
    pub(crate) fn callers(
        &self,
        method: &Unit,
        symbols: &Symbols,
        dictionary: &Dictionary,
        device: &str,
    ) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        let Some(start @ Callee::Method(..)) = Callee::of(method, symbols) else { return found };
        let cpu = device == "cpu";
        let mut led: HashMap<Callee, Option<Callee>> = HashMap::from([(start, None)]);
        let mut waiting = VecDeque::from([start]);
        while let Some(at) = waiting.pop_front() {
            if let Callee::Function(function) = at {
                for (operator, key) in self.carried_out_by(function) {
                    let gpu = key.as_ref().is_some_and(|key| dictionary.gpu_keys.contains(key));
                    if !(cpu && gpu) {
                        found.push((operator.clone(), way(&led, at, symbols)));
                    }
                }
            }
            for (path, units) in self.sources() {
                if dictionary.is_opaque(path)
                    || dictionary.is_frontend(path)
                    || (cpu && dictionary.is_gpu_only(path))
                {
                    continue;
                }
                let callers = units.by_mention.get(&at.name()).into_iter().flatten();
                for unit in callers.filter_map(|place| units.units.get(*place as usize)) {
                    if led.len() < MOST_CALLERS
                        && calls(unit, at)
                        && let Some(caller) = Callee::of(unit, symbols)
                        && !led.contains_key(&caller)
                    {
                        led.insert(caller, Some(at));
                        waiting.push_back(caller);
                    }
                }
            }
        }
        found
    }
}

/// Whether a function that mentions the name calls what it is the name of.
fn calls(unit: &Unit, callee: Callee) -> bool {
    let mentions = |wanted: Symbol| unit.mentions.iter().any(|(name, _)| *name == wanted);
    unit.kind == UnitKind::Function
        && match callee {
            Callee::Method(class, _) => unit.names.contains(&class) || mentions(class),
            Callee::Function(name) => unit.mentions.contains(&(name, How::Called)),
        }
}

fn way(led: &HashMap<Callee, Option<Callee>>, at: Callee, symbols: &Symbols) -> Vec<String> {
    let mut way = vec![at.spelled(symbols)];
    let mut at = at;
    while let Some(Some(before)) = led.get(&at) {
        way.push(before.spelled(symbols));
        at = *before;
    }
    way.reverse();
    way
}
