//! The answers that a study keeps: `reach/findings.jsonl`, one bug and workload a line.

use std::path::{Path, PathBuf};

use study::Study;

use crate::answer::{Answer, Evidence, Finding, Layer, Strength, combine};
use crate::error::ReachError;

pub use study::reach::file;

/// Where a study keeps traces of its own.
pub fn traces_dir(study: &Study) -> PathBuf {
    study.root().join("reach").join("traces")
}

/// The answers kept so far; none where nothing was asked.
///
/// # Errors
/// If the file cannot be read or a line of it is no answer.
pub fn read(path: &Path) -> Result<Vec<Finding>, ReachError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ReachError::io(path)(error)),
    };
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let what = format!(
                    "line {}: expected one answer as JSON: {error}; remove the file and call \
                     `reproduceml reach` to write it anew",
                    index + 1
                );
                ReachError::form(path, what)
            })
        })
        .collect()
}

/// Keeps answers, in place of earlier ones about the same bugs and workloads.
///
/// # Errors
/// If the file cannot be read or written.
pub fn keep(path: &Path, new: &[Finding]) -> Result<(), ReachError> {
    let mut all = read(path)?;
    all.retain(|old| !new.iter().any(|new| same(old, new)));
    all.extend(new.iter().cloned());
    all.sort_by(|a, b| {
        let key =
            |f: &Finding| (f.bug.clone(), f.model.clone(), f.challenge.clone(), f.device.clone());
        key(a).cmp(&key(b))
    });
    let mut text = String::new();
    for finding in &all {
        let line = serde_json::to_string(finding)
            .map_err(|error| ReachError::form(path, error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
    }
    study::files::write_whole(path, text.as_bytes()).map_err(ReachError::io(path))
}

fn same(a: &Finding, b: &Finding) -> bool {
    (&a.bug, &a.model, &a.challenge, &a.device) == (&b.bug, &b.model, &b.challenge, &b.device)
}

/// The answer and its reason from all evidence about one bug.
///
/// What was measured goes before what was covered, and that before names: a later layer is asked
/// only where an earlier one did not decide, and knows more about the same part.
pub fn settle(evidence: &[Evidence]) -> (Answer, Strength, String, String) {
    let told = |part: &Evidence| {
        let place = match part.part.as_str() {
            "" => String::new(),
            place => format!("{place}: "),
        };
        (part.answer, part.strength, format!("{place}{}", part.reason), part.decides.clone())
    };
    let of = |layers: &[Layer]| -> Vec<Evidence> {
        evidence.iter().filter(|part| layers.contains(&part.layer)).cloned().collect()
    };
    if let Some(whole) = of(&[Layer::Scope, Layer::Bytes]).first() {
        return told(whole);
    }
    let names = of(&[Layer::Operators]);
    let lines = of(&[Layer::LinesPython, Layer::LinesCpp]);
    // Of each file the lines know more than the names, unless they know nothing.
    let mut parts: Vec<Evidence> = lines.clone();
    parts.retain(|part| part.answer != Answer::Unknown);
    let decided: Vec<String> = parts.iter().map(|part| part.part.clone()).collect();
    parts.extend(names.into_iter().filter(|part| {
        let file = part.part.split(": ").next().unwrap_or("");
        !decided.iter().any(|path| path == file)
    }));
    let blind: Vec<Evidence> = lines
        .into_iter()
        .filter(|line| line.answer == Answer::Unknown)
        .filter(|line| !parts.iter().any(|part| part.part.starts_with(&line.part)))
        .collect();
    parts.extend(blind);
    let values = of(&[Layer::Values]);
    let measured = values.iter().find(|part| part.answer != Answer::Unknown);
    match (combine(&parts), measured) {
        // Lines that never run leave nothing to measure; what was measured all the same counts.
        (Some(part), Some(value)) if part.answer.out_of_reach() => match value.answer {
            Answer::MayDiffer => told(value),
            _ => told(part),
        },
        (_, Some(value)) => told(value),
        (Some(part), None) => told(part),
        (None, None) => (
            Answer::Unknown,
            Strength::Static,
            "there is no evidence yet".to_owned(),
            "a clone of the framework and a trace of the workload".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use study::BugId;

    fn part(layer: Layer, place: &str, answer: Answer) -> Evidence {
        let strength = match layer {
            Layer::Scope | Layer::Bytes => Strength::Static,
            Layer::Operators => Strength::Traced,
            Layer::LinesPython | Layer::LinesCpp => Strength::Covered,
            Layer::Values => Strength::Measured,
        };
        let reason = "so".to_owned();
        Evidence { layer, part: place.into(), answer, strength, reason, decides: String::new() }
    }

    #[test]
    fn later_layers_know_more_about_the_same_file() {
        use Answer::*;
        let names = part(Layer::Operators, "a.c: f", MayDiffer);
        let other = part(Layer::Operators, "b.h", Unknown);
        let lines = part(Layer::LinesCpp, "a.c", NotExecuted);
        let of = |parts: &[&Evidence]| {
            let parts: Vec<Evidence> = parts.iter().map(|p| (*p).clone()).collect();
            let (answer, strength, ..) = settle(&parts);
            (answer, strength)
        };
        assert_eq!(of(&[&names]), (MayDiffer, Strength::Traced));
        assert_eq!(of(&[&names, &lines]), (NotExecuted, Strength::Covered));
        assert_eq!(of(&[&names, &other, &lines]), (Unknown, Strength::Traced));
        let blind = part(Layer::LinesCpp, "a.c", Unknown);
        assert_eq!(of(&[&names, &blind]).0, MayDiffer, "what lines cannot tell, names still do");
        let same = part(Layer::Values, "", ExecutedSame);
        let parted = part(Layer::Values, "", MayDiffer);
        assert_eq!(of(&[&names, &same]), (ExecutedSame, Strength::Measured));
        assert_eq!(of(&[&lines, &same]), (NotExecuted, Strength::Covered));
        assert_eq!(of(&[&lines, &parted]), (MayDiffer, Strength::Measured));
        assert_eq!(of(&[&names, &part(Layer::Values, "", Unknown)]).0, MayDiffer);
        assert_eq!(of(&[]).0, Unknown);
        let scope = part(Layer::Scope, "", NotInArtifact);
        assert_eq!(of(&[&scope, &names]), (NotInArtifact, Strength::Static));
    }

    #[test]
    fn answers_are_kept_one_a_bug_and_workload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reach/findings.jsonl");
        use Answer::*;
        let finding = |pr: u64, model: &str, answer| Finding {
            bug: BugId::of_pull_request(pr),
            model: model.into(),
            challenge: "c".into(),
            device: "cpu".into(),
            answer,
            strength: Strength::Static,
            reason: "r".into(),
            decides: String::new(),
            evidence: vec![],
        };
        assert_eq!(read(&path).unwrap(), []);
        keep(&path, &[finding(2, "m", Unknown), finding(1, "m", Unknown)]).unwrap();
        keep(&path, &[finding(2, "m", MayDiffer), finding(2, "n", Unknown)]).unwrap();
        let all = read(&path).unwrap();
        let told: Vec<_> =
            all.iter().map(|f| (f.bug.as_str(), f.model.as_str(), f.answer)).collect();
        assert_eq!(told, [("pr1", "m", Unknown), ("pr2", "m", MayDiffer), ("pr2", "n", Unknown)]);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1"));
    }
}
