//! What was concluded beside the tables, concluded again: the looks of a sequential design, and what
//! the fixes' own tests showed.

use serde::Serialize;
use study::{Store, Study};

use super::check::{Checked, Finding};
use super::compare;
use crate::failure::Failure;
use crate::{design, own_tests};

/// Holds every look against the runs that it was taken of.
pub fn looks(
    study: &Study,
    store: &Store,
    checked: &mut Checked,
    problems: &mut Vec<Finding>,
) -> Result<(), Failure> {
    for (packed, now) in design::again(study, store)? {
        let place = format!(
            "design/looks.jsonl: {} {} after {} runs",
            packed.bug, packed.evaluation, packed.runs
        );
        checked.looks += 1;
        differences(&place, &packed, &now, problems)?;
    }
    Ok(())
}

/// Holds what the fixes' own tests showed against their runs.
pub fn tests(
    study: &Study,
    checked: &mut Checked,
    problems: &mut Vec<Finding>,
) -> Result<(), Failure> {
    for (packed, now) in own_tests::again(study)? {
        match now {
            Err(why) => problems.push(Finding::new(own_tests::name(&packed.bug), why)),
            Ok(now) => {
                let place = format!("own-tests/findings.jsonl: {}", packed.bug);
                checked.own_tests += 1;
                differences(&place, &packed, &now, problems)?;
            }
        }
    }
    Ok(())
}

fn differences<T: Serialize>(
    place: &str,
    packed: &T,
    now: &T,
    problems: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let text = |value: &T| serde_json::to_vec(value).map_err(Failure::stage);
    for (cell, what) in compare::tables("one.json", &text(packed)?, &text(now)?) {
        problems.push(Finding::new(format!("{place}: {cell}"), what));
    }
    Ok(())
}
