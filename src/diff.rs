//! `diff`: what tells two runs apart.

use runner::RunDifference;

use crate::cli::{Cli, DiffArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Compares two runs: manifests, then parameters epoch by epoch, then predictions.
pub fn diff(cli: &Cli, args: &DiffArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let found =
        runner::difference(&study.store()?, &args.left, &args.right).map_err(Failure::input)?;
    output::print(cli.format, &found, &rows(&found))
}

fn rows(found: &RunDifference) -> Rows {
    let mut rows = Rows::new(&["what", "where", "first", "second"]);
    for factor in &found.factors {
        let place = format!("{}.{}", factor.factor, factor.path);
        rows.push(["factor", &place, &factor.left, &factor.right]);
    }
    if found.factors.is_empty() {
        rows.push(["factors", "all agree but the artifact", "", ""]);
    }
    match found.first_epoch {
        None => rows.push([
            "parameters".to_owned(),
            format!("the same in all {} digests", found.epochs),
            String::new(),
            String::new(),
        ]),
        Some(epoch) => {
            let (left, right) = match found.losses {
                Some((left, right)) => (format!("loss {left}"), format!("loss {right}")),
                None => (String::new(), String::new()),
            };
            let place = match epoch {
                0 => "they part at initialisation".to_owned(),
                epoch => format!("they part in epoch {epoch}"),
            };
            rows.push(["parameters".to_owned(), place, left, right]);
        }
    }
    for (split, same) in &found.same_predictions {
        let verdict = if *same { "the same" } else { "different" };
        rows.push(["predictions", split, verdict, ""]);
    }
    rows
}
