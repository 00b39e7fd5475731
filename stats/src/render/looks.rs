//! The looks of a sequential design as a table.

use study::design::Look;

use super::number::{or_dash, p_text, significant};
use super::sheet::Sheet;
use crate::sequential::Sequential;

/// One row a look and outcome; of the look after `identical_after` one row.
pub(super) fn sheet(sequential: &Sequential) -> Sheet {
    let head = [
        "bug",
        "side",
        "look",
        "outcome",
        "verdict",
        "runs",
        "information",
        "pairs same",
        "p",
        "level",
        "p equivalence",
        "level",
    ];
    let title = format!(
        "Looks of the sequential design, of {} at most",
        count(sequential.design.looks.len(), "look")
    );
    let mut sheet = Sheet::new(&title, &head, 5);
    for look in &sequential.looks {
        let mut row = |outcome: &str, p: Option<f64>, equivalence: Option<f64>| {
            sheet.rows.push(vec![
                look.bug.to_string(),
                look.evaluation.to_string(),
                name(look),
                outcome.to_owned(),
                look.stop.map_or("goes on", |stop| stop.as_str()).to_owned(),
                format!("{}/{}", look.finished[0], look.finished[1]),
                significant(look.information, 3),
                format!("{} of {}", look.pairs[1], look.pairs[0]),
                or_dash(p, p_text),
                or_dash(look.level, p_text),
                or_dash(equivalence, p_text),
                or_dash(look.equivalence_level, p_text),
            ]);
        };
        for (outcome, test) in &look.tests {
            row(outcome, test.p_value, test.equivalence_p);
        }
        if look.tests.is_empty() {
            row("–", None, None);
        }
    }
    sheet
}

fn name(look: &Look) -> String {
    if look.look == 0 { "identical?".to_owned() } else { look.look.to_string() }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
