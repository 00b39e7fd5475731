//! Tables of the API.

use std::collections::{BTreeMap, BTreeSet};

use study::funnel::Funnel;
use study::store::ExperimentState;
use study::{ArtifactStatus, Store};

use crate::error::Problem;
use crate::model::{Interval, Row, Snapshot, attention as find};
use crate::records::Kind::{Flag, Integer, List, Number, Text};
use crate::records::{Cell, Kind, Records};

fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::Null, Cell::Number)
}

pub(super) fn funnel(funnel: &Funnel) -> Records {
    let mut table = Records::new(&[("step", Text), ("bugs", Integer), ("lost", Integer)]);
    for (step, left, lost) in funnel.steps() {
        table.rows.push(vec![Cell::text(step), Cell::count(left), Cell::count(lost.len())]);
    }
    table
}

pub(super) fn attention(snapshot: &Snapshot) -> Records {
    let columns = [("kind", Text), ("bug", Text), ("what", Text), ("why", Text), ("page", Text)];
    let mut table = Records::new(&columns);
    for one in find(snapshot) {
        table.rows.push(vec![
            Cell::text(one.kind),
            Cell::maybe(one.bug),
            Cell::text(one.what),
            Cell::text(one.why),
            Cell::text(one.link),
        ]);
    }
    table
}

pub(super) const BUG: [(&str, Kind); 31] = [
    ("bug", Text),
    ("framework", Text),
    ("release", Text),
    ("section", List),
    ("text", Text),
    ("url", Text),
    ("resolution", Text),
    ("fix", Text),
    ("buggy", Text),
    ("fixed_at", Text),
    ("scope", List),
    ("files", Integer),
    ("lines_added", Integer),
    ("lines_removed", Integer),
    ("python_only", Flag),
    ("needs_compile", Flag),
    ("needs_cuda", Flag),
    ("not_in_artifact", Flag),
    ("label", Text),
    ("criteria", List),
    ("build", Text),
    ("runs_finished", Integer),
    ("runs_asked", Integer),
    ("verdict", Text),
    ("lost_at", Text),
    ("lost_reason", Text),
    ("reach", Text),
    ("reach_strength", Text),
    ("reach_reason", Text),
    ("own_tests", Text),
    ("own_tests_reason", Text),
];

pub(super) fn bugs(rows: &[&Row]) -> Records {
    let mut table = Records::new(&BUG);
    for row in rows {
        let bug = &row.bug;
        table.rows.push(vec![
            Cell::text(&bug.id),
            Cell::text(&bug.framework),
            Cell::text(&bug.release),
            Cell::List(bug.section.clone()),
            Cell::text(&bug.text),
            Cell::text(&bug.url),
            Cell::text(bug.resolution),
            Cell::maybe(bug.fix.as_ref()),
            Cell::maybe(bug.buggy.as_ref()),
            Cell::maybe(bug.fixed_at.as_ref()),
            Cell::List(bug.scope.clone()),
            Cell::count(bug.files.len()),
            Cell::count(bug.lines_added),
            Cell::count(bug.lines_removed),
            Cell::Flag(bug.python_only),
            Cell::Flag(bug.needs_compile),
            Cell::Flag(bug.needs_cuda),
            Cell::Flag(bug.not_in_artifact),
            Cell::text(row.labels.name()),
            Cell::List(row.holds.clone()),
            Cell::text(row.build.name()),
            Cell::count(row.runs.0),
            Cell::count(row.runs.1),
            Cell::maybe(row.verdict.as_ref()),
            Cell::maybe(row.lost.as_ref().map(|lost| lost.0)),
            Cell::maybe(row.lost.as_ref().map(|lost| &lost.1)),
            Cell::maybe(row.reach.as_ref().map(|found| found.answer)),
            Cell::maybe(row.reach.as_ref().map(|found| found.strength)),
            Cell::maybe(row.reach.as_ref().map(|found| &found.reason)),
            Cell::maybe(row.own_tests.as_ref().map(|found| found.verdict)),
            Cell::maybe(row.own_tests.as_ref().map(|found| &found.reason)),
        ]);
    }
    table
}

pub(super) fn labels(snapshot: &Snapshot) -> Records {
    let labels = &snapshot.files.labels;
    let mut columns = vec![("bug", Text), ("rater", Text)];
    columns.extend(labels.criteria.iter().map(|criterion| (criterion.as_str(), Text)));
    columns.extend([("note", Text), ("at", Text)]);
    let mut table = Records::new(&columns);
    for (bug, of) in labels.all() {
        for label in of {
            let mut row = vec![Cell::text(bug), Cell::text(&label.rater)];
            row.extend(label.answers.iter().map(Cell::text));
            row.extend([Cell::text(&label.note), Cell::text(&label.at)]);
            table.rows.push(row);
        }
    }
    table
}

pub(super) fn builds(snapshot: &Snapshot) -> Records {
    let mut table = Records::new(&[
        ("bug", Text),
        ("evaluation", Text),
        ("artifact", Text),
        ("status", Text),
        ("class", Text),
        ("line", Text),
        ("content", Text),
        ("bytes", Integer),
        ("repository", Text),
        ("commit", Text),
        ("toolchain", Text),
        ("toolchain_digest", Text),
        ("image", Text),
        ("strategy", Text),
        ("fault", Text),
        ("seconds", Number),
    ]);
    for (bug, evaluation, record) in snapshot.all_builds() {
        let (status, class, line, content, bytes) = match &record.status {
            ArtifactStatus::Built { content, bytes } => {
                ("built", Cell::Null, Cell::Null, Cell::text(content), Cell::count(*bytes))
            }
            ArtifactStatus::Failed { class, line } => {
                ("failed", Cell::text(class), Cell::text(line), Cell::Null, Cell::Null)
            }
        };
        table.rows.push(vec![
            Cell::text(bug),
            Cell::text(evaluation),
            Cell::text(&record.id),
            Cell::text(status),
            class,
            line,
            content,
            bytes,
            Cell::text(&record.repository),
            Cell::maybe(record.commit.as_ref()),
            Cell::text(&record.toolchain),
            Cell::text(&record.toolchain_digest),
            Cell::text(&record.image),
            Cell::text(record.strategy),
            Cell::maybe(record.fault.as_ref()),
            Cell::Number(record.seconds),
        ]);
    }
    table
}

pub(super) fn experiments(snapshot: &Snapshot, bug: Option<&str>) -> Records {
    let mut table = Records::new(&[
        ("experiment", Text),
        ("bug", Text),
        ("evaluation", Text),
        ("active", Flag),
        ("artifact", Text),
        ("toolchain", Text),
        ("model", Text),
        ("challenge", Text),
        ("epochs", Integer),
        ("seed_policy", Text),
        ("device", Text),
        ("runs_asked", Integer),
        ("runs_finished", Integer),
        ("runs_failed", Integer),
        ("runs_running", Integer),
        ("invalid", Text),
        ("planned_at", Text),
    ]);
    let of = |state: &&ExperimentState| bug.is_none_or(|bug| state.experiment.bug.as_str() == bug);
    for state in snapshot.experiments.iter().filter(of) {
        let experiment = &state.experiment;
        table.rows.push(vec![
            Cell::text(experiment.id()),
            Cell::text(&experiment.bug),
            Cell::text(experiment.evaluation),
            Cell::Flag(state.active),
            Cell::text(&experiment.artifact),
            Cell::text(&experiment.toolchain),
            Cell::text(&experiment.model.name),
            Cell::text(&experiment.challenge.name),
            Cell::count(experiment.hyperparameters.epochs),
            Cell::text(experiment.seed_policy),
            Cell::text(&experiment.device),
            Cell::count(state.target),
            Cell::count(state.finished),
            Cell::count(state.failed),
            Cell::count(state.running),
            Cell::maybe(state.invalid.as_ref()),
            Cell::text(&state.planned_at),
        ]);
    }
    table
}

/// One row a run; every metric of the test split is a column.
pub(super) fn runs(store: &Store, of: &[&ExperimentState]) -> Result<Records, Problem> {
    let mut sides = Vec::new();
    let mut names = BTreeSet::new();
    for state in of {
        let id = &state.id;
        let mut metrics: BTreeMap<(u32, String), f64> = BTreeMap::new();
        for point in store.metric_points(&id)?.into_iter().filter(|point| point.split == "test") {
            names.insert(point.name.clone());
            metrics.insert((point.run, point.name), point.value);
        }
        sides.push((state, store.run_states(&id)?, metrics));
    }
    let mut columns = vec![
        ("bug", Text),
        ("evaluation", Text),
        ("experiment", Text),
        ("run", Integer),
        ("seed", Integer),
        ("status", Text),
        ("attempt", Integer),
        ("epoch", Integer),
        ("epochs", Integer),
        ("started_at", Text),
        ("finished_at", Text),
        ("seconds", Number),
        ("reason", Text),
    ];
    columns.extend(names.iter().map(|name| (name.as_str(), Number)));
    let mut table = Records::new(&columns);
    for (state, runs, metrics) in sides {
        let experiment = &state.experiment;
        let id = experiment.id();
        for run in runs {
            let mut row = vec![
                Cell::text(&experiment.bug),
                Cell::text(experiment.evaluation),
                Cell::text(&id),
                Cell::count(run.key.run),
                run.seed.map_or(Cell::Null, Cell::count),
                Cell::text(run.status.as_str()),
                Cell::count(run.attempt),
                run.epoch.map_or(Cell::Null, Cell::count),
                Cell::count(experiment.hyperparameters.epochs),
                Cell::text(&run.started_at),
                Cell::maybe(run.finished_at.as_ref()),
                Cell::Number(run.seconds),
                Cell::maybe(run.reason.as_ref()),
            ];
            let value = |name: &String| number(metrics.get(&(run.key.run, name.clone())).copied());
            row.extend(names.iter().map(value));
            table.rows.push(row);
        }
    }
    Ok(table)
}

pub(super) fn epochs(store: &Store, of: &[&ExperimentState]) -> Result<Records, Problem> {
    let mut table = Records::new(&[
        ("bug", Text),
        ("evaluation", Text),
        ("experiment", Text),
        ("run", Integer),
        ("epoch", Integer),
        ("loss", Number),
        ("digest", Text),
    ]);
    for state in of {
        let id = &state.id;
        for point in store.epoch_points(&id)? {
            table.rows.push(vec![
                Cell::text(&state.experiment.bug),
                Cell::text(state.experiment.evaluation),
                Cell::text(&id),
                Cell::count(point.run),
                Cell::count(point.epoch),
                number(point.loss),
                Cell::text(point.digest),
            ]);
        }
    }
    Ok(table)
}

pub(super) fn verdicts(snapshot: &Snapshot) -> Records {
    let mut table = Records::new(&[
        ("bug", Text),
        ("kind", Text),
        ("verdict", Text),
        ("reason", Text),
        ("pairs", Integer),
        ("equal_pairs", Integer),
    ]);
    for entry in snapshot.files.analysis.iter().flat_map(|analysis| &analysis.verdicts) {
        table.rows.push(vec![
            Cell::text(&entry.bug),
            Cell::text(&entry.kind),
            Cell::text(&entry.verdict),
            Cell::text(&entry.reason),
            entry.identity.map_or(Cell::Null, |identity| Cell::count(identity.pairs)),
            entry.identity.map_or(Cell::Null, |identity| Cell::count(identity.equal_pairs)),
        ]);
    }
    table
}

pub(super) fn tests(snapshot: &Snapshot) -> Records {
    let mut table = Records::new(&[
        ("bug", Text),
        ("kind", Text),
        ("metric", Text),
        ("outcome", Flag),
        ("n_buggy", Integer),
        ("n_corrected", Integer),
        ("statistic", Number),
        ("p_value", Number),
        ("p_holm", Number),
        ("p_bh", Number),
        ("shift", Number),
        ("shift_low", Number),
        ("shift_high", Number),
        ("a12", Number),
        ("a12_low", Number),
        ("a12_high", Number),
        ("margin", Number),
        ("p_equivalence", Number),
        ("detectable_shift", Number),
        ("notes", List),
    ]);
    let ends = |interval: Option<Interval>| {
        let part = |of: fn(Interval) -> Option<f64>| number(interval.and_then(of));
        [part(|i| i.estimate), part(|i| i.low), part(|i| i.high)]
    };
    for test in snapshot.files.analysis.iter().flat_map(|analysis| &analysis.tests) {
        let mut row = vec![
            Cell::text(&test.bug),
            Cell::text(&test.kind),
            Cell::text(&test.metric),
            Cell::Flag(test.outcome),
            Cell::count(test.n_buggy),
            Cell::count(test.n_corrected),
            number(test.statistic),
            number(test.p_value),
            number(test.p_holm),
            number(test.p_bh),
        ];
        row.extend(ends(test.hodges_lehmann));
        row.extend(ends(test.a12));
        row.push(number(test.equivalence.and_then(|e| e.margin)));
        row.push(number(test.equivalence.and_then(|e| e.p_value)));
        row.push(number(test.detectable_shift));
        row.push(Cell::List(test.notes.clone()));
        table.rows.push(row);
    }
    table
}
