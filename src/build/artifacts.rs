//! `build list`, `build show` and `build export`.

use std::path::Path;

use builder::{Entry, Shown};
use serde::Serialize;
use study::{ArtifactId, ArtifactStatus};

use super::{explain, sides};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Lists the artifacts and the builds that failed.
pub fn list(cli: &Cli) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let entries = builder::entries(&study).map_err(explain)?;
    let mut rows = Rows::new(&["artifact", "sides", "made of", "toolchain", "seconds", "outcome"]);
    for Entry { artifact, sides: of } in &entries {
        let commit = artifact.commit.as_ref().map(|commit| commit.short().to_owned());
        let of_what = commit.or_else(|| artifact.fault.clone()).unwrap_or_default();
        let outcome = match &artifact.status {
            ArtifactStatus::Built { bytes, .. } => format!("{bytes} bytes"),
            ArtifactStatus::Failed { class, line } => format!("{class}: {line}"),
        };
        rows.push([
            artifact.id.short().to_owned(),
            sides(of),
            format!("{} {of_what}", artifact.strategy).trim_end().to_owned(),
            artifact.toolchain.clone(),
            format!("{:.1}", artifact.seconds),
            outcome,
        ]);
    }
    output::print(cli.format, &entries, &rows)
}

/// Shows one artifact or failed build.
pub fn show(cli: &Cli, id: &str) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let shown = builder::show(&study, id).map_err(explain)?;
    output::print(cli.format, &shown, &table(&shown))
}

fn table(shown: &Shown) -> Rows {
    let mut rows = Rows::new(&["what", "value"]);
    let mut push = |what: &str, value: String| {
        if !value.is_empty() {
            rows.push([what.to_owned(), value]);
        }
    };
    let record = &shown.record;
    let identity = &record.identity;
    push("artifact", record.id.to_string());
    push("sides", sides(&shown.sides));
    push("repository", identity.repository.clone());
    push("strategy", identity.strategy.to_string());
    push("commit", identity.commit.as_ref().map(ToString::to_string).unwrap_or_default());
    if let Some(release) = &identity.release {
        push("release", format!("{} {}", release.name, release.sha256));
        push("without fix", release.without.as_ref().map(ToString::to_string).unwrap_or_default());
    }
    for file in &record.overlay {
        push("changed", file.path.clone());
    }
    push("reason", record.reason.clone());
    push("tree", record.tree.clone().unwrap_or_default());
    push("fault", record.fault_file.clone().unwrap_or_default());
    for (name, value) in &identity.flags {
        push("flag", format!("{name}={value}"));
    }
    push("toolchain", format!("{} {}", record.toolchain, identity.toolchain));
    push("image", format!("{} {}", record.image.tag, record.image.id));
    push("base image", record.image.base.clone());
    push("started", record.started.clone());
    push("seconds", format!("{:.1}", record.seconds));
    for step in &record.steps {
        let seconds = step.exit.duration.as_secs_f64();
        push("step", format!("{}: {seconds:.1} s, log line {}", step.name, step.first_line));
    }
    let cache = record.cache;
    if cache.hits + cache.misses > 0 {
        let all = cache.hits + cache.misses;
        push("compiler cache", format!("{} of {all} compilations answered", cache.hits));
    }
    for (name, value) in record.limits.iter().chain(&record.host) {
        push("limit or host", format!("{name}: {value}"));
    }
    if let Some(smoke) = &record.smoke {
        push("smoke test", smoke.to_string());
    }
    if let Some(failure) = &record.failure {
        push("failure", format!("{} in {}: {}", failure.class, failure.step, failure.line));
    }
    if let Some(content) = &shown.content {
        push("content", content.digest.clone());
        push("size", format!("{} bytes in {} files", content.bytes, content.files.len()));
    }
    push(
        "provenance",
        shown.provenance.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
    );
    push("log", shown.log.display().to_string());
    for line in &shown.log_end {
        push("log's end", line.clone());
    }
    rows
}

/// What was copied where.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    artifact: ArtifactId,
    dir: &'a Path,
    content: String,
    files: usize,
    bytes: u64,
}

/// Copies an artifact out of the study.
pub fn export(cli: &Cli, id: &str, dir: &Path) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let artifact = builder::find(&study, id).map_err(explain)?;
    let content = builder::export(&study, id, dir).map_err(explain)?;
    let mut rows = Rows::new(&["artifact", "files", "bytes", "folder"]);
    rows.push([
        artifact.short().to_owned(),
        content.files.len().to_string(),
        content.bytes.to_string(),
        dir.display().to_string(),
    ]);
    let exported = Exported {
        artifact,
        dir,
        files: content.files.len(),
        bytes: content.bytes,
        content: content.digest,
    };
    output::print(cli.format, &exported, &rows)
}
