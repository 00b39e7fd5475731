//! What of a large analysis a page can show: a browser opens no table of a million rows.

use std::collections::{BTreeSet, HashSet};

use crate::analysis::{Analysis, Kind, Verdict};
use crate::paper;

/// Comparisons in the tables of a page at most.
pub(super) const LISTED: usize = 2_000;

/// The analysis with the comparisons that matter most to a reader, in their order, and a sentence
/// that says so; nothing if all can be shown.
pub(super) fn excerpt(analysis: &Analysis, listed: usize) -> Option<(Analysis, String)> {
    let all = analysis.verdicts.len();
    if all <= listed {
        return None;
    }
    let table = paper::table_iv();
    let known: HashSet<&str> = table.cells.iter().map(|cell| cell.bug.as_str()).collect();
    let rank = |place: &usize| {
        let one = &analysis.verdicts[*place];
        let interest = match one.verdict {
            // Controls and what stands beside the paper are few, and everything else rests on them.
            _ if one.kind != Kind::Bug || known.contains(one.bug.as_str()) => 0,
            Verdict::Different => 1,
            Verdict::Invalid => 2,
            Verdict::Inconclusive => 3,
            Verdict::Equivalent => 4,
            Verdict::Identical => 5,
        };
        (interest, *place)
    };
    let mut places: Vec<usize> = (0..all).collect();
    places.sort_by_key(rank);
    places.truncate(listed);
    places.sort_unstable();
    let verdicts: Vec<_> = places.iter().map(|place| analysis.verdicts[*place].clone()).collect();
    let kept: BTreeSet<(&str, Kind)> =
        verdicts.iter().map(|one| (one.bug.as_str(), one.kind)).collect();
    let bugs: HashSet<&str> = kept.iter().map(|(bug, _)| *bug).collect();
    let tests = analysis.tests.iter().filter(|test| kept.contains(&(test.bug.as_str(), test.kind)));
    let own = analysis.own_tests.iter().filter(|one| bugs.contains(one.bug.as_str()));
    let part = Analysis {
        tests: tests.cloned().collect(),
        own_tests: own.cloned().collect(),
        schema: analysis.schema,
        inputs: analysis.inputs.clone(),
        options: analysis.options.clone(),
        design: analysis.design.clone(),
        families: analysis.families.clone(),
        controls: analysis.controls.clone(),
        sequential: analysis.sequential.clone(),
        notes: analysis.notes.clone(),
        warnings: analysis.warnings.clone(),
        verdicts,
    };
    let sentence = format!(
        "The tables show {listed} of {all} comparisons: controls, then those that differ, are \
         invalid, inconclusive, equivalent and identical, as far as there is room. All of them are \
         in stats/tests.csv and stats/analysis.json, and in the dashboard."
    );
    Some((part, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Evaluation, Results, RunRow};
    use crate::options::Options;
    use std::collections::BTreeMap;

    #[test]
    fn what_differs_is_shown_before_what_does_not() {
        let row = |bug: u32, evaluation, run: u32| RunRow {
            bug: format!("pr{bug:02}"),
            evaluation,
            run,
            seed: Some(u64::from(run)),
            metrics: BTreeMap::from([(
                "accuracy".to_owned(),
                f64::from(run) / 100.0
                    + if bug % 5 == 4 && evaluation == Evaluation::Buggy { 0.5 } else { 0.0 },
            )]),
            fingerprints: vec![],
        };
        let sides = [Evaluation::Buggy, Evaluation::Corrected];
        let rows = (0..20).flat_map(|bug| {
            sides.iter().flat_map(move |side| (0..12).map(move |run| row(bug, *side, run)))
        });
        let results = Results::from_rows(rows.collect()).unwrap();
        let analysis = crate::analyse(&results, &Options::default());
        assert!(excerpt(&analysis, 20).is_none());
        let (part, sentence) = excerpt(&analysis, 5).unwrap();
        assert!(sentence.contains("5 of 20"), "{sentence}");
        let bugs: Vec<&str> = part.verdicts.iter().map(|one| one.bug.as_str()).collect();
        assert_eq!(bugs, ["pr00", "pr04", "pr09", "pr14", "pr19"]);
        assert!(part.tests.iter().all(|test| bugs.contains(&test.bug.as_str())));
        assert_eq!(part.tests.len(), 5 * analysis.tests.len() / 20);
    }
}
