//! `label status`: progress, agreement, and where raters disagree.

use miner::labels::{Criterion, Labels, agreement, disagreements};
use study::Bug;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};

/// Prints it for the bugs that people label.
pub fn status(cli: &Cli, bugs: &[Bug], labels: &Labels) -> Result<(), Failure> {
    let raters = labels.raters();
    let mut rows = Rows::new(&["what", "who or which", "value"]);
    let mut progress = Vec::new();
    for rater in &raters {
        let all: Vec<_> = bugs.iter().filter_map(|bug| labels.get(&bug.id, rater)).collect();
        let done = all.iter().filter(|label| label.is_complete()).count();
        let of = bugs.len();
        rows.push(["labelled", rater, &format!("{done} of {of}")]);
        if all.len() > done {
            rows.push(["begun", rater, &(all.len() - done).to_string()]);
        }
        progress.push(serde_json::json!({
            "rater": rater, "labelled": done, "begun": all.len() - done, "bugs": of,
        }));
    }
    let mut kappas = Vec::new();
    for criterion in Criterion::ALL {
        let Some(kappa) = agreement::on(labels, &raters, *criterion) else { continue };
        let value = kappa.kappa.map_or("undefined".to_owned(), |value| format!("{value:.2}"));
        let interval =
            kappa.interval.map_or(String::new(), |(a, b)| format!(" ({a:.2} to {b:.2})"));
        let reading = kappa.reading();
        let text = match kappa.kappa {
            Some(_) => format!("{value}{interval}, {reading}, of {} bugs", kappa.subjects),
            None => format!("{reading}, of {} bugs", kappa.subjects),
        };
        rows.push(["kappa", criterion.as_str(), &text]);
        kappas.push(serde_json::json!({
            "criterion": criterion.as_str(), "bugs": kappa.subjects, "kappa": kappa.kappa,
            "interval": kappa.interval, "reading": reading,
        }));
    }
    let mut open = Vec::new();
    for found in disagreements(labels) {
        let answers: Vec<String> =
            found.answers.iter().map(|(who, what)| format!("{who}: {}", what.as_str())).collect();
        let place = format!("{} {}", found.bug, found.criterion.as_str());
        rows.push(["disagreement", &place, &answers.join(", ")]);
        open.push(serde_json::json!({
            "bug": found.bug, "criterion": found.criterion.as_str(), "answers": answers,
        }));
    }
    let value = serde_json::json!({"raters": progress, "agreement": kappas, "disagreements": open});
    output::print(cli.format, &value, &rows)
}
