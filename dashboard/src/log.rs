//! Logs of builds and runs: opened wherever the stage keeps them, read in pages, followed while
//! they grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
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
    read_on(reader, line)
}

/// The same for a line whose beginning is in `line`. After an error, what was read of it is too.
fn read_on(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut any = !line.is_empty();
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

/// A log that is followed: it stays open at its position, so that each byte is read once, however
/// often one looks.
pub(crate) struct Follower {
    reader: BufReader<Box<dyn Read + Send>>,
    /// The file that was opened: device and number.
    file: (u64, u64),
    /// Its length when it was last looked at.
    length: u64,
    /// The number of the line that is read next.
    number: u64,
    /// What is there of that line.
    begun: Vec<u8>,
}

impl Follower {
    /// Opens a log and goes to line `from`, or as far as there are lines.
    pub fn open(log: &Log, from: u64) -> io::Result<Self> {
        let file = File::open(&log.path)?;
        let about = file.metadata()?;
        let reader: Box<dyn Read + Send> = if log.compressed {
            Box::new(zstd::Decoder::new(Growing(file))?)
        } else {
            Box::new(Growing(file))
        };
        let mut follower = Self {
            reader: BufReader::with_capacity(256 << 10, reader),
            file: (about.dev(), about.ino()),
            length: about.len(),
            number: 0,
            begun: Vec::new(),
        };
        while follower.number < from && follower.line()?.is_some() {}
        Ok(follower)
    }

    /// Whether this is still the file that `log` names: not one that was begun anew.
    pub fn is_of(&mut self, log: &Log) -> bool {
        let Ok(about) = log.path.metadata() else { return false };
        let same = self.file == (about.dev(), about.ino()) && about.len() >= self.length;
        self.length = about.len();
        same
    }

    /// The number of the line that is read next, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whole lines that were written since, `most` of them at most.
    pub fn lines(&mut self, most: usize) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        while lines.len() < most {
            let Some(line) = self.line()? else { break };
            lines.push(line);
        }
        Ok(lines)
    }

    /// The beginning of a line that has no end, once nothing more will come.
    pub fn rest(&mut self) -> Option<String> {
        if self.begun.is_empty() {
            return None;
        }
        self.number += 1;
        Some(String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        match read_on(&mut self.reader, &mut self.begun) {
            Ok(Some(true)) => {
                self.number += 1;
                let line = String::from_utf8_lossy(&self.begun).into_owned();
                self.begun.clear();
                Ok(Some(line))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file that may go on: its end is not the end, so that a decoder waits for what comes.
struct Growing(File);

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
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

    #[test]
    fn what_was_read_is_not_read_again() {
        use std::os::unix::fs::FileExt;
        for compressed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let log = Log { path: folder.path().join("log"), growing: true, compressed };
            let file = File::create(&log.path).unwrap();
            let twin = file.try_clone().unwrap();
            let mut writer: Box<dyn Write> = if compressed {
                Box::new(zstd::Encoder::new(file, 3).unwrap())
            } else {
                Box::new(file)
            };
            let mut write = |text: &str| {
                writer.write_all(text.as_bytes()).unwrap();
                writer.flush().unwrap();
            };
            write("one\ntwo\nthr");
            let mut follower = Follower::open(&log, 1).unwrap();
            assert_eq!(follower.number(), 1);
            assert_eq!(follower.lines(10).unwrap(), ["two"]);
            assert_eq!(follower.lines(10).unwrap(), [""; 0]);
            // Who begins anew finds nothing to decode.
            twin.write_all_at(&[0xff; 4], 0).unwrap();
            assert!(follower.is_of(&log));
            for round in 0..50 {
                write(&format!("ee {round}\nthr"));
                assert_eq!(follower.lines(10).unwrap(), [format!("three {round}")]);
            }
            if compressed {
                assert!(log.page(0, 1).is_err(), "the beginning is damaged");
            }
            assert_eq!(follower.rest().as_deref(), Some("thr"));
            assert_eq!((follower.rest(), follower.number()), (None, 53));

            // A log that was begun anew is another one, whether its file is or only its content.
            File::create(&log.path).unwrap();
            assert!(!follower.is_of(&log));
            let mut follower = Follower::open(&log, 0).unwrap();
            std::fs::write(folder.path().join("new"), "x").unwrap();
            std::fs::rename(folder.path().join("new"), &log.path).unwrap();
            assert!(!follower.is_of(&log));
        }
    }
}
