//! The index of a history: what each commit of the main line lands and takes back.
//!
//! One walk reads every commit once. The index holds no path and no branch, only commits, so it
//! serves any clone of the same history, and a later walk ends at the first commit it knows.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use git2::{Odb, Oid, Repository};

use super::HistoryError;
use super::marks::Marks;
use super::message::{self, Facts, Target};
use super::store;

/// A commit's name as bytes.
pub type Name = [u8; 20];

/// What the index keeps of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The commit.
    pub name: Name,
    /// Its first parent; zeros for none.
    pub parent: Name,
    /// The pull request it lands; 0 for none.
    pub pr: u32,
    /// Its normalised subject, hashed; 0 for none to speak of.
    pub title: u64,
    /// The start of its `fbshipit-source-id`; 0 for none.
    pub source: u64,
    /// Its `Differential Revision`; 0 for none.
    pub revision: u32,
    /// It takes another commit back.
    pub is_revert: bool,
    /// It says that it lands something again.
    pub is_reland: bool,
    /// Places in the main line of the commits it takes back, all before its own.
    pub takes_back: Vec<u32>,
    /// Pull requests that a re-landing names.
    pub mentions: Vec<u32>,
}

/// What an index is kept as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The marks it was made with.
    pub identity: String,
    /// The history ended before its beginning: a shallow clone.
    pub truncated: bool,
    /// The main line, oldest first.
    pub main: Vec<Record>,
    /// The release refs and their commits when `side` was read.
    pub side_tips: Vec<(String, Name)>,
    /// Commits of release branches that the main line lacks, newest first within each.
    pub side: Vec<Record>,
}

/// What a walk did, for messages and measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Commits read from the repository.
    pub read: usize,
    /// Commits known from before.
    pub known: usize,
    /// The history ends before its beginning: the clone is shallow.
    pub truncated: bool,
}

/// The history of a framework, ready to be asked.
#[derive(Debug)]
pub struct Index {
    kept: Kept,
    standing: Vec<bool>,
    by_pr: HashMap<u32, Vec<u32>>,
    side_by_pr: HashMap<u32, Vec<u32>>,
}

impl Index {
    /// Brings the index in `file` up to the tip of `branch` in `repository`, or makes it.
    /// `progress` is told how many commits were read so far.
    ///
    /// # Errors
    /// If there is no such branch, or the repository or the file fails. A damaged or outdated
    /// index is made anew.
    pub fn update(
        repository: &Repository,
        branch: &str,
        tag_pattern: &str,
        marks: &Marks,
        file: &Path,
        progress: &dyn Fn(usize),
    ) -> Result<(Self, Walked), HistoryError> {
        // Reading 44,000 commits must not hash each of them again; `git fsck` is for that.
        git2::opts::strict_hash_verification(false);
        let tip = super::clone::tip(repository, branch)?;
        let tips = super::clone::release_refs(repository, tag_pattern)?;
        let identity = marks.identity();
        let mut kept =
            store::read(file).filter(|kept| kept.identity == identity && !kept.truncated);
        let mut walked =
            Walked { known: kept.as_ref().map_or(0, |k| k.main.len()), ..<_>::default() };
        let mut kept = kept.take().unwrap_or(Kept { identity, ..Kept::default() });
        let odb = repository.odb()?;
        let mut changed = false;
        if kept.main.last().is_none_or(|last| last.name != tip) {
            let places: HashMap<Name, usize> =
                kept.main.iter().enumerate().map(|(place, r)| (r.name, place)).collect();
            let mut fresh = Walk { odb: &odb, marks, next: tip, read: 0, truncated: false };
            let mut new = Vec::new();
            let mut joins = None;
            while let Some((record, facts)) = fresh.step(|name| places.contains_key(name))? {
                new.push((record, facts));
                if new.len() % 1000 == 0 {
                    progress(new.len());
                }
            }
            if let Some(place) = places.get(&fresh.next) {
                joins = Some(*place);
            }
            kept.main.truncate(joins.map_or(0, |place| place + 1));
            walked.known = kept.main.len();
            walked.read = new.len();
            kept.truncated = fresh.truncated;
            new.reverse();
            link(&mut kept.main, new);
            changed = true;
        }
        if changed || kept.side_tips != tips {
            kept.side = side(&odb, marks, &kept.main, &tips)?;
            walked.read += kept.side.len();
            kept.side_tips = tips;
            changed = true;
        }
        walked.truncated = kept.truncated;
        if changed {
            store::write(file, &kept)
                .map_err(|source| HistoryError::Cache { path: file.to_owned(), source })?;
        }
        Ok((Self::new(kept), walked))
    }

    fn new(kept: Kept) -> Self {
        let standing = standing(&kept.main);
        let mut by_pr: HashMap<u32, Vec<u32>> = HashMap::new();
        for (place, record) in kept.main.iter().enumerate().filter(|(_, r)| r.pr != 0) {
            by_pr.entry(record.pr).or_default().push(place as u32);
        }
        let mut side_by_pr: HashMap<u32, Vec<u32>> = HashMap::new();
        for (place, record) in kept.side.iter().enumerate().filter(|(_, r)| r.pr != 0) {
            side_by_pr.entry(record.pr).or_default().push(place as u32);
        }
        Self { kept, standing, by_pr, side_by_pr }
    }

    /// Commits of the main line.
    pub fn len(&self) -> usize {
        self.kept.main.len()
    }

    /// Whether the main line has no commit.
    pub fn is_empty(&self) -> bool {
        self.kept.main.is_empty()
    }

    /// The main line's commits whose own pull request is `pr`, oldest first, and whether each
    /// still stands (was not taken back, or its revert was).
    pub fn landings(&self, pr: u64) -> Vec<(&Record, bool)> {
        let places = u32::try_from(pr).ok().and_then(|pr| self.by_pr.get(&pr));
        let places = places.into_iter().flatten().map(|place| *place as usize);
        places.filter_map(|p| Some((self.kept.main.get(p)?, *self.standing.get(p)?))).collect()
    }

    /// Commits of release branches alone whose own pull request is `pr`, newest first.
    pub fn side_landings(&self, pr: u64) -> Vec<&Record> {
        let places = u32::try_from(pr).ok().and_then(|pr| self.side_by_pr.get(&pr));
        let places = places.into_iter().flatten();
        places.filter_map(|place| self.kept.side.get(*place as usize)).collect()
    }

    /// A standing commit after `landing` that lands it again under another number: the same
    /// title, or words of re-landing and the number.
    pub fn landed_again(&self, landing: &Record) -> Option<&Record> {
        let places = self.by_pr.get(&landing.pr)?;
        let after = places
            .iter()
            .find(|p| self.kept.main.get(**p as usize).is_some_and(|r| r.name == landing.name))?;
        let later = self.kept.main.iter().zip(&self.standing).skip(*after as usize + 1);
        later.filter(|(record, stands)| **stands && !record.is_revert).map(|(r, _)| r).find(|r| {
            (landing.title != 0 && r.title == landing.title) || r.mentions.contains(&landing.pr)
        })
    }
}

/// A walk along first parents.
struct Walk<'a> {
    odb: &'a Odb<'a>,
    marks: &'a Marks,
    next: Name,
    read: usize,
    truncated: bool,
}

impl Walk<'_> {
    /// Reads the next commit unless `known` knows it or there is none.
    fn step(
        &mut self,
        known: impl Fn(&Name) -> bool,
    ) -> Result<Option<(Record, Facts)>, HistoryError> {
        if self.next == [0; 20] || known(&self.next) {
            return Ok(None);
        }
        let oid = Oid::from_bytes(&self.next)?;
        let object = match self.odb.read(oid) {
            Ok(object) => object,
            Err(error) if error.code() == git2::ErrorCode::NotFound && self.read > 0 => {
                self.truncated = true;
                self.next = [0; 20];
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let (parent, message) = split(object.data());
        let facts = message::read(message, self.marks);
        let record = Record {
            name: self.next,
            parent: parent.unwrap_or_default(),
            pr: facts.pr,
            title: facts.title,
            source: facts.source,
            revision: facts.revision,
            is_revert: facts.is_revert,
            is_reland: facts.is_reland,
            takes_back: Vec::new(),
            mentions: facts.mentions.clone(),
        };
        self.next = record.parent;
        self.read += 1;
        Ok(Some((record, facts)))
    }
}

/// The first parent and the message of a commit object.
fn split(object: &[u8]) -> (Option<Name>, &[u8]) {
    let mut parent = None;
    let mut rest = object;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        if line.is_empty() {
            return (parent, rest);
        }
        if let (None, Some(name)) = (parent, line.strip_prefix(b"parent ")) {
            let text = std::str::from_utf8(name).ok();
            let oid = text.and_then(|text| Oid::from_str(text).ok());
            parent = oid.and_then(|oid| oid.as_bytes().try_into().ok());
        }
    }
    (parent, &[])
}

/// Appends `new` commits, oldest first, to the main line and finds what their reverts take back.
fn link(main: &mut Vec<Record>, new: Vec<(Record, Facts)>) {
    let reverts = new.iter().any(|(_, facts)| !facts.reverts.is_empty());
    let mut known = Known::default();
    if reverts {
        for (place, record) in main.iter().enumerate() {
            known.add(place as u32, record);
        }
    }
    for (mut record, facts) in new {
        let targets = facts.reverts.iter().filter_map(|target| known.find(target, main));
        record.takes_back = targets.collect();
        if reverts {
            known.add(main.len() as u32, &record);
        }
        main.push(record);
    }
}

/// Commits by each sign that a revert may name them by; the latest wins.
#[derive(Default)]
struct Known {
    sources: HashMap<u64, u32>,
    revisions: HashMap<u32, u32>,
    titles: HashMap<u64, u32>,
    names: HashMap<[u8; 3], Vec<u32>>,
}

impl Known {
    fn add(&mut self, place: u32, record: &Record) {
        if record.source != 0 {
            self.sources.insert(record.source, place);
        }
        // A revert carries the revision of what it takes back.
        if record.revision != 0 && !record.is_revert {
            self.revisions.insert(record.revision, place);
        }
        if record.title != 0 {
            self.titles.insert(record.title, place);
        }
        let [a, b, c, ..] = record.name;
        self.names.entry([a, b, c]).or_default().push(place);
    }

    fn find(&self, target: &Target, main: &[Record]) -> Option<u32> {
        match target {
            Target::Source(source) => self.sources.get(source).copied(),
            Target::Revision(revision) => self.revisions.get(revision).copied(),
            Target::Title(title) => self.titles.get(title).copied(),
            Target::Commit(name, digits) => {
                let [a, b, c, ..] = *name;
                let mut places = self.names.get(&[a, b, c])?.iter().copied();
                places.find(|place| {
                    main.get(*place as usize).is_some_and(|r| begins_with(&r.name, name, *digits))
                })
            }
        }
    }
}

fn begins_with(name: &Name, start: &Name, digits: u8) -> bool {
    let whole = usize::from(digits / 2);
    let half = digits.is_multiple_of(2)
        || matches!((name.get(whole), start.get(whole)), (Some(a), Some(b)) if a >> 4 == b >> 4);
    name.get(..whole) == start.get(..whole) && half
}

/// Which commits still stand: newest first, a standing revert fells what it takes back, so that
/// a revert taken back itself fells nothing.
fn standing(main: &[Record]) -> Vec<bool> {
    let mut standing = vec![true; main.len()];
    for (place, record) in main.iter().enumerate().rev() {
        if standing.get(place) == Some(&true) && record.is_revert {
            for target in &record.takes_back {
                if let Some(stands) = standing.get_mut(*target as usize) {
                    *stands = false;
                }
            }
        }
    }
    standing
}

/// The commits of release branches and tags that the main line lacks.
fn side(
    odb: &Odb<'_>,
    marks: &Marks,
    main: &[Record],
    tips: &[(String, Name)],
) -> Result<Vec<Record>, HistoryError> {
    let mut seen: HashSet<Name> = main.iter().map(|record| record.name).collect();
    let mut found: Vec<Record> = Vec::new();
    for (_, tip) in tips {
        let mut walk = Walk { odb, marks, next: *tip, read: 0, truncated: false };
        let from = found.len();
        while let Some((record, _)) = walk.step(|name| seen.contains(name))? {
            found.push(record);
        }
        seen.extend(found.iter().skip(from).map(|record| record.name));
    }
    Ok(found)
}
