//! Every row of the store as lines of JSON that any tool can read, and back into a new store.
//!
//! A line is one row: an object with the row's columns in their order. What is null is left out; a
//! column that holds JSON is part of the object and not a text in it; an infinite number, which
//! JSON does not have, is the text `Infinity` or `-Infinity`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rusqlite::types::{Value as Cell, ValueRef};
use serde_json::Value;

use super::{Store, StoreError};

/// The tables that are a study's record, each after those it refers to.
pub const TABLES: [&str; 9] = [
    "seeds",
    "artifacts",
    "builds",
    "experiments",
    "runs",
    "epochs",
    "metrics",
    "predictions",
    "superseded",
];

/// The tables that only a server with runs under way needs. Tests hold this list against the
/// store: a new table belongs into one of the two.
#[cfg(test)]
const LEFT_OUT: [&str; 3] = ["sessions", "session_arrays", "session_details"];

/// Columns of texts that are JSON.
const JSON: [(&str, &str); 8] = [
    ("artifacts", "record"),
    ("experiments", "attributes"),
    ("experiments", "allowed"),
    ("runs", "manifest"),
    ("runs", "result"),
    ("epochs", "extra"),
    ("superseded", "record"),
    ("session_details", "details"),
];

/// No row is longer than this, in bytes.
const LONGEST: u64 = 64 << 20;

/// Why rows cannot be written or taken in.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What takes the lines, or gives them, failed.
    #[error("{table}: {source}")]
    Io {
        /// The table.
        table: String,
        /// What happened.
        source: std::io::Error,
    },
    /// A line is no row of its table.
    #[error("{table}.jsonl line {line}: {reason}")]
    Row {
        /// The table.
        table: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what was expected.
        reason: String,
    },
}

/// A column of a table as the store has it.
struct Column {
    name: String,
    kind: String,
    json: bool,
}

fn columns(c: &rusqlite::Connection, table: &str) -> rusqlite::Result<(Vec<Column>, String)> {
    let mut keys: Vec<(i64, String)> = Vec::new();
    let mut all = Vec::new();
    let mut statement = c.prepare("SELECT name, type, pk FROM pragma_table_info(?1)")?;
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let (name, kind, key): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if key > 0 {
            keys.push((key, name.clone()));
        }
        let json = JSON.contains(&(table, name.as_str()));
        all.push(Column { name, kind, json });
    }
    keys.sort();
    let order = keys.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ");
    Ok((all, order))
}

impl Store {
    /// Hands every row of every table of [`TABLES`] to `each`, with its table: by table, and within
    /// one by its key. All rows are those of one moment. The lines have no line feed.
    ///
    /// # Errors
    /// If the store cannot be read, or `each` fails.
    pub fn export_rows(
        &self,
        mut each: impl FnMut(&'static str, &str) -> std::io::Result<()>,
    ) -> Result<(), RowsError> {
        let mut connection = self.lock();
        let sqlite = |error| RowsError::Store(self.explain(error));
        let transaction = connection.transaction().map_err(sqlite)?;
        for table in TABLES {
            let (columns, order) = columns(&transaction, table).map_err(sqlite)?;
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let mut statement = transaction
                .prepare(&format!("SELECT {} FROM {table} ORDER BY {order}", names.join(", ")))
                .map_err(sqlite)?;
            let mut rows = statement.query([]).map_err(sqlite)?;
            let mut line = String::new();
            while let Some(row) = rows.next().map_err(sqlite)? {
                line.clear();
                for (place, column) in columns.iter().enumerate() {
                    let cell = row.get_ref(place).map_err(sqlite)?;
                    let Some(text) = written(cell, column) else { continue };
                    line.push(if line.is_empty() { '{' } else { ',' });
                    line += &Value::from(column.name.as_str()).to_string();
                    line.push(':');
                    line += &text;
                }
                line.push('}');
                each(table, &line)
                    .map_err(|source| RowsError::Io { table: table.into(), source })?;
            }
        }
        Ok(())
    }

    /// Makes a store at `path`, where there is none, from lines as [`Store::export_rows`] gives
    /// them. `open` gives the lines of a table.
    ///
    /// # Errors
    /// If there is a store already, a line is no row of its table, or refers to what is not there.
    pub fn import_rows<R: Read>(
        path: &Path,
        mut open: impl FnMut(&'static str) -> std::io::Result<R>,
    ) -> Result<Self, RowsError> {
        let io = |table: &str, source| RowsError::Io { table: table.to_owned(), source };
        if path.exists() {
            return Err(io("study.db", std::io::ErrorKind::AlreadyExists.into()));
        }
        let store = Self::open(path)?;
        // It is made of what is kept elsewhere; until it is whole, nobody is told of it.
        store.with(|c| c.pragma_update(None, "synchronous", "OFF"))?;
        for table in TABLES {
            let (columns, _) = store.with(|c| columns(c, table))?;
            let mut lines = BufReader::new(open(table).map_err(|error| io(table, error))?);
            let mut connection = store.lock();
            let sqlite = |error| RowsError::Store(store.explain(error));
            let transaction = connection.transaction().map_err(sqlite)?;
            let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let mut statement = transaction
                .prepare(&format!(
                    "INSERT INTO {table} ({}) VALUES ({})",
                    names.join(", "),
                    marks.join(", ")
                ))
                .map_err(sqlite)?;
            let mut text = Vec::new();
            for line in 1_u64.. {
                text.clear();
                let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut text);
                if read.map_err(|error| io(table, error))? == 0 {
                    break;
                }
                let wrong = |reason| RowsError::Row { table: table.into(), line, reason };
                let cells = parsed(&text, &columns).map_err(wrong)?;
                statement
                    .execute(rusqlite::params_from_iter(cells))
                    .map_err(|error| wrong(error.to_string()))?;
            }
            drop(statement);
            transaction.commit().map_err(sqlite)?;
        }
        store.with(|c| c.pragma_update(None, "synchronous", "FULL"))?;
        Ok(store)
    }
}

/// A cell as JSON; nothing for null.
fn written(cell: ValueRef<'_>, column: &Column) -> Option<String> {
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) if number.is_finite() => Some(Value::from(number).to_string()),
        ValueRef::Real(number) if number > 0.0 => Some("\"Infinity\"".to_owned()),
        ValueRef::Real(_) => Some("\"-Infinity\"".to_owned()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let json = column.json.then(|| serde_json::from_str::<Value>(&text).ok()).flatten();
            Some(json.unwrap_or_else(|| Value::from(text.as_ref())).to_string())
        }
    }
}

/// The cells of a line, in the order of the columns.
fn parsed(line: &[u8], columns: &[Column]) -> Result<Vec<Cell>, String> {
    let row: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Value::Object(mut row) = row else { return Err("expected an object".to_owned()) };
    let mut cells = Vec::with_capacity(columns.len());
    for column in columns {
        let cell = match row.remove(&column.name) {
            None | Some(Value::Null) => Cell::Null,
            Some(value) if column.json => Cell::Text(value.to_string()),
            Some(value) => {
                let expected = || format!("`{}` is {value}; expected {}", column.name, column.kind);
                match (column.kind.as_str(), &value) {
                    ("INTEGER", Value::Number(n)) => {
                        Cell::Integer(n.as_i64().ok_or_else(expected)?)
                    }
                    ("REAL", Value::Number(n)) => Cell::Real(n.as_f64().ok_or_else(expected)?),
                    ("REAL", Value::String(word)) if word == "Infinity" => {
                        Cell::Real(f64::INFINITY)
                    }
                    ("REAL", Value::String(word)) if word == "-Infinity" => {
                        Cell::Real(f64::NEG_INFINITY)
                    }
                    ("TEXT", Value::String(text)) => Cell::Text(text.clone()),
                    _ => return Err(expected()),
                }
            }
        };
        cells.push(cell);
    }
    match row.keys().next() {
        None => Ok(cells),
        Some(name) => {
            Err(format!("`{name}` is no column that this program knows; it may be a later one's"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{EpochRecord, temporary};
    use super::*;
    use crate::experiment::tests::example;
    use crate::store::artifacts::tests::{built, record};
    use crate::{Evaluation, RunKey};

    fn filled() -> (tempfile::TempDir, Store) {
        let (folder, store) = temporary();
        for (byte, side) in [(1, Evaluation::Buggy), (2, Evaluation::Corrected)] {
            let experiment = example(side);
            store.put_artifact(&record(byte, built())).unwrap();
            store.assign_artifact(&experiment.bug, side, &experiment.artifact).unwrap();
            store
                .plan(&[(example(Evaluation::Buggy), 2), (example(Evaluation::Corrected), 2)])
                .unwrap();
            for run in 0..2 {
                let key = RunKey { experiment: experiment.id(), run };
                let seed = store.issue_seed(&experiment, run).unwrap();
                store.begin_run(&key, seed).unwrap();
                let epoch = EpochRecord {
                    epoch: 0,
                    loss_bits: Some(f64::NAN.to_bits()),
                    digest: "d".into(),
                    seconds: 0.1 + f64::from(run),
                    extra: Some(serde_json::json!({"b": 0.1, "a": 1e300})),
                };
                store.put_epoch(&key, &epoch).unwrap();
                let metrics: BTreeMap<String, f64> = [
                    ("accuracy".to_owned(), 0.1 + 0.2),
                    ("worst".to_owned(), f64::NEG_INFINITY),
                    ("missing".to_owned(), f64::NAN),
                    ("tiny".to_owned(), f64::MIN_POSITIVE / 8.0),
                ]
                .into();
                store.put_metrics(&key, "test", "p", &metrics).unwrap();
                store.put_manifest(&key, &serde_json::json!({"text": "a\nb \"c\""})).unwrap();
                store.finish_run(&key, &serde_json::json!({"n": 1})).unwrap();
            }
        }
        let key = RunKey { experiment: example(Evaluation::Buggy).id(), run: 1 };
        store.supersede_run(&key, "another processor").unwrap();
        (folder, store)
    }

    fn exported(store: &Store) -> BTreeMap<&'static str, String> {
        let mut all: BTreeMap<&'static str, String> =
            TABLES.iter().map(|table| (*table, String::new())).collect();
        store
            .export_rows(|table, line| {
                let text = all.get_mut(table).unwrap();
                *text += line;
                text.push('\n');
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn every_table_is_taken_along_or_left_out_by_name() {
        let (_folder, store) = temporary();
        let tables: Vec<String> = store
            .with(|c| {
                c.prepare(
                    "SELECT name FROM sqlite_schema
                     WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                )?
                .query_map([], |r| r.get(0))?
                .collect()
            })
            .unwrap();
        for table in &tables {
            let known = TABLES.contains(&table.as_str()) || LEFT_OUT.contains(&table.as_str());
            assert!(known, "decide whether `{table}` is handed over: TABLES or LEFT_OUT");
        }
        assert_eq!(tables.len(), TABLES.len() + LEFT_OUT.len());
    }

    #[test]
    fn what_goes_out_comes_in_the_same() {
        let (folder, store) = filled();
        let lines = exported(&store);
        assert!(lines["metrics"].contains("0.30000000000000004"), "{}", lines["metrics"]);
        assert!(lines["metrics"].contains("\"-Infinity\""), "{}", lines["metrics"]);
        assert!(lines["experiments"].contains("\"attributes\":{"), "not a text in a text");
        let path = folder.path().join("again.db");
        let again = Store::import_rows(&path, |table| Ok(lines[table].as_bytes())).unwrap();
        assert_eq!(exported(&again), lines);
        assert_eq!(again.active_experiments().unwrap(), store.active_experiments().unwrap());
        let key = RunKey { experiment: example(Evaluation::Buggy).id(), run: 0 };
        let bits = |store: &Store| {
            store.metrics(&key, "test").unwrap().into_values().map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(&again), bits(&store));
        assert!(Store::import_rows(&path, |_| Ok(&b""[..])).is_err(), "never over a store");
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let (folder, store) = filled();
        let lines = exported(&store);
        for (number, (table, from, to, expected)) in [
            ("metrics", "\"value\":0.30000000000000004", "\"value\":\"0.3\"", "line 1"),
            ("metrics", "\"name\":\"accuracy\",", "", "NOT NULL"),
            ("seeds", "\"issued_at\"", "\"colour\":1,\"issued_at\"", "`colour`"),
            ("epochs", "{", "[", "line 1"),
            ("runs", "-buggy-", "-bugy-", "FOREIGN KEY"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut changed = lines.clone();
            let text = changed.get_mut(table).unwrap();
            assert!(text.contains(from), "{table}: {text}");
            *text = text.replacen(from, to, 1);
            let path = folder.path().join(format!("{number}.db"));
            let error =
                Store::import_rows(&path, |table| Ok(changed[table].as_bytes())).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(expected) && error.contains(table), "{error}");
        }
    }
}
