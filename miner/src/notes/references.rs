//! Which numbers and links of a text are pull requests of *this* repository.
//!
//! A note refers to pull requests as `#123`, `owner/name#123`, by link or by bare address, and in
//! the same forms to issues and to other repositories, which are not fixes of this one.

/// What a reference was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pull request of the repository.
    PullRequest,
    /// A bare number behind `fixes` or `issue`: an issue if the entry names a pull
    /// request beside it, and the pull request itself if it names none.
    Closing,
}

/// One reference found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// The number.
    pub number: u64,
    /// What it was taken for.
    pub kind: Kind,
}

/// Where an address leads, as far as a corpus cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A pull request of the repository.
    PullRequest(u64),
    /// An issue, or anything in another repository: never a fix of this one.
    Foreign,
    /// Something else, of which the link's text may say more.
    Elsewhere,
}

/// Says where the address `url` leads, seen from `repository` (`owner/name`).
pub fn target(url: &str, repository: &str) -> Target {
    let lower = url.trim().to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let rest = rest.unwrap_or(&lower);
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let Some(path) = rest.strip_prefix("github.com/") else { return Target::Elsewhere };
    let path = path.split(['?', '#']).next().unwrap_or("");
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
        return Target::Elsewhere;
    };
    let same = repository
        .split_once('/')
        .is_some_and(|(o, n)| o.eq_ignore_ascii_case(owner) && n.eq_ignore_ascii_case(name));
    match (parts.next(), parts.next().and_then(leading_number)) {
        (Some("pull" | "pulls"), Some(number)) if same => Target::PullRequest(number),
        (Some("pull" | "pulls" | "issues"), _) => Target::Foreign,
        _ if same => Target::Elsewhere,
        _ => Target::Foreign,
    }
}

/// The references of a link: what its address says, else what its text says.
pub fn of_link(url: &str, text: &str, repository: &str) -> Vec<Reference> {
    match target(url, repository) {
        Target::PullRequest(number) => vec![Reference { number, kind: Kind::PullRequest }],
        Target::Foreign => Vec::new(),
        Target::Elsewhere => of_text(text, repository),
    }
}

/// The references in plain text, in their order, repetitions included.
pub fn of_text(text: &str, repository: &str) -> Vec<Reference> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    // The end of the last issue seen, so that `issues #1, #2 and #3` are three issues.
    let mut issue_end = None;
    while at < bytes.len() {
        if let Some(length) = address_at(text, at) {
            let url = text.get(at..at + length).unwrap_or("");
            if let Target::PullRequest(number) = target(url, repository) {
                found.push(Reference { number, kind: Kind::PullRequest });
            }
            at += length;
            continue;
        }
        if bytes[at] != b'#' {
            at += 1;
            continue;
        }
        let Some((number, length)) = number_at(bytes, at + 1) else {
            at += 1;
            continue;
        };
        let end = at + 1 + length;
        let before = text.get(..at).unwrap_or("");
        if belongs_here(before, repository) {
            let in_list = issue_end.is_some_and(|from: usize| is_enumeration(text.get(from..at)));
            let kind = if in_list { None } else { by_words(before) };
            match kind {
                Some(kind) => found.push(Reference { number, kind }),
                None => issue_end = Some(end),
            }
        }
        at = end;
    }
    found
}

/// What the words before a number make of it; `None` where they say that it is an issue.
fn by_words(before: &str) -> Option<Kind> {
    let (rest, word) = last_word(before);
    match word.as_str() {
        // `Fix shape issues #12` may name the pull request, `see issue #12` cannot.
        "issue" | "issues" => {
            let (_, word) = last_word(rest);
            let certain = ["see", "in", "of", "from", "by", "for", "github", "related", "tracking"];
            let certain = certain.contains(&word.as_str()) || is_closing(&word);
            if certain { None } else { Some(Kind::Closing) }
        }
        word if is_closing(word) => Some(Kind::Closing),
        _ => Some(Kind::PullRequest),
    }
}

fn is_closing(word: &str) -> bool {
    matches!(word, "fix" | "fixes" | "fixed" | "close" | "closes" | "closed" | "addresses")
        || matches!(word, "resolve" | "resolves" | "resolved")
}

/// Settles the references of one entry: no repetition, and closed issues only where nothing else
/// stands.
pub fn settle(references: &[Reference]) -> Vec<u64> {
    let plain = references.iter().any(|r| r.kind == Kind::PullRequest);
    let mut numbers = Vec::new();
    for reference in references {
        if (!plain || reference.kind == Kind::PullRequest) && !numbers.contains(&reference.number) {
            numbers.push(reference.number);
        }
    }
    numbers
}

/// Whether the `#` after `before` speaks of this repository: nothing or no word right before it,
/// or this repository's name.
fn belongs_here(before: &str, repository: &str) -> bool {
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')))
        .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
    let token = before.get(start..).unwrap_or("");
    if token.is_empty() || !token.ends_with(|c: char| c.is_alphanumeric()) {
        return true;
    }
    // `#12#13`, `#12/13#14`: numbers in a row.
    if token.chars().all(|c| c.is_ascii_digit() || c == '/') {
        return true;
    }
    token.trim_matches('/').eq_ignore_ascii_case(repository)
}

/// The last word of `before` in lower case, and what stands before it.
fn last_word(before: &str) -> (&str, String) {
    let before = before.trim_end_matches(|c: char| c.is_whitespace() || c == ':');
    let start = before
        .rfind(|c: char| !c.is_alphabetic())
        .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
    let (rest, word) = before.split_at(start);
    (rest, word.to_lowercase())
}

fn is_enumeration(between: Option<&str>) -> bool {
    between.is_some_and(|text| {
        text.split([' ', ',', '&', '/']).all(|word| matches!(word, "" | "and" | "or"))
    })
}

/// The length of a web address that begins at `at`, if one does.
fn address_at(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'/');
    if inside_word || !matches!(bytes[at] | 0x20, b'h' | b'w' | b'g') {
        return None;
    }
    let rest = &bytes[at..];
    let begins = ["https://", "http://", "www.", "github.com/"]
        .iter()
        .any(|p| rest.len() > p.len() && rest[..p.len()].eq_ignore_ascii_case(p.as_bytes()));
    if !begins {
        return None;
    }
    let end = rest
        .iter()
        .position(|b| {
            b.is_ascii_whitespace()
                || matches!(b, b'<' | b'>' | b'"' | b'\'' | b'(' | b')' | b'[' | b']' | b'|' | b',')
        })
        .unwrap_or(rest.len());
    Some(end)
}

/// A number of at most nine digits at `at` that ends where a word would.
fn number_at(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let digits = bytes.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    let after = bytes.get(at + digits).copied().unwrap_or(b' ');
    if digits == 0 || digits > 9 || after.is_ascii_alphabetic() || after == b'_' {
        return None;
    }
    let number = std::str::from_utf8(bytes.get(at..at + digits)?).ok()?.parse().ok()?;
    (number > 0).then_some((number, digits))
}

/// The number that a path segment begins with: `123`, `123.diff`.
fn leading_number(segment: &str) -> Option<u64> {
    let digits = segment.bytes().take_while(u8::is_ascii_digit).count();
    let number = segment.get(..digits)?.parse().ok()?;
    (number > 0 && digits <= 9).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: &str = "pytorch/pytorch";

    fn numbers(text: &str) -> Vec<u64> {
        settle(&of_text(text, REPO))
    }

    #[test]
    fn every_form_of_a_pull_request_counts() {
        for (text, expected) in [
            ("Fix it #12", vec![12]),
            ("Fix it (#12).", vec![12]),
            ("Fix it (#12, #13)", vec![12, 13]),
            ("(#12) (#13)(#14)", vec![12, 13, 14]),
            ("#12/#13", vec![12, 13]),
            ("see pytorch/pytorch#12", vec![12]),
            ("PyTorch/PyTorch#12", vec![12]),
            ("https://github.com/pytorch/pytorch/pull/12", vec![12]),
            ("http://www.github.com/pytorch/pytorch/pull/12/files#r34 x", vec![12]),
            ("(github.com/pytorch/pytorch/pull/12)", vec![12]),
            ("before (precedes #12 which adds it) (#13)", vec![12, 13]),
            ("twice #12 and #12", vec![12]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn issues_and_other_repositories_do_not() {
        for text in [
            "https://github.com/pytorch/pytorch/issues/12",
            "https://github.com/pytorch/vision/pull/12",
            "pytorch/vision#12",
            "vision#12",
            "see issue #12",
            "fixes issues #12, #13 and #14",
            "https://example.org/a#12",
            "colour #12ab34",
            "#0",
            "#",
            "# 12",
            "https://github.com/pytorch/pytorch/commit/1234567",
            "#99999999999999999999999",
        ] {
            assert_eq!(numbers(text), Vec::<u64>::new(), "{text}");
        }
    }

    #[test]
    fn a_closed_issue_yields_to_the_pull_request_beside_it() {
        assert_eq!(numbers("Fix the crash (fixes #12) (#13)"), vec![13]);
        assert_eq!(numbers("Fix the crash (fixes #12, #13)"), vec![13]);
        assert_eq!(numbers("Fixes #12"), vec![12]);
        assert_eq!(numbers("Fix the issue #12 (#13)"), vec![13]);
        assert_eq!(numbers("Fix a few more shape issues (#12)"), vec![12]);
        assert_eq!(numbers("Fix a few more shape issues #12"), vec![12]);
    }

    #[test]
    fn a_link_is_judged_by_its_address() {
        let of = |url, text| settle(&of_link(url, text, REPO));
        assert_eq!(of("https://github.com/pytorch/pytorch/pull/12", "12"), vec![12]);
        assert_eq!(of("https://github.com/pytorch/pytorch/issues/12", "#12"), Vec::<u64>::new());
        assert_eq!(of("https://github.com/pytorch/xla/pull/12", "#12"), Vec::<u64>::new());
        assert_eq!(of("#anchor", "#12"), vec![12]);
        assert_eq!(of("https://github.com/pytorch/pytorch/commit/ab", "#12"), vec![12]);
        assert_eq!(of("https://pytorch.org/docs", "docs"), Vec::<u64>::new());
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,200}") {
            let _ = numbers(&text);
        }
    }
}
