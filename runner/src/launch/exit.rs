//! How a client's process ended, and what to make of it.

use study::Ending;

/// How a client's process ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// Its exit status, if it ended by itself.
    pub status: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// It was killed for want of memory.
    pub out_of_memory: bool,
    /// It was ended for taking too long.
    pub timed_out: bool,
    /// It was ended since the program ends.
    pub cancelled: bool,
    /// What a cluster did with it, if that is why it ended, and in a few words how.
    pub scheduler: Option<(Ending, String)>,
    /// How long it ran.
    pub seconds: f64,
    /// The end of its output.
    pub tail: String,
}

/// The client's exit status when it lost its server.
pub(crate) const SERVER_LOST: i64 = 3;

impl Exit {
    /// What kind of end it was; `None` if the process ended well.
    pub fn ending(&self) -> Option<Ending> {
        if let Some((ending, _)) = &self.scheduler {
            return Some(*ending);
        }
        match (self.signal, self.status) {
            _ if self.out_of_memory => Some(Ending::OutOfMemory),
            _ if self.timed_out => Some(Ending::Timeout),
            _ if self.cancelled => Some(Ending::Stopped),
            (Some(2 | 9 | 15), _) => Some(Ending::Killed),
            (Some(_), _) => Some(Ending::Crash),
            (None, Some(0)) => None,
            (None, Some(SERVER_LOST)) => Some(Ending::ServerLost),
            (None, _) => Some(Ending::Exit),
        }
    }

    /// What happened, in a few words.
    pub fn describe(&self) -> String {
        let last = self.tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let last = last.map(|line| format!(" ({line})")).unwrap_or_default();
        if let Some((_, how)) = &self.scheduler {
            how.clone()
        } else if self.out_of_memory {
            "it ran out of memory; raise run.memory_mib in study.toml".into()
        } else if self.timed_out {
            "it took too long and was ended; raise run.timeout_minutes in study.toml".into()
        } else if self.cancelled {
            "it was under way when the program ended".into()
        } else if let Some(signal) = self.signal {
            format!("it was ended by signal {signal} ({}){last}", signal_name(signal))
        } else if self.status == Some(SERVER_LOST) {
            format!("it lost its server, or was refused{last}")
        } else if let Some(status) = self.status {
            format!("it ended with status {status} and without results{last}")
        } else {
            format!("it ended in an unknown way{last}")
        }
    }
}

fn signal_name(signal: i64) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "killed",
        11 => "segmentation fault",
        15 => "terminated",
        _ => "see `man 7 signal`",
    }
}

/// The last bytes of an output.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

const TAIL_BYTES: usize = 4096;

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..surplus);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            status: Some(1),
            signal: None,
            out_of_memory: false,
            timed_out: false,
            cancelled: false,
            scheduler: None,
            seconds: 0.1,
            tail: "Traceback\nValueError: no\n\n".into(),
        }
    }

    #[test]
    fn reasons_are_told_apart() {
        let by = |signal| Exit { signal: Some(signal), status: None, ..exit() };
        for (exit, ending, words) in [
            (exit(), Ending::Exit, "status 1 and without results (ValueError: no)"),
            (by(11), Ending::Crash, "segmentation fault"),
            (by(6), Ending::Crash, "abort"),
            (by(9), Ending::Killed, "killed"),
            (Exit { out_of_memory: true, ..by(9) }, Ending::OutOfMemory, "memory_mib"),
            (Exit { timed_out: true, ..by(9) }, Ending::Timeout, "timeout_minutes"),
            (Exit { cancelled: true, ..by(9) }, Ending::Stopped, "under way"),
            (Exit { status: Some(SERVER_LOST), ..exit() }, Ending::ServerLost, "lost its server"),
        ] {
            assert_eq!(exit.ending(), Some(ending));
            assert!(exit.describe().contains(words), "{}", exit.describe());
        }
        assert_eq!(Exit { status: Some(0), ..exit() }.ending(), None);
        let preempted = (Ending::Preempted, "job 7 had to leave its node n1".to_owned());
        let exit = Exit { scheduler: Some(preempted), ..by(9) };
        assert_eq!(exit.ending(), Some(Ending::Preempted), "whatever signal that took");
        assert_eq!(exit.describe(), "job 7 had to leave its node n1");
    }

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; TAIL_BYTES]);
        tail.push(b"end");
        assert_eq!(tail.text().len(), TAIL_BYTES);
        assert!(tail.text().ends_with("aend"));
    }
}
