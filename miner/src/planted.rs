//! Planted faults: the entries of a corpus that the study makes itself.

use study::{Bug, Resolution, Study};

/// The planted faults of `study.toml`, as corpus entries in its order.
pub(crate) fn bugs(study: &Study) -> Vec<Bug> {
    let framework = &study.config.framework;
    study
        .config
        .faults
        .iter()
        .zip(0..)
        .map(|(fault, entry)| Bug {
            id: fault.id.clone(),
            framework: framework.name.clone(),
            release: String::new(),
            section: vec!["Planted faults".into()],
            text: fault.title.clone(),
            url: String::new(),
            pr: 0,
            prs: Vec::new(),
            entry,
            resolution: Resolution::Planted,
            fix: None,
            buggy: None,
            fixed_at: None,
            authored_at: None,
            files: Vec::new(),
            lines_added: 0,
            lines_removed: 0,
            scope: Vec::new(),
            python_only: false,
            needs_compile: false,
            needs_cuda: false,
            not_in_artifact: false,
            tests: Vec::new(),
        })
        .collect()
}
