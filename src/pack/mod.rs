//! `pack`: a study as one archive; `check`: whether an archive's tables follow from its runs.

mod again;
pub mod args;
mod check;
mod compare;
mod grade;
mod members;
mod record;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use packing::{About, SigningKey, WriteError};
use serde::Serialize;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;
use args::PackArgs;

pub use check::check;

/// What was written.
#[derive(Serialize)]
struct Packed {
    file: PathBuf,
    bytes: u64,
    sha256: String,
    files: usize,
    runs: usize,
    artifacts: bool,
    predictions: bool,
    signed_by: Option<String>,
    notes: Vec<String>,
}

/// Writes the study as one archive, and checks it before it gets its name.
pub fn pack(cli: &Cli, args: &PackArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let key = args.key.as_deref().map(SigningKey::read).transpose().map_err(Failure::input)?;
    // Nothing may change while it is read.
    let _lock = study.lock()?;
    let store = study.store()?;
    let name = &study.config.study.name;
    let out = args.out.clone().unwrap_or_else(|| format!("{}.pack.tar.zst", plain(name)).into());
    let folder = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let cannot = |error: std::io::Error| Failure::missing(anyhow!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let scratch =
        tempfile::Builder::new().prefix(".part-pack-").tempdir_in(folder).map_err(cannot)?;
    let gathered = members::gather(&study, &store, args, scratch.path())?;
    let about = About {
        study: name.clone(),
        program: program(),
        artifacts: args.artifacts,
        predictions: args.predictions,
    };
    let part = scratch.path().join("pack");
    let mut file = std::fs::File::create(&part).map_err(cannot)?;
    let manifest =
        packing::write(&mut file, &part, about, gathered.members, key.as_ref()).map_err(explain)?;
    file.sync_all().map_err(cannot)?;
    let checked = check::examine(&part, None, &check::Places::of(&study))?;
    if let Some(problem) = checked.problems.first() {
        return Err(Failure::stage(anyhow!(
            "the pack would not pass its own check, so it was not written: {}: {}{}",
            problem.place,
            problem.what,
            match checked.problems.len() {
                1 => String::new(),
                more => format!("; and {} more", more - 1),
            }
        )));
    }
    let sha256 = study::files::sha256_file(&part).map_err(cannot)?;
    let bytes = part.metadata().map_err(cannot)?.len();
    std::fs::rename(&part, &out).map_err(|error| {
        Failure::input(anyhow!("{}: {error}; name a file with -o", out.display()))
    })?;
    study::files::sync_folder(folder).map_err(cannot)?;
    let packed = Packed {
        file: out,
        bytes,
        sha256,
        files: manifest.files.len(),
        runs: checked.runs,
        artifacts: args.artifacts,
        predictions: args.predictions,
        signed_by: key.map(|key| key.public().fingerprint()),
        notes: gathered.notes,
    };
    for note in &packed.notes {
        eprintln!("note: {note}");
    }
    let mut rows = Rows::new(&["what", "value"]);
    rows.push(["file", &packed.file.display().to_string()]);
    rows.push(["bytes", &packed.bytes.to_string()]);
    rows.push(["sha256", &packed.sha256]);
    rows.push(["files in it", &packed.files.to_string()]);
    rows.push(["runs in it", &packed.runs.to_string()]);
    rows.push(["signed by", packed.signed_by.as_deref().unwrap_or("nobody")]);
    output::print(cli.format, &packed, &rows)
}

/// The program as packs name it.
fn program() -> String {
    format!("reproduceml {}", env!("CARGO_PKG_VERSION"))
}

/// A study's name as a file may have it.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(keep).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "study".to_owned() } else { name.to_owned() }
}

fn explain(error: WriteError) -> Failure {
    match error {
        WriteError::Io { .. } => Failure::missing(error),
        error => Failure::input(error),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_studys_name_becomes_a_files() {
        assert_eq!(super::plain("quick-tinynn"), "quick-tinynn");
        assert_eq!(super::plain("../a study/ü"), "-a-study--");
        assert_eq!(super::plain(""), "study");
    }
}
