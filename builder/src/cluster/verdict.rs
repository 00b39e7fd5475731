//! What the end of a job means for the builds that it did not come to the end of.

use slurm::{End, Over};
use study::Ending;

use crate::failure::FailureClass;

/// What follows from the end of a job for the artifacts that it did not make.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing: the worker came to its end.
    Done,
    /// They are built again now.
    Again(String),
    /// They are built at the next call.
    Later(String),
    /// The first of them failed like this.
    Failed(FailureClass, String),
    /// The node cannot build at all, and says why.
    Broken(String),
}

/// What follows from the end of a job whose program said this.
pub(super) fn verdict(over: &Over, said: &str) -> Verdict {
    let (job, node) = (over.job, over.on_node());
    match over.scheduler() {
        Some((Ending::Cancelled, how)) => return Verdict::Later(how),
        Some((_, how)) => return Verdict::Again(how),
        None => {}
    }
    match (over.end, over.status_or_signal()) {
        (End::TimedOut, _) => Verdict::Failed(
            FailureClass::Timeout,
            format!(
                "job {job} reached its limit of time{node}; raise slurm.build.time_minutes in \
                 study.toml"
            ),
        ),
        (End::OutOfMemory, _) => Verdict::Failed(
            FailureClass::OutOfMemory,
            format!(
                "job {job} used more memory than it had{node}; raise slurm.build.memory_mib in \
                 study.toml"
            ),
        ),
        (_, (Some(0), _)) => Verdict::Done,
        // Told to end by somebody on the node.
        (_, (Some(130), _)) => Verdict::Later(format!("job {job} was interrupted{node}")),
        (_, (Some(status), _)) => {
            let mut errors = said.lines().filter_map(|line| line.strip_prefix("error: "));
            let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let why = errors.next_back().or(last).map(str::to_owned);
            Verdict::Broken(why.unwrap_or_else(|| format!("the program ended with {status}")))
        }
        (_, (None, Some(signal))) => {
            Verdict::Later(format!("job {job} was ended by signal {signal}{node}"))
        }
        (_, (None, None)) => Verdict::Later(format!("job {job} ended in an unknown way{node}")),
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use std::path::PathBuf;

    use slurm::JobId;

    use super::*;

    #[test]
    fn what_ends_a_job_is_a_result_only_where_the_build_did_it() {
        let of = |end, code, status, said: &str| {
            let over = Over {
                job: JobId { job: 7, task: None },
                end,
                node: "n1".into(),
                reason: String::new(),
                code,
                status,
                seconds: 1.0,
                out: PathBuf::new(),
            };
            verdict(&over, said)
        };
        assert_eq!(of(End::Completed, None, Some(0), ""), Verdict::Done);
        assert_eq!(
            of(End::Forgotten, None, Some(0), ""),
            Verdict::Done,
            "its script was at its end"
        );
        let failed = |verdict| match verdict {
            Verdict::Failed(class, line) => (class, line),
            other => panic!("{other:?}"),
        };
        let (class, line) = failed(of(End::TimedOut, None, None, ""));
        assert_eq!(class, FailureClass::Timeout);
        assert!(line.contains("job 7") && line.contains("on n1"), "{line}");
        let (class, _) = failed(of(End::OutOfMemory, None, Some(137), ""));
        assert_eq!(class, FailureClass::OutOfMemory);
        for end in [End::Preempted, End::NodeFailed, End::Forgotten] {
            assert!(matches!(of(end, None, None, ""), Verdict::Again(_)), "{end:?}");
        }
        for (end, code, status) in [
            (End::Cancelled, None, None),
            (End::Failed, Some((0, 9)), None),
            (End::Failed, None, Some(130)),
            (End::Failed, Some((98, 0)), None),
        ] {
            assert!(matches!(of(end, code, status, ""), Verdict::Later(_)), "{end:?} {code:?}");
        }
        let said = "built x\nerror: no Docker daemon\n  because: of the test\n";
        let broken = Verdict::Broken("no Docker daemon".into());
        assert_eq!(of(End::Failed, None, Some(3), said), broken);
        let missing = Verdict::Broken("libx.so: not found".into());
        assert_eq!(of(End::Failed, None, Some(127), "libx.so: not found\n"), missing);
    }
}
