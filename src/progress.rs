//! Progress and logs, on standard error alone.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Sends the logs of all crates to standard error, at a level that `-v` raises.
pub fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("REPRODUCEML_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
}

/// Progress of a stage: a bar on a terminal, else a line for each step that people would miss.
pub struct Progress {
    bar: Option<ProgressBar>,
    last: Mutex<String>,
    began: Instant,
    said: Mutex<Instant>,
}

/// How long a log is left without a line about work that goes well.
const QUIET: Duration = Duration::from_secs(60);

/// Steps done, their rate and the time that is left, for a log.
fn tally(done: u64, total: u64, spent: Duration) -> String {
    let minutes = spent.as_secs_f64() / 60.0;
    let rate = done as f64 / minutes.max(1e-6);
    let left = (total.saturating_sub(done)) as f64 / rate.max(1e-6);
    match done {
        0 => format!("0 of {total} done"),
        _ if done >= total => format!("{done} of {total} done in {minutes:.1} minutes"),
        _ => format!(
            "{done} of {total} done, {rate:.1} a minute, about {:.0} minutes left",
            left.ceil()
        ),
    }
}

impl Progress {
    /// Begins to show progress.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{bar:30} {pos}/{len} {elapsed} {per_sec}, {eta} left {wide_msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        Self { bar, last: Mutex::new(String::new()), began: now, said: Mutex::new(now) }
    }

    /// Says something worth keeping on the screen or in a log.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => {
                let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if *last != text {
                    eprintln!("{text}");
                    text.clone_into(&mut last);
                }
            }
        }
    }

    /// Shows that `done` of `total` steps are done.
    pub fn count(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        // In a log, a line now and then is enough.
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if done == total || said.elapsed() >= QUIET {
            *said = Instant::now();
            self.line(&tally(done, total, self.began.elapsed()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_told_rate_and_time_left() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(tally(0, 9, minutes(1)), "0 of 9 done");
        assert_eq!(tally(10, 40, minutes(2)), "10 of 40 done, 5.0 a minute, about 6 minutes left");
        assert_eq!(tally(40, 40, minutes(8)), "40 of 40 done in 8.0 minutes");
    }
}
