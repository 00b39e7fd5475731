//! `reach --suggest`: what would reach the bugs that the workload does not.

use reach::suggest::{self, Candidate, Kind, Modules, Suggestion};
use reach::{Answer, Finding, Namer, Trace};
use serde::Serialize;
use study::{Bug, Study};

use super::Workload;
use super::trace::files;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};

/// What is suggested for one bug.
#[derive(Debug, Serialize)]
pub struct Suggested {
    bug: study::BugId,
    answer: Answer,
    suggestions: Vec<Suggestion>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    none: Option<String>,
}

/// The models of all traces at hand but the workload's own, and the modules of the framework's
/// list; each also on a GPU.
pub fn candidates(
    study: &Study,
    home: &Home,
    workload: &Workload,
) -> Result<Vec<Candidate>, Failure> {
    let framework = &study.config.framework.name;
    let mut found: Vec<Candidate> = Vec::new();
    let mut known: Vec<(String, String, String)> = Vec::new();
    for folder in [reach::findings::traces_dir(study), home.traces()] {
        for path in files(&folder) {
            let trace = Trace::read(&path).map_err(Failure::input)?;
            let own = trace.model == workload.model && trace.device == workload.device;
            let key = (trace.model.clone(), trace.challenge.clone(), trace.device.clone());
            if trace.framework != *framework || own || known.contains(&key) {
                continue;
            }
            known.push(key);
            found.push(Candidate::of_model(trace));
        }
    }
    let list = home.operators().join(format!("{framework}-modules.json"));
    if list.is_file() {
        found.extend(Modules::read(&list).map_err(Failure::input)?.candidates());
    }
    if let Some(own) = own_on_gpu(study, home, workload)? {
        found.push(own);
    }
    let on_gpu: Vec<Candidate> =
        found.iter().filter(|one| one.device() == "cpu").map(Candidate::on_gpu).collect();
    found.extend(on_gpu);
    Ok(found)
}

/// The workload's own model, which on a GPU is another workload.
fn own_on_gpu(
    study: &Study,
    home: &Home,
    workload: &Workload,
) -> Result<Option<Candidate>, Failure> {
    if workload.device != "cpu" {
        return Ok(None);
    }
    for folder in [reach::findings::traces_dir(study), home.traces()] {
        for path in files(&folder) {
            let trace = Trace::read(&path).map_err(Failure::input)?;
            let framework = &study.config.framework.name;
            if trace.is_of(framework, &workload.model, &workload.challenge, "cpu") {
                return Ok(Some(Candidate::of_model(trace).on_gpu()));
            }
        }
    }
    Ok(None)
}

/// What would reach one bug: workloads of the study's device, and those of a GPU where there are
/// none; then the fix's own test.
pub fn suggest<'a>(
    bug: &Bug,
    finding: &Finding,
    clone: Option<&reach::Clone>,
    namer: Option<&mut Namer<'a>>,
    candidates: &'a [Candidate],
) -> Result<Suggested, Failure> {
    let change = match clone {
        Some(clone) if bug.fix.is_some() => clone.change(bug).map_err(Failure::input)?,
        _ => None,
    };
    let mut found = Vec::new();
    let mut why = suggest::why_none(bug, &finding.evidence);
    let outside = finding.answer == Answer::NotInArtifact;
    match (change, namer) {
        _ if outside => {}
        (Some(change), Some(namer)) => {
            let split = candidates.iter().position(|one| one.device() != finding.device);
            let (own, other) = candidates.split_at(split.unwrap_or(candidates.len()));
            for part in [own, other] {
                if found.is_empty() {
                    found = suggest::suggest(namer, bug, &change, part).map_err(Failure::input)?;
                }
            }
        }
        _ => why = "there is no clone with its pair of commits to read the fix from".to_owned(),
    }
    let none = found.is_empty().then_some(why);
    let tests = builder::choose_tests(&bug.tests);
    if !tests.python.is_empty() {
        let also = tests.not_run().map_or(String::new(), |why| format!("; {why}"));
        found.push(Suggestion {
            kind: Kind::Test,
            workload: format!("test:{}", bug.id),
            input: tests.python.join(" "),
            device: finding.device.clone(),
            reason: format!(
                "the fix brought it or changed it; `run --workload` runs it on both artifacts{also}"
            ),
        });
    }
    Ok(Suggested { bug: bug.id.clone(), answer: finding.answer, suggestions: found, none })
}

/// Prints answers and suggestions as JSON, else the suggestions.
pub fn print(cli: &Cli, found: &[Finding], suggested: &[Suggested]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "answer", "what", "workload", "input", "device", "why"]);
    for one in suggested {
        let (bug, answer) = (one.bug.as_str(), one.answer.as_str());
        if let Some(why) = &one.none {
            rows.push([bug, answer, "–", "", "", "", why]);
        }
        for this in &one.suggestions {
            let kind = this.kind.as_str();
            let (workload, input) = (&this.workload, &this.input);
            rows.push([bug, answer, kind, workload, input, &this.device, &this.reason]);
        }
    }
    let value = serde_json::json!({"findings": found, "suggestions": suggested});
    output::print(cli.format, &value, &rows)?;
    let helped = suggested.iter().filter(|one| one.none.is_none()).count();
    eprintln!(
        "{} of {} bugs are not known to be reached; for {helped} of them there is another workload",
        suggested.len(),
        found.len()
    );
    Ok(())
}
