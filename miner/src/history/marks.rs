//! How commit messages mark the pull request they land, as `study.toml` says it.
//!
//! A mark made of signs alone, like `(#{number})`, stands at the end of the subject; any other
//! begins a line. Marks are given the most trusted first.

/// The compiled marks of one framework.
#[derive(Debug, Clone)]
pub struct Marks {
    repository: String,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone)]
enum Mark {
    /// Ends the subject.
    Subject { before: Vec<u8>, behind: Vec<u8> },
    /// Begins a line; with `middle`, a repository stands between `before` and it.
    Line { before: Vec<u8>, middle: Option<Vec<u8>>, behind: Vec<u8> },
}

/// What the marks of one message have said so far.
#[derive(Debug, Clone)]
pub struct Seen {
    suffix: Option<u32>,
    /// Numbers by mark.
    numbers: Vec<Vec<u32>>,
    /// The place of the most trusted mark that named another repository.
    foreign: Option<usize>,
}

impl Marks {
    /// Compiles `patterns`, in which `{repository}` and `{number}` stand for themselves; one
    /// without `{number}` marks nothing.
    pub fn new(repository: &str, patterns: &[String]) -> Self {
        let marks = patterns.iter().filter_map(|pattern| {
            let (before, behind) = pattern.split_once("{number}")?;
            if !before.contains(|c: char| c.is_alphabetic()) {
                return Some(Mark::Subject { before: before.into(), behind: behind.into() });
            }
            let (before, middle) = match before.split_once("{repository}") {
                Some((before, middle)) => (before, Some(middle.as_bytes().to_vec())),
                None => (before, None),
            };
            Some(Mark::Line { before: before.into(), middle, behind: behind.into() })
        });
        Self { repository: repository.to_owned(), marks: marks.collect() }
    }

    /// What must be the same for an index made with other marks to be of use.
    pub fn identity(&self) -> String {
        format!("{self:?}")
    }

    /// Begins a message.
    pub(super) fn begin(&self) -> Seen {
        Seen { suffix: None, numbers: vec![Vec::new(); self.marks.len()], foreign: None }
    }

    /// Takes in the subject.
    pub(super) fn subject(&self, subject: &[u8], seen: &mut Seen) {
        for (mark, numbers) in self.marks.iter().zip(&mut seen.numbers) {
            let Mark::Subject { before, behind } = mark else { continue };
            let found = subject.strip_suffix(behind.as_slice()).and_then(|rest| {
                let start = rest.iter().rposition(|b| !b.is_ascii_digit())? + 1;
                let number = number(rest.get(start..)?)?;
                rest.get(..start)?.ends_with(before).then_some(number)
            });
            seen.suffix = seen.suffix.or(found);
            numbers.extend(found);
        }
    }

    /// Whether a mark begins with this byte: most lines need no closer look.
    pub(super) fn may_begin(&self, first: u8) -> bool {
        self.marks.iter().any(|mark| match mark {
            Mark::Subject { .. } => false,
            Mark::Line { before, .. } => before.first().is_none_or(|byte| *byte == first),
        })
    }

    /// Takes in a line, without blanks around it.
    pub(super) fn line(&self, line: &[u8], seen: &mut Seen) {
        for (place, mark) in self.marks.iter().enumerate() {
            let Mark::Line { before, middle, behind } = mark else { continue };
            let Some(mut rest) = line.strip_prefix(before.as_slice()) else { continue };
            let mut ours = true;
            if let Some(middle) = middle {
                let Some(end) = repository_end(rest, middle) else { continue };
                ours = rest
                    .get(..end)
                    .is_some_and(|name| name.eq_ignore_ascii_case(self.repository.as_bytes()));
                rest = rest.get(end + middle.len()..).unwrap_or_default();
            }
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let (digits, tail) = rest.split_at(digits);
            let (Some(number), true) = (number(digits), tail.starts_with(behind)) else { continue };
            if !ours {
                seen.foreign = Some(seen.foreign.map_or(place, |before| before.min(place)));
            } else if let Some(numbers) = seen.numbers.get_mut(place) {
                numbers.push(number);
            }
        }
    }
}

impl Seen {
    /// The message's own pull request, 0 if it has none: of several marked by lines the one that
    /// the subject names, else the first. A number of the subject is not ours where a more trusted
    /// line says that the pull request is another repository's.
    pub(super) fn own(&self) -> u32 {
        for (place, numbers) in self.numbers.iter().enumerate() {
            if let Some(first) = numbers.first() {
                return self.suffix.filter(|n| numbers.contains(n)).unwrap_or(*first);
            }
            if self.foreign == Some(place) {
                return 0;
            }
        }
        0
    }
}

/// Where the repository before `middle` ends: `owner/name` without blanks.
fn repository_end(rest: &[u8], middle: &[u8]) -> Option<usize> {
    let slash = rest.iter().position(|b| *b == b'/')?;
    let name = rest.get(slash + 1..)?;
    let end = name
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))?;
    let end = slash + 1 + end;
    rest.get(end..)?.starts_with(middle).then_some(end)
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let number = digits.iter().fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    (number > 0).then_some(number)
}

/// A `(#12)` at the end of a subject, and what stands before it.
pub(super) fn bracketed_at_end(subject: &[u8]) -> Option<(u32, &[u8])> {
    let rest = subject.trim_ascii_end().strip_suffix(b")")?;
    let start = rest.iter().rposition(|b| !b.is_ascii_digit())? + 1;
    let found = number(rest.get(start..)?)?;
    let before = rest.get(..start)?.strip_suffix(b"(#")?;
    Some((found, before.trim_ascii_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(message: &str) -> u32 {
        let marks = [
            "Pull Request resolved: https://github.com/{repository}/pull/{number}",
            "(#{number})",
            "Merge pull request #{number} from",
        ];
        let marks = Marks::new("Own/Repo", &marks.map(String::from));
        super::super::message::read(message.as_bytes(), &marks).pr
    }

    #[test]
    fn the_body_is_trusted_before_the_subject() {
        let line = "Pull Request resolved: https://github.com/own/repo/pull";
        assert_eq!(own("Fix (#12)"), 12);
        assert_eq!(own(&format!("Fix\n\nSummary:\n  {line}/13\r\n")), 13);
        assert_eq!(own(&format!("Fix (#12)\n\n{line}/13")), 13);
        assert_eq!(own(&format!("Fix\n\nSummary: {line}/13, as before")), 13);
        assert_eq!(own(&format!("Fix (#12)\n\n{line}/13\n{line}/12")), 12);
        assert_eq!(own(&format!("Fix\n\n{line}/13\n{line}/12")), 13);
        assert_eq!(own("Merge pull request #14 from someone/branch"), 14);
    }

    #[test]
    fn what_is_only_mentioned_is_not_landed() {
        let other = "Pull Request resolved: https://github.com/own/other/pull/15";
        assert_eq!(own(&format!("Update (#15)\n\n{other}")), 0, "another repository's number");
        assert_eq!(own("Fix (#12) again"), 0);
        assert_eq!(own("Fix\n\nFixes #12, see https://github.com/own/repo/pull/12"), 0);
        assert_eq!(own("Fix (#0)"), 0);
        assert_eq!(own("Fix (#)"), 0);
        assert_eq!(own(""), 0);
    }
}
