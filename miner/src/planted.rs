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
            section: vec!["Planted faults".into()],
            text: fault.title.clone(),
            entry,
            resolution: Resolution::Planted,
            ..Bug::untraced(fault.id.clone(), &framework.name)
        })
        .collect()
}
