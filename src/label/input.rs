//! What a rater says: single keys on a terminal, a line each from anything else.

use std::io::{BufRead, IsTerminal};

use console::{Key, Term};
use miner::labels::Answer;

/// One thing a rater says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer.
    Answer(Answer),
    /// The answer stands as it is.
    Keep,
    /// To the question before.
    Back,
    /// To the next bug.
    Skip,
    /// Show what the fix changed.
    Diff,
    /// A note, if it came with the word.
    Note(Option<String>),
    /// Explain the keys.
    Help,
    /// Enough.
    Quit,
    /// Nothing that is understood.
    Odd(String),
}

/// Where it comes from.
pub enum Input {
    /// A person's keys.
    Terminal(Term),
    /// Lines of a pipe or file.
    Lines(Box<dyn BufRead + Send>),
}

impl Input {
    /// Standard input as it is.
    pub fn new() -> Self {
        match std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            true => Self::Terminal(Term::stderr()),
            false => Self::Lines(Box::new(std::io::BufReader::new(std::io::stdin()))),
        }
    }

    /// The next thing said. The end of input is [`Said::Quit`].
    ///
    /// # Errors
    /// If input cannot be read; Ctrl-C is an error of the kind `Interrupted`.
    pub fn next(&mut self) -> std::io::Result<Said> {
        match self {
            Self::Terminal(term) => Ok(match term.read_key_raw()? {
                Key::CtrlC => return Err(std::io::ErrorKind::Interrupted.into()),
                // Ctrl-D, the end of input.
                Key::Char('\u{4}') => Said::Quit,
                Key::Char(key) => understand(&key.to_string()),
                Key::Enter => Said::Keep,
                Key::Backspace | Key::ArrowLeft => Said::Back,
                _ => Said::Odd(String::new()),
            }),
            Self::Lines(lines) => {
                Ok(line(lines)?.map_or(Said::Quit, |text| understand(text.trim())))
            }
        }
    }

    /// The next whole line; `None` at the end of input.
    ///
    /// # Errors
    /// If input cannot be read.
    pub fn line(&mut self) -> std::io::Result<Option<String>> {
        match self {
            Self::Terminal(term) => Ok(Some(term.read_line()?.trim().to_owned())),
            Self::Lines(lines) => Ok(line(lines)?.map(|text| text.trim().to_owned())),
        }
    }

    /// Whether people type here, so that what they typed must be repeated to them.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

fn line(lines: &mut dyn BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match lines.read_until(b'\n', &mut bytes)? {
        0 => Ok(None),
        _ => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

fn understand(text: &str) -> Said {
    let lower = text.to_lowercase();
    match lower.as_str() {
        "" => Said::Keep,
        "y" | "yes" => Said::Answer(Answer::Yes),
        "n" | "no" => Said::Answer(Answer::No),
        "?" | "u" | "unsure" => Said::Answer(Answer::Unsure),
        "b" | "back" => Said::Back,
        "s" | "skip" => Said::Skip,
        "d" | "diff" => Said::Diff,
        "w" | "note" => Said::Note(None),
        "h" | "help" => Said::Help,
        "q" | "quit" => Said::Quit,
        _ => match text.split_once(char::is_whitespace) {
            Some(("w" | "W" | "note", note)) => Said::Note(Some(note.trim().to_owned())),
            _ => Said::Odd(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_keys_say_the_same() {
        for (text, said) in [
            ("y", Said::Answer(Answer::Yes)),
            ("No", Said::Answer(Answer::No)),
            ("?", Said::Answer(Answer::Unsure)),
            ("", Said::Keep),
            ("back", Said::Back),
            ("w see #12", Said::Note(Some("see #12".into()))),
            ("yikes", Said::Odd("yikes".into())),
        ] {
            assert_eq!(understand(text), said, "{text}");
        }
    }

    #[test]
    fn lines_end_and_need_no_utf8() {
        let mut input = Input::Lines(Box::new(std::io::Cursor::new(b"y\r\n\xff\nn".to_vec())));
        assert_eq!(input.next().ok(), Some(Said::Answer(Answer::Yes)));
        assert_eq!(input.next().ok(), Some(Said::Odd("\u{fffd}".into())));
        assert_eq!(input.next().ok(), Some(Said::Answer(Answer::No)));
        assert_eq!(input.next().ok(), Some(Said::Quit));
        assert_eq!(input.line().ok(), Some(None));
    }
}
