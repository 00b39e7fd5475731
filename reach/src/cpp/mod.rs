//! C, C++ and CUDA to units, with tree-sitter.

mod declarations;
mod mentions;
mod syntax;

use tree_sitter::{Node, Parser};

use self::syntax::{identifiers, last_line, line};
use crate::dictionary::Dictionary;
use crate::units::{Symbol, Symbols, Unit, UnitKind, Units, silent_lines};

/// Reads a file of C, C++ or CUDA.
pub fn read(source: &[u8], dictionary: &Dictionary, symbols: &mut Symbols) -> Units {
    let source = without_launches(source);
    let mut units = Units::default();
    let mut parser = Parser::new();
    if parser.set_language(&tree_sitter_cpp::LANGUAGE.into()).is_err() {
        return units;
    }
    let Some(tree) = parser.parse(&source, None) else { return units };
    units.silent = silent_lines(&source, tree.root_node());
    let mut reader =
        Reader { source: &source, dictionary, symbols, units: &mut units, hidden: false };
    reader.scope(tree.root_node(), None);
    units.finish();
    units
}

/// Blanks `<<<…>>>` of kernel launches, which the grammar of C++ does not know.
fn without_launches(source: &[u8]) -> Vec<u8> {
    let mut text = source.to_vec();
    let mut at = 0;
    while let Some(start) = find(&text, at, b"<<<") {
        let Some(end) = find(&text, start, b">>>").filter(|end| end - start < 2000) else { break };
        if let Some(launch) = text.get_mut(start..end + 3) {
            launch.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end + 3;
    }
    text
}

fn find(text: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    text.get(from..)?.windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
}

struct Reader<'a> {
    source: &'a [u8],
    dictionary: &'a Dictionary,
    symbols: &'a mut Symbols,
    units: &'a mut Units,
    /// Inside of a name space without a name.
    hidden: bool,
}

impl Reader<'_> {
    fn text(&self, node: Node<'_>) -> &str {
        self.source
            .get(node.byte_range())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    fn symbol(&mut self, node: Node<'_>) -> Symbol {
        let text = self.text(node).to_owned();
        self.symbols.of(&text)
    }

    /// Reads the members of a file, name space, or class; `class` is the class.
    fn scope(&mut self, node: Node<'_>, class: Option<Symbol>) {
        let mut cursor = node.walk();
        let children: Vec<Node<'_>> = node.named_children(&mut cursor).collect();
        for child in children {
            self.member(child, class);
        }
    }

    fn member(&mut self, node: Node<'_>, class: Option<Symbol>) {
        match node.kind() {
            "comment" | "access_specifier" => {}
            "namespace_definition" => {
                if let Some(name) = node.child_by_field_name("name") {
                    let mut names = Vec::new();
                    identifiers(name, &mut names);
                    for name in names {
                        let symbol = self.symbol(name);
                        self.units.namespaces.push(symbol);
                    }
                }
                let outside = self.hidden;
                self.hidden |= node.child_by_field_name("name").is_none();
                if let Some(body) = node.child_by_field_name("body") {
                    self.scope(body, None);
                }
                self.hidden = outside;
            }
            "linkage_specification" => {
                if let Some(body) = node.child_by_field_name("body") {
                    match body.kind() {
                        "declaration_list" => self.scope(body, class),
                        _ => self.member(body, class),
                    }
                }
            }
            "preproc_if"
            | "preproc_ifdef"
            | "preproc_else"
            | "preproc_elif"
            | "preproc_elifdef"
            | "declaration_list"
            | "field_declaration_list" => self.scope(node, class),
            "template_declaration" => {
                let mut cursor = node.walk();
                let children: Vec<_> = node.named_children(&mut cursor).collect();
                let before = self.units.units.len();
                for child in &children {
                    if child.kind() != "template_parameter_list" {
                        self.member(*child, class);
                    }
                }
                // The head belongs to what it is the head of.
                let first = line(node);
                if let Some(unit) = self.units.units.get_mut(before..).and_then(<[_]>::last_mut) {
                    unit.first = unit.first.min(first);
                    let parameters =
                        children.iter().find(|c| c.kind() == "template_parameter_list").copied();
                    if let Some(parameters) = parameters {
                        let index = self.units.units.len() - 1;
                        self.mention_into(index, parameters);
                    }
                }
            }
            "preproc_include" => {
                let path = node.child_by_field_name("path").map(|path| self.text(path).to_owned());
                self.units.includes.push((line(node), path.unwrap_or_default()));
            }
            "preproc_def" | "preproc_function_def" => self.definition_of_macro(node),
            "preproc_call"
            | "using_declaration"
            | "static_assert_declaration"
            | "identifier"
            | "friend_declaration" => {
                if node.kind() == "using_declaration" {
                    self.scoped(node, class, Vec::new());
                }
            }
            "function_definition" => self.function(node, class),
            "class_specifier" | "struct_specifier" | "union_specifier" => {
                self.class(node);
            }
            "declaration" | "field_declaration" | "type_definition" => {
                self.declaration(node, class)
            }
            "alias_declaration" => {
                let names = node.child_by_field_name("name").into_iter().collect();
                self.scoped(node, class, names);
            }
            "template_instantiation" => {
                let mut found = Vec::new();
                identifiers(node, &mut found);
                let names = found.first().copied().into_iter().collect();
                self.scoped(node, class, names);
            }
            "enum_specifier" => {
                let names = node.child_by_field_name("name").into_iter().collect();
                self.scoped(node, class, names);
            }
            "expression_statement" => self.call_at_scope(node, class),
            "ERROR" => {
                self.units.broken.push((line(node), last_line(node)));
                // What is inside may still be understood.
                self.scope(node, class);
                self.scoped(node, class, Vec::new());
            }
            _ => self.scoped(node, class, Vec::new()),
        }
    }

    /// Something at file scope that declares `names`; in a class it belongs to the class.
    fn scoped(&mut self, node: Node<'_>, class: Option<Symbol>, names: Vec<Node<'_>>) {
        let mut symbols: Vec<Symbol> = names.into_iter().map(|name| self.symbol(name)).collect();
        symbols.extend(class);
        self.push(node, UnitKind::Scope, symbols);
    }

    fn push(&mut self, node: Node<'_>, kind: UnitKind, names: Vec<Symbol>) {
        let title = match names.first() {
            Some(name) => self.symbols.name(*name).to_owned(),
            None => String::new(),
        };
        self.units.units.push(Unit {
            kind,
            names,
            local: false,
            kernel: false,
            title,
            first: line(node),
            last: last_line(node),
            mentions: Vec::new(),
        });
        self.mention_into(self.units.units.len() - 1, node);
    }

    fn mention_into(&mut self, index: usize, node: Node<'_>) {
        let mut found = Vec::new();
        self.mentions(node, None, &mut found);
        if let Some(unit) = self.units.units.get_mut(index) {
            found.retain(|(symbol, _)| !unit.names.contains(symbol) || unit.names.is_empty());
            unit.mentions.extend(found);
        }
    }
}
