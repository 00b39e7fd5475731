//! What stands at file and class scope: classes, functions, macros and what they declare.

use tree_sitter::Node;

use super::syntax::{
    base_name, declared, function_declarator, identifiers, last_line, line, pastes, words,
};
use super::{Reader, find};
use crate::units::{Symbol, Unit, UnitKind};

impl Reader<'_> {
    pub(super) fn class(&mut self, node: Node<'_>) {
        let name = node.child_by_field_name("name").map(base_name);
        let symbol = name.map(|name| self.symbol(name));
        if let Some(body) = node.child_by_field_name("body") {
            self.scope(body, symbol);
        }
        // Its head and its bases; its members are units of their own.
        let names: Vec<Symbol> = symbol.into_iter().collect();
        let title = names.first().map(|name| self.symbols.name(*name).to_owned());
        self.units.units.push(Unit {
            kind: UnitKind::Scope,
            names,
            local: false,
            kernel: false,
            title: title.unwrap_or_default(),
            first: line(node),
            last: last_line(node),
            mentions: Vec::new(),
        });
        let index = self.units.units.len() - 1;
        let mut cursor = node.walk();
        let heads: Vec<_> = node
            .named_children(&mut cursor)
            .filter(|child| child.kind() != "field_declaration_list")
            .collect();
        for head in heads {
            self.mention_into(index, head);
        }
    }

    pub(super) fn declaration(&mut self, node: Node<'_>, class: Option<Symbol>) {
        if let Some(kind) = node.child_by_field_name("type")
            && matches!(kind.kind(), "class_specifier" | "struct_specifier" | "union_specifier")
            && kind.child_by_field_name("body").is_some()
        {
            self.class(kind);
        }
        let mut names = Vec::new();
        let mut cursor = node.walk();
        let declarators: Vec<_> = node.children_by_field_name("declarator", &mut cursor).collect();
        // `MACRO(a, b);` may look like the declaration of a function.
        let first = declarators.first().copied();
        if node.child_by_field_name("type").is_none_or(|kind| self.is_macro(kind))
            && first.is_some_and(|d| d.kind() == "parenthesized_declarator")
        {
            self.call_at_scope(node, class);
            return;
        }
        for declarator in declarators {
            names.extend(declared(declarator));
        }
        self.scoped(node, class, names);
    }

    pub(super) fn is_macro(&self, node: Node<'_>) -> bool {
        let text = self.text(node);
        text.len() > 2
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    }

    /// `MACRO(…);` at file scope.
    pub(super) fn call_at_scope(&mut self, node: Node<'_>, class: Option<Symbol>) {
        let mut found = Vec::new();
        identifiers(node, &mut found);
        let Some((macro_name, arguments)) = found.split_first() else { return };
        let name = self.text(*macro_name).to_owned();
        if self.dictionary.declarations.contains(&name) {
            return;
        }
        let registration = self.dictionary.registrations.iter().find(|r| r.name == name);
        let under = registration.and_then(|r| arguments.get(r.under)).copied();
        self.scoped(node, class, under.into_iter().collect());
    }

    pub(super) fn definition_of_macro(&mut self, node: Node<'_>) {
        let Some(name) = node.child_by_field_name("name") else { return };
        let symbol = self.symbol(name);
        let body = node.child_by_field_name("value");
        let text = body.map(|body| self.text(body).to_owned()).unwrap_or_default();
        let mut unit = Unit {
            kind: UnitKind::Macro,
            names: vec![symbol],
            local: false,
            kernel: false,
            title: self.symbols.name(symbol).to_owned(),
            first: line(node),
            last: last_line(node),
            mentions: Vec::new(),
        };
        for (word, how) in words(&text) {
            let mentioned = self.symbols.of(word);
            if mentioned != symbol {
                unit.mentions.push((mentioned, how));
            }
        }
        self.units.units.push(unit);
        if let Some(parameters) = node.child_by_field_name("parameters") {
            let mut found = Vec::new();
            identifiers(parameters, &mut found);
            let parameters: Vec<&str> = found.iter().map(|p| self.text(*p)).collect();
            let pastes = pastes(symbol, &text, &parameters);
            self.units.pastes.extend(pastes);
        }
    }

    pub(super) fn function(&mut self, node: Node<'_>, class: Option<Symbol>) {
        let declarator = node.child_by_field_name("declarator");
        let mut title = String::new();
        let mut names = Vec::new();
        if let Some(declarator) = declarator.and_then(function_declarator) {
            let inner = declarator.child_by_field_name("declarator").unwrap_or(declarator);
            let spelled = self.text(inner).split_whitespace().collect::<Vec<_>>().join(" ");
            if self.dictionary.definitions.contains(&spelled) {
                // `DEFINITION(name)(arguments) { … }`: the arguments of the macro name it.
                let mut found = Vec::new();
                if let Some(parameters) = declarator.child_by_field_name("parameters") {
                    identifiers(parameters, &mut found);
                }
                names.extend(found.first().map(|name| self.symbol(*name)));
            } else if let Some(class) = class {
                names.push(class);
            } else {
                names.extend(self.qualified(inner));
            }
            title = spelled;
        }
        if names.is_empty() {
            names.extend(class);
        }
        self.push(node, UnitKind::Function, names);
        let mut cursor = node.walk();
        let is_static = node
            .children(&mut cursor)
            .any(|c| c.kind() == "storage_class_specifier" && self.text(c) == "static");
        let local = class.is_none() && (self.hidden || is_static);
        let body = node.child_by_field_name("body").map_or(node.end_byte(), |b| b.start_byte());
        let head = self.source.get(node.start_byte()..body).unwrap_or_default();
        let kernel = class.is_none() && find(head, 0, b"__global__").is_some();
        if let (false, Some(unit)) = (title.is_empty(), self.units.units.last_mut()) {
            unit.local = local;
            unit.kernel = kernel;
            unit.title = match class {
                Some(class) => format!("{}::{title}", self.symbols.name(class)),
                None => title,
            };
        }
    }

    /// The name of a function that is defined outside of its class: the class, unless its scope is
    /// a name space that the file opens or the name has none.
    pub(super) fn qualified(&mut self, node: Node<'_>) -> Option<Symbol> {
        if node.kind() != "qualified_identifier" {
            return Some(self.symbol(base_name(node)));
        }
        let mut scopes = Vec::new();
        let mut last = node;
        while last.kind() == "qualified_identifier" {
            if let Some(scope) = last.child_by_field_name("scope") {
                scopes.push(scope);
            }
            last = last.child_by_field_name("name")?;
        }
        let class = scopes.last().map(|scope| base_name(*scope));
        if let Some(class) = class {
            let text = self.text(class);
            // By the convention of every framework seen so far, classes have capitals.
            if text.chars().any(|c| c.is_ascii_uppercase()) {
                return Some(self.symbol(class));
            }
        }
        Some(self.symbol(base_name(last)))
    }
}
