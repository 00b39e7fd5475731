//! The corpus in its three forms: JSON Lines, CSV and Parquet, with the same columns in the same
//! order and the same bytes whenever the bugs are the same.

use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame, ParquetCompression, ParquetWriter};
use study::Bug;
use study::files::write_whole;

/// The columns, in order.
pub const COLUMNS: [&str; 23] = [
    "id",
    "framework",
    "release",
    "section",
    "text",
    "url",
    "pr",
    "prs",
    "entry",
    "resolution",
    "fix",
    "buggy",
    "fixed_at",
    "authored_at",
    "files",
    "lines_added",
    "lines_removed",
    "scope",
    "python_only",
    "needs_compile",
    "needs_cuda",
    "not_in_artifact",
    "tests",
];

/// Why a corpus could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The JSON Lines.
    #[error(transparent)]
    Corpus(#[from] study::corpus::CorpusError),
    /// The file system failed.
    #[error("{path}: {source}; the corpus there is as it was before")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A table could not be made of the bugs.
    #[error("{path}: {message}; the corpus there is as it was before")]
    Table {
        /// The file.
        path: PathBuf,
        /// What happened.
        message: String,
    },
}

/// Writes `bugs.jsonl`, `bugs.csv` and `bugs.parquet` in `folder`, each whole.
///
/// # Errors
/// See [`WriteError`].
pub fn write(folder: &Path, bugs: &[Bug]) -> Result<(), WriteError> {
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        // An unchanged file keeps its time, for build tools and people alike.
        if std::fs::read(&path).is_ok_and(|before| before == bytes) {
            return Ok(());
        }
        write_whole(&path, bytes).map_err(|source| WriteError::Io { path, source })
    };
    let (csv, parquet) = (csv(folder, bugs)?, parquet(folder, bugs)?);
    let lines = folder.join("bugs.jsonl");
    if study::corpus::read(&lines).ok().as_deref() != Some(bugs) {
        study::corpus::write_jsonl(&lines, bugs)?;
    }
    put("bugs.csv", &csv)?;
    put("bugs.parquet", &parquet)
}

/// Lists become one text: headings behind `>`, numbers and words behind `;`, files as JSON.
fn texts(bug: &Bug) -> [String; 5] {
    let numbers: Vec<String> = bug.prs.iter().map(u64::to_string).collect();
    // Serialising strings and numbers cannot fail.
    let files = serde_json::to_string(&bug.files).unwrap_or_default();
    [bug.section.join(" > "), numbers.join("; "), files, bug.scope.join("; "), bug.tests.join("; ")]
}

fn csv(folder: &Path, bugs: &[Bug]) -> Result<Vec<u8>, WriteError> {
    let fail = |message: String| WriteError::Table { path: folder.join("bugs.csv"), message };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(|e| fail(e.to_string()))?;
    for bug in bugs {
        let [section, prs, files, scope, tests] = texts(bug);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let commit =
            |id: &Option<study::CommitId>| id.as_ref().map_or("", |c| c.as_str()).to_owned();
        let row = [
            bug.id.to_string(),
            bug.framework.clone(),
            bug.release.clone(),
            section,
            bug.text.clone(),
            bug.url.clone(),
            bug.pr.to_string(),
            prs,
            bug.entry.to_string(),
            bug.resolution.to_string(),
            commit(&bug.fix),
            commit(&bug.buggy),
            text(&bug.fixed_at),
            text(&bug.authored_at),
            files,
            bug.lines_added.to_string(),
            bug.lines_removed.to_string(),
            scope,
            bug.python_only.to_string(),
            bug.needs_compile.to_string(),
            bug.needs_cuda.to_string(),
            bug.not_in_artifact.to_string(),
            tests,
        ];
        writer.write_record(&row).map_err(|e| fail(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| fail(e.to_string()))
}

fn parquet(folder: &Path, bugs: &[Bug]) -> Result<Vec<u8>, WriteError> {
    let fail = |e: polars::prelude::PolarsError| WriteError::Table {
        path: folder.join("bugs.parquet"),
        message: e.to_string(),
    };
    let joined: Vec<[String; 5]> = bugs.iter().map(texts).collect();
    let text = |name: &str, of: &dyn Fn(&Bug) -> String| {
        Column::new(name.into(), bugs.iter().map(of).collect::<Vec<String>>())
    };
    let maybe = |name: &str, of: &dyn Fn(&Bug) -> Option<String>| {
        Column::new(name.into(), bugs.iter().map(of).collect::<Vec<Option<String>>>())
    };
    let list = |name: &str, place: usize| {
        let texts = joined.iter().map(|row| row.get(place).cloned().unwrap_or_default());
        Column::new(name.into(), texts.collect::<Vec<String>>())
    };
    let count = |name: &str, of: &dyn Fn(&Bug) -> u32| {
        Column::new(name.into(), bugs.iter().map(of).collect::<Vec<u32>>())
    };
    let flag = |name: &str, of: &dyn Fn(&Bug) -> bool| {
        Column::new(name.into(), bugs.iter().map(of).collect::<Vec<bool>>())
    };
    let columns = vec![
        text("id", &|b| b.id.to_string()),
        text("framework", &|b| b.framework.clone()),
        text("release", &|b| b.release.clone()),
        list("section", 0),
        text("text", &|b| b.text.clone()),
        text("url", &|b| b.url.clone()),
        Column::new("pr".into(), bugs.iter().map(|b| b.pr).collect::<Vec<u64>>()),
        list("prs", 1),
        count("entry", &|b| b.entry),
        text("resolution", &|b| b.resolution.to_string()),
        maybe("fix", &|b| b.fix.as_ref().map(ToString::to_string)),
        maybe("buggy", &|b| b.buggy.as_ref().map(ToString::to_string)),
        maybe("fixed_at", &|b| b.fixed_at.clone()),
        maybe("authored_at", &|b| b.authored_at.clone()),
        list("files", 2),
        count("lines_added", &|b| b.lines_added),
        count("lines_removed", &|b| b.lines_removed),
        list("scope", 3),
        flag("python_only", &|b| b.python_only),
        flag("needs_compile", &|b| b.needs_compile),
        flag("needs_cuda", &|b| b.needs_cuda),
        flag("not_in_artifact", &|b| b.not_in_artifact),
        list("tests", 4),
    ];
    let mut frame = DataFrame::new(bugs.len(), columns).map_err(fail)?;
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Uncompressed)
        .set_parallel(false)
        .finish(&mut frame)
        .map_err(fail)?;
    Ok(bytes)
}
