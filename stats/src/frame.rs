//! Results as Polars frames: CSV and Parquet, in and out.

use crate::input::{Builder, Evaluation, InputError, Results};
use polars::prelude::*;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Columns that are not metrics.
const RESERVED: [&str; 5] = ["bug", "evaluation", "run", "seed", "fingerprints"];

impl Results {
    /// Reads a file with one row a run: Parquet if it begins as Parquet files do, CSV otherwise.
    ///
    /// Columns: `bug`, `evaluation` (`buggy`, `corrected`, `artificial` or `aa`), `run` (an index
    /// from 0); optional `seed` and `fingerprints` (digests joined by `;`); every further numeric
    /// column is a metric. Empty cells are missing values.
    ///
    /// # Errors
    /// Files that cannot be read or parsed, missing columns, cells that do not hold what they must,
    /// runs that are there twice.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let io = |error| InputError::Io { source_name: name.clone(), error };
        let mut file = File::open(path).map_err(io)?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
        drop(file);
        let parquet = magic == *b"PAR1";
        let format = if parquet { "Parquet" } else { "CSV" };
        let malformed = |error: PolarsError| InputError::Format {
            source_name: name.clone(),
            format,
            message: first_line(&error.to_string()),
        };
        if magic.is_empty() {
            return Err(InputError::NoRows { source_name: name });
        }
        let frame = if parquet {
            ParquetReader::new(File::open(path).map_err(io)?).finish().map_err(malformed)?
        } else {
            // All columns as text: what is not a number is then found with its row.
            CsvReadOptions::default()
                .with_has_header(true)
                .with_infer_schema_length(Some(0))
                .into_reader_with_file_handle(File::open(path).map_err(io)?)
                .finish()
                .map_err(malformed)?
        };
        from_frame(&frame, name)
    }

    /// Writes all runs as CSV, ordered by bug, side and run, with the columns that
    /// [`Results::read`] takes.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), InputError> {
        let mut bytes = Vec::new();
        let mut frame = self.frame(path)?;
        CsvWriter::new(&mut bytes).finish(&mut frame).map_err(|error| unwritable(path, &error))?;
        write_whole(path, &bytes)
    }

    /// Writes all runs as Parquet, like [`Results::write_csv`].
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), InputError> {
        let mut bytes = Vec::new();
        let mut frame = self.frame(path)?;
        ParquetWriter::new(&mut bytes)
            .with_compression(ParquetCompression::Uncompressed)
            .finish(&mut frame)
            .map_err(|error| unwritable(path, &error))?;
        write_whole(path, &bytes)
    }

    fn frame(&self, path: &Path) -> Result<DataFrame, InputError> {
        let rows: Vec<_> = self.rows().collect();
        let text = |f: &dyn Fn(usize) -> String| (0..rows.len()).map(f).collect::<Vec<String>>();
        let mut columns = vec![
            Column::new("bug".into(), text(&|i| rows[i].bug.clone())),
            Column::new("evaluation".into(), text(&|i| rows[i].evaluation.to_string())),
            Column::new("run".into(), rows.iter().map(|row| row.run).collect::<Vec<u32>>()),
        ];
        if rows.iter().any(|row| row.seed.is_some()) {
            let seeds: Vec<Option<u64>> = rows.iter().map(|row| row.seed).collect();
            columns.push(Column::new("seed".into(), seeds));
        }
        for name in &self.metrics {
            let values: Vec<Option<f64>> =
                rows.iter().map(|row| row.metrics.get(name).copied()).collect();
            columns.push(Column::new(name.as_str().into(), values));
        }
        if rows.iter().any(|row| !row.fingerprints.is_empty()) {
            columns.push(Column::new(
                "fingerprints".into(),
                text(&|i| rows[i].fingerprints.join(";")),
            ));
        }
        DataFrame::new(rows.len(), columns).map_err(|error| unwritable(path, &error))
    }
}

fn unwritable(path: &Path, error: &PolarsError) -> InputError {
    InputError::Io {
        source_name: path.display().to_string(),
        error: std::io::Error::other(error.to_string()),
    }
}

/// Writes a file whole: a temporary file beside it, flushed to disk, then renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let attempt = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    attempt().map_err(|error| {
        // The part may not exist; the error that counts is the one at hand.
        drop(std::fs::remove_file(&part));
        InputError::Io { source_name: path.display().to_string(), error }
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// One column as text or as numbers.
enum Cells {
    Text(StringChunked),
    Float(Float64Chunked),
    Unsigned(UInt64Chunked),
    Signed(Int64Chunked),
    Other,
}

impl Cells {
    fn new(column: &Column) -> PolarsResult<Self> {
        let series = column.as_materialized_series().rechunk();
        Ok(match series.dtype() {
            DataType::String => Cells::Text(series.str()?.clone()),
            DataType::Null => Cells::Text(StringChunked::full_null("".into(), series.len())),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Cells::Unsigned(series.cast(&DataType::UInt64)?.u64()?.clone())
            }
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Cells::Signed(series.cast(&DataType::Int64)?.i64()?.clone())
            }
            DataType::Float32 | DataType::Float64 => {
                Cells::Float(series.cast(&DataType::Float64)?.f64()?.clone())
            }
            // Categories and the like have a text form; lists and the like have none.
            _ => match series.cast(&DataType::String) {
                Ok(text) if text.null_count() == series.null_count() => {
                    Cells::Text(text.str()?.clone())
                }
                _ => Cells::Other,
            },
        })
    }

    /// The cell as text, trimmed; nothing if it is empty or missing.
    fn text(&self, row: usize) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Cells::Text(cells) => {
                cells.get(row).map(str::trim).filter(|text| !text.is_empty()).map(Into::into)
            }
            Cells::Float(cells) => cells.get(row).map(|value| value.to_string().into()),
            Cells::Unsigned(cells) => cells.get(row).map(|value| value.to_string().into()),
            Cells::Signed(cells) => cells.get(row).map(|value| value.to_string().into()),
            Cells::Other => None,
        }
    }

    /// The cell as a number: missing, a number, or text that is none.
    fn number(&self, row: usize) -> Result<Option<f64>, String> {
        match self {
            Cells::Text(_) => match self.text(row) {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| text.into_owned()),
            },
            Cells::Float(cells) => Ok(cells.get(row)),
            Cells::Unsigned(cells) => Ok(cells.get(row).map(|value| value as f64)),
            Cells::Signed(cells) => Ok(cells.get(row).map(|value| value as f64)),
            Cells::Other => Ok(None),
        }
    }

    /// The cell as a count: also from a number such as `3.0`, as other tools write whole numbers
    /// in columns with gaps.
    fn whole(&self, row: usize) -> Result<Option<u64>, String> {
        let Some(text) = self.text(row) else { return Ok(None) };
        if let Ok(value) = text.parse::<u64>() {
            return Ok(Some(value));
        }
        match text.parse::<f64>() {
            Ok(value)
                if value >= 0.0 && value.fract() == 0.0 && value < 9_007_199_254_740_992.0 =>
            {
                Ok(Some(value as u64))
            }
            Ok(value) if value.is_nan() => Ok(None),
            _ => Err(text.into_owned()),
        }
    }
}

fn from_frame(frame: &DataFrame, source_name: String) -> Result<Results, InputError> {
    let names: Vec<String> =
        frame.get_column_names().iter().map(|name| name.trim().to_owned()).collect();
    let cells_of = |place: usize| -> Result<Cells, InputError> {
        Cells::new(&frame.columns()[place]).map_err(|error| InputError::Format {
            source_name: source_name.clone(),
            format: "results",
            message: first_line(&error.to_string()),
        })
    };
    let find = |name: &str| names.iter().position(|known| known == name);
    let required = |name: &str| match find(name) {
        Some(place) => cells_of(place),
        None => Err(InputError::MissingColumn {
            source_name: source_name.clone(),
            column: name.to_owned(),
            found: names.join(", "),
        }),
    };
    let (bugs, evaluations, runs) = (required("bug")?, required("evaluation")?, required("run")?);
    let seeds = find("seed").map(cells_of).transpose()?;
    let fingerprints = find("fingerprints").map(cells_of).transpose()?;
    let (metrics, skipped) = metrics(&names, frame.height(), cells_of)?;
    let metric_names = metrics.iter().map(|(name, _)| name.clone()).collect();
    let mut builder = Builder::new(source_name.clone(), metric_names);
    // The builder puts outcomes first; follow it.
    let ordered: Vec<&Cells> = builder
        .metrics
        .iter()
        .filter_map(|name| metrics.iter().find(|(other, _)| other == name))
        .map(|(_, cells)| cells)
        .collect();
    let order: Vec<String> = builder.metrics.clone();
    if !skipped.is_empty() {
        builder.warnings.push(format!(
            "columns without a single number are no metrics and were left out: {}",
            skipped.join(", ")
        ));
    }
    let cell = |row: usize, column: &str, found: String, expected: &'static str| {
        let source_name = source_name.clone();
        InputError::Cell { source_name, row: row + 1, column: column.to_owned(), found, expected }
    };
    let mut values = Vec::with_capacity(ordered.len());
    for row in 0..frame.height() {
        let bug = bugs.text(row).unwrap_or_default();
        let name = evaluations.text(row).unwrap_or_default();
        let evaluation: Evaluation = name.parse().map_err(|()| {
            let expected = "buggy, corrected, artificial or aa";
            cell(row, "evaluation", name.clone().into_owned(), expected)
        })?;
        const RUN: &str = "the index of the run, a whole number from 0 to 4294967295";
        let run = runs.whole(row).map_err(|text| cell(row, "run", text, RUN))?;
        let run = run.ok_or_else(|| cell(row, "run", String::new(), RUN))?;
        let run = u32::try_from(run).map_err(|_| cell(row, "run", run.to_string(), RUN))?;
        let seed = match &seeds {
            Some(seeds) => seeds
                .whole(row)
                .map_err(|text| cell(row, "seed", text, "a whole number, or nothing"))?,
            None => None,
        };
        values.clear();
        for (cells, metric) in ordered.iter().zip(&order) {
            let value = cells.number(row);
            values.push(value.map_err(|text| cell(row, metric, text, "a number, or nothing"))?);
        }
        let digests = fingerprints.as_ref().and_then(|cells| cells.text(row));
        let digests = digests
            .map(|text| text.split(';').map(|digest| digest.trim().to_owned()).collect())
            .unwrap_or_default();
        builder.push(row + 1, &bug, (evaluation, run, seed), &values, digests)?;
    }
    builder.finish()
}

type Metrics = (Vec<(String, Cells)>, Vec<String>);

/// The columns that are metrics, and the names of those that hold no number at all. An outcome is
/// always a metric, so that text in it is an error.
fn metrics(
    names: &[String],
    height: usize,
    cells_of: impl Fn(usize) -> Result<Cells, InputError>,
) -> Result<Metrics, InputError> {
    let mut metrics = Vec::new();
    let mut skipped = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if RESERVED.contains(&name.as_str()) {
            continue;
        }
        let cells = cells_of(place)?;
        let numeric = match &cells {
            Cells::Other => false,
            Cells::Text(_) => {
                crate::options::OUTCOMES.contains(&name.as_str())
                    || (0..height).any(|row| matches!(cells.number(row), Ok(Some(_))))
            }
            Cells::Float(_) | Cells::Unsigned(_) | Cells::Signed(_) => true,
        };
        if numeric { metrics.push((name.clone(), cells)) } else { skipped.push(name.clone()) }
    }
    Ok((metrics, skipped))
}
