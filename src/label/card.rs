//! A bug as a rater sees it, on standard error.

use std::io::IsTerminal;

use miner::labels::hints::{self, Hint};
use miner::labels::{Answer, Criterion, Label};
use miner::patch::Kind;
use study::Bug;

/// Files and lines of a change that are shown before the rest is only counted.
const FILES: usize = 20;
const LINES: usize = 500;

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set to something.
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: std::io::stderr().is_terminal() && !refused }
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// What stands out.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What stays behind.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// Notes and code come from anyone: nothing of them may steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Shows a bug; `place` says which of how many.
pub fn bug(paint: Paint, bug: &Bug, place: &str) {
    let section = bug.section.join(" > ");
    eprintln!();
    eprintln!("{}", paint.bold(&format!("{}   {}   {place}", bug.id, clean(&bug.release))));
    eprintln!("{}", paint.dim(&clean(&section)));
    eprintln!("{}", clean(&bug.text));
    eprintln!("{}", clean(&bug.url));
    if bug.fix.is_none() {
        eprintln!("{}", paint.dim(&format!("its fix was not found ({})", bug.resolution)));
    }
    if !bug.files.is_empty() {
        let (added, removed) = (bug.lines_added, bug.lines_removed);
        eprintln!("{} files, +{added} -{removed}:", bug.files.len());
    }
    for file in bug.files.iter().take(FILES) {
        let (path, added, removed) = (clean(&file.path), file.added, file.removed);
        eprintln!("  {:<12} {path}  +{added} -{removed}", file.kind);
    }
    if let Some(more) = bug.files.len().checked_sub(FILES).filter(|more| *more > 0) {
        eprintln!("  and {more} more");
    }
    for Hint { criterion, answer, why } in hints::hints(bug) {
        let hint = format!("hint: {} {}, {}", criterion.as_str(), answer.as_str(), clean(&why));
        eprintln!("{}", paint.dim(&hint));
    }
}

/// Shows what others say of the questions at hand.
pub fn others(paint: Paint, labels: &[Label], asked: &[Criterion]) {
    for label in labels {
        let answers: Vec<String> = asked
            .iter()
            .filter_map(|c| Some(format!("{} {}", c.as_str(), label.answer(*c)?.as_str())))
            .collect();
        let note = match label.note.is_empty() {
            true => String::new(),
            false => format!("   ({})", clean(&label.note)),
        };
        eprintln!(
            "{}{note}",
            paint.bold(&format!("{}: {}", clean(&label.rater), answers.join(", ")))
        );
    }
}

/// Shows a question with its place, the answer it has, and a hint.
pub fn question(
    paint: Paint,
    bug: &Bug,
    criterion: Criterion,
    place: &str,
    current: Option<Answer>,
) {
    let hint = hints::hints(bug).into_iter().find(|hint| hint.criterion == criterion);
    let hint = hint.map_or(String::new(), |hint| format!(" (hint: {})", hint.answer.as_str()));
    let now = current.map_or(String::new(), |now| format!(" [{}]", now.as_str()));
    let keys = paint.dim("y n ? b s d w h q");
    eprint!("{place} {}{}{now}  {keys} > ", criterion.question(), paint.dim(&hint));
}

/// Shows the lines of a change.
pub fn patch(paint: Paint, lines: &[(Kind, String)]) {
    for (kind, text) in lines.iter().take(LINES) {
        let text = clean(text);
        let text = match kind {
            Kind::File => paint.bold(&text),
            Kind::Place => paint.with("36", &text),
            Kind::Added => paint.with("32", &text),
            Kind::Removed => paint.with("31", &text),
            Kind::Context => text,
        };
        eprintln!("{text}");
    }
    if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
        eprintln!("{}", paint.dim(&format!("{more} more lines are not shown")));
    }
}
