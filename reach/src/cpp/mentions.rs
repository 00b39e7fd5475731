//! Which names a piece of code mentions, and how.

use tree_sitter::Node;

use super::Reader;
use super::syntax::words;
use crate::units::{How, Symbol};

impl Reader<'_> {
    /// Collects what `node` mentions.
    pub(super) fn mentions(
        &mut self,
        node: Node<'_>,
        key: Option<How>,
        found: &mut Vec<(Symbol, How)>,
    ) {
        match node.kind() {
            "comment" | "number_literal" => {}
            "identifier" | "type_identifier" | "namespace_identifier" => {
                let symbol = self.symbol(node);
                found.push((symbol, key.unwrap_or(How::Plain)));
            }
            "field_identifier" => {
                let symbol = self.symbol(node);
                found.push((symbol, key.unwrap_or(How::Dispatched)));
            }
            "qualified_identifier" => self.qualified_mention(node, key, found),
            "call_expression" => self.call(node, key, found),
            "initializer_list" => {
                // `{"name", (PyCFunction)function, …}`: a method table's row.
                let mut cursor = node.walk();
                let children: Vec<_> = node.named_children(&mut cursor).collect();
                let name = children.first().filter(|c| c.kind() == "string_literal").copied();
                let key = match name {
                    Some(name) if key.is_none() => Some(self.registered(name)),
                    _ => key,
                };
                for child in children {
                    self.mentions(child, key, found);
                }
            }
            "preproc_arg" => {
                let text = self.text(node).to_owned();
                for (word, how) in words(&text) {
                    let symbol = self.symbols.of(word);
                    found.push((symbol, key.unwrap_or(how)));
                }
            }
            _ => {
                let mut cursor = node.walk();
                let children: Vec<_> = node.named_children(&mut cursor).collect();
                for child in children {
                    self.mentions(child, key, found);
                }
            }
        }
    }

    pub(super) fn qualified_mention(
        &mut self,
        node: Node<'_>,
        key: Option<How>,
        found: &mut Vec<(Symbol, How)>,
    ) {
        let mut last = node;
        let mut nearest = None;
        let mut standard = false;
        while last.kind() == "qualified_identifier" {
            if let Some(scope) = last.child_by_field_name("scope") {
                let text = self.text(scope).to_owned();
                standard |= nearest.is_none() && text == "std";
                nearest = Some(text);
                if standard {
                    // The standard library's own names are nobody's; what stands in angles may be.
                    if let Some(arguments) = scope.child_by_field_name("arguments") {
                        self.mentions(arguments, key, found);
                    }
                } else {
                    self.mentions(scope, key, found);
                }
            }
            let Some(name) = last.child_by_field_name("name") else { return };
            last = name;
        }
        if standard {
            if let Some(arguments) = last.child_by_field_name("arguments") {
                self.mentions(arguments, key, found);
            }
            return;
        }
        let dispatched = matches!(nearest.as_deref(), Some("at" | "torch" | "redispatch" | "_ops"));
        let how = key.unwrap_or(match nearest.as_deref() {
            _ if dispatched => How::Dispatched,
            Some("native") => How::Called,
            _ => How::Plain,
        });
        match last.kind() {
            "identifier" | "type_identifier" => {
                let symbol = self.symbol(last);
                found.push((symbol, how));
            }
            _ => {
                let before = found.len();
                self.mentions(last, key, found);
                if dispatched
                    && key.is_none()
                    && let Some(first) = found.get_mut(before)
                {
                    first.1 = How::Dispatched;
                }
            }
        }
    }

    /// A call; in `module.def("name", function)` the function is mentioned under its name.
    pub(super) fn call(
        &mut self,
        node: Node<'_>,
        key: Option<How>,
        found: &mut Vec<(Symbol, How)>,
    ) {
        let function = node.child_by_field_name("function");
        let arguments = node.child_by_field_name("arguments");
        let mut inner = key;
        if let Some(function) = function {
            let name = match function.kind() {
                "field_expression" => function.child_by_field_name("field"),
                _ => Some(function),
            };
            let verb = name.map(|name| self.text(name).to_owned()).unwrap_or_default();
            let first = arguments.and_then(|arguments| arguments.named_child(0));
            let named = first.filter(|first| first.kind() == "string_literal");
            match (verb.as_str(), named) {
                ("def" | "def_static" | "impl" | "op", Some(name)) => {
                    inner = Some(self.registered(name));
                }
                ("def" | "def_static" | "impl" | "op", None) => inner = Some(How::Hidden),
                (verb, _) if verb.starts_with("def_") => inner = Some(How::Hidden),
                _ => {}
            }
            let before = found.len();
            self.mentions(function, key, found);
            if key.is_none()
                && function.kind() == "identifier"
                && let Some(last) = found.get_mut(before..).and_then(<[_]>::last_mut)
                && last.1 == How::Plain
            {
                last.1 = How::Called;
            }
            // `call<Type>(…)` ends with the type, and the name of a template comes before it.
            if matches!(function.kind(), "template_function")
                && let Some(first) = found.get_mut(before)
                && first.1 == How::Plain
            {
                first.1 = How::Called;
            }
        }
        if let Some(arguments) = arguments {
            self.mentions(arguments, inner, found);
        }
    }

    /// How something is mentioned under the name in a string literal. Names that Python calls by
    /// other means than a call are in no trace.
    pub(super) fn registered(&mut self, literal: Node<'_>) -> How {
        let text = self.text(literal).trim_matches('"').to_owned();
        let name = text.split(['(', '.']).next().unwrap_or("").trim();
        if name.is_empty() || name.starts_with("__") {
            return How::Hidden;
        }
        How::Registered(self.symbols.of(name))
    }
}
