//! C, C++ and CUDA to units, with tree-sitter.

use tree_sitter::{Node, Parser};

use crate::dictionary::Dictionary;
use crate::units::{How, Paste, Symbol, Symbols, Unit, UnitKind, Units, silent_lines};

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
    let mut reader = Reader { source: &source, dictionary, symbols, units: &mut units, hidden: false };
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
            "preproc_if" | "preproc_ifdef" | "preproc_else" | "preproc_elif" | "preproc_elifdef"
            | "declaration_list" | "field_declaration_list" => self.scope(node, class),
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
            "preproc_call" | "using_declaration" | "static_assert_declaration" | "identifier"
            | "friend_declaration" => {
                if node.kind() == "using_declaration" {
                    self.scoped(node, class, Vec::new());
                }
            }
            "function_definition" => self.function(node, class),
            "class_specifier" | "struct_specifier" | "union_specifier" => {
                self.class(node);
            }
            "declaration" | "field_declaration" | "type_definition" => self.declaration(node, class),
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

    fn class(&mut self, node: Node<'_>) {
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

    fn declaration(&mut self, node: Node<'_>, class: Option<Symbol>) {
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

    fn is_macro(&self, node: Node<'_>) -> bool {
        let text = self.text(node);
        text.len() > 2
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    }

    /// `MACRO(…);` at file scope.
    fn call_at_scope(&mut self, node: Node<'_>, class: Option<Symbol>) {
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

    fn definition_of_macro(&mut self, node: Node<'_>) {
        let Some(name) = node.child_by_field_name("name") else { return };
        let symbol = self.symbol(name);
        let body = node.child_by_field_name("value");
        let text = body.map(|body| self.text(body).to_owned()).unwrap_or_default();
        let mut unit = Unit {
            kind: UnitKind::Macro,
            names: vec![symbol],
            local: false,
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

    fn function(&mut self, node: Node<'_>, class: Option<Symbol>) {
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
        if let (false, Some(unit)) = (title.is_empty(), self.units.units.last_mut()) {
            unit.local = local;
            unit.title = match class {
                Some(class) => format!("{}::{title}", self.symbols.name(class)),
                None => title,
            };
        }
    }

    /// The name of a function that is defined outside of its class: the class, unless its scope is
    /// a name space that the file opens or the name has none.
    fn qualified(&mut self, node: Node<'_>) -> Option<Symbol> {
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

    /// Collects what `node` mentions.
    fn mentions(&mut self, node: Node<'_>, key: Option<How>, found: &mut Vec<(Symbol, How)>) {
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

    fn qualified_mention(
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
    fn call(&mut self, node: Node<'_>, key: Option<How>, found: &mut Vec<(Symbol, How)>) {
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
    fn registered(&mut self, literal: Node<'_>) -> How {
        let text = self.text(literal).trim_matches('"').to_owned();
        let name = text.split(['(', '.']).next().unwrap_or("").trim();
        if name.is_empty() || name.starts_with("__") {
            return How::Hidden;
        }
        How::Registered(self.symbols.of(name))
    }
}

fn line(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row + 1).unwrap_or(u32::MAX)
}

fn last_line(node: Node<'_>) -> u32 {
    let end = node.end_position();
    let row = if end.column == 0 && end.row > node.start_position().row {
        end.row
    } else {
        end.row + 1
    };
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// The declarator that takes parameters, below pointers and references.
fn function_declarator(node: Node<'_>) -> Option<Node<'_>> {
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
fn base_name(node: Node<'_>) -> Node<'_> {
    match node.kind() {
        "qualified_identifier" | "template_type" | "template_function" | "template_method" => {
            node.child_by_field_name("name").map_or(node, base_name)
        }
        "operator_cast" => node,
        _ => node,
    }
}

/// The names that a declarator declares.
fn declared(node: Node<'_>) -> Vec<Node<'_>> {
    match node.kind() {
        "identifier" | "field_identifier" | "type_identifier" => vec![node],
        "qualified_identifier" | "template_function" => vec![base_name(node)],
        "init_declarator" | "function_declarator" | "pointer_declarator" | "array_declarator"
        | "reference_declarator" | "parenthesized_declarator" => {
            let inner = node.child_by_field_name("declarator").or_else(|| node.named_child(0));
            inner.map(declared).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// All identifiers below a node, in their order.
fn identifiers<'t>(node: Node<'t>, found: &mut Vec<Node<'t>>) {
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
fn words(text: &str) -> Vec<(&str, How)> {
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
fn pastes(name: Symbol, body: &str, parameters: &[&str]) -> Vec<Paste> {
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
        let at = pieces.iter().position(|piece| is_parameter(&piece)).unwrap_or(0);
        found.push(Paste {
            name,
            before: pieces.get(..at).unwrap_or_default().concat(),
            after: pieces.get(at + 1..).unwrap_or_default().concat(),
        });
    }
    found
}
