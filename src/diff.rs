//! `diff`: what tells two runs apart.

use runner::RunDifference;
use runner::trace::{self, Trace, TraceError, Tracer};
use serde::Serialize;

use crate::cli::{Cli, DiffArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};
use crate::places::{self, Launching};
use crate::studies;

/// What is printed.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    difference: RunDifference,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Trace>,
}

/// Compares two runs: manifests, then parameters epoch by epoch, then predictions; with `--trace`
/// batch by batch and module by module.
pub async fn diff(cli: &Cli, args: &DiffArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let store = study.store()?;
    let difference = runner::difference(&store, &args.left, &args.right).map_err(Failure::input)?;
    let mut told = Told { difference, trace: None };
    if args.trace {
        let home = Home::for_containers(&study)?;
        let _lock = study.lock()?;
        trace::remove_scratch(&study).map_err(explain)?;
        let launching = Launching::at(&args.place, &study).await?;
        let tracer = Tracer {
            study: &study,
            store: &store,
            launcher: &launching.launcher,
            config: launching.config.clone(),
            client: home.client(),
            gpu: Some("0".to_owned()),
            tell: &|line| eprintln!("{line}"),
        };
        told.trace = Some(tracer.trace(&told.difference).await.map_err(explain)?);
    }
    output::print(cli.format, &told, &rows(&told))
}

fn explain(error: TraceError) -> Failure {
    match error {
        TraceError::Launch(error) => places::explain(error),
        TraceError::Store(error) => error.into(),
        TraceError::Study(error) => error.into(),
        error @ TraceError::Io { .. } => Failure::missing(error),
        error @ TraceError::Ended { .. } => Failure::stage(error),
        error => Failure::input(error),
    }
}

fn rows(told: &Told) -> Rows {
    let found = &told.difference;
    let mut rows = Rows::new(&["what", "where", "first", "second"]);
    for factor in &found.factors {
        let dot = if factor.path.is_empty() { "" } else { "." };
        let place = format!("{}{dot}{}", factor.factor, factor.path);
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
    if let Some(trace) = &told.trace {
        trace_rows(trace, &mut rows);
    }
    rows
}

/// Tensors that the table lists; JSON has all.
const SHOWN: usize = 10;

fn trace_rows(trace: &Trace, rows: &mut Rows) {
    for (side, departs) in [("first", trace.left_departs), ("second", trace.right_departs)] {
        if let Some(epoch) = departs {
            let place = format!("the {side} run, made again, was another from epoch {epoch} on");
            rows.push(["not repeatable", &place, "", ""]);
        }
    }
    let Some(moment) = &trace.moment else {
        rows.push(["trace", "made again, the runs do not part", "", ""]);
        return;
    };
    let most = "largest difference";
    rows.push(["trace", &format!("they part at {moment}"), most, "units in the last place"]);
    for (index, tensor) in trace.tensors.iter().take(SHOWN).enumerate() {
        let what = if index == 0 { "first tensor" } else { "then" };
        let place = format!("{} of {}", tensor.stage, trace::place(&tensor.name));
        let mut largest = match (tensor.elements, tensor.largest) {
            (None, _) => "another shape or type".to_owned(),
            (Some(all), Some(largest)) => {
                format!("{largest:e} ({} of {all} elements)", tensor.differing)
            }
            (Some(all), None) => format!("{} of {all} elements", tensor.differing),
        };
        if tensor.not_a_number > 0 {
            largest += &format!(", {} not a number on one side", tensor.not_a_number);
        }
        let ulps = tensor.ulps.map_or(String::new(), |ulps| ulps.to_string());
        rows.push([what.to_owned(), place, largest, ulps]);
    }
    if trace.tensors.len() > SHOWN {
        let more = trace.tensors.len() - SHOWN;
        rows.push(["…", &format!("and {more} more; --format json lists all"), "", ""]);
    }
    if let Some((left, right)) = &trace.other_order {
        rows.push(["order", "from here on they compute other things", left, right]);
    } else if trace.tensors.is_empty() {
        let place = format!("all {} tensors of it are the same", trace.compared);
        rows.push(["trace", &place, "", ""]);
    }
}
