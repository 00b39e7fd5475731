//! Builds as their folders tell of them: records, provenance, and what is under way.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use study::{ArtifactId, Study};

/// A build that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Building {
    pub id: ArtifactId,
    /// What it is, for people.
    pub what: String,
    pub since: String,
    /// How much of its log is written, compressed.
    pub log_bytes: u64,
}

impl Building {
    /// Tells one state of this build from another.
    pub fn key(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.id.as_str(), self.log_bytes).hash(&mut hasher);
        hasher.finish()
    }
}

/// What the builder leaves in a build's folder while it works.
#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    what: String,
    #[serde(default)]
    since: String,
    process: u32,
}

/// The builds that are under way: those whose folders say so and whose process lives.
pub(crate) fn under_way(study: &Study) -> Vec<Building> {
    let Ok(folder) = std::fs::read_dir(study.root().join("builds")) else { return Vec::new() };
    let mut found: Vec<Building> = folder
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let log = std::fs::metadata(entry.path().join(".part-log.zst")).ok()?;
            let text = std::fs::read_to_string(entry.path().join("building.json")).ok()?;
            let note: Note = serde_json::from_str(&text).ok()?;
            let id = ArtifactId::new(entry.file_name().into_string().ok()?).ok()?;
            lives(note.process).then_some(Building {
                id,
                what: note.what,
                since: note.since,
                log_bytes: log.len(),
            })
        })
        .collect();
    found.sort_by(|a, b| (&a.since, &a.id).cmp(&(&b.since, &b.id)));
    found
}

/// Whether a process of this machine lives; where that cannot be told, it does.
fn lives(process: u32) -> bool {
    let all = Path::new("/proc/self");
    !all.exists() || Path::new("/proc").join(process.to_string()).exists()
}

/// What is kept of a build beside its log.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildDetails {
    /// `builds/<id>/record.json`.
    pub record: Option<Value>,
    /// `artifacts/<id>/provenance.json`.
    pub provenance: Option<Value>,
    pub log: bool,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl BuildDetails {
    pub fn read(study: &Study, id: &ArtifactId) -> Self {
        let mut problems = Vec::new();
        let mut json = |path: &Path| -> Option<Value> {
            let read = super::files::text(path).and_then(|text| {
                let parse = |text: String| {
                    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
                };
                text.map(parse).transpose()
            });
            read.unwrap_or_else(|problem| {
                problems.push(problem);
                None
            })
        };
        let record = json(&study.build_dir(id).join("record.json"));
        let provenance = json(&study.artifact_dir(id).join("provenance.json"));
        let log = crate::log::Log::of_build(study, id).is_some();
        Self { record, provenance, log, problems }
    }

    /// A value of the record by its path.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.record.as_ref()?.pointer(pointer).filter(|value| !value.is_null())
    }
}
