//! Any table as Parquet, for those who hold one and do not know Polars.

use polars::prelude::*;

/// One column with its values.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Whole numbers.
    Integer(Vec<Option<i64>>),
    /// Numbers.
    Number(Vec<Option<f64>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }
}

/// Writes columns of one length as a Parquet file, the same bytes for the same values.
///
/// # Errors
/// Columns of different lengths, or two of one name.
pub fn write(columns: Vec<(String, Values)>) -> Result<Vec<u8>, String> {
    let height = columns.first().map_or(0, |(_, values)| values.len());
    let columns = columns.into_iter().map(|(name, values)| match values {
        Values::Text(values) => Column::new(name.into(), values),
        Values::Integer(values) => Column::new(name.into(), values),
        Values::Number(values) => Column::new(name.into(), values),
        Values::Flag(values) => Column::new(name.into(), values),
    });
    let plain = |error: PolarsError| error.to_string();
    let mut frame = DataFrame::new(height, columns.collect()).map_err(plain)?;
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Uncompressed)
        .finish(&mut frame)
        .map_err(plain)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let columns = vec![
            ("name".to_owned(), Values::Text(vec![Some("a".into()), None])),
            ("count".to_owned(), Values::Integer(vec![Some(-3), None])),
            ("share".to_owned(), Values::Number(vec![None, Some(f64::INFINITY)])),
            ("good".to_owned(), Values::Flag(vec![Some(true), None])),
        ];
        let bytes = write(columns.clone()).unwrap();
        assert_eq!(write(columns).unwrap(), bytes);
        let frame = ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap();
        assert_eq!((frame.height(), frame.width()), (2, 4));
        assert_eq!(frame.column("name").unwrap().str().unwrap().get(0), Some("a"));
        assert_eq!(frame.column("count").unwrap().i64().unwrap().get(0), Some(-3));
        assert_eq!(frame.column("share").unwrap().f64().unwrap().get(1), Some(f64::INFINITY));
        assert_eq!(frame.column("good").unwrap().bool().unwrap().get(1), None);
        let uneven = vec![
            ("a".to_owned(), Values::Integer(vec![None])),
            ("b".to_owned(), Values::Integer(Vec::new())),
        ];
        assert!(write(uneven).is_err());
    }

    #[test]
    fn a_table_without_rows_is_a_file() {
        let bytes = write(vec![("a".to_owned(), Values::Text(Vec::new()))]).unwrap();
        assert!(bytes.starts_with(b"PAR1"));
    }
}
