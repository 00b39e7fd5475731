//! What Slurm says of a job, and what that makes of the work it did.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use study::Ending;

/// A job, or one task of an array of jobs: `12` or `12_3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// What `sbatch` printed.
    pub job: u64,
    /// The place in the array.
    pub task: Option<u32>,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "{}_{task}", self.job),
            None => write!(f, "{}", self.job),
        }
    }
}

impl FromStr for JobId {
    type Err = ();

    /// Of an array that is not taken apart (`12_[3-9]`) there is no single task, so it is refused.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        match text.split_once('_') {
            None => Ok(Self { job: number(text)?, task: None }),
            Some((job, task)) => {
                Ok(Self { job: number(job)?, task: Some(task.parse().map_err(|_| ())?) })
            }
        }
    }
}

/// How a job ended, in Slurm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It ended well.
    Completed,
    /// It ended with another status than 0, or by a signal.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// It reached its limit of time, or its deadline.
    TimedOut,
    /// Something more urgent took its node.
    Preempted,
    /// Its node was lost.
    NodeFailed,
    /// It used more memory than it had.
    OutOfMemory,
    /// Slurm knows nothing of it any more.
    Forgotten,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for a node.
    Waiting,
    /// It has one, or is about to give it back.
    Running,
    /// It is over.
    Ended(End),
}

impl State {
    /// Reads a state as `squeue` and `sacct` write it; a word that is new to this program is taken
    /// for a job that is not over.
    pub(crate) fn read(text: &str) -> Self {
        // `sacct` says `CANCELLED by 1000`, and marks what it cut short with a `+`.
        let word = text.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
        match word {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD"
            | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => Self::Waiting,
            "COMPLETED" => Self::Ended(End::Completed),
            "FAILED" => Self::Ended(End::Failed),
            "CANCELLED" | "REVOKED" => Self::Ended(End::Cancelled),
            "TIMEOUT" | "DEADLINE" => Self::Ended(End::TimedOut),
            "PREEMPTED" => Self::Ended(End::Preempted),
            "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" => Self::Ended(End::NodeFailed),
            "OUT_OF_MEMORY" => Self::Ended(End::OutOfMemory),
            // COMPLETING, RUNNING, SIGNALING, STAGE_OUT, STOPPED, SUSPENDED, RESIZING
            _ => Self::Running,
        }
    }
}

/// One job in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: JobId,
    pub(crate) state: State,
    /// Exit status and signal, where Slurm tells.
    pub(crate) code: Option<(i64, i64)>,
    /// Its node, if it has one.
    pub(crate) node: String,
    /// Why it waits, or ended.
    pub(crate) reason: String,
}

/// Columns of the queue: `squeue`'s name and the width it is told to write.
const COLUMNS: [(&str, usize); 5] =
    [("JobArrayID", 48), ("State", 24), ("exit_code", 16), ("NodeList", 256), ("Reason", 256)];

/// What `squeue --Format` is told.
pub(crate) fn columns() -> String {
    COLUMNS.map(|(name, width)| format!("{name}:{width}")).join(",")
}

impl Seen {
    /// Reads a line of `squeue` with these columns; `None` for one of another form.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut begin = 0;
        let mut cells = COLUMNS.iter().map(|(_, width)| {
            let end = (begin + width).min(line.len());
            let cell = line.get(begin..end).unwrap_or_default().trim();
            begin = end;
            cell
        });
        let id = cells.next()?.parse().ok()?;
        let state = cells.next().filter(|word| !word.is_empty()).map(State::read)?;
        let code = cells.next().and_then(exit_code);
        let node = cells.next().unwrap_or_default().to_owned();
        let reason = cells.next().unwrap_or_default().to_owned();
        Some(Self { id, state, code, node, reason })
    }

    /// The end that this is, with what is known beside the queue.
    pub(crate) fn over(self, end: End, status: Option<i64>, seconds: f64, out: PathBuf) -> Over {
        let Self { id, code, node, reason, .. } = self;
        Over { job: id, end, node, reason, code, status, seconds, out }
    }

    /// Reads a line of `sacct --parsable2 --format=JobID,State,ExitCode,NodeList`. Steps of a job
    /// (`12.batch`) are none of it.
    pub(crate) fn accounted(line: &str) -> Option<Self> {
        let mut cells = line.split('|');
        let id = cells.next()?.parse().ok()?;
        let state = State::read(cells.next()?);
        let code = cells.next().and_then(exit_code);
        let node = cells.next().unwrap_or_default().to_owned();
        Some(Self { id, state, code, node, reason: String::new() })
    }
}

/// Exit status and signal: `3:0`, or one number as `wait` gives it.
fn exit_code(text: &str) -> Option<(i64, i64)> {
    match text.split_once(':') {
        Some((status, signal)) => Some((status.parse().ok()?, signal.parse().ok()?)),
        None => text.parse().ok().map(|word: i64| (word >> 8, word & 0x7f)),
    }
}

/// Exit statuses of a job's script that are not those of the work it does.
pub mod script_status {
    /// A program is not on the node.
    pub const NO_PROGRAM: i64 = 96;
    /// The node does not see the study.
    pub const NOT_SHARED: i64 = 97;
    /// The work was taken back before the job began.
    pub const WITHDRAWN: i64 = 98;
}

/// A job that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    /// The job.
    pub job: JobId,
    /// How it ended, in Slurm's words.
    pub end: End,
    /// Its node, if it had one.
    pub node: String,
    /// What Slurm says why.
    pub reason: String,
    /// Exit status and signal as Slurm tells them.
    pub code: Option<(i64, i64)>,
    /// The exit status that the script wrote, if it came so far.
    pub status: Option<i64>,
    /// Seconds for which it was seen to run.
    pub seconds: f64,
    /// The file with what the work said.
    pub out: PathBuf,
}

impl Over {
    /// The work's exit status, and else the signal that ended it.
    pub fn status_or_signal(&self) -> (Option<i64>, Option<i64>) {
        match self.told() {
            // A shell reports a signal of its child as 128 and its number.
            Some((status @ 129..=192, _)) => (None, Some(status - 128)),
            Some((_, signal)) if signal > 0 => (None, Some(signal)),
            Some((status, _)) => (Some(status), None),
            None if self.end == End::Completed => (Some(0), None),
            None => (None, None),
        }
    }

    fn told(&self) -> Option<(i64, i64)> {
        self.status.map(|status| (status, 0)).or(self.code)
    }

    /// ` on n1`, as sentences say where it was.
    pub fn on_node(&self) -> String {
        match self.node.as_str() {
            "" => String::new(),
            node => format!(" on {node}"),
        }
    }

    /// What the cluster did with the job, if that and not the work is why it ended, and in a few
    /// words how.
    pub fn scheduler(&self) -> Option<(Ending, String)> {
        let (id, node) = (self.job, self.on_node());
        match self.end {
            End::Cancelled => Some((Ending::Cancelled, format!("job {id} was cancelled{node}"))),
            End::Preempted => {
                Some((Ending::Preempted, format!("job {id} had to leave its node{node}")))
            }
            End::NodeFailed => Some((Ending::NodeLost, format!("job {id} lost its node{node}"))),
            // What cannot be launched or found was not the work's doing either.
            End::Failed if self.reason.contains("JobLaunchFailure") => {
                Some((Ending::NodeLost, format!("job {id} could not be launched{node}")))
            }
            End::Forgotten if self.told().is_none() => {
                Some((Ending::NodeLost, format!("the cluster has forgotten job {id}{node}")))
            }
            End::Failed if self.told().is_some_and(|(it, _)| it == script_status::WITHDRAWN) => {
                Some((Ending::Cancelled, format!("job {id} found its work taken back{node}")))
            }
            End::Completed | End::Failed | End::TimedOut | End::OutOfMemory | End::Forgotten => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: [&str; 5]) -> String {
        let pad = |(cell, (_, width)): (&str, (&str, usize))| format!("{cell:width$}");
        cells.into_iter().zip(COLUMNS).map(pad).collect()
    }

    #[test]
    fn the_queue_is_read() {
        let seen = Seen::read(&line(["1_12", "FAILED", "768", "n1", "NonZeroExitCode"])).unwrap();
        assert_eq!(seen.id, JobId { job: 1, task: Some(12) });
        assert_eq!(seen.state, State::Ended(End::Failed));
        assert_eq!((seen.code, seen.node.as_str()), (Some((3, 0)), "n1"));
        assert_eq!(seen.reason, "NonZeroExitCode");
        let waits = Seen::read(&line(["7", "PENDING", "0", "", "(Resources)"])).unwrap();
        assert_eq!((waits.id.to_string().as_str(), waits.state), ("7", State::Waiting));
        // Shorter than its columns, as `squeue` of other versions ends lines.
        assert!(Seen::read(line(["7", "PENDING", "0", "", "Priority"]).trim_end()).is_some());
        for none in ["", "slurm_load_jobs error", "1_[3-9]   PENDING", &line(["9", "", "", "", ""])]
        {
            assert_eq!(Seen::read(none), None, "{none}");
        }
    }

    #[test]
    fn accounts_are_read_without_their_steps() {
        let seen = Seen::accounted("8_1|CANCELLED by 1000|0:15|n2").unwrap();
        assert_eq!((seen.state, seen.code), (State::Ended(End::Cancelled), Some((0, 15))));
        assert_eq!(Seen::accounted("8_1.batch|CANCELLED|0:15|n2"), None);
        assert_eq!(Seen::accounted("JobID|State"), None);
    }

    #[test]
    fn each_end_is_what_it_would_be_on_one_machine() {
        use Ending as E;
        let ended = |state: &str, code: &str, reason: &str, status: Option<i64>| {
            let seen = Seen::read(&line(["5_0", state, code, "n1", reason])).unwrap();
            let State::Ended(end) = seen.state else { panic!("{state} is not over") };
            seen.over(end, status, 1.0, PathBuf::new())
        };
        for (state, code, reason, status, scheduler, left) in [
            ("COMPLETED", "0", "None", Some(0), None, (Some(0), None)),
            ("COMPLETED", "", "None", None, None, (Some(0), None)),
            ("FAILED", "256", "NonZeroExitCode", Some(1), None, (Some(1), None)),
            ("FAILED", "768", "NonZeroExitCode", None, None, (Some(3), None)),
            ("FAILED", "1:0", "NonZeroExitCode", None, None, (Some(1), None)),
            ("FAILED", "35584", "NonZeroExitCode", None, None, (None, Some(11))),
            ("FAILED", "", "", Some(137), None, (None, Some(9))),
            ("FAILED", "9", "RaisedSignal", None, None, (None, Some(9))),
            ("FAILED", "256", "JobLaunchFailure", None, Some(E::NodeLost), (Some(1), None)),
            ("FAILED", "25088", "NonZeroExitCode", None, Some(E::Cancelled), (Some(98), None)),
            ("CANCELLED", "15", "None", None, Some(E::Cancelled), (None, Some(15))),
            ("TIMEOUT", "15", "TimeLimit", None, None, (None, Some(15))),
            ("PREEMPTED", "15", "", None, Some(E::Preempted), (None, Some(15))),
            ("NODE_FAIL", "1", "NodeDown", None, Some(E::NodeLost), (None, Some(1))),
            ("BOOT_FAIL", "1", "", None, Some(E::NodeLost), (None, Some(1))),
            ("OUT_OF_MEMORY", "125", "OutOfMemory", Some(137), None, (None, Some(9))),
        ] {
            let over = ended(state, code, reason, status);
            let told = over.scheduler();
            assert_eq!(told.as_ref().map(|(ending, _)| *ending), scheduler, "{state} {code}");
            assert_eq!(over.status_or_signal(), left, "{state} {code} {reason} {status:?}");
            if let Some((_, how)) = told {
                assert!(how.contains("5_0"), "{how}");
            }
        }
        let seen =
            Seen { node: String::new(), ..Seen::read(&line(["5", "FAILED", "", "", ""])).unwrap() };
        let gone = |status| {
            let over = seen.clone().over(End::Forgotten, status, 0.0, PathBuf::new());
            over.scheduler().map(|(ending, _)| ending)
        };
        assert_eq!((gone(None), gone(Some(0))), (Some(E::NodeLost), None));
    }

    #[test]
    fn a_state_that_is_new_is_not_taken_for_an_end() {
        for (word, state) in [
            ("RUNNING", State::Running),
            ("COMPLETING", State::Running),
            ("SUSPENDED", State::Running),
            ("LEVITATING", State::Running),
            ("REQUEUED", State::Waiting),
            ("CANCELLED+", State::Ended(End::Cancelled)),
        ] {
            assert_eq!(State::read(word), state, "{word}");
        }
    }
}
