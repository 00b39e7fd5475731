//! Speed beside SciPy, R and pandas, each in the same run and on one thread:
//!
//!     cargo bench -p reproduceml-stats --bench speed
//!
//! Tests a second are of processor time, which other work on the machine disturbs least.
//! `SPEED_ROWS` (default 10,000,000) sets the rows of the file that is analysed end to end; 0
//! leaves it out. Alternatives are called as `python3` (`SPEED_PYTHON`) and `Rscript`
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
use reproduceml_stats::mann_whitney::{Alternative, exact, exact_with_ties};
use reproduceml_stats::{Options, Results, analyse, render};

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
    if let [_, command, file] = &arguments[..]
        && command == "analyse"
    {
        return analyse_file(Path::new(file));
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
    let bytes = std::fs::metadata(&file).unwrap().len();
    println!("\nend to end: {rows} rows, {BUGS} bugs, {:.0} MB of CSV", bytes as f64 / 1e6);
    let this = std::env::current_exe().unwrap();
    let mut own = Command::new(this);
    own.arg("analyse").arg(&file).env("POLARS_MAX_THREADS", "1");
    assert!(own.status().unwrap().success());
    other("SPEED_PYTHON", "python3", "speed.py", &["file", file.to_str().unwrap()]);
}

/// Processor time of this thread: on an idle machine the time that passes, and on a busy one what
/// that would be, near enough to compare.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time`, which outlives it, and to nothing else.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
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

fn analyse_file(file: &Path) {
    let start = Instant::now();
    let results = Results::read(file).unwrap();
    let read = start.elapsed().as_secs_f64();
    let read_memory = peak();
    let analysis = analyse(&results, &Options::default());
    let text = render::csv(&analysis);
    let all = start.elapsed().as_secs_f64();
    let sum: f64 = analysis.tests.iter().filter_map(|test| test.p_value).sum();
    println!(
        "  ours     {all:.1} s ({read:.1} s reading), peak {} MiB ({read_memory} MiB reading), \
         {} tests with all that stands beside them, {} bytes, sum of p {sum:.9}",
        peak(),
        analysis.tests.len(),
        text.len()
    );
}

/// Peak resident memory of this process in MiB, where the system tells it.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
