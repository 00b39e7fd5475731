//! Questions to the syntax tree, and to texts that it leaves whole.

use tree_sitter::Node;

use crate::units::{How, Paste, Symbol};

pub(super) fn line(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row + 1).unwrap_or(u32::MAX)
}

pub(super) fn last_line(node: Node<'_>) -> u32 {
    let end = node.end_position();
    let row =
        if end.column == 0 && end.row > node.start_position().row { end.row } else { end.row + 1 };
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// The declarator that takes parameters, below pointers and references.
pub(super) fn function_declarator(node: Node<'_>) -> Option<Node<'_>> {
    if node.kind() == "function_declarator" {
        // `MACRO(name)(arguments)` nests one in another: the inner one has the name.
        let inner = node.child_by_field_name("declarator");
        return match inner.map(|inner| inner.kind()) {
            Some("function_declarator") => inner,
            _ => Some(node),
        };
    }
    let mut cursor = node.walk();
    let children: Vec<_> = node.named_children(&mut cursor).collect();
    children.into_iter().find_map(function_declarator)
}

/// The last name of a possibly templated or qualified one.
pub(super) fn base_name(node: Node<'_>) -> Node<'_> {
    match node.kind() {
        "qualified_identifier" | "template_type" | "template_function" | "template_method" => {
            node.child_by_field_name("name").map_or(node, base_name)
        }
        "operator_cast" => node,
        _ => node,
    }
}

/// The names that a declarator declares.
pub(super) fn declared(node: Node<'_>) -> Vec<Node<'_>> {
    match node.kind() {
        "identifier" | "field_identifier" | "type_identifier" => vec![node],
        "qualified_identifier" | "template_function" => vec![base_name(node)],
        "init_declarator"
        | "function_declarator"
        | "pointer_declarator"
        | "array_declarator"
        | "reference_declarator"
        | "parenthesized_declarator" => {
            let inner = node.child_by_field_name("declarator").or_else(|| node.named_child(0));
            inner.map(declared).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// All identifiers below a node, in their order.
pub(super) fn identifiers<'t>(node: Node<'t>, found: &mut Vec<Node<'t>>) {
    if matches!(
        node.kind(),
        "identifier" | "type_identifier" | "namespace_identifier" | "field_identifier"
    ) {
        found.push(node);
        return;
    }
    let mut cursor = node.walk();
    let children: Vec<_> = node.named_children(&mut cursor).collect();
    for child in children {
        identifiers(child, found);
    }
}

/// The words of a macro's text that may be names, with how they are mentioned as far as text
/// alone tells; those of the standard library are left out.
pub(super) fn words(text: &str) -> Vec<(&str, How)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(|rest| rest.find(is_word)).map(|i| at + i) {
        let rest = text.get(start..).unwrap_or_default();
        let end = start + rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let (before, word, after) = (
            text.get(..start).unwrap_or_default(),
            text.get(start..end).unwrap_or_default(),
            text.get(end..).unwrap_or_default(),
        );
        at = end;
        if word.starts_with(|c: char| c.is_ascii_digit()) || before.ends_with("std::") {
            continue;
        }
        let how = match after.trim_start().starts_with('(') {
            _ if before.ends_with("at::") && !before.ends_with("native::") => How::Dispatched,
            true if !before.ends_with("::") || before.ends_with("native::") => How::Called,
            true => How::Plain,
            false => How::Plain,
        };
        found.push((word, how));
    }
    found
}

/// The names that a macro's body glues together of fixed text and one parameter.
pub(super) fn pastes(name: Symbol, body: &str, parameters: &[&str]) -> Vec<Paste> {
    let mut found = Vec::new();
    if !body.contains("##") {
        return found;
    }
    // Pieces that `##` joins stand next to each other once blanks around it are gone.
    let mut joined = String::with_capacity(body.len());
    for part in body.split("##") {
        if !joined.is_empty() {
            while joined.ends_with(|c: char| c.is_whitespace() || c == '\\') {
                joined.pop();
            }
            joined.push('#');
        }
        joined.push_str(if joined.is_empty() { part } else { part.trim_start() });
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '#';
    for word in joined.split(|c: char| !is_word(c)).filter(|word| word.contains('#')) {
        let pieces: Vec<&str> = word.split('#').collect();
        let is_parameter = |piece: &&str| parameters.contains(piece);
        if pieces.iter().filter(|piece| is_parameter(piece)).count() != 1 {
            continue;
        }
        let at = pieces.iter().position(is_parameter).unwrap_or(0);
        found.push(Paste {
            name,
            before: pieces.get(..at).unwrap_or_default().concat(),
            after: pieces.get(at + 1..).unwrap_or_default().concat(),
        });
    }
    found
}
