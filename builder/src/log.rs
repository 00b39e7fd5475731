//! A build's log: compressed as it comes, numbered by line, and kept whether the build succeeds or
//! not.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::classify::Scanner;

/// zstd's own default; build logs shrink to a twentieth.
const LEVEL: i32 = 3;
/// What was written is readable this long afterwards at the latest, once more is written: others
/// follow the log. More often would cost compression.
const VISIBLE: Duration = Duration::from_millis(250);

/// A log's name until it is finished.
const PARTIAL: &str = ".part-log.zst";

/// A log that is being written. It gets its name only when finished.
pub(crate) struct LogFile {
    partial: PathBuf,
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
    lines: u64,
    at_line_start: bool,
    flushed: Instant,
}

impl LogFile {
    /// Begins the log of a build in its folder.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let partial = folder.join(PARTIAL);
        let encoder = zstd::Encoder::new(File::create(&partial)?, LEVEL)?;
        let path = folder.join("log.zst");
        Ok(Self { partial, path, encoder, lines: 0, at_line_start: true, flushed: Instant::now() })
    }

    /// Adds output as it came.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)?;
        if let Some(last) = bytes.last() {
            self.lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
            self.at_line_start = *last == b'\n';
        }
        if self.flushed.elapsed() >= VISIBLE {
            self.encoder.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Adds a line of our own, such as the command of a step.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        if !self.at_line_start {
            self.write(b"\n")?;
        }
        self.write(format!("{text}\n").as_bytes())
    }

    /// A scanner that numbers lines as this log does from here on.
    pub(crate) fn scanner(&mut self) -> io::Result<Scanner> {
        if !self.at_line_start {
            self.write(b"\n")?;
        }
        Ok(Scanner::after(self.lines))
    }

    /// Makes the log durable under its name.
    pub(crate) fn finish(self) -> io::Result<PathBuf> {
        let file = self.encoder.finish()?;
        file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        if let Some(folder) = self.path.parent() {
            study::files::sync_folder(folder)?;
        }
        Ok(self.path)
    }
}

/// Keeps in `to` what a process that was killed wrote of its log in `from`, with a last line that
/// says why there is no more. Of a log that breaks off, what can be read counts.
pub(crate) fn salvage(from: &Path, to: &Path, why: &str) -> io::Result<()> {
    let mut text = Vec::new();
    let there = [from.join("log.zst"), from.join(PARTIAL)].into_iter().find(|path| path.is_file());
    if let Some(path) = there {
        let mut log = zstd::Decoder::new(File::open(path)?)?;
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = log.read(&mut piece) {
            text.extend(piece.iter().take(length));
        }
    }
    let mut log = LogFile::create(to)?;
    log.write(&text)?;
    log.line(&format!("= ended: {why}"))?;
    log.finish().map(drop)
}

/// Reads a build's log as text.
///
/// # Errors
/// If there is no log or it is damaged.
pub fn read_log(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(File::open(path)?)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_as_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::create(folder.path()).unwrap();
        log.line("+ step one").unwrap();
        log.write(b"out\nunfinished").unwrap();
        let mut scanner = log.scanner().unwrap();
        let error = b"a.c:1:1: error: x\n";
        scanner.push(error);
        log.write(error).unwrap();
        assert!(!folder.path().join("log.zst").exists());
        let path = log.finish().unwrap();
        let text = read_log(&path).unwrap();
        assert_eq!(scanner.lines(), 4);
        assert_eq!(text.lines().nth(3), Some("a.c:1:1: error: x"));
    }

    #[test]
    fn of_a_log_that_breaks_off_what_there_is_is_kept() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut log = LogFile::create(from.path()).unwrap();
        log.line("+ [compile] make").unwrap();
        log.flushed = Instant::now().checked_sub(VISIBLE).unwrap();
        log.write(b"cc a.c\n").unwrap();
        // As if the process were killed: the end of the stream is not written.
        std::mem::forget(log);
        salvage(from.path(), to.path(), "too long").unwrap();
        let text = read_log(&to.path().join("log.zst")).unwrap();
        assert_eq!(text, "+ [compile] make\ncc a.c\n= ended: too long\n");
        // A build that had not begun has no log.
        salvage(&to.path().join("nothing"), to.path(), "too long").unwrap();
        assert_eq!(read_log(&to.path().join("log.zst")).unwrap(), "= ended: too long\n");
    }
}
