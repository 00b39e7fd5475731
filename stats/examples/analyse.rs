//! Analyses a results file: `cargo run -p reproduceml-stats --example analyse -- results.csv`.
//!
//! Prints how many comparisons got which verdict, and on standard error how long each step took.

use reproduceml_stats::{Options, Results, analyse, render};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("give a results file")?;
    let start = Instant::now();
    let results = Results::read(&path)?;
    eprintln!("read in {:.2?}", start.elapsed());
    let start = Instant::now();
    let analysis = analyse(&results, &Options::default());
    eprintln!("{} tests in {:.2?}", analysis.tests.len(), start.elapsed());
    writeln!(std::io::stdout(), "{}", render::summary(&analysis))?;
    Ok(())
}
