//! Tables that programs get: as JSON, as CSV, and as Parquet where the program can write it.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::error::Problem;

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

    fn json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            // JSON has no infinities: they are written as text.
            Self::Number(number) if !number.is_finite() => number.to_string().into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(texts) => texts.clone().into(),
        }
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
            let names = self.columns.iter().map(|(name, _)| name.clone());
            let fields: Map<String, Value> = names.zip(row.iter().map(Cell::json)).collect();
            Value::Object(fields)
        };
        self.rows.iter().map(object).collect()
    }

    pub(crate) fn csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail.
        let _ = writer.write_record(self.columns.iter().map(|(name, _)| name));
        for row in &self.rows {
            let _ = writer.write_record(row.iter().map(Cell::plain));
        }
        writer.into_inner().unwrap_or_default()
    }
}

/// What writes a table in a form of its own, such as Parquet.
#[derive(Clone)]
pub struct Encoder(Arc<dyn Fn(&Records) -> Result<Vec<u8>, String> + Send + Sync>);

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
    records: &Records,
    form: Form,
    encoder: Option<&Encoder>,
    more: Map<String, Value>,
    name: &str,
) -> Result<Response, Problem> {
    let body = match form {
        Form::Json => {
            let mut object = more;
            object.insert("items".into(), records.json().into());
            Value::Object(object).to_string().into_bytes()
        }
        Form::Csv => records.csv(),
        Form::Parquet => {
            let Some(Encoder(encode)) = encoder else {
                return Err(Problem::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "this program was built without Parquet; take application/json or text/csv",
                ));
            };
            encode(records).map_err(Problem::internal)?
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
        let csv = String::from_utf8(records.csv()).unwrap();
        assert_eq!(
            csv,
            "text,integer,number,flag,list\n\"a,\"\"b\"\"\n<c>\",7,inf,true,x;y\n,,0.1,,\n"
        );
        let json = records.json();
        assert_eq!(json[0]["number"], "inf");
        assert_eq!(json[0]["list"], serde_json::json!(["x", "y"]));
        assert_eq!(json[1]["text"], Value::Null);
    }
}
