//! One look at one comparison.

use std::collections::HashMap;

use study::design::{Declaration, Look, LookTest};
use study::{BugId, Evaluation, ExperimentId, Verdict};

use super::levels::{Levels, nominal};
use crate::analyse::analyse;
use crate::analysis::{Analysis, Test};
use crate::input::{InputError, Results, RunRow};
use crate::options::Options;
use crate::render::number::{p_text, signed};

/// What a look is at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The bug.
    pub bug: BugId,
    /// What is compared with the corrected side.
    pub evaluation: Evaluation,
    /// The two experiments, the corrected one last.
    pub experiments: [ExperimentId; 2],
}

/// Takes looks as a design asks for them.
#[derive(Debug)]
pub struct Judge<'a> {
    design: &'a Declaration,
    /// The levels of looks by the runs and the information of them and all before: most
    /// comparisons have the same.
    levels: HashMap<Vec<(u32, u64)>, (f64, f64)>,
}

impl<'a> Judge<'a> {
    /// One for a declared design.
    pub fn new(design: &'a Declaration) -> Self {
        Self { design, levels: HashMap::new() }
    }

    /// Looks at a comparison after `runs` runs a side, which is one of [`Declaration::stops`].
    ///
    /// `rows` are the finished runs of the study; those of this comparison with a number below
    /// `runs` are used. `before` are the looks that were taken at the comparison. The same rows
    /// and looks give the same look.
    ///
    /// # Errors
    /// If the rows are no results.
    pub fn look(
        &mut self,
        subject: &Subject,
        before: &[&Look],
        runs: u32,
        rows: &[RunRow],
    ) -> Result<Look, InputError> {
        look(self, subject, before, runs, rows)
    }

    /// The levels of the last of these looks.
    fn levels(&mut self, looks: &[(u32, f64)]) -> (f64, f64) {
        let key = looks.iter().map(|(runs, information)| (*runs, information.to_bits())).collect();
        *self.levels.entry(key).or_insert_with(|| {
            let (runs, information): (Vec<u32>, Vec<f64>) = looks.iter().copied().unzip();
            let Levels { different, equivalent } = nominal(self.design, &runs, &information);
            let last = |levels: Vec<f64>| levels.last().copied().unwrap_or(0.0);
            (last(different), last(equivalent))
        })
    }
}

fn look(
    judge: &mut Judge<'_>,
    subject: &Subject,
    before: &[&Look],
    runs: u32,
    rows: &[RunRow],
) -> Result<Look, InputError> {
    let design = judge.design;
    let side = crate::store::evaluation(subject.evaluation);
    let corrected = crate::store::evaluation(Evaluation::Corrected);
    let own = rows.iter().filter(|row| {
        row.bug == subject.bug.as_str()
            && row.run < runs
            && [side, corrected].contains(&row.evaluation)
    });
    // Times and the like decide nothing, and differ each time a study is repeated.
    let outcomes_of = |row: &RunRow| {
        let mut row = row.clone();
        row.metrics.retain(|name, _| design.outcomes.contains(name));
        row
    };
    let rows: Vec<RunRow> = own.map(outcomes_of).collect();
    let digest = study::files::sha256_hex(format!("{rows:?}").as_bytes());
    let count = |of| rows.iter().filter(|row| row.evaluation == of).count();
    let finished = [count(side), count(corrected)];
    let number = design.looks.iter().position(|look| *look == runs).map_or(0, |place| place + 1);
    let mut look = Look {
        design: design.digest(),
        bug: subject.bug.clone(),
        evaluation: subject.evaluation,
        experiments: subject.experiments.clone(),
        look: u32::try_from(number).unwrap_or(0),
        runs,
        finished,
        pairs: [0, 0],
        information: share(finished, design.runs()),
        level: None,
        equivalence_level: None,
        tests: [].into(),
        stop: None,
        reason: String::new(),
        results: digest,
    };
    let last = runs == design.runs();
    let analysis = if finished.contains(&0) || rows.iter().all(|row| row.metrics.is_empty()) {
        None
    } else {
        let options = Options {
            alpha: design.alpha,
            default_margin: design.margin,
            outcomes: design.outcomes.clone(),
            ..Options::default()
        };
        Some(analyse(&Results::from_rows(rows)?, &options))
    };
    let (stop, reason) = match &analysis {
        None => (None, format!("after {runs} runs a side has none that finished with an outcome")),
        Some(analysis) => match identical(design, &mut look, analysis) {
            Some(reason) => (Some(Verdict::Identical), reason),
            None if number == 0 => (
                None,
                format!("not all of the first {runs} pairs of runs are bit for bit the same"),
            ),
            None => test(judge, &mut look, before, analysis),
        },
    };
    look.stop = stop.or(last.then_some(Verdict::Inconclusive));
    look.reason = reason;
    Ok(look)
}

/// The share of the information of all runs: that of n and m runs is proportional to nm/(n + m).
fn share([n, m]: [usize; 2], all: u32) -> f64 {
    let (n, m) = (n as f64, m as f64);
    if n + m > 0.0 { 2.0 * n * m / (n + m) / f64::from(all.max(1)) } else { 0.0 }
}

/// The reason why all pairs of runs are the same, if they are. A run that is missing on one side,
/// or has another seed, is a pair that is not.
fn identical(design: &Declaration, look: &mut Look, analysis: &Analysis) -> Option<String> {
    let identity = analysis.verdicts.first()?.identity?;
    look.pairs = [identity.pairs, identity.equal_pairs];
    let enough = design.identical_after.unwrap_or(2) as usize;
    (identity.unpaired == 0
        && identity.equal_pairs == identity.pairs
        && identity.pairs >= enough
        && look.finished == [identity.pairs; 2])
        .then(|| {
            format!(
                "the first {} pairs of runs are bit for bit the same in all {} digests compared",
                identity.pairs, identity.digests
            )
        })
}

/// Tests all outcomes at the levels of this look.
fn test(
    judge: &mut Judge<'_>,
    look: &mut Look,
    before: &[&Look],
    analysis: &Analysis,
) -> (Option<Verdict>, String) {
    let design = judge.design;
    let tested = before.iter().filter(|one| (1..look.look).contains(&one.look));
    let mut looks: Vec<(u32, f64)> = tested.map(|one| (one.runs, one.information)).collect();
    looks.push((look.runs, look.information));
    let (level, same) = judge.levels(&looks);
    (look.level, look.equivalence_level) = (Some(level), Some(same));

    let at = format!(
        "at look {} of {} ({} of {} runs a side)",
        look.look,
        design.looks.len(),
        look.runs,
        design.runs()
    );
    let outcomes: Vec<&Test> =
        analysis.tests.iter().filter(|test| design.outcomes.contains(&test.metric)).collect();
    for test in &outcomes {
        let both = test.n_buggy.min(test.n_corrected) > 1;
        let told = LookTest {
            p_value: test.p_value.filter(|_| both),
            equivalence_p: test.equivalence.map(|one| one.p_value).filter(|_| both),
            shift: test.hodges_lehmann.map(|shift| shift.estimate),
        };
        look.tests.insert(test.metric.clone(), told);
    }
    let by_p = |a: &(&String, f64), b: &(&String, f64)| a.1.total_cmp(&b.1);
    let smallest =
        look.tests.iter().filter_map(|(name, test)| Some((name, test.p_value?))).min_by(by_p);
    let Some((name, p)) = smallest else {
        return (None, format!("no outcome could be tested {at}"));
    };
    if p <= level {
        let shift = look.tests.get(name).and_then(|test| test.shift);
        let shift = shift.map_or_else(String::new, |shift| {
            format!("; {} less corrected is {}", look.evaluation, signed(shift))
        });
        let reason = format!(
            "{name} differs {at}: p = {} is within the level of this look, {}{shift}",
            p_text(p),
            p_text(level)
        );
        return (Some(Verdict::Different), reason);
    }
    let all: Option<Vec<(&String, f64)>> = design
        .outcomes
        .iter()
        .map(|name| {
            let (name, test) = look.tests.get_key_value(name)?;
            Some((name, test.equivalence_p?))
        })
        .collect();
    let largest = all.as_deref().and_then(|all| all.iter().copied().max_by(by_p));
    if let Some((_, largest)) = largest
        && largest <= same
    {
        let reason = format!(
            "the shifts of all outcomes ({}) lie within ±{} {at}: the largest p of equivalence, \
             {}, is within the level of this look, {}",
            design.outcomes.join(", "),
            design.margin,
            p_text(largest),
            p_text(same)
        );
        return (Some(Verdict::Equivalent), reason);
    }
    let open = largest.map_or_else(
        || "equivalence could not be tested for every outcome".to_owned(),
        |(name, p)| {
            format!(
                "equivalence is not shown for {name} (p = {}, level {})",
                p_text(p),
                p_text(same)
            )
        },
    );
    let reason = format!(
        "no outcome differs {at} (smallest p = {} for {name}, level {}), and {open}",
        p_text(p),
        p_text(level)
    );
    (None, reason)
}
