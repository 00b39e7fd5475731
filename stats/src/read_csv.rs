//! Results from CSV, one row at a time: ten million rows take no more memory than their numbers.

use crate::fingerprint::Fingerprint;
use crate::input::{Evaluation, InputError, Results};
use crate::intake::{Intake, shortened};
use csv::ByteRecord;
use std::io::Read;
use std::str::from_utf8;

/// Columns that are not metrics.
pub(crate) const RESERVED: [&str; 5] = ["bug", "evaluation", "run", "seed", "fingerprints"];

pub(crate) const EVALUATION: &str = "buggy, corrected, artificial or aa";
pub(crate) const RUN: &str = "the index of the run, a whole number from 0 to 4294967295";
pub(crate) const SEED: &str = "a whole number, or nothing";
const TEXT: &str = "text in UTF-8; save the file with that encoding";

/// Where the columns are.
pub(crate) struct Layout {
    pub(crate) bug: usize,
    pub(crate) evaluation: usize,
    pub(crate) run: usize,
    pub(crate) seed: Option<usize>,
    pub(crate) fingerprints: Option<usize>,
    /// By metric of the intake, the place of its column.
    pub(crate) metrics: Vec<usize>,
}

/// Finds the columns by their names.
pub(crate) fn layout(source_name: &str, names: &[String]) -> Result<(Layout, Intake), InputError> {
    for (place, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..place].contains(name) {
            let (source_name, column) = (source_name.to_owned(), shortened(name));
            return Err(InputError::TwoColumns { source_name, column });
        }
    }
    let find = |name: &str| names.iter().position(|known| known == name);
    let required = |name: &str| {
        find(name).ok_or_else(|| InputError::MissingColumn {
            source_name: source_name.to_owned(),
            column: name.to_owned(),
            found: shortened(&names.join(", ")),
            hint: match names {
                [one] if one.contains([';', '\t']) => "; columns are to be parted by commas",
                _ => "",
            },
        })
    };
    let (bug, evaluation, run) = (required("bug")?, required("evaluation")?, required("run")?);
    let unnamed = names.iter().filter(|name| name.is_empty()).count();
    let metrics = names.iter().filter(|n| !n.is_empty() && !RESERVED.contains(&n.as_str()));
    let mut intake = Intake::new(source_name.to_owned(), metrics.cloned().collect());
    if unnamed > 0 {
        intake.warnings.push(format!("{unnamed} column(s) without a name were left out"));
    }
    let places = intake.metrics.iter().filter_map(|name| find(name)).collect();
    let (seed, fingerprints) = (find("seed"), find("fingerprints"));
    Ok((Layout { bug, evaluation, run, seed, fingerprints, metrics: places }, intake))
}

/// Reads CSV: commas, a header, fields quoted where needed.
pub(crate) fn read(input: impl Read, source_name: &str) -> Result<Results, InputError> {
    let malformed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => InputError::Io { source_name: source_name.to_owned(), error },
        other => InputError::Format {
            source_name: source_name.to_owned(),
            format: "CSV",
            message: format!("{other:?}"),
        },
    };
    let mut reader = csv::ReaderBuilder::new()
        // Lengths are compared here, to name the row.
        .flexible(true)
        .buffer_capacity(1 << 18)
        .from_reader(input);
    let header = reader.byte_headers().map_err(malformed)?.clone();
    if header.is_empty() {
        return Err(InputError::NoRows { source_name: source_name.to_owned() });
    }
    let names: Option<Vec<String>> =
        header.iter().map(|name| Some(from_utf8(name).ok()?.trim().to_owned())).collect();
    let names = names.ok_or_else(|| InputError::Format {
        source_name: source_name.to_owned(),
        format: "CSV",
        message: "the header is not text in UTF-8".to_owned(),
    })?;
    let (layout, mut intake) = layout(source_name, &names)?;
    let mut record = ByteRecord::new();
    let mut row = 0;
    while reader.read_byte_record(&mut record).map_err(malformed)? {
        row += 1;
        if record.len() != header.len() {
            return Err(InputError::Ragged {
                source_name: source_name.to_owned(),
                row,
                line: record.position().map_or(0, csv::Position::line),
                found: record.len(),
                expected: header.len(),
            });
        }
        take(&mut intake, &layout, &record)?;
    }
    intake.finish()
}

fn take(intake: &mut Intake, layout: &Layout, record: &ByteRecord) -> Result<(), InputError> {
    let field = |place: usize| record.get(place).unwrap_or_default();
    let text = |intake: &Intake, place: usize, column: &str| match from_utf8(field(place)) {
        Ok(text) => Ok(text.trim()),
        Err(_) => Err(intake.cell(column, &String::from_utf8_lossy(field(place)), TEXT)),
    };
    for (metric, place) in layout.metrics.iter().enumerate() {
        let bytes = field(*place).trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        match from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
            Some(value) => intake.set(metric, value),
            None => intake.set_text(metric, &String::from_utf8_lossy(bytes)),
        }
    }
    let name = text(intake, layout.evaluation, "evaluation")?;
    let evaluation: Evaluation =
        name.parse().map_err(|()| intake.cell("evaluation", name, EVALUATION))?;
    let number = text(intake, layout.run, "run")?;
    let run = whole(number).ok().flatten().and_then(|run| u32::try_from(run).ok());
    let run = run.ok_or_else(|| intake.cell("run", number, RUN))?;
    let seed = match layout.seed {
        Some(place) => {
            let seed = text(intake, place, "seed")?;
            whole(seed).map_err(|()| intake.cell("seed", seed, SEED))?
        }
        None => None,
    };
    let digests = match layout.fingerprints {
        Some(place) => split_digests(text(intake, place, "fingerprints")?),
        None => Vec::new(),
    };
    let bug = text(intake, layout.bug, "bug")?;
    intake.push(bug, evaluation, run, seed, digests)
}

pub(crate) fn split_digests(text: &str) -> Vec<Fingerprint> {
    match text.trim() {
        "" => Vec::new(),
        text => text.split(';').map(|digest| digest.trim().into()).collect(),
    }
}

/// A whole number, also written as `3.0`, as other tools do in columns with gaps; nothing if there
/// is none.
pub(crate) fn whole(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(value) = text.parse::<u64>() {
        return Ok(Some(value));
    }
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.fract() == 0.0 && value < 9_007_199_254_740_992.0 => {
            Ok(Some(value as u64))
        }
        Ok(value) if value.is_nan() => Ok(None),
        _ => Err(()),
    }
}
