//! The text of one block of a note while it is read, and the references gathered on the way.

use super::references::{self, Reference};

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A list item: an entry even when it names no pull request.
    Item,
    /// A paragraph or table row: an entry only when it names one.
    Loose,
    /// A heading of this level.
    Heading(u8),
}

/// Stands in the scanned text where code was: no reference, and no word to glue one to.
const CODE: char = '\u{fffc}';

/// A block being read.
pub(super) struct Block {
    pub(super) shape: Shape,
    /// Its place among the blocks of the note, by where they begin.
    pub(super) order: usize,
    /// What a reader sees.
    shown: String,
    /// What is still to be searched for references.
    scanned: String,
    /// References of links, with where in `scanned` the link stood.
    linked: Vec<(usize, Vec<Reference>)>,
    link: Option<(String, String)>,
    muted: usize,
}

impl Block {
    pub(super) fn new(shape: Shape, order: usize) -> Self {
        Self {
            shape,
            order,
            shown: String::new(),
            scanned: String::new(),
            linked: Vec::new(),
            link: None,
            muted: 0,
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.shown.push_str(text);
        let searched = match &mut self.link {
            Some((_, inside)) => inside,
            None => &mut self.scanned,
        };
        if self.muted == 0 {
            searched.push_str(text);
        } else {
            searched.push(CODE);
        }
    }

    pub(super) fn code(&mut self, text: &str) {
        let tick = if text.contains('`') { "``" } else { "`" };
        self.shown.push_str(tick);
        self.shown.push_str(text);
        self.shown.push_str(tick);
        match &mut self.link {
            Some((_, inside)) => inside.push(CODE),
            None => self.scanned.push(CODE),
        }
    }

    /// From here on the text is code.
    pub(super) fn mute(&mut self) {
        self.muted += 1;
    }

    /// The code ends.
    pub(super) fn unmute(&mut self) {
        self.muted = self.muted.saturating_sub(1);
    }

    pub(super) fn begin_link(&mut self, url: &str) {
        self.link = Some((url.to_owned(), String::new()));
    }

    pub(super) fn end_link(&mut self, repository: &str) {
        if let Some((url, text)) = self.link.take() {
            let found = references::of_link(&url, &text, repository);
            self.linked.push((self.scanned.len(), found));
            self.scanned.push(CODE);
        }
    }

    /// The block's text on one line and the pull requests it names.
    pub(super) fn settle(mut self, repository: &str) -> (String, Vec<u64>) {
        self.end_link(repository);
        let mut found = Vec::new();
        let mut from = 0;
        for (at, linked) in self.linked {
            found.extend(references::of_text(self.scanned.get(from..at).unwrap_or(""), repository));
            found.extend(linked);
            from = at;
        }
        found.extend(references::of_text(self.scanned.get(from..).unwrap_or(""), repository));
        let shown = self.shown.split_whitespace().collect::<Vec<_>>().join(" ");
        (shown, references::settle(&found))
    }
}
