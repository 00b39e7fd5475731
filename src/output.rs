//! Results on standard output, in the form that was asked for.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::Format;
use crate::failure::Failure;

/// Rows under headings.
pub struct Rows {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// No rows yet.
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each heading.
    pub fn push(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn render(&self, format: Format) -> String {
        match format {
            Format::Csv => {
                let line = |cells: &mut dyn Iterator<Item = &str>| {
                    cells.map(csv_cell).collect::<Vec<_>>().join(",") + "\n"
                };
                let mut text = line(&mut self.headings.iter().copied());
                for row in &self.rows {
                    text += &line(&mut row.iter().map(String::as_str));
                }
                text
            }
            Format::Markdown => {
                let mut table = Table::new();
                table.load_style(presets::ASCII_MARKDOWN);
                self.fill(table, ContentArrangement::Disabled)
            }
            Format::Table | Format::Json => {
                let mut table = Table::new();
                table.load_style(presets::NOTHING);
                self.fill(table, ContentArrangement::Dynamic)
            }
        }
    }

    fn fill(&self, mut table: Table, arrangement: ContentArrangement) -> String {
        table.set_content_arrangement(arrangement);
        table.set_header(&self.headings);
        table.add_rows(&self.rows);
        let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
        lines.join("\n") + "\n"
    }
}

fn csv_cell(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Prints `value` as JSON, or `rows` in any other form.
pub fn print(format: Format, value: &impl Serialize, rows: &Rows) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(value).map_err(Failure::stage)?;
            print_text(&(json + "\n"))
        }
        _ => print_text(&rows.render(format)),
    }
}

/// Prints text as it is.
pub fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader of a pipe may have seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output").map_err(Failure::stage),
    }
}

/// Writes a file whole, and its folder where that is missing.
///
/// A path that no file can have is wrong usage; a disk that is full, or closed to us, is something
/// missing.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes to a file what `content` writes; the file appears whole or not at all.
pub fn write_with(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    use std::io::ErrorKind;
    study::files::write_with(path, content).map_err(|error: std::io::Error| {
        let wrong_path = matches!(
            error.kind(),
            ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::AlreadyExists
                | ErrorKind::InvalidInput
                | ErrorKind::InvalidFilename
        );
        let error = anyhow::anyhow!("{}: {error}", path.display());
        if wrong_path { Failure::input(error) } else { Failure::missing(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_every_form() {
        let mut rows = Rows::new(&["bug", "reason"]);
        rows.push(["pr1", "a \"quoted\", long\nreason"]);
        assert_eq!(
            rows.render(Format::Csv),
            "bug,reason\npr1,\"a \"\"quoted\"\", long\nreason\"\n"
        );
        assert!(rows.render(Format::Markdown).starts_with("| bug"));
    }
}
