//! Python to functions, with tree-sitter.

use tree_sitter::{Node, Parser};

use crate::units::silent_lines;

/// A function of a Python file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name with those of the classes and functions around it (`RNNBase.__init__`).
    pub name: String,
    /// The line of its decorators or its `def`, from 1.
    pub first: u32,
    /// The first line of its body.
    pub body: u32,
    /// Its last line.
    pub last: u32,
}

/// A Python file.
#[derive(Debug, Default)]
pub struct PythonFile {
    /// Its functions.
    pub functions: Vec<Function>,
    silent: Vec<bool>,
    /// It could not be understood as a whole.
    pub broken: bool,
}

/// Reads a Python file.
pub fn read(source: &[u8]) -> PythonFile {
    let mut file = PythonFile::default();
    let mut parser = Parser::new();
    if parser.set_language(&tree_sitter_python::LANGUAGE.into()).is_err() {
        file.broken = true;
        return file;
    }
    let Some(tree) = parser.parse(source, None) else {
        file.broken = true;
        return file;
    };
    file.broken = tree.root_node().has_error();
    file.silent = silent_lines(source, tree.root_node());
    walk(source, tree.root_node(), "", &mut file);
    file
}

impl PythonFile {
    /// Whether a line (from 1) holds nothing but a comment, a docstring or nothing.
    pub fn is_silent(&self, line: u32) -> bool {
        self.silent.get((line as usize).wrapping_sub(1)).copied().unwrap_or(true)
    }

    /// Where a line runs: the innermost function whose body holds it; none for the module. Heads
    /// of functions run where the function is defined.
    pub fn runs_in(&self, line: u32) -> Option<&Function> {
        self.functions
            .iter()
            .filter(|function| function.body <= line && line <= function.last)
            .min_by_key(|function| function.last - function.body)
    }

    /// The function whose head holds a line.
    pub fn head_of(&self, line: u32) -> Option<&Function> {
        self.functions.iter().find(|function| function.first <= line && line < function.body)
    }
}

fn walk(source: &[u8], node: Node<'_>, prefix: &str, file: &mut PythonFile) {
    let mut cursor = node.walk();
    let children: Vec<_> = node.named_children(&mut cursor).collect();
    for child in children {
        match child.kind() {
            "function_definition" | "class_definition" => {
                let text = child
                    .child_by_field_name("name")
                    .and_then(|name| source.get(name.byte_range()))
                    .and_then(|bytes| std::str::from_utf8(bytes).ok())
                    .unwrap_or("");
                let name = format!("{prefix}{text}");
                let body = child.child_by_field_name("body");
                if child.kind() == "function_definition"
                    && let Some(body) = body
                {
                    let outer = child.parent().filter(|p| p.kind() == "decorated_definition");
                    file.functions.push(Function {
                        name: name.clone(),
                        first: row(outer.unwrap_or(child).start_position().row),
                        body: row(body.start_position().row),
                        last: row(body.end_position().row),
                    });
                }
                if let Some(body) = body {
                    walk(source, body, &format!("{name}."), file);
                }
            }
            // A docstring, or any other string that stands for itself, does nothing.
            "expression_statement"
                if child.named_child_count() == 1
                    && child.named_child(0).is_some_and(|only| only.kind() == "string") =>
            {
                for line in child.start_position().row..=child.end_position().row {
                    if let Some(silent) = file.silent.get_mut(line) {
                        *silent = true;
                    }
                }
            }
            _ => walk(source, child, prefix, file),
        }
    }
}

fn row(row: usize) -> u32 {
    u32::try_from(row + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"\
import a

@decorate
def outer(x,
          y=1):
    '''Says what it does.'''
    def inner():
        return x  # a comment
    # only a comment
    return inner


class Thing:
    size = 3

    def method(self): return self.size
";

    #[test]
    fn lines_are_given_to_what_runs_them() {
        let file = read(FILE);
        let names: Vec<_> = file.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["outer", "outer.inner", "Thing.method"]);
        let runs = |line| file.runs_in(line).map(|f| f.name.as_str());
        assert_eq!((runs(1), runs(4), runs(14)), (None, None, None));
        assert_eq!((runs(7), runs(8), runs(10)), (Some("outer"), Some("outer.inner"), Some("outer")));
        assert_eq!(runs(16), Some("Thing.method"));
        assert_eq!(file.head_of(5).map(|f| f.name.as_str()), Some("outer"));
        let silent: Vec<u32> = (1..=16).filter(|line| file.is_silent(*line)).collect();
        assert_eq!(silent, [2, 6, 9, 11, 12, 15]);
        assert!(!file.broken);
    }

    #[test]
    fn what_is_no_python_says_so() {
        assert!(read(b"def f(:\n  }{").broken);
        assert!(!read(b"").broken);
    }
}
