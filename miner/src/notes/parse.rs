//! One release's notes to the entries of its bug-fix sections.
//!
//! The notes are read as CommonMark events. Every list item, and every paragraph, heading or
//! table row that names a pull request, is one entry with the headings above it. A section is a
//! bug-fix section by its heading alone; the next heading of its level or above ends it.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::block::{Block, Shape};
use super::html::{self, Piece};

/// What to look for in a note.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `owner/name` of the repository whose pull requests count.
    pub repository: String,
    /// Names of bug-fix sections, compared by their letters alone.
    pub sections: Vec<String>,
    /// Without such a section every entry counts (a patch release).
    pub whole_note: bool,
}

/// One entry of a bug-fix section.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The headings above it, outermost first, from that of the bug-fix section on.
    pub section: Vec<String>,
    /// Its own text on one line, code in backticks, without that of entries nested in it.
    pub text: String,
    /// The pull requests it names, in its order; empty for the parent of a nested list.
    pub prs: Vec<u64>,
}

/// Where a note's entries came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Its bug-fix sections.
    Sections,
    /// The whole note, being that of a patch release.
    WholeNote,
    /// There is no bug-fix section, so nothing was taken.
    Nothing,
}

/// A note taken apart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Parsed {
    /// The entries, in the order they begin.
    pub entries: Vec<Entry>,
    /// Where they came from.
    pub origin: Origin,
}

/// Parses the notes of one release. Nothing in them is an error.
pub fn parse(body: &str, rules: &Rules) -> Parsed {
    let mut reader = Reader::new(rules);
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    for event in Parser::new_ext(body, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        reader.event(event);
    }
    reader.finish()
}

/// Whether `title` is one of the `names`, whatever its case, blanks, marks and pictures.
fn names_section(title: &str, names: &[String]) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
    };
    let title = letters(title);
    !title.is_empty() && names.iter().any(|name| letters(name) == title)
}

/// An entry before it is known whether the note has bug-fix sections.
struct Candidate {
    order: usize,
    inside: bool,
    entry: Entry,
}

struct Reader<'a> {
    rules: &'a Rules,
    /// Open headings with their levels, outermost first.
    headings: Vec<(u8, String)>,
    /// Level of the bug-fix heading we are under.
    inside: Option<u8>,
    seen_section: bool,
    open: Vec<Block>,
    begun: usize,
    quotes: usize,
    code_block: bool,
    html: Option<String>,
    candidates: Vec<Candidate>,
}

impl<'a> Reader<'a> {
    fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            headings: Vec::new(),
            inside: None,
            seen_section: false,
            open: Vec::new(),
            begun: 0,
            quotes: 0,
            code_block: false,
            html: None,
            candidates: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Html(text) => match &mut self.html {
                Some(html) => html.push_str(&text),
                None => self.inline_html(&text),
            },
            Event::InlineHtml(text) => self.inline_html(&text),
            Event::Text(text) if !self.code_block => self.with_block(|b| b.text(&text)),
            Event::Code(text) => self.with_block(|b| b.code(&text)),
            Event::SoftBreak | Event::HardBreak => self.with_block(|b| b.text(" ")),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Item => self.begin(Shape::Item),
            Tag::TableRow | Tag::TableHead => self.begin(Shape::Loose),
            Tag::Paragraph | Tag::TableCell => match self.open.is_empty() {
                true => self.begin(Shape::Loose),
                false => self.with_block(|b| b.text(" ")),
            },
            Tag::Heading { level, .. } => match self.open.is_empty() && self.quotes == 0 {
                true => self.begin(Shape::Heading(*level as u8)),
                false => self.begin(Shape::Loose),
            },
            Tag::BlockQuote(_) => self.quotes += 1,
            Tag::CodeBlock(_) => self.code_block = true,
            Tag::HtmlBlock => self.html = Some(String::new()),
            Tag::Link { dest_url, .. } => self.with_block(|b| b.begin_link(dest_url)),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Item | TagEnd::TableRow | TagEnd::TableHead | TagEnd::Heading(_) => {
                self.close();
            }
            TagEnd::Paragraph
                if self.open.len() == 1
                    && self.open.last().is_some_and(|b| b.shape == Shape::Loose) =>
            {
                self.close();
            }
            TagEnd::BlockQuote(_) => self.quotes = self.quotes.saturating_sub(1),
            TagEnd::CodeBlock => self.code_block = false,
            TagEnd::HtmlBlock => {
                if let Some(html) = self.html.take() {
                    self.html_block(&html);
                }
            }
            TagEnd::Link => {
                let repository = self.rules.repository.as_str();
                if let Some(block) = self.open.last_mut() {
                    block.end_link(repository);
                }
            }
            _ => {}
        }
    }

    fn with_block(&mut self, act: impl FnOnce(&mut Block)) {
        if let Some(block) = self.open.last_mut() {
            act(block);
        }
    }

    fn begin(&mut self, shape: Shape) {
        self.open.push(Block::new(shape, self.begun));
        self.begun += 1;
    }

    fn close(&mut self) {
        let Some(block) = self.open.pop() else { return };
        let (shape, order) = (block.shape, block.order);
        let (text, prs) = block.settle(&self.rules.repository);
        if let Shape::Heading(level) = shape {
            self.heading(level, &text);
        }
        if prs.is_empty() && (shape != Shape::Item || text.is_empty()) {
            return;
        }
        // The title above a bug-fix section says nothing of its entries.
        let from = self.inside.unwrap_or(0);
        let path = self.headings.iter().filter(|(level, _)| *level >= from);
        let section = path.map(|(_, title)| title.clone()).collect();
        let entry = Entry { section, text, prs };
        self.candidates.push(Candidate { order, inside: self.inside.is_some(), entry });
    }

    fn heading(&mut self, level: u8, title: &str) {
        while self.headings.last().is_some_and(|(open, _)| *open >= level) {
            self.headings.pop();
        }
        if self.inside.is_some_and(|section| level <= section) {
            self.inside = None;
        }
        if self.inside.is_none() && names_section(title, &self.rules.sections) {
            self.inside = Some(level);
            self.seen_section = true;
        }
        self.headings.push((level, title.to_owned()));
    }

    /// One tag within a line of Markdown.
    fn inline_html(&mut self, text: &str) {
        let repository = self.rules.repository.as_str();
        let Some(block) = self.open.last_mut() else { return };
        for piece in html::pieces(text) {
            match piece {
                Piece::Open(name, Some(href)) if name == "a" => block.begin_link(&href),
                Piece::Close(name) if name == "a" => block.end_link(repository),
                Piece::Open(name, _) if matches!(name.as_str(), "code" | "pre") => block.mute(),
                Piece::Close(name) if matches!(name.as_str(), "code" | "pre") => block.unmute(),
                Piece::Open(name, _) if matches!(name.as_str(), "br" | "p") => block.text(" "),
                Piece::Text(text) => block.text(&text),
                Piece::Open(..) | Piece::Close(_) => {}
            }
        }
    }

    /// A block of HTML, in which Markdown is not read: list items, paragraphs, rows and headings
    /// are entries and headings by their tags, and lines that look like list items by their mark.
    fn html_block(&mut self, html: &str) {
        let outer = self.open.len();
        for piece in html::pieces(html) {
            match piece {
                Piece::Open(name, href) => match (name.as_str(), href) {
                    ("a", Some(href)) => {
                        self.begin_loose(outer);
                        self.with_block(|b| b.begin_link(&href));
                    }
                    ("code" | "pre", _) => {
                        self.begin_loose(outer);
                        self.with_block(Block::mute);
                    }
                    ("li", _) => {
                        self.close_down_to(outer);
                        self.begin(Shape::Item);
                    }
                    ("p" | "tr" | "div" | "ul" | "ol" | "table" | "summary" | "details", _) => {
                        self.close_down_to(outer);
                    }
                    ("br" | "td" | "th", _) => self.with_block(|b| b.text(" ")),
                    (other, _) => {
                        if let Some(level) = heading_level(other)
                            && outer == 0
                        {
                            self.close_down_to(outer);
                            self.begin(Shape::Heading(level));
                        }
                    }
                },
                Piece::Close(name) => match name.as_str() {
                    "a" => {
                        let repository = self.rules.repository.as_str();
                        if let Some(block) = self.open.last_mut() {
                            block.end_link(repository);
                        }
                    }
                    "code" | "pre" => self.with_block(Block::unmute),
                    "li" | "p" | "tr" | "div" | "ul" | "ol" | "table" | "summary" | "details" => {
                        self.close_down_to(outer);
                    }
                    other if heading_level(other).is_some() => self.close_down_to(outer),
                    _ => {}
                },
                Piece::Text(text) => self.html_text(&text, outer),
            }
        }
        self.close_down_to(outer);
    }

    fn html_text(&mut self, text: &str, outer: usize) {
        for (index, line) in text.split('\n').enumerate() {
            let bare = line.trim_start();
            let item = ["- ", "* ", "+ "].iter().find_map(|mark| bare.strip_prefix(mark));
            if let (Some(rest), true) = (item, index > 0) {
                self.close_down_to(outer);
                self.begin(Shape::Item);
                self.with_block(|b| b.text(rest));
            } else if !bare.is_empty() {
                self.begin_loose(outer);
                self.with_block(|b| b.text(line));
            }
            self.with_block(|b| b.text(" "));
        }
    }

    fn begin_loose(&mut self, outer: usize) {
        if self.open.len() == outer && outer == 0 {
            self.begin(Shape::Loose);
        }
    }

    fn close_down_to(&mut self, outer: usize) {
        while self.open.len() > outer {
            self.close();
        }
    }

    fn finish(mut self) -> Parsed {
        self.close_down_to(0);
        self.candidates.sort_by_key(|c| c.order);
        let origin = match (self.seen_section, self.rules.whole_note) {
            (true, _) => Origin::Sections,
            (false, true) => Origin::WholeNote,
            (false, false) => Origin::Nothing,
        };
        let entries = self.candidates.into_iter().filter(|c| match origin {
            Origin::Sections => c.inside,
            // A patch release's other lists (contents, thanks) name no pull requests.
            Origin::WholeNote => !c.entry.prs.is_empty(),
            Origin::Nothing => false,
        });
        Parsed { entries: entries.map(|c| c.entry).collect(), origin }
    }
}

fn heading_level(tag: &str) -> Option<u8> {
    match tag.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
        _ => None,
    }
}
