//! Which test functions a fix brought or changed: a test file of a framework holds hundreds, many
//! of which fail for reasons of their own.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use git2::{DiffOptions, Oid, Repository};
use study::CommitId;

/// What of a fix's tests can be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Test files of Python, by plain paths.
    pub python: Vec<String>,
    /// Sources of tests in C++ and CUDA, which need a build of their own and are not run.
    pub compiled: Vec<String>,
}

impl Chosen {
    /// What is said of the tests that are not run; nothing where there are none.
    #[must_use]
    pub fn not_run(&self) -> Option<String> {
        let files = self.compiled.join(", ");
        (!files.is_empty()).then(|| format!("its tests in C++ are not run ({files})"))
    }

    /// Why nothing of it can be run.
    #[must_use]
    pub fn none(&self) -> String {
        let also = self.not_run().map_or(String::new(), |why| format!("; {why}"));
        format!("its fix brought no test in Python{also}")
    }
}

/// Chooses among the files of a fix that are tests. Paths come from somebody else's repository:
/// only plain ones are taken, which no shell and no option parser reads as anything else.
#[must_use]
pub fn choose(tests: &[String]) -> Chosen {
    let mut chosen = Chosen::default();
    for test in tests {
        let path = Path::new(test);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let plain = test.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
        if !inside || !plain || test.starts_with('-') {
            continue;
        }
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("py") => chosen.python.push(test.clone()),
            Some("c" | "cc" | "cpp" | "cxx" | "cu") => chosen.compiled.push(test.clone()),
            _ => {}
        }
    }
    chosen
}

/// Names of the functions `test…` of Python files that hold lines which the fix added or changed,
/// sorted. Empty if none is found or the commits cannot be read: then all tests count.
#[must_use]
pub fn names(clone: &Path, buggy: &CommitId, fix: &CommitId, files: &[String]) -> Vec<String> {
    lines(clone, buggy, fix, files).unwrap_or_default().into_iter().collect()
}

fn lines(
    clone: &Path,
    buggy: &CommitId,
    fix: &CommitId,
    files: &[String],
) -> Result<BTreeSet<String>, git2::Error> {
    let repository = Repository::open(clone)?;
    let tree = |commit: &CommitId| -> Result<git2::Tree<'_>, git2::Error> {
        repository.find_commit(Oid::from_str(commit.as_str())?)?.tree()
    };
    let (old, new) = (tree(buggy)?, tree(fix)?);
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.ends_with(".py")) {
        let mut options = DiffOptions::new();
        options.pathspec(file).disable_pathspec_match(true).context_lines(0);
        let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
        let mut added: Vec<usize> = Vec::new();
        let mut take =
            |_: git2::DiffDelta<'_>, _: Option<git2::DiffHunk<'_>>, line: git2::DiffLine<'_>| {
                if line.origin() == '+'
                    && let Some(number) = line.new_lineno()
                {
                    added.push(number as usize);
                }
                true
            };
        diff.foreach(&mut |_, _| true, None, None, Some(&mut take))?;
        let Ok(entry) = new.get_path(Path::new(file)) else { continue };
        let blob = repository.find_blob(entry.id())?;
        let text = String::from_utf8_lossy(blob.content());
        found.extend(enclosing(&text, &added));
    }
    Ok(found)
}

/// The test functions that the lines (from 1) lie in.
fn enclosing(text: &str, lines: &[usize]) -> BTreeSet<String> {
    let all: Vec<&str> = text.lines().collect();
    lines.iter().filter_map(|line| function_of(&all, *line)).collect()
}

/// The function `test…` that a line lies in: the nearest one above that is indented less.
fn function_of(all: &[&str], line: usize) -> Option<String> {
    let indent = |text: &str| text.len() - text.trim_start().len();
    let own = all.get(line.checked_sub(1)?)?;
    if own.trim().is_empty() {
        return None;
    }
    let mut depth = indent(own);
    if let Some(name) = defined(own) {
        return Some(name);
    }
    // A decorator belongs to what follows it.
    if own.trim_start().starts_with('@') {
        return all
            .get(line..)?
            .iter()
            .find(|text| !text.trim_start().starts_with('@'))
            .and_then(|text| defined(text));
    }
    for text in all.get(..line - 1)?.iter().rev() {
        if text.trim().is_empty() || indent(text) >= depth {
            continue;
        }
        depth = indent(text);
        if let Some(name) = defined(text) {
            return Some(name);
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

fn defined(text: &str) -> Option<String> {
    let rest = text.trim_start().strip_prefix("def ")?.trim_start();
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with("test").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_tests() {
        let files = [
            "tests/test_a.py",
            "-c.py",
            "tests/$(id).py",
            "../x.py",
            "/etc/x.py",
            "a b.py",
            "test/cpp/api/modules.cpp",
            "test/cpp/api/support.h",
            "tests/data.bin",
        ];
        let chosen = choose(&files.map(str::to_owned));
        assert_eq!(chosen.python, ["tests/test_a.py"]);
        assert_eq!(chosen.compiled, ["test/cpp/api/modules.cpp"]);
        assert!(chosen.none().contains("tests in C++ are not run (test/cpp/api/modules.cpp)"));
        assert_eq!(Chosen::default().none(), "its fix brought no test in Python");
    }

    const FILE: &str = "\
import unittest

class TestNN(Base):
    def helper(self):
        return 1

    @slow
    @skip
    def test_pad(self):
        for mode in 'a', 'b':
            x = 1

            self.assertTrue(x)

    def test_other(self):
        def inner():
            pass
        inner()
";

    #[test]
    fn a_line_belongs_to_the_test_around_it() {
        let of = |lines: &[usize]| enclosing(FILE, lines).into_iter().collect::<Vec<_>>();
        assert_eq!(of(&[11, 13]), ["test_pad"]);
        assert_eq!(of(&[9]), ["test_pad"]);
        assert_eq!(of(&[7]), ["test_pad"]);
        assert_eq!(of(&[17]), ["test_other"]);
        assert_eq!(of(&[10, 18]), ["test_other", "test_pad"]);
        assert!(of(&[1, 3, 5, 12, 999, 0]).is_empty());
    }

    #[test]
    fn changed_lines_are_found_in_history() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init(folder.path()).unwrap();
        let commit = |text: &str| {
            let mut tree = repository.treebuilder(None).unwrap();
            tree.insert("t.py", repository.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
            let tree = repository.find_tree(tree.write().unwrap()).unwrap();
            let who = git2::Signature::now("a", "a@b").unwrap();
            let id = repository.commit(None, &who, &who, "m", &tree, &[]).unwrap();
            CommitId::new(id.to_string()).unwrap()
        };
        let buggy = commit(FILE);
        let fix = commit(&FILE.replace("x = 1", "x = 2"));
        let files = ["t.py".to_owned(), "other.cpp".to_owned()];
        assert_eq!(names(folder.path(), &buggy, &fix, &files), ["test_pad"]);
        assert!(names(Path::new("/no/such"), &buggy, &fix, &files).is_empty());
    }
}
