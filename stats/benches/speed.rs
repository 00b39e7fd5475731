//! Speed beside SciPy, R and pandas, each in the same run and on one thread:
//!
//!     cargo bench -p reproduceml-stats --bench speed
//!
//! Rates and times are of processor time, which other work on the machine disturbs least.
//! `SPEED_ROWS` (default 10,000,000) sets the rows of the file that is analysed end to end; 0
//! leaves it out. `SPEED_BUGS` (default 100) sets of how many bugs pandas and SciPy compute all that
//! stands beside p-values, which takes them long. Alternatives are called as `python3` (`SPEED_PYTHON`) and `Rscript`
//! (`SPEED_RSCRIPT`); where one is missing, that is said and the rest goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark may stop at once, and prints"
)]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use reproduceml_stats::batch::Batch;
use reproduceml_stats::mann_whitney::{Alternative, asymptotic, exact, exact_with_ties};
use reproduceml_stats::{Evaluation, Options, Results, analyse, render};

const RUNS: usize = 50;
const BUGS: usize = 100;

/// splitmix64, so that every run sees the same numbers.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// `pairs` times 50 values of each side; rounded to four digits where `ties`.
fn samples(pairs: usize, ties: bool) -> Vec<f64> {
    let mut random = Random(7);
    let value = |_| {
        let value = 0.7 + 0.02 * (random.uniform() + random.uniform() - 1.0);
        if ties { (value * 1e4).round() / 1e4 } else { value }
    };
    (0..pairs * 2 * RUNS).map(value).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, what, file] = &arguments[..]
        && command == "file"
    {
        return whole_file(Path::new(file), what);
    }
    let folder = tempfile::tempdir().unwrap();
    type Pair<'a> = (&'a [f64], &'a [f64]);
    type Tests = fn(&[Pair<'_>]) -> f64;
    let methods: [(&str, usize, bool, Tests); 3] = [
        ("asymptotic", 20_000, true, |pairs| {
            let tests = Batch::new().asymptotic_all(pairs, Alternative::TwoSided, true).unwrap();
            tests.iter().map(|test| test.p_value).sum()
        }),
        ("exact", 2_000, false, |pairs| {
            pairs.iter().map(|(x, y)| exact(x, y, Alternative::TwoSided).unwrap().p_value).sum()
        }),
        ("exact-ties", 200, true, |pairs| {
            let test = |(x, y): &Pair<'_>| exact_with_ties(x, y, Alternative::TwoSided).unwrap();
            pairs.iter().map(|pair| test(pair).p_value).sum()
        }),
    ];
    for (name, pairs, ties, tests) in methods {
        println!("\n{name}: {pairs} pairs of {RUNS} values a side");
        let values = samples(pairs, ties);
        let file = folder.path().join(format!("{name}.f64"));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(&file, bytes).unwrap();
        // The fastest of five, as for the others.
        let mut best = f64::INFINITY;
        let mut sum = 0.0;
        for _ in 0..5 {
            let start = processor_seconds();
            let pairs: Vec<Pair<'_>> =
                values.chunks_exact(2 * RUNS).map(|pair| pair.split_at(RUNS)).collect();
            sum = tests(&pairs);
            best = best.min(processor_seconds() - start);
        }
        println!("  ours     {:>12.0} tests/s   sum of p {sum:.9}", pairs as f64 / best);
        other("SPEED_PYTHON", "python3", "speed.py", &[name, file.to_str().unwrap()]);
        other("SPEED_RSCRIPT", "Rscript", "speed.R", &[name, file.to_str().unwrap()]);
    }

    let rows: usize =
        std::env::var("SPEED_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000);
    if rows == 0 {
        return;
    }
    let file = folder.path().join("results.csv");
    write_results(&file, rows);
    let parquet = folder.path().join("results.parquet");
    let as_parquet = "import sys, pandas; pandas.read_csv(sys.argv[1]).to_parquet(sys.argv[2])";
    let (csv_name, parquet_name) = (file.to_str().unwrap(), parquet.to_str().unwrap());
    let python = std::env::var("SPEED_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let made = Command::new(python).args(["-c", as_parquet, csv_name, parquet_name]).status();
    // All that stands beside p-values takes pandas and SciPy long: a share of the bugs tells.
    let some: usize =
        std::env::var("SPEED_BUGS").ok().and_then(|bugs| bugs.parse().ok()).unwrap_or(BUGS);
    for name in [csv_name, parquet_name] {
        if name == parquet_name && !made.as_ref().is_ok_and(|status| status.success()) {
            println!("\nno Parquet: Python with pandas and pyarrow is needed to write it");
            continue;
        }
        let bytes = std::fs::metadata(name).unwrap().len();
        println!("\nend to end: {rows} rows, {BUGS} bugs, {:.0} MB, {name}", bytes as f64 / 1e6);
        for (what, bugs) in [("p-values", BUGS), ("everything", some)] {
            let mut own = Command::new(std::env::current_exe().unwrap());
            own.args(["file", what, name]).env("POLARS_MAX_THREADS", "1");
            assert!(own.status().unwrap().success());
            let bugs = bugs.to_string();
            other("SPEED_PYTHON", "python3", "speed.py", &["file", name, what, &bugs]);
        }
    }
}

/// Processor time of this thread: on an idle machine the time that passes, and on a busy one what
/// that would be, near enough to compare.
fn processor_seconds() -> f64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time`, which outlives it, and to nothing else.
    let outcome = unsafe { libc::clock_gettime(which, &mut time) };
    assert_eq!(outcome, 0);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Calls an alternative, or says that it is not there.
fn other(variable: &str, program: &str, script: &str, arguments: &[&str]) {
    let program = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let mut command = Command::new(&program);
    command.arg(script).args(arguments);
    for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(threads, "1");
    }
    // Nobody is to be slowed by settings made for other work.
    command.env_remove("OPENBLAS_CORETYPE");
    match command.output() {
        Ok(output) if output.status.success() => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) => println!(
            "  {program} cannot: {}",
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
        ),
        Err(error) => println!("  {program} is not there: {error}"),
    }
}

fn write_results(file: &Path, rows: usize) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    writeln!(out, "bug,evaluation,run,seed,accuracy,precision,recall,f1").unwrap();
    let mut random = Random(11);
    for row in 0..rows {
        let (bug, rest) = (row % BUGS, row / BUGS);
        let side = if rest.is_multiple_of(2) { "buggy" } else { "corrected" };
        let run = rest / 2;
        let accuracy = 0.7 + 0.02 * (random.uniform() + random.uniform() - 1.0);
        let [p, r, f] = [0; 3].map(|_| accuracy + 0.002 * random.uniform());
        writeln!(out, "pr{bug},{side},{run},{run},{accuracy:.4},{p:.6},{r:.6},{f:.6}").unwrap();
    }
}

/// The p-values alone, or the whole analysis, of a file; processor time of all threads.
fn whole_file(file: &Path, what: &str) {
    let (start, wall) = (clock(libc::CLOCK_PROCESS_CPUTIME_ID), Instant::now());
    let results = Results::read(file).unwrap();
    let reading = clock(libc::CLOCK_PROCESS_CPUTIME_ID) - start;
    let sum: f64 = if what == "p-values" {
        let tests = results.bugs().flat_map(|bug| results.metrics().iter().map(move |m| (bug, m)));
        let p = tests.map(|(bug, metric)| {
            let of = |evaluation| results.values(bug, evaluation, metric);
            let (x, y) = (of(Evaluation::Buggy), of(Evaluation::Corrected));
            asymptotic(&x, &y, Alternative::TwoSided, true).unwrap().p_value
        });
        p.sum()
    } else {
        let analysis = analyse(&results, &Options::default());
        assert!(!render::csv(&analysis).is_empty());
        analysis.tests.iter().filter_map(|test| test.p_value).sum()
    };
    let all = clock(libc::CLOCK_PROCESS_CPUTIME_ID) - start;
    println!(
        "  ours     {all:7.1} s ({reading:.1} s reading), {:.1} s passed, peak {} MiB, {what} of \
         {BUGS} bugs, sum of p {sum:.9}",
        wall.elapsed().as_secs_f64(),
        peak(),
    );
}

/// Peak resident memory of this process in MiB, where the system tells it.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
