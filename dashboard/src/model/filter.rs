//! Which bugs a list shows, in which order: read from the query string and written back into it,
//! so that every view has an address.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use study::Resolution;

use super::Snapshot;
use super::bugs::{BuildState, LabelState, Row};
use crate::error::Problem;
use crate::query::{Parameters, write};

/// Bugs on a page unless asked otherwise.
pub(crate) const PER_PAGE: u64 = 100;
/// The most bugs on a page.
pub(crate) const MOST: u64 = 1000;

const COLUMNS: &str = "id, release, section, scope, resolution, label, build, reach, runs, verdict, lines, fixed, text";
const KNOWN: &str = "q, release, section, scope, resolution, label, build, reach, verdict, lost, sort, page, per, format";

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub q: String,
    pub release: String,
    pub section: String,
    pub scope: String,
    pub resolution: String,
    pub label: String,
    pub build: String,
    pub reach: String,
    pub verdict: String,
    pub lost: String,
    /// A column; `-` before it turns it around.
    pub sort: String,
    pub page: u64,
    pub per: u64,
}

impl Filter {
    /// Reads the parameters of a list.
    pub fn read(parameters: &mut Parameters) -> Result<Self, Problem> {
        let mut text = |name: &str| parameters.take(name).unwrap_or_default();
        let mut filter = Self {
            q: text("q"),
            release: text("release"),
            section: text("section"),
            scope: text("scope"),
            resolution: text("resolution"),
            label: text("label"),
            build: text("build"),
            reach: text("reach"),
            verdict: text("verdict"),
            lost: text("lost"),
            sort: text("sort"),
            page: 1,
            per: PER_PAGE,
        };
        filter.page = parameters.number("page", 1, 1_000_000)?.unwrap_or(1);
        filter.per = parameters.number("per", 1, MOST)?.unwrap_or(PER_PAGE);
        let column = filter.sort.trim_start_matches('-');
        if !column.is_empty() && !COLUMNS.split(", ").any(|known| known == column) {
            return Err(Problem::bad(format!(
                "`sort` is `{}`; expected one of {COLUMNS}, with `-` before it to turn it around",
                filter.sort
            )));
        }
        Ok(filter)
    }

    /// The parameters that [`Filter::read`] knows.
    pub fn known() -> &'static str {
        KNOWN
    }

    /// The query string of this view, with some parameters changed.
    pub fn link(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut other = self.clone();
        change(&mut other);
        let number = |value: u64, usual: u64| {
            if value == usual { String::new() } else { value.to_string() }
        };
        write([
            ("q", other.q),
            ("release", other.release),
            ("section", other.section),
            ("scope", other.scope),
            ("resolution", other.resolution),
            ("label", other.label),
            ("build", other.build),
            ("reach", other.reach),
            ("verdict", other.verdict),
            ("lost", other.lost),
            ("sort", other.sort),
            ("page", number(other.page, 1)),
            ("per", number(other.per, PER_PAGE)),
        ])
    }

    /// Whether anything is left out.
    pub fn is_narrow(&self) -> bool {
        let all = [
            &self.q,
            &self.release,
            &self.section,
            &self.scope,
            &self.resolution,
            &self.label,
            &self.build,
            &self.reach,
            &self.verdict,
            &self.lost,
        ];
        all.into_iter().any(|text| !text.is_empty())
    }

    fn fits(&self, row: &Row, words: &[String]) -> bool {
        let same = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let bug = &row.bug;
        same(&self.release, &bug.release)
            && (self.section.is_empty() || bug.section.contains(&self.section))
            && (self.scope.is_empty() || bug.scope.contains(&self.scope))
            && same(&self.resolution, bug.resolution.as_str())
            && (same(&self.label, row.labels.name()) || row.holds.contains(&self.label))
            && same(&self.build, row.build.name())
            && same(&self.reach, row.reach_name())
            && same(&self.verdict, row.verdict_name())
            && same(&self.lost, row.lost.as_ref().map_or("none", |(step, _)| step))
            && words.iter().all(|word| row.searched.contains(word))
    }

    /// All bugs that fit, in the order asked for.
    pub fn select<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a Row> {
        let words: Vec<String> = self.q.to_lowercase().split_whitespace().map(Into::into).collect();
        let mut rows: Vec<&Row> =
            snapshot.rows.iter().filter(|row| self.fits(row, &words)).collect();
        let (column, back) = match self.sort.strip_prefix('-') {
            Some(column) => (column, true),
            None => (self.sort.as_str(), false),
        };
        if column.is_empty() {
            return rows;
        }
        let order = |a: &&Row, b: &&Row| -> Ordering {
            let (x, y) = (&a.bug, &b.bug);
            let natural = match column {
                "id" => (x.pr, &x.id).cmp(&(y.pr, &y.id)),
                "release" => a.release_key.cmp(&b.release_key),
                "section" => x.section.cmp(&y.section),
                "scope" => x.scope.cmp(&y.scope),
                "resolution" => x.resolution.cmp(&y.resolution),
                "label" => (a.labels, &a.holds).cmp(&(b.labels, &b.holds)),
                "build" => a.build.cmp(&b.build),
                "reach" => {
                    let of = |row: &Row| row.reach.as_ref().map(|found| found.answer);
                    of(a).cmp(&of(b))
                }
                "runs" => a.runs.cmp(&b.runs),
                "verdict" => a.verdict_name().cmp(b.verdict_name()),
                "lines" => {
                    (x.lines_added + x.lines_removed).cmp(&(y.lines_added + y.lines_removed))
                }
                "fixed" => x.fixed_at.cmp(&y.fixed_at),
                _ => x.text.cmp(&y.text),
            };
            let natural = if back { natural.reverse() } else { natural };
            natural.then(a.place.cmp(&b.place))
        };
        rows.sort_by(order);
        rows
    }

    /// The part of `rows` that the page shows.
    pub fn page_of<'a, 'b>(&self, rows: &'b [&'a Row]) -> &'b [&'a Row] {
        let first = usize::try_from((self.page - 1).saturating_mul(self.per)).unwrap_or(usize::MAX);
        let rest = rows.get(first..).unwrap_or_default();
        let per = usize::try_from(self.per).unwrap_or(usize::MAX);
        rest.get(..per).unwrap_or(rest)
    }

    /// How many pages there are.
    pub fn pages(&self, rows: usize) -> u64 {
        (rows as u64).div_ceil(self.per).max(1)
    }
}

/// What may be chosen for each parameter.
#[derive(Debug)]
pub(crate) struct Choices {
    pub releases: Vec<String>,
    pub sections: Vec<String>,
    pub scopes: Vec<String>,
    pub resolutions: Vec<String>,
    pub labels: Vec<String>,
    pub builds: Vec<String>,
    pub reach: Vec<String>,
    pub verdicts: Vec<String>,
    pub lost: Vec<String>,
}

impl Choices {
    /// What may be chosen, from what there is.
    pub fn new(snapshot: &Snapshot) -> Self {
        let rows = || snapshot.rows.iter();
        let releases: BTreeSet<(&[u64], &str)> = rows()
            .map(|row| (row.release_key.as_slice(), row.bug.release.as_str()))
            .filter(|(_, release)| !release.is_empty())
            .collect();
        let sections: BTreeSet<&String> = rows().flat_map(|row| &row.bug.section).collect();
        let scopes: BTreeSet<&String> = rows().flat_map(|row| &row.bug.scope).collect();
        let resolutions: BTreeSet<Resolution> = rows().map(|row| row.bug.resolution).collect();
        let words =
            |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).into()).collect() };
        let mut labels = words(&LabelState::ALL.map(LabelState::name));
        labels.extend(snapshot.files.labels.criteria.iter().cloned());
        let mut verdicts: Vec<String> =
            study::Verdict::ALL.iter().map(ToString::to_string).collect();
        verdicts.push("none".into());
        let mut reach: Vec<String> =
            study::ReachAnswer::ALL.iter().map(ToString::to_string).collect();
        reach.push("none".into());
        let steps = snapshot.funnel.steps();
        let mut lost: Vec<String> = steps.iter().skip(1).map(|step| step.0.to_owned()).collect();
        lost.push("none".into());
        Self {
            releases: releases.into_iter().map(|(_, release)| release.to_owned()).collect(),
            sections: sections.into_iter().cloned().collect(),
            scopes: scopes.into_iter().cloned().collect(),
            resolutions: resolutions.iter().map(ToString::to_string).collect(),
            labels,
            builds: words(&BuildState::ALL.map(BuildState::name)),
            reach,
            verdicts,
            lost,
        }
    }
}
