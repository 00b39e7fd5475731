//! Looks taken a second time, for those who were handed a study.

use stats::sequential::{Judge, Subject};
use stats::store::StudyResultsError;
use study::design::Look;
use study::{Store, Study};

use super::read;
use crate::failure::Failure;

/// Every look of a study's record, and what it comes to from the runs as they are.
pub fn again(study: &Study, store: &Store) -> Result<Vec<(Look, Look)>, Failure> {
    let Some(record) = read(study)? else { return Ok(Vec::new()) };
    let input = match stats::store::read(store) {
        Ok(input) => Some(input),
        Err(StudyResultsError::NoRuns) => None,
        Err(error) => return Err(Failure::input(error)),
    };
    let rows: Vec<_> = input.iter().flat_map(|input| input.results.rows()).collect();
    let mut judge = Judge::new(&record.declaration);
    let mut all = Vec::new();
    for (place, look) in record.looks.iter().enumerate() {
        let subject = Subject {
            bug: look.bug.clone(),
            evaluation: look.evaluation,
            experiments: look.experiments.clone(),
        };
        let same = |other: &&Look| (&other.bug, other.evaluation) == (&look.bug, look.evaluation);
        let before: Vec<&Look> = record.looks.iter().take(place).filter(same).collect();
        let now = judge.look(&subject, &before, look.runs, &rows).map_err(Failure::input)?;
        all.push((look.clone(), now));
    }
    Ok(all)
}
