//! Query strings: read strictly, written back for links.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::Problem;

/// What stays as it is in a query string.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Longest value that is looked at, in bytes.
const LONGEST: usize = 2048;

/// A text as it may stand in a query string or a path.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Names and values of a query string or a form, in their order.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The parameters of one request, each taken once; what is left over is named.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string. Empty values count as not given, as forms send them.
    pub fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut given = pairs(query.unwrap_or_default());
        given.retain(|(_, value)| !value.trim().is_empty());
        if let Some((name, _)) = given.iter().find(|(_, value)| value.len() > LONGEST) {
            return Err(Problem::bad(format!("`{name}` is longer than {LONGEST} bytes")));
        }
        Ok(Self(given))
    }

    /// Takes a parameter.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.0.remove(place);
        Some(value.trim().to_owned())
    }

    /// Takes a number within bounds.
    pub fn number(&mut self, name: &str, low: u64, high: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::bad(format!(
                "`{name}` is `{text}`; expected a whole number from {low} to {high}"
            ))),
        }
    }

    /// Refuses what nobody took.
    pub fn end(self, known: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad(format!(
                "there is no parameter `{name}` here, or it was given twice; known are: {known}"
            ))),
        }
    }
}

/// Writes a query string, `?` included; nothing if there is nothing to say.
pub(crate) fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        let sign = if text.is_empty() { '?' } else { '&' };
        // Writing to a string does not fail.
        let _ = write!(text, "{sign}{name}={}", encode(&value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let odd = "a b&c=d#é<script>%+";
        let text = write([("q", odd.to_owned()), ("empty", String::new())]);
        assert!(text.is_ascii() && !text.contains('<'), "{text}");
        let mut read = Parameters::read(text.strip_prefix('?')).unwrap();
        assert_eq!(read.take("q").as_deref(), Some(odd));
        assert!(read.end("q").is_ok());
    }

    #[test]
    fn what_is_unknown_twice_or_out_of_bounds_is_named() {
        let read = |text: &str| Parameters::read(Some(text)).unwrap();
        assert!(read("x=1").end("q").unwrap_err().message.contains("`x`"));
        let mut twice = read("q=1&q=2");
        twice.take("q");
        assert!(twice.end("q").is_err());
        for bad in ["page=0", "page=x", "page=-1", "page=99999999999999999999"] {
            assert!(read(bad).number("page", 1, 10).is_err(), "{bad}");
        }
        assert_eq!(read("page=+3+").number("page", 1, 10).unwrap(), Some(3));
        assert!(Parameters::read(Some(&format!("q={}", "x".repeat(3000)))).is_err());
    }
}
