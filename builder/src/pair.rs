//! The two artifacts of a bug must differ in the commit or the fault and in nothing else. A pair
//! of which that cannot be said is refused: it is not handed on to the runs.

use std::collections::BTreeMap;

use study::{ArtifactId, BugId, Evaluation, Study};

use crate::error::BuildError;
use crate::plan::Plan;
use crate::record::BuildRecord;

/// What besides the commit or the fault is not the same in two builds: toolchain, image, flags,
/// patches that took hold, and the class of the machine.
#[must_use]
pub fn mismatches(a: &BuildRecord, b: &BuildRecord) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, left: &str, right: &str| {
        if left != right {
            found.push(format!("{what}: {left} and {right}"));
        }
    };
    check("toolchain", &a.identity.toolchain, &b.identity.toolchain);
    check("image", &a.image.id, &b.image.id);
    check("flags", &describe(&a.identity.flags), &describe(&b.identity.flags));
    check("patches", &a.patches.join(", "), &b.patches.join(", "));
    let host = |record: &BuildRecord, key: &str| record.host.get(key).cloned().unwrap_or_default();
    for key in ["architecture", "vectors"] {
        check(key, &host(a, key), &host(b, key));
    }
    found
}

fn describe(flags: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = flags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if all.is_empty() { "none".into() } else { all.join(" ") }
}

/// What speaks against each pair of a plan whose two artifacts are there; nothing for most.
pub(crate) fn of_plan(
    study: &Study,
    plan: &Plan,
) -> Result<BTreeMap<BugId, Vec<String>>, BuildError> {
    let mut sides: BTreeMap<&BugId, Vec<&ArtifactId>> = BTreeMap::new();
    for want in &plan.wants {
        sides.entry(&want.bug).or_default().push(&want.job);
    }
    let mut found = BTreeMap::new();
    for (bug, ids) in sides {
        let [first, second] = ids.as_slice() else { continue };
        let (Some(first), Some(second)) = (record(study, first)?, record(study, second)?) else {
            continue;
        };
        let mismatches = mismatches(&first, &second);
        if !mismatches.is_empty() {
            found.insert(bug.clone(), mismatches);
        }
    }
    Ok(found)
}

/// The sides of the pairs that are refused.
pub(crate) fn refused(study: &Study, plan: &Plan) -> Result<Vec<(BugId, Evaluation)>, BuildError> {
    let refused = of_plan(study, plan)?;
    Ok(plan
        .wants
        .iter()
        .filter(|want| refused.contains_key(&want.bug))
        .map(|want| (want.bug.clone(), want.evaluation))
        .collect())
}

/// The record of an artifact, if it is there.
fn record(study: &Study, id: &ArtifactId) -> Result<Option<BuildRecord>, BuildError> {
    let path = study.artifact_dir(id).join("record.json");
    if path.is_file() { BuildRecord::read(&path).map(Some) } else { Ok(None) }
}
