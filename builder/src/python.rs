//! Which versions of Python a commit asks for, and whether one meets that.

use std::path::Path;

use regex::Regex;
use study::CommitId;

/// What a commit's setup.py says of Python, if it says it in one string.
pub(crate) fn python_requires(clone: &Path, commit: &CommitId) -> Option<String> {
    let repository = git2::Repository::open(clone).ok()?;
    let oid = git2::Oid::from_str(commit.as_str()).ok()?;
    let tree = repository.find_commit(oid).ok()?.tree().ok()?;
    let blob = repository.find_blob(tree.get_name("setup.py")?.id()).ok()?;
    requirement_in(std::str::from_utf8(blob.content()).ok()?)
}

fn requirement_in(setup: &str) -> Option<String> {
    let pattern = Regex::new(r#"(?m)^[^#\n]*\bpython_requires\s*=\s*['"]([^'"]+)['"]"#).ok()?;
    Some(pattern.captures(setup)?.get(1)?.as_str().trim().to_owned())
}

/// Whether a Python version meets a requirement in the form of `python_requires` (PEP 440's
/// comparisons, joined by commas). What cannot be read is taken to be met.
pub(crate) fn python_fits(requirement: &str, python: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.trim().split('.').map_while(|part| part.parse().ok()).collect()
    };
    let have = numbers(python);
    requirement.split(',').all(|clause| {
        let clause = clause.trim();
        let digits = clause.find(|c: char| c.is_ascii_digit()).unwrap_or(clause.len());
        let (operator, version) = clause.split_at(digits);
        let wanted = numbers(version);
        if wanted.is_empty() {
            return true;
        }
        let prefix = have.iter().zip(&wanted).all(|(a, b)| a == b) && have.len() >= wanted.len();
        let width = have.len().max(wanted.len());
        let pad = |numbers: &[u32]| {
            let mut all = numbers.to_vec();
            all.resize(width, 0);
            all
        };
        let order = pad(&have).cmp(&pad(&wanted));
        let any = version.trim().ends_with(".*");
        match operator.trim() {
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            "==" => {
                if any {
                    prefix
                } else {
                    order.is_eq()
                }
            }
            "!=" => !(if any { prefix } else { order.is_eq() }),
            "~=" => {
                let base = wanted.get(..wanted.len().saturating_sub(1)).unwrap_or_default();
                order.is_ge() && have.starts_with(base)
            }
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_requirements_are_compared_by_number() {
        let old = ">=2.7, !=3.0.*, !=3.1.*, !=3.2.*, !=3.3.*, !=3.4.*";
        for (requirement, python, fits) in [
            (old, "3.6.7", true),
            (old, "3.4.9", false),
            (">=3.6.1", "3.6.0", false),
            (">=3.6.1", "3.10.0", true),
            (">=3.6.2,<3.10", "3.10.0", false),
            (">=3.6.2,<3.10", "3.9.2", true),
            ("~=3.6", "3.9.2", true),
            ("~=3.6", "4.0.0", false),
            ("==3.7.*", "3.7.9", true),
            ("whatever", "3.7.9", true),
        ] {
            assert_eq!(python_fits(requirement, python), fits, "{requirement} {python}");
        }
        let setup = "# python_requires='>=9'\nsetup(\n    python_requires=\">=3.6.1\",\n)";
        assert_eq!(requirement_in(setup).as_deref(), Some(">=3.6.1"));
        assert_eq!(requirement_in("setup(name='x')"), None);
    }
}
