//! What a night says in the morning.

use std::fmt::Write;

use serde::Serialize;

use super::stages::{Outcome, StageReport};
use super::state::{Changes, Proposal, Step};

/// Lines of one list that the Markdown shows; the JSON has them all.
const SHOWN: usize = 30;

/// A night's summary.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The study.
    pub study: String,
    /// When the night began (RFC 3339).
    pub began: String,
    /// When the state it is compared with was read; none in the first night.
    pub since: Option<String>,
    /// Whether anything changed since then.
    pub changed: bool,
    /// The stages, in their order.
    pub stages: Vec<StageReport>,
    /// What changed.
    pub changes: Changes,
    /// Bugs nobody has labelled, with what their text and files suggest.
    pub to_label: Vec<Proposal>,
}

impl Summary {
    /// The stages that could not do their work.
    pub fn troubles(&self) -> Vec<&StageReport> {
        self.stages.iter().filter(|s| matches!(s.outcome, Outcome::Trouble { .. })).collect()
    }

    /// What happened, in a line.
    pub fn headline(&self) -> String {
        let c = &self.changes;
        let count = |n: usize, one: &str, many: &str| match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        };
        let parts: Vec<String> = [
            count(c.releases.len(), "new release", "new releases"),
            count(c.new_bugs.len(), "new bug", "new bugs"),
            count(c.gone_bugs.len(), "bug gone", "bugs gone"),
            count(c.changed_entries.len(), "changed entry", "changed entries"),
            count(c.resolutions.len(), "bug traced anew", "bugs traced anew"),
            count(c.builds.len(), "side built or tried", "sides built or tried"),
            count(c.runs.len(), "bug with new runs", "bugs with new runs"),
            count(c.verdicts.len(), "verdict", "verdicts"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { "nothing changed".into() } else { parts.join(", ") }
    }

    /// The summary for people.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}: {}\n\n", escape(&self.study), self.headline());
        // Writing to a string cannot fail.
        let _ = match &self.since {
            Some(since) => writeln!(text, "Night of {}, compared with {since}.\n", self.began),
            None => writeln!(text, "Night of {}, the first.\n", self.began),
        };
        text += "| stage | outcome | seconds |\n|---|---|---|\n";
        for stage in &self.stages {
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} |",
                stage.stage,
                escape(&outcome(&stage.outcome)),
                stage.seconds
            );
        }
        let c = &self.changes;
        let names = |list: &[study::BugId]| -> Vec<String> {
            list.iter().map(ToString::to_string).collect()
        };
        section(&mut text, "Verdicts", &steps(&c.verdicts));
        section(&mut text, "New releases", &c.releases);
        section(&mut text, "New bugs", &names(&c.new_bugs));
        section(&mut text, "Bugs the notes no longer name", &names(&c.gone_bugs));
        section(&mut text, "Entries that read otherwise now", &names(&c.changed_entries));
        section(&mut text, "Traced anew", &steps(&c.resolutions));
        section(&mut text, "Builds", &steps(&c.builds));
        section(&mut text, "Runs", &steps(&c.runs));
        let to_label: Vec<String> = self
            .to_label
            .iter()
            .map(|proposal| match proposal.hints.as_slice() {
                [] => proposal.bug.to_string(),
                hints => format!("{}: {}", proposal.bug, hints.join("; ")),
            })
            .collect();
        section(&mut text, "To label, with what text and files suggest", &to_label);
        text
    }
}

fn steps(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match (step.before.as_str(), step.now.as_str()) {
            ("", now) => format!("{}: {now}", step.what),
            (before, "") => format!("{}: was {before}", step.what),
            (before, now) => format!("{}: {now}, was {before}", step.what),
        })
        .collect()
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title} ({})\n", lines.len());
    for line in lines.iter().take(SHOWN) {
        let _ = writeln!(text, "- {}", escape(line));
    }
    if lines.len() > SHOWN {
        let _ = writeln!(text, "- … and {} more, all in summary.json", lines.len() - SHOWN);
    }
}

/// How a stage came out, for people.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::Failures => "finished, with failures that are listed".into(),
        Outcome::Trouble { why } => format!("not done: {why}"),
        Outcome::Budget { which } => format!("ended: the budget of {which} is used up"),
        Outcome::Skipped { why } => format!("not called: {why}"),
    }
}

/// Text as Markdown shows it: one line, nothing of it taken for a mark, a table's edge or HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use study::{BugId, NightlyStage};

    use super::*;

    fn summary() -> Summary {
        let stage = |stage, outcome| StageReport {
            stage,
            outcome,
            seconds: 12.3,
            command: vec!["reproduceml".into()],
        };
        Summary {
            study: "a|b".into(),
            began: "2026-01-02T03:04:05Z".into(),
            since: Some("2026-01-01T03:04:05Z".into()),
            changed: true,
            stages: vec![
                stage(NightlyStage::Mine, Outcome::Trouble { why: "no <b>network</b>".into() }),
                stage(NightlyStage::Build, Outcome::Failures),
                stage(NightlyStage::Run, Outcome::Budget { which: "time" }),
                stage(NightlyStage::Report, Outcome::Skipped { why: "no run finished".into() }),
            ],
            changes: Changes {
                new_bugs: vec![BugId::of_pull_request(7)],
                verdicts: vec![Step {
                    what: "pr1".into(),
                    before: "inconclusive".into(),
                    now: "different".into(),
                }],
                builds: (0..40)
                    .map(|n| Step {
                        what: format!("pr{n} buggy"),
                        before: String::new(),
                        now: "built 0123".into(),
                    })
                    .collect(),
                ..Changes::default()
            },
            to_label: vec![Proposal {
                bug: BugId::of_pull_request(7),
                hints: vec!["crash yes: its text says “segfault”".into()],
            }],
        }
    }

    #[test]
    fn the_morning_reads_what_happened() {
        insta::assert_snapshot!(summary().markdown());
        assert_eq!(summary().troubles().len(), 1);
    }

    #[test]
    fn a_quiet_night_says_so() {
        let quiet = Summary { changes: Changes::default(), stages: Vec::new(), ..summary() };
        assert_eq!(quiet.headline(), "nothing changed");
    }
}
