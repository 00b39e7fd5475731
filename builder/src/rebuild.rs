//! An artifact built a second time, without the compiler's cache, and compared bit for bit.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use study::ArtifactId;

use crate::bench::{Bench, Stop};
use crate::error::BuildError;
use crate::event::Event;
use crate::identity::Job;
use crate::inspect::{Difference, difference, read_content};
use crate::layout;
use crate::log::LogFile;
use crate::make::Workshop;
use crate::sections::{self, SectionDifference};

/// What came of building an artifact again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Whether the second build gave the same bytes.
    pub same: bool,
    /// Where the second (the new one) differs from the first.
    pub difference: Difference,
    /// For changed compiled files, the sections that differ.
    pub sections: BTreeMap<String, Vec<SectionDifference>>,
    /// Why the second build failed, if it did.
    pub failure: Option<String>,
    /// Seconds it took.
    pub seconds: f64,
}

impl Rebuilt {
    /// What differs, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(failure) = &self.failure {
            return format!("the second build failed: {failure}");
        }
        let named = |path: &str| match self.sections.get(path) {
            Some(sections) if !sections.is_empty() => {
                let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
                format!("{path} ({})", names.join(" "))
            }
            _ => path.to_owned(),
        };
        let all: Vec<String> = self.difference.names().map(named).collect();
        if all.is_empty() { "the same bit for bit".to_owned() } else { all.join(", ") }
    }
}

impl Workshop<'_> {
    /// Builds an artifact that is there again, beside it, and compares the two. The artifact stays;
    /// the result is kept in `builds/<id>/rebuild/`.
    pub(crate) async fn make_again(&self, job: &Job) -> Result<Rebuilt, BuildError> {
        (self.progress)(Event::Started {
            id: job.id.clone(),
            what: format!("{} again", job.describe()),
        });
        let toolchain = self.toolchain_of(job)?;
        let began = Instant::now();
        let scratch = self.places.scratch.join(format!("again-{}", job.id));
        layout::remove_folder(&scratch)?;
        fs::create_dir_all(&scratch).map_err(BuildError::io(&scratch))?;
        let folder = self.study.build_dir(&job.id).join("rebuild");
        let mut bench = Bench {
            shop: self,
            toolchain,
            job,
            scratch: scratch.clone(),
            log: LogFile::create(&folder).map_err(BuildError::io(&folder))?,
            record: self.begin_record(job, toolchain, 1),
            began,
            without_cache: true,
        };
        let outcome = bench.work().await;
        bench.log.finish().map_err(BuildError::io(&folder))?;
        let mut rebuilt = Rebuilt {
            artifact: job.id.clone(),
            same: false,
            difference: Difference::default(),
            sections: BTreeMap::new(),
            failure: None,
            seconds: began.elapsed().as_secs_f64(),
        };
        match outcome {
            Ok(content) => {
                let place = self.study.artifact_dir(&job.id);
                let first = read_content(&place)?;
                rebuilt.same = first.digest == content.digest;
                rebuilt.difference = difference(&first, &content);
                for path in &rebuilt.difference.changed {
                    let one = fs::read(place.join("files").join(path));
                    let other = fs::read(scratch.join("out").join(path));
                    if let (Ok(one), Ok(other)) = (one, other)
                        && let Some(sections) = sections::compare(&one, &other)
                    {
                        rebuilt.sections.insert(path.clone(), sections);
                    }
                }
            }
            Err(Stop::Failure(failure)) => {
                rebuilt.failure = Some(format!("{}: {}", failure.class, failure.line));
            }
            Err(Stop::Daemon(error)) => {
                layout::remove_folder(&scratch)?;
                return Err(error.into());
            }
            Err(Stop::Error(error)) => {
                layout::remove_folder(&scratch)?;
                return Err(error);
            }
        }
        layout::remove_folder(&scratch)?;
        let path = folder.join("comparison.json");
        let json =
            serde_json::to_vec_pretty(&rebuilt).map_err(|e| BuildError::io(&path)(e.into()))?;
        study::files::write_whole(&path, &json).map_err(BuildError::io(&path))?;
        Ok(rebuilt)
    }
}
