//! What a commit message says: its pull request, what it takes back, what it lands again.

use super::marks::{Marks, bracketed_at_end};

/// What a commit says it takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The start of the reverted commit's `fbshipit-source-id`, twelve hexadecimal digits.
    Source(u64),
    /// The start of the reverted commit's own name: the first bytes, and how many digits count.
    Commit([u8; 20], u8),
    /// Its `Differential Revision`.
    Revision(u32),
    /// Its subject, normalised and hashed.
    Title(u64),
}

/// What one commit message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its own pull request; 0 for none.
    pub pr: u32,
    /// The normalised subject, hashed.
    pub title: u64,
    /// The start of its `fbshipit-source-id`; 0 for none.
    pub source: u64,
    /// Its `Differential Revision`; 0 for none.
    pub revision: u32,
    /// It takes another commit back.
    pub is_revert: bool,
    /// What it takes back, the surest kind only.
    pub reverts: Vec<Target>,
    /// It says that it lands something again.
    pub is_reland: bool,
    /// The pull requests that a re-landing names.
    pub mentions: Vec<u32>,
}

/// Reads a commit message, whatever bytes it is made of.
pub fn read(message: &[u8], marks: &Marks) -> Facts {
    let subject = memchr::memchr(b'\n', message).and_then(|end| message.get(..end));
    let subject = subject.unwrap_or(message).trim_ascii();
    let mut facts = Facts { title: title_hash(subject), ..Facts::default() };
    let words = String::from_utf8_lossy(subject);
    let lower = words.to_lowercase();
    let head = skip_tags(&lower);
    facts.is_reland = is_reland(&lower);
    let named_revert = is_revert_subject(head);
    let (mut sources, mut commits) = (Vec::new(), Vec::new());
    let mut seen = marks.begin();
    marks.subject(subject, &mut seen);
    let ends = memchr::memchr_iter(b'\n', message).chain(Some(message.len()));
    let mut begin = 0;
    for end in ends {
        let line = message.get(begin..end).unwrap_or_default();
        begin = end + 1;
        // A summary of one line carries its label before it.
        let line = line.trim_ascii();
        let line = after(line, b"Summary:").unwrap_or(line);
        let Some(first) = line.first() else { continue };
        if marks.may_begin(*first) {
            marks.line(line, &mut seen);
        }
        match first {
            b'f' => {
                if let Some(id) = after(line, b"fbshipit-source-id:") {
                    facts.source = hex_start(id);
                }
            }
            b'D' => {
                if let Some(revision) = after(line, b"Differential Revision:") {
                    facts.revision = revision_number(revision);
                }
            }
            b'O' => {
                if let Some(id) = after(line, b"Original commit changeset:") {
                    sources.extend(Some(hex_start(id)).filter(|id| *id != 0).map(Target::Source));
                }
            }
            b'T' | b't' => {
                if let Some(id) = after(line, b"This reverts commit") {
                    commits.extend(commit_start(id));
                }
            }
            _ => {}
        }
    }
    facts.pr = seen.own();
    let in_body = !(sources.is_empty() && commits.is_empty());
    facts.is_revert = named_revert || (in_body && !facts.is_reland);
    if facts.is_revert {
        facts.reverts = match (sources.is_empty(), commits.is_empty()) {
            (false, _) => sources,
            (true, false) => commits,
            (true, true) => named_target(skip_tags(&words)).into_iter().collect(),
        };
    }
    if facts.is_reland {
        facts.mentions = mentions(message, facts.pr);
    }
    facts
}

/// The rest of `line` behind `label`.
fn after<'a>(line: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(label).map(<[u8]>::trim_ascii)
}

/// The number of the first twelve hexadecimal digits, 0 if there are not as many.
fn hex_start(text: &[u8]) -> u64 {
    let digits = text.get(..12).and_then(|t| std::str::from_utf8(t).ok());
    digits.and_then(|d| u64::from_str_radix(d, 16).ok()).unwrap_or(0)
}

fn commit_start(text: &[u8]) -> Option<Target> {
    let digits = text.iter().take(40).take_while(|b| b.is_ascii_hexdigit()).count();
    if digits < 7 {
        return None;
    }
    let mut name = [0u8; 20];
    for (place, digit) in text.iter().take(digits).enumerate() {
        let value = char::from(*digit).to_digit(16)? as u8;
        let byte = name.get_mut(place / 2)?;
        *byte |= if place % 2 == 0 { value << 4 } else { value };
    }
    Some(Target::Commit(name, digits as u8))
}

fn revision_number(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    // Also written as a link: `[D123](https://…/D123)`.
    let digits = text.trim_start_matches('[').strip_prefix('D').unwrap_or("");
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// The subject behind its leading `[tags]`.
fn skip_tags(subject: &str) -> &str {
    let mut rest = subject.trim_start();
    while let Some((_, tail)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        rest = tail.trim_start();
    }
    rest
}

fn is_revert_subject(head: &str) -> bool {
    let named = |rest: &str| {
        let rest = rest.trim_start();
        rest.starts_with(['"', '\'', '“', '#', ':'])
            || rest.strip_prefix('d').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
            || rest.starts_with("commit ")
    };
    let backs = ["back out", "backout", "back-out", "unland "];
    head.strip_prefix("revert").is_some_and(named)
        || backs.iter().any(|word| head.starts_with(word))
        || head.strip_prefix("reverts").is_some_and(named)
        || head.strip_prefix("reverting").is_some_and(named)
}

fn is_reland(lower: &str) -> bool {
    let words = ["reland", "re-land", "resubmit", "re-submit", "reapply", "re-apply", "redo"];
    let takes = ["(take 2", "take two", "second try", "take 3", "second attempt"];
    words.iter().chain(&takes).any(|word| lower.contains(word))
}

/// What a revert's subject names: `Revert D12: …` or `Revert "…"`.
fn named_target(head: &str) -> Option<Target> {
    let rest = head.split_once(' ').map(|(_, rest)| rest.trim_start())?;
    if let Some(digits) = rest.strip_prefix('D') {
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if let Some(number) = digits.get(..end).and_then(|d| d.parse().ok()) {
            return Some(Target::Revision(number));
        }
    }
    let from = head.find(['"', '“'])?;
    let quoted = head.get(from..)?.trim_start_matches(['"', '“']);
    // The last quote ends it: titles quote too.
    let quoted = quoted.rfind(['"', '”']).and_then(|end| quoted.get(..end)).unwrap_or(quoted);
    Some(Target::Title(title_hash(quoted.as_bytes())))
}

/// Hashes a subject without what varies between a landing and its echo: tags, numbers at the end,
/// words of re-landing, case and marks.
pub fn title_hash(subject: &[u8]) -> u64 {
    let mut rest = subject.trim_ascii();
    while let Some((_, shorter)) = bracketed_at_end(rest) {
        rest = shorter;
    }
    let text = String::from_utf8_lossy(rest).to_lowercase();
    let mut head = skip_tags(&text);
    for word in ["reland", "re-land", "resubmit", "re-submit", "reapply", "re-apply"] {
        if let Some(tail) = head.strip_prefix(word) {
            head = skip_tags(tail.trim_start_matches([':', ' ']));
        }
    }
    // FNV-1a, 64 bits: stable over versions of this program, unlike the standard library's.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut length = 0;
    for byte in head.bytes().filter(|b| b.is_ascii_alphanumeric() || !b.is_ascii()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        length += 1;
    }
    // A title of a few letters (`fix`) names nothing.
    if length < 8 { 0 } else { hash }
}

/// Pull requests that a message names anywhere, `#12` or `…/pull/12`, but its own.
fn mentions(message: &[u8], own: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for (at, byte) in message.iter().enumerate() {
        let from = match byte {
            b'#' => at + 1,
            b'p' if message.get(at..at + 5) == Some(b"pull/") => at + 5,
            _ => continue,
        };
        let digits = message.iter().skip(from).take(9).take_while(|b| b.is_ascii_digit());
        let number = digits.fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
        if number != 0 && number != own && !found.contains(&number) && found.len() < 64 {
            found.push(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(message: &str) -> Facts {
        let marks =
            ["Pull Request resolved: https://github.com/{repository}/pull/{number}", "(#{number})"];
        read(message.as_bytes(), &Marks::new("o/r", &marks.map(String::from)))
    }

    #[test]
    fn reverts_name_their_target_by_the_surest_sign() {
        let plain = facts("Revert D12: [x][PR] Old thing\n\nDifferential Revision:\nD12");
        assert_eq!(plain.reverts, [Target::Revision(12)]);
        let source = facts("Back out \"Old\" (#7)\n\nOriginal commit changeset: 0123456789abcd\n");
        assert_eq!(source.reverts, [Target::Source(0x0123_4567_89ab)]);
        assert_eq!(source.pr, 7);
        let title = facts("Revert \"Fix the \"quoted\" thing (#5)\" (#6)");
        assert_eq!(title.reverts, [Target::Title(title_hash(b"Fix the \"quoted\" thing"))]);
        let commit = facts("Revert \"x\"\n\nThis reverts commit ABCDEF0123.");
        assert!(matches!(commit.reverts.as_slice(), [Target::Commit(name, 10)] if name[0] == 0xab));
        assert!(!facts("Revert the sign of the gradient (#8)").is_revert, "a fix, not a revert");
    }

    #[test]
    fn a_reland_is_no_revert_and_names_what_it_lands() {
        let reland = facts("[reland] Old thing (#9)\n\nThis reverts commit abcdef012345.\nSee #5");
        assert!(reland.is_reland && !reland.is_revert);
        assert_eq!(reland.mentions, [5]);
        assert_eq!(reland.title, facts("Old thing (#4)").title);
    }

    proptest::proptest! {
        #[test]
        fn no_message_breaks_it(message in proptest::collection::vec(0u8..=255, 0..300)) {
            let marks = Marks::new("o/r", &["(#{number})".into(), "x {repository} {number}".into()]);
            let _ = read(&message, &marks);
        }
    }
}
