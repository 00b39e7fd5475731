//! Results as files: CSV and Parquet, in and out.

use crate::group::Group;
use crate::input::{Evaluation, InputError, Results, RunRow};
use crate::intake::Intake;
use crate::read_csv::{self, EVALUATION, Layout, RUN, SEED};
use polars::prelude::*;
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Rows of a Parquet file that are taken at a time.
const PART: usize = 1 << 19;
/// Rows of a CSV file that are written at a time.
const OUT: usize = 1 << 14;

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
    ///
    /// # Examples
    /// ```
    /// use reproduceml_stats::{Evaluation, Options, Results, analyse, render};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("results.csv");
    /// std::fs::write(&path, "bug,evaluation,run,accuracy\npr1,buggy,0,0.5\npr1,corrected,0,0.75\n").unwrap();
    /// let results = Results::read(&path).unwrap();
    /// assert_eq!(results.values("pr1", Evaluation::Corrected, "accuracy"), [0.75]);
    /// println!("{}", render::table(&analyse(&results, &Options::default())));
    /// ```
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let io = |error| InputError::Io { source_name: name.clone(), error };
        let mut file = File::open(path).map_err(io)?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
        let format = |message: &str| InputError::Format {
            source_name: name.clone(),
            format: "CSV",
            message: message.to_owned(),
        };
        match magic.as_slice() {
            [] => Err(InputError::NoRows { source_name: name }),
            b"PAR1" => read_parquet(path, &name),
            [0x1f, 0x8b, ..] | b"PK\x03\x04" | [0x28, 0xb5, 0x2f, 0xfd] => {
                Err(format("it is compressed; unpack it first"))
            }
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                Err(format("its text is UTF-16; save it as UTF-8"))
            }
            _ => {
                file.rewind().map_err(io)?;
                read_csv::read(file, &name)
            }
        }
    }

    /// Writes all runs as CSV, ordered by bug, side and run, with the columns that
    /// [`Results::read`] takes.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), InputError> {
        let name = path.display().to_string();
        let mut failed = None;
        let written = study::files::write_with(path, |out| {
            self.csv_to(out).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                std::io::Error::other(text)
            })
        });
        let io = |error| failed.unwrap_or(InputError::Io { source_name: name, error });
        written.map_err(io)
    }

    /// The bytes that [`Results::write_csv`] writes.
    ///
    /// # Errors
    /// None that is expected.
    pub fn csv(&self) -> Result<Vec<u8>, InputError> {
        let mut bytes = Vec::new();
        self.csv_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes what [`Results::csv`] gives, a part of the rows at a time: the rows of a large study
    /// need not be in memory twice.
    ///
    /// # Errors
    /// What `out` says.
    pub fn csv_to(&self, out: &mut dyn Write) -> Result<(), InputError> {
        self.csv_in_parts(out, OUT)
    }

    fn csv_in_parts(&self, out: &mut dyn Write, part: usize) -> Result<(), InputError> {
        let path = Path::new("the results as CSV");
        let mut rows = self.rows().peekable();
        let mut first = true;
        while first || rows.peek().is_some() {
            let some: Vec<RunRow> = rows.by_ref().take(part).collect();
            let mut frame = self.frame(&some, path)?;
            CsvWriter::new(&mut *out)
                .include_header(first)
                .finish(&mut frame)
                .map_err(|error| unwritable(path, &error))?;
            first = false;
        }
        Ok(())
    }

    /// Writes all runs as Parquet, like [`Results::write_csv`].
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), InputError> {
        let mut bytes = Vec::new();
        let rows: Vec<RunRow> = self.rows().collect();
        let mut frame = self.frame(&rows, path)?;
        ParquetWriter::new(&mut bytes)
            .with_compression(ParquetCompression::Uncompressed)
            .finish(&mut frame)
            .map_err(|error| unwritable(path, &error))?;
        let name = path.display().to_string();
        study::files::write_whole(path, &bytes)
            .map_err(|error| InputError::Io { source_name: name, error })
    }

    /// Some rows as a frame, with the columns that all rows together have.
    fn frame(&self, rows: &[RunRow], path: &Path) -> Result<DataFrame, InputError> {
        let text = |f: &dyn Fn(usize) -> String| (0..rows.len()).map(f).collect::<Vec<String>>();
        let mut columns = vec![
            Column::new("bug".into(), text(&|i| rows[i].bug.clone())),
            Column::new("evaluation".into(), text(&|i| rows[i].evaluation.to_string())),
            Column::new("run".into(), rows.iter().map(|row| row.run).collect::<Vec<u32>>()),
        ];
        if self.groups().any(Group::has_seeds) {
            let seeds: Vec<Option<u64>> = rows.iter().map(|row| row.seed).collect();
            columns.push(Column::new("seed".into(), seeds));
        }
        for name in &self.metrics {
            let values: Vec<Option<f64>> =
                rows.iter().map(|row| row.metrics.get(name).copied()).collect();
            columns.push(Column::new(name.as_str().into(), values));
        }
        if self.groups().any(Group::has_fingerprints) {
            columns.push(Column::new(
                "fingerprints".into(),
                text(&|i| rows[i].fingerprints.join(";")),
            ));
        }
        DataFrame::new(rows.len(), columns).map_err(|error| unwritable(path, &error))
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.bugs.values().flat_map(std::collections::BTreeMap::values)
    }
}

fn unwritable(path: &Path, error: &PolarsError) -> InputError {
    InputError::Io {
        source_name: path.display().to_string(),
        error: std::io::Error::other(error.to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn read_parquet(path: &Path, name: &str) -> Result<Results, InputError> {
    let open =
        || File::open(path).map_err(|error| InputError::Io { source_name: name.to_owned(), error });
    let malformed = |error: PolarsError| InputError::Format {
        source_name: name.to_owned(),
        format: "Parquet",
        message: first_line(&error.to_string()),
    };
    let mut reader = ParquetReader::new(open()?);
    let rows = reader.num_rows().map_err(malformed)?;
    let schema = reader.schema().map_err(malformed)?;
    let names: Vec<String> = schema.iter_names().map(|name| name.trim().to_owned()).collect();
    let (layout, mut intake) = read_csv::layout(name, &names)?;
    for start in (0..rows).step_by(PART) {
        // A part at a time, so that the file and its runs need not both be in memory whole.
        let reader = ParquetReader::new(open()?).with_slice(Some((start, PART)));
        let frame = reader.set_rechunk(true).finish().map_err(malformed)?;
        let columns: PolarsResult<Vec<Cells>> = frame.columns().iter().map(Cells::new).collect();
        let columns = columns.map_err(malformed)?;
        for row in 0..frame.height() {
            take(&mut intake, &layout, &columns, row)?;
        }
    }
    intake.finish()
}

fn take(
    intake: &mut Intake,
    layout: &Layout,
    columns: &[Cells],
    row: usize,
) -> Result<(), InputError> {
    for (metric, place) in layout.metrics.iter().enumerate() {
        match columns[*place].number(row) {
            Ok(None) => {}
            Ok(Some(value)) => intake.set(metric, value),
            Err(text) => intake.set_text(metric, &text),
        }
    }
    let text = |place: usize| columns[place].text(row).unwrap_or_default();
    let name = text(layout.evaluation);
    let evaluation: Evaluation =
        name.parse().map_err(|()| intake.cell("evaluation", &name, EVALUATION))?;
    let run = columns[layout.run].whole(row);
    let run = run.ok().flatten().and_then(|run| u32::try_from(run).ok());
    let run = run.ok_or_else(|| intake.cell("run", &text(layout.run), RUN))?;
    let seed = match layout.seed {
        Some(place) => {
            columns[place].whole(row).map_err(|()| intake.cell("seed", &text(place), SEED))?
        }
        None => None,
    };
    let digests = layout.fingerprints.map(text);
    let digests = digests.map(|text| read_csv::split_digests(&text)).unwrap_or_default();
    intake.push(&text(layout.bug), evaluation, run, seed, digests)
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
    fn text(&self, row: usize) -> Option<Cow<'_, str>> {
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

    /// The cell as a count; nothing if it is missing.
    fn whole(&self, row: usize) -> Result<Option<u64>, ()> {
        match self {
            Cells::Unsigned(cells) => Ok(cells.get(row)),
            _ => self.text(row).map_or(Ok(None), |text| read_csv::whole(&text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn rows_written_in_parts_are_the_rows_written_at_once() {
        let row = |run: u32| RunRow {
            bug: format!("pr{}", run / 4),
            evaluation: if run % 4 < 2 { Evaluation::Buggy } else { Evaluation::Corrected },
            run: run % 2,
            // Whether there is such a column must not depend on the part at hand.
            seed: (run == 1).then_some(7),
            metrics: BTreeMap::from([("accuracy".to_owned(), 0.1 + f64::from(run) / 3.0)]),
            fingerprints: if run == 18 { vec!["a".into(), "b".into()] } else { vec![] },
        };
        let results = Results::from_rows((0..20).map(row).collect()).unwrap();
        let whole = String::from_utf8(results.csv().unwrap()).unwrap();
        assert_eq!(whole.lines().count(), 21);
        assert!(whole.starts_with("bug,evaluation,run,seed,accuracy,fingerprints\n"), "{whole}");
        for part in [1, 2, 7, 19, 20, 21] {
            let mut parts = Vec::new();
            results.csv_in_parts(&mut parts, part).unwrap();
            assert_eq!(String::from_utf8(parts).unwrap(), whole, "{part} rows at a time");
        }
    }
}
