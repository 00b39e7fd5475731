//! What a bug's text and scope suggest to a rater. Hints propose; people decide.

use study::Bug;

use super::{Answer, Criterion};

/// A suggestion for one criterion with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The criterion.
    pub criterion: Criterion,
    /// What is suggested.
    pub answer: Answer,
    /// Why, to be shown.
    pub why: String,
}

/// The hints for a bug, in the order of the criteria.
pub fn hints(bug: &Bug) -> Vec<Hint> {
    let text = bug.text.to_lowercase();
    let mut found = Vec::new();
    let words: [(Criterion, &[&str]); 3] = [
        (
            Criterion::CompilationError,
            &["compile error", "compilation", "build fail", "linker", "warning"],
        ),
        (
            Criterion::Crash,
            &[
                "crash",
                "segfault",
                "segmentation fault",
                "core dump",
                "abort",
                "deadlock",
                "assertion",
            ],
        ),
        (
            Criterion::Favourable,
            &[
                "gradient",
                "backward",
                "grad ",
                "derivative",
                "precision",
                "accuracy",
                "nan",
                "incorrect result",
                "wrong result",
            ],
        ),
    ];
    for (criterion, words) in words {
        if let Some(word) = words.iter().find(|word| text.contains(**word)) {
            let why = format!("its text says \u{201c}{}\u{201d}", word.trim());
            found.push(Hint { criterion, answer: Answer::Yes, why });
        }
    }
    let has = |kind: &str| bug.scope.iter().any(|k| k == kind);
    if has("cpp-cpu") && !bug.needs_cuda && !bug.python_only {
        let why = "it changes C++ for the CPU and nothing for a GPU".into();
        found.push(Hint { criterion: Criterion::CpuOnly, answer: Answer::Yes, why });
    }
    if bug.fix.is_some() && bug.not_in_artifact {
        let why = format!("nothing it changes goes into the artifact ({})", bug.scope.join(", "));
        found.push(Hint { criterion: Criterion::NoApplication, answer: Answer::Yes, why });
    }
    found.sort_by_key(|hint| hint.criterion);
    found
}
