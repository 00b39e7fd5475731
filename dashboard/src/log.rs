//! Logs of builds and runs: opened wherever the stage keeps them, read in pages, followed while
//! they grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use study::{ArtifactId, RunKey, Study};

/// Longest part of a line that is kept, in bytes; programs write progress without line ends.
const LONGEST: usize = 64 << 10;

/// Where a log lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub path: PathBuf,
    /// Whether it is still being written.
    pub growing: bool,
    compressed: bool,
}

impl Log {
    /// The log of a build; the one under way if there is one.
    pub fn of_build(study: &Study, id: &ArtifactId) -> Option<Self> {
        let folder = study.build_dir(id);
        let log = |name, growing| Self { path: folder.join(name), growing, compressed: true };
        [log(".part-log.zst", true), log("log.zst", false)]
            .into_iter()
            .find(|log| log.path.is_file())
    }

    /// The log of a run.
    pub fn of_run(study: &Study, key: &RunKey, growing: bool) -> Option<Self> {
        let log = Self { path: study.run_dir(key).join("log.txt"), growing, compressed: false };
        log.path.is_file().then_some(log)
    }

    /// Its bytes, as far as they are written.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(&self.path)?;
        if self.compressed {
            Ok(Box::new(UntilCut(zstd::Decoder::new(file)?)))
        } else {
            Ok(Box::new(file))
        }
    }

    /// Lines `from` (counted from 0) to `from + most`, and how many lines there are.
    pub fn page(&self, from: u64, most: usize) -> io::Result<Page> {
        let mut lines = Vec::new();
        let (total, whole) = self.each(|number, line| {
            if number >= from && lines.len() < most {
                lines.push(line);
            }
        })?;
        Ok(Page { first: from.min(total), lines, total, whole })
    }

    /// The last `most` lines, and how many there are.
    pub fn tail(&self, most: usize) -> io::Result<Page> {
        let mut lines = VecDeque::with_capacity(most + 1);
        let (total, whole) = self.each(|_, line| {
            lines.push_back(line);
            if lines.len() > most {
                lines.pop_front();
            }
        })?;
        let first = total - lines.len() as u64;
        Ok(Page { first, lines: lines.into(), total, whole })
    }

    fn each(&self, mut take: impl FnMut(u64, String)) -> io::Result<(u64, bool)> {
        let mut reader = BufReader::with_capacity(256 << 10, self.open()?);
        let mut number = 0;
        let (mut line, mut whole) = (Vec::new(), true);
        while let Some(ended) = next_line(&mut reader, &mut line)? {
            take(number, String::from_utf8_lossy(&line).into_owned());
            number += 1;
            whole = ended;
        }
        Ok((number, whole))
    }
}

/// Some lines of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The number of the first line, from 0.
    pub first: u64,
    pub lines: Vec<String>,
    /// How many lines the log has.
    pub total: u64,
    /// Whether the last line of the log has its end.
    pub whole: bool,
}

/// Reads a line without its end, and says whether it has one; of a line that is too long only the
/// beginning is kept.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any.then_some(false));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(buffer, |end| buffer.get(..end).unwrap_or(buffer));
        let room = LONGEST.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(true));
        }
    }
}

/// A compressed stream whose end is not written yet ends where it was cut.
struct UntilCut(zstd::Decoder<'static, BufReader<File>>);

impl Read for UntilCut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(bytes: &[u8], whole: bool) -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.zst");
        let mut encoder = zstd::Encoder::new(File::create(&path).unwrap(), 3).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        if whole {
            encoder.finish().unwrap();
        }
        (folder, Log { path, growing: !whole, compressed: true })
    }

    #[test]
    fn pages_and_tails_count_lines_alike() {
        let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        for whole in [true, false] {
            let (_folder, log) = log(text.as_bytes(), whole);
            let page = log.page(9_990, 4).unwrap();
            assert_eq!((page.first, page.total), (9_990, 10_000));
            assert_eq!(page.lines, ["line 9990", "line 9991", "line 9992", "line 9993"]);
            let tail = log.tail(2).unwrap();
            assert_eq!(
                (tail.first, tail.lines.as_slice()),
                (9_998, ["line 9998".to_owned(), "line 9999".to_owned()].as_slice())
            );
            assert_eq!(log.page(20_000, 4).unwrap().lines.len(), 0);
        }
    }

    #[test]
    fn a_line_without_end_and_bytes_that_are_no_text_are_survived() {
        let mut bytes = vec![b'x'; 3 << 20];
        bytes.extend_from_slice(b"\n\xff\xfe\nlast");
        let (_folder, log) = log(&bytes, true);
        let page = log.page(0, 10).unwrap();
        assert_eq!(page.lines[0].len(), LONGEST);
        assert_eq!(page.lines[1], "\u{fffd}\u{fffd}");
        assert_eq!(page.lines[2], "last");
        assert_eq!((page.total, page.whole), (3, false));
    }
}
