//! The two cheapest layers: what kinds of files changed, and whether the artifacts' bytes differ.

use study::Bug;

use crate::answer::{Answer, Evidence, Layer, Strength};

/// Whether files of a kind (in the corpus's words) go into an artifact.
pub fn is_in_artifact(kind: &str) -> bool {
    !matches!(kind, "mobile" | "test" | "tooling" | "ci" | "docs")
}

/// What the kinds of the changed files say: something only where nothing of them goes into an
/// artifact.
pub fn scope(bug: &Bug) -> Option<Evidence> {
    let outside = bug.fix.is_some()
        && bug.not_in_artifact
        && bug.files.iter().all(|file| !is_in_artifact(&file.kind));
    outside.then(|| {
        let kinds = bug.scope.join(", ");
        let reason = match kinds.is_empty() {
            true => "the fix changes no file".to_owned(),
            false => format!("the fix changes nothing but {kinds}"),
        };
        evidence(Layer::Scope, reason)
    })
}

/// What the digests of the two artifacts' contents say: something only where they are the same.
pub fn bytes(buggy: &str, corrected: &str) -> Option<Evidence> {
    (!buggy.is_empty() && buggy == corrected).then(|| {
        let reason = format!(
            "the two artifacts are the same byte for byte (content {})",
            buggy.get(..12).unwrap_or(buggy)
        );
        evidence(Layer::Bytes, reason)
    })
}

fn evidence(layer: Layer, reason: String) -> Evidence {
    Evidence {
        layer,
        part: String::new(),
        answer: Answer::NotInArtifact,
        strength: Strength::Static,
        reason,
        decides: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use study::{BugId, ChangedFile, CommitId};

    #[test]
    fn only_what_is_known_to_be_outside_is_outside() {
        let mut bug = Bug::untraced(BugId::of_pull_request(1), "x");
        bug.not_in_artifact = true;
        assert_eq!(scope(&bug), None, "an untraced bug says nothing");
        bug.fix = Some(CommitId::new("0".repeat(40)).unwrap());
        let file = |kind: &str| ChangedFile {
            path: "a".into(),
            kind: kind.into(),
            added: 1,
            removed: 0,
        };
        bug.files = vec![file("docs"), file("test")];
        bug.scope = vec!["docs".into(), "test".into()];
        assert_eq!(scope(&bug).map(|e| e.answer), Some(Answer::NotInArtifact));
        bug.files.push(file("cpp-cpu"));
        assert_eq!(scope(&bug), None);
    }

    #[test]
    fn bytes_count_only_where_both_are_there() {
        assert!(bytes("a", "a").is_some());
        assert!(bytes("a", "b").is_none());
        assert!(bytes("", "").is_none());
    }
}
