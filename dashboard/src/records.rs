//! Tables that programs get: as JSON, as CSV, and as Parquet where the program can write it.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::error::Problem;

/// Rows that are written at once: the first are under way while the last are still values.
const PIECE: usize = 100;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// Numbers, infinities and not-a-number among them.
    Number,
    /// Yes or no.
    Flag,
    /// Texts, which CSV and Parquet join by `;`.
    List,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// Texts.
    List(Vec<String>),
}

impl Cell {
    pub(crate) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.to_string()))
    }

    pub(crate) fn count(number: impl TryInto<i64>) -> Self {
        number.try_into().map_or(Self::Null, Self::Integer)
    }

    /// The value as one text, as CSV holds it.
    #[must_use]
    pub fn plain(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(texts) => texts.join(";"),
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// Name and kind of each column.
    pub columns: Vec<(String, Kind)>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

impl Records {
    pub(crate) fn new(columns: &[(&str, Kind)]) -> Self {
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        let object = |row: &Vec<Cell>| {
            // Values of these kinds can all be written.
            serde_json::to_value(Object { columns: &self.columns, row }).unwrap_or_default()
        };
        self.rows.iter().map(object).collect()
    }

    /// Rows of CSV, with the line of names before them if they are the first.
    fn csv(&self, rows: &[Vec<Cell>], first: bool) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail.
        if first {
            let _ = writer.write_record(self.columns.iter().map(|(name, _)| name));
        }
        for row in rows {
            let _ = writer.write_record(row.iter().map(Cell::plain));
        }
        writer.into_inner().unwrap_or_default()
    }

    /// Rows as JSON, each an object, with commas between.
    fn json_rows(&self, rows: &[Vec<Cell>], first: bool) -> Vec<u8> {
        let mut text = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            if place > 0 || !first {
                text.push(b',');
            }
            // Writing to memory cannot fail, and keys are texts.
            let _ = serde_json::to_writer(&mut text, &Object { columns: &self.columns, row });
        }
        text
    }

    /// The table piece by piece, each made when it is asked for.
    fn pieces(self, form: Form, more: Map<String, Value>) -> impl Iterator<Item = Vec<u8>> {
        let mut begin = match form {
            Form::Json => {
                let mut text = Value::Object(more).to_string();
                text.pop();
                text += if text.len() > 1 { ",\"items\":[" } else { "\"items\":[" };
                text.into_bytes()
            }
            _ => Vec::new(),
        };
        let mut at = 0;
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let until = (at + PIECE).min(self.rows.len());
            let rows = self.rows.get(at..until).unwrap_or_default();
            let mut piece = std::mem::take(&mut begin);
            piece.extend(match form {
                Form::Json => self.json_rows(rows, at == 0),
                _ => self.csv(rows, at == 0),
            });
            at = until;
            ended = at == self.rows.len();
            if ended && form == Form::Json {
                piece.extend(b"]}");
            }
            Some(piece)
        })
    }
}

/// A row as an object.
struct Object<'a> {
    columns: &'a [(String, Kind)],
    row: &'a [Cell],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for ((name, _), cell) in self.columns.iter().zip(self.row) {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            // JSON has no infinities: they are written as text.
            Self::Number(number) if !number.is_finite() => serializer.collect_str(number),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(texts) => texts.serialize(serializer),
        }
    }
}

type Encode = dyn Fn(&Records) -> Result<Vec<u8>, String> + Send + Sync;

/// What writes a table in a form of its own, such as Parquet.
#[derive(Clone)]
pub struct Encoder(Arc<Encode>);

impl Encoder {
    /// An encoder that calls `encode`.
    pub fn new(
        encode: impl Fn(&Records) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(encode))
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder(…)")
    }
}

/// The forms of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Csv,
    Parquet,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Parquet];

    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    pub fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The form that was asked for: by `format`, which links can say, else by `Accept`.
    pub fn wanted(format: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(name) = format {
            return Self::ALL.into_iter().find(|form| form.name() == name).ok_or_else(|| {
                Problem::bad(format!("`format` is `{name}`; expected json, csv or parquet"))
            });
        }
        let mut ranges = Vec::new();
        for value in headers.get_all(header::ACCEPT) {
            ranges.extend(value.to_str().unwrap_or_default().split(',').map(range));
        }
        if ranges.is_empty() {
            return Ok(Self::Json);
        }
        let weight = |form: &Self| -> f64 {
            let fits = |range: &&(String, f64)| match range.0.strip_suffix("/*") {
                Some("*") => true,
                Some(kind) => form.media().split('/').next() == Some(kind),
                None => form.media() == range.0,
            };
            // The most exact range that fits says how much it is wanted.
            let exact =
                |range: &&(String, f64)| (!range.0.ends_with("/*"), !range.0.starts_with("*/"));
            ranges.iter().filter(fits).max_by_key(exact).map_or(0.0, |range| range.1)
        };
        let mut best = None;
        for form in Self::ALL {
            let weight = weight(&form);
            if weight > 0.0 && best.is_none_or(|(_, most)| weight > most) {
                best = Some((form, weight));
            }
        }
        best.map(|(form, _)| form).ok_or_else(|| {
            let offered = Self::ALL.map(Self::media).join(", ");
            Problem::new(StatusCode::NOT_ACCEPTABLE, format!("this can be had as {offered}"))
        })
    }
}

fn range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
    (name, weight)
}

/// A table in the form wanted; `more` stands beside the rows in JSON, `name` names the file.
pub(crate) fn answer(
    records: Records,
    form: Form,
    encoder: Option<&Encoder>,
    more: Map<String, Value>,
    name: &str,
) -> Result<Response, Problem> {
    let body = match form {
        Form::Parquet => {
            let Some(Encoder(encode)) = encoder else {
                return Err(Problem::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "this program was built without Parquet; take application/json or text/csv",
                ));
            };
            Body::from(encode(&records).map_err(Problem::internal)?)
        }
        form if records.rows.len() <= PIECE => {
            Body::from(records.pieces(form, more).collect::<Vec<_>>().concat())
        }
        form => {
            let pieces = records.pieces(form, more).map(Ok::<_, std::convert::Infallible>);
            Body::from_stream(futures_util::stream::iter(pieces))
        }
    };
    let media = match form {
        Form::Csv => "text/csv; charset=utf-8; header=present",
        form => form.media(),
    };
    let mut response = ([(header::CONTENT_TYPE, media)], body).into_response();
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    if form != Form::Json {
        let file = format!("attachment; filename=\"{name}.{}\"", form.name());
        if let Ok(file) = file.parse() {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, file);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Form::wanted(None, &headers).ok()
    }

    #[test]
    fn the_form_follows_the_wish() {
        assert_eq!(Form::wanted(None, &HeaderMap::new()).unwrap(), Form::Json);
        assert_eq!(wanted("*/*"), Some(Form::Json));
        assert_eq!(wanted("text/csv"), Some(Form::Csv));
        assert_eq!(wanted("text/*;q=0.9, application/json;q=0.5"), Some(Form::Csv));
        assert_eq!(wanted("application/vnd.apache.parquet, */*;q=0.1"), Some(Form::Parquet));
        assert_eq!(wanted("application/json;q=0, text/csv;q=0.1, */*;q=0"), Some(Form::Csv));
        assert_eq!(wanted("image/png"), None);
        assert_eq!(Form::wanted(Some("csv"), &HeaderMap::new()).unwrap(), Form::Csv);
        assert!(Form::wanted(Some("xml"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn every_kind_of_value_keeps_its_meaning() {
        let mut records = Records::new(&[
            ("text", Kind::Text),
            ("integer", Kind::Integer),
            ("number", Kind::Number),
            ("flag", Kind::Flag),
            ("list", Kind::List),
        ]);
        records.rows.push(vec![
            Cell::text("a,\"b\"\n<c>"),
            Cell::count(7_u32),
            Cell::Number(f64::INFINITY),
            Cell::Flag(true),
            Cell::List(vec!["x".into(), "y".into()]),
        ]);
        records.rows.push(vec![Cell::Null, Cell::Null, Cell::Number(0.1), Cell::Null, Cell::Null]);
        let csv = String::from_utf8(records.csv(&records.rows, true)).unwrap();
        assert_eq!(
            csv,
            "text,integer,number,flag,list\n\"a,\"\"b\"\"\n<c>\",7,inf,true,x;y\n,,0.1,,\n"
        );
        let json = records.json();
        assert_eq!(json[0]["number"], "inf");
        assert_eq!(json[0]["list"], serde_json::json!(["x", "y"]));
        assert_eq!(json[1]["text"], Value::Null);
    }

    #[test]
    fn pieces_are_the_whole() {
        for rows in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut records = Records::new(&[("n", Kind::Integer), ("t", Kind::Text)]);
            for n in 0..rows {
                records.rows.push(vec![Cell::count(n), Cell::text("a\nb")]);
            }
            let whole = |form, more: &Map<String, Value>| {
                String::from_utf8(
                    records.clone().pieces(form, more.clone()).collect::<Vec<_>>().concat(),
                )
                .unwrap()
            };
            let csv = whole(Form::Csv, &Map::new());
            assert_eq!(csv.lines().count(), 1 + 2 * rows);
            assert_eq!(csv.matches("n,t\n").count(), 1);
            for more in [Map::new(), Map::from_iter([("total".to_owned(), Value::from(rows))])] {
                let json: Value = serde_json::from_str(&whole(Form::Json, &more)).unwrap();
                let items = json["items"].as_array().unwrap();
                assert_eq!(items.len(), rows);
                assert!(items.iter().enumerate().all(|(n, item)| item["n"] == n));
                assert_eq!(json.get("total").is_some(), !more.is_empty());
            }
        }
    }
}
