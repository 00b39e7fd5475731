//! Why a build failed: from how its container ended and what its log says.

use std::sync::LazyLock;

use containers::{ContainerExit, Ended};
use regex::Regex;

use crate::failure::{Failure, FailureClass};

/// Longest line that is kept, in characters.
const LONGEST_LINE: usize = 400;

/// Patterns in order of what they tell: a line is counted under the first that fits.
static PATTERNS: LazyLock<Vec<(FailureClass, Regex)>> = LazyLock::new(|| {
    use FailureClass as C;
    [
        (
            C::OutOfMemory,
            r"virtual memory exhausted|Killed signal terminated program|std::bad_alloc|out of memory allocating|\bMemoryError\b|LLVM ERROR: out of memory",
        ),
        (C::OutOfDisk, r"No space left on device|File size limit exceeded|Disk quota exceeded"),
        (C::OutOfProcesses, r"(?i)fork.*(Resource temporarily unavailable|retry)|Cannot fork|can't start new thread"),
        (
            C::Network,
            r"Could not resolve host|Temporary failure (in name resolution|resolving)|Network is unreachable|Name or service not known",
        ),
        (C::Link, r"undefined reference to|collect2: (error|fatal error)|ld returned \d+ exit status|cannot find -l|relocation .* against"),
        (
            C::Compile,
            r"^[^\s:]+[:(]\d+[:),]?(\d+:)? ?(fatal |internal compiler )?error\b|internal compiler error|\.cu\(\d+\): error|^(cc1|cc1plus|g\+\+|gcc|clang): (fatal )?error|SyntaxError:",
        ),
        (C::Configure, r"^CMake Error|^configure: error|Could NOT find .*(REQUIRED|missing)|No rule to make target|command not found|: not found$|Unknown CMake command"),
        (C::Import, r"^(ImportError|ModuleNotFoundError)\b|undefined symbol:"),
    ]
    .into_iter()
    // The patterns are constants; a test compiles every one of them.
    .filter_map(|(class, pattern)| Some((class, Regex::new(pattern).ok()?)))
    .collect()
});

/// A line that tells something went wrong, though not what kind of thing. Not what make says about
/// the failure of others.
static HINT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(error|cannot|can't|unable to|no such file|not found|denied|failed)\b").ok()
});

/// The line in which Python names an exception that nobody caught. More lines of its message may
/// follow.
static RAISED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b(:|$)").ok());

/// Watches a step's output for the first line of each class.
#[derive(Debug, Default)]
pub struct Scanner {
    partial: Vec<u8>,
    line_number: u64,
    found: Vec<(FailureClass, u64, String)>,
    last: Option<(u64, String)>,
    raised: Option<(u64, String)>,
    hint: Option<(u64, String)>,
    marked: bool,
}

/// Bytes of one line that are looked at; the rest of a longer line is skipped.
const LONGEST_SCANNED: usize = 16 << 10;

impl Scanner {
    /// A scanner whose next line has the number after `lines`.
    #[must_use]
    pub fn after(lines: u64) -> Self {
        Self { line_number: lines, ..Self::default() }
    }

    /// Takes the next piece of output.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LONGEST_SCANNED.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        self.line_number += 1;
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end();
        if line.trim().is_empty() {
            return;
        }
        // Ninja marks the step that failed; what came before it may be harmless chatter.
        if !self.marked && line.starts_with("FAILED") {
            self.marked = true;
            self.found.clear();
        }
        for (class, pattern) in PATTERNS.iter() {
            if pattern.is_match(line) {
                if !self.found.iter().any(|(seen, ..)| seen == class) {
                    self.found.push((*class, self.line_number, shorten(line)));
                }
                break;
            }
        }
        let told = HINT.as_ref().is_some_and(|hint| hint.is_match(line));
        if told && !line.starts_with("make") {
            self.hint = Some((self.line_number, shorten(line)));
        }
        if RAISED.as_ref().is_some_and(|raised| raised.is_match(line)) {
            self.raised = Some((self.line_number, shorten(line)));
        }
        self.last = Some((self.line_number, shorten(line)));
    }

    /// Lines seen so far, an unfinished one included.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.line_number + u64::from(!self.partial.is_empty())
    }

    /// The last line that is not blank.
    #[must_use]
    pub fn last_line(&mut self) -> Option<String> {
        self.finish();
        self.last.as_ref().map(|(_, line)| line.clone())
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    fn first_of(&self, classes: &[FailureClass]) -> Option<&(FailureClass, u64, String)> {
        self.found.iter().filter(|(class, ..)| classes.contains(class)).min_by_key(|f| f.1)
    }
}

/// Says why a step failed. `kind` is the class its recipe gives it, taken when neither the
/// container's end nor the log tells more.
#[must_use]
pub fn classify(
    step: &str,
    kind: FailureClass,
    exit: &ContainerExit,
    mut scanner: Scanner,
) -> Failure {
    use FailureClass as C;
    scanner.finish();
    let failure = |class, line: String, line_number| Failure {
        class,
        step: step.to_owned(),
        line: shorten(&line),
        line_number,
    };
    let seconds = exit.duration.as_secs();
    match &exit.ended {
        Ended::Timeout => {
            return failure(C::Timeout, format!("ended after {seconds} seconds"), None);
        }
        Ended::Silence => {
            let line = format!("ended after {seconds} seconds, the last of them in silence");
            return failure(C::Timeout, line, None);
        }
        Ended::Disk(how) => return failure(C::OutOfDisk, how.clone(), None),
        Ended::Log => {
            let line = format!("it printed more than {} MiB", exit.log_bytes >> 20);
            return failure(C::TooMuchOutput, line, None);
        }
        Ended::ByItself | Ended::Cancelled => {}
    }
    if exit.oom_killed {
        let (line, number) = match scanner.first_of(&[C::OutOfMemory]) {
            Some((_, number, line)) => (line.clone(), Some(*number)),
            None => ("the kernel ended a process for want of memory".to_owned(), None),
        };
        return failure(C::OutOfMemory, line, number);
    }
    // Want of something outside the source explains everything after it; otherwise the earliest
    // line does.
    let outside = [C::OutOfMemory, C::OutOfDisk, C::OutOfProcesses];
    let inside = match kind {
        C::Import | C::Train | C::Fault => vec![],
        C::Package => vec![C::Compile, C::Link, C::Network],
        _ => vec![C::Compile, C::Link, C::Configure, C::Network, C::Import],
    };
    if let Some((class, number, line)) =
        scanner.first_of(&outside).or_else(|| scanner.first_of(&inside))
    {
        return failure(*class, line.clone(), Some(*number));
    }
    // Python names the error itself last, unless a signal ended it; others go on talking.
    let hint = match (inside.is_empty(), exit.signal) {
        (false, _) => scanner.hint,
        (true, None) => scanner.raised,
        (true, Some(_)) => None,
    };
    match hint.or(scanner.last) {
        Some((number, line)) => failure(kind, line, Some(number)),
        None => {
            let status = exit.status.map_or_else(|| "unknown".to_owned(), |s| s.to_string());
            let line = match exit.signal {
                Some(signal) => format!("ended by signal {signal}, without a word"),
                None => format!("ended with status {status}, without a word"),
            };
            failure(kind, line, None)
        }
    }
}

fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn exit(status: i64) -> ContainerExit {
        ContainerExit {
            status: Some(status),
            signal: None,
            oom_killed: false,
            timed_out: false,
            ended: Ended::ByItself,
            duration: Duration::from_secs(7),
            log_bytes: 0,
        }
    }

    fn of(kind: FailureClass, log: &str) -> Failure {
        let mut scanner = Scanner::default();
        // In pieces, as a container's output comes.
        for piece in log.as_bytes().chunks(7) {
            scanner.push(piece);
        }
        classify("step", kind, &exit(2), scanner)
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), 8);
    }

    #[test]
    fn every_class_prints_and_parses_alike() {
        for class in FailureClass::ALL {
            assert_eq!(class.as_str().parse::<FailureClass>().unwrap(), *class);
            assert_eq!(serde_json::to_string(class).unwrap(), format!("\"{class}\""));
        }
        assert!("oops".parse::<FailureClass>().unwrap_err().to_string().contains("link"));
    }

    #[test]
    fn logs_tell_the_class_and_the_first_line() {
        use FailureClass as C;
        let cases = [
            (
                C::Compile,
                C::Compile,
                "cc -c a.c\nsrc/a.c:12:5: error: unknown type name 'foo'\nsrc/a.c:13:5: error: later\nmake: *** [a.o] Error 1\n",
                2,
            ),
            (C::Compile, C::Compile, "kernel.cu(12): error: identifier \"x\" is undefined\n", 1),
            (
                C::Compile,
                C::Link,
                "/usr/bin/ld: a.o: in function `main':\na.c:(.text+0x5): undefined reference to `missing'\ncollect2: error: ld returned 1 exit status\n",
                2,
            ),
            (
                C::Compile,
                C::Configure,
                "-- error and failed appear everywhere\nCMake Error at CMakeLists.txt:5 (find_package):\n",
                2,
            ),
            (
                C::Compile,
                C::OutOfMemory,
                "a.cpp:1:1: error: x\nc++: fatal error: Killed signal terminated program cc1plus\n",
                2,
            ),
            (C::Package, C::OutOfDisk, "cp: error writing 'x': No space left on device\n", 1),
            (
                C::Configure,
                C::Network,
                "fatal: unable to access 'x': Could not resolve host: x\n",
                1,
            ),
            (C::Package, C::Package, "something odd\nlast words", 2),
            (
                C::Compile,
                C::Compile,
                "warning: a.c:1:1: error: in a quoted test\nconfig/x.c:1:2: error: probe\nFAILED: b.o\nb.c:3:4: error: real\n",
                4,
            ),
            (
                C::Import,
                C::Import,
                "Traceback (most recent call last):\n  File \"x\", line 1\nOSError: libtinynn.so: undefined symbol: f\n",
                3,
            ),
            (
                C::Train,
                C::Train,
                "Traceback (most recent call last):\n  File \"x\", line 1\na.b.NotSupportedError: no ellipsis:\n    x[..., 1]\n      ~~~ <--- HERE\n",
                3,
            ),
        ];
        for (kind, class, log, number) in cases {
            let failure = of(kind, log);
            assert_eq!((failure.class, failure.line_number), (class, Some(number)), "{log}");
        }
    }

    #[test]
    fn how_it_ended_comes_before_the_log() {
        use FailureClass as C;
        for (ended, class) in [
            (Ended::Timeout, C::Timeout),
            (Ended::Silence, C::Timeout),
            (Ended::Disk("full".into()), C::OutOfDisk),
            (Ended::Log, C::TooMuchOutput),
        ] {
            let mut scanner = Scanner::default();
            scanner.push(b"a.c:1:1: error: x\n");
            let exit = ContainerExit { ended, ..exit(137) };
            assert_eq!(classify("s", C::Compile, &exit, scanner).class, class);
        }
        let exit = ContainerExit { oom_killed: true, ..exit(1) };
        assert_eq!(classify("s", C::Compile, &exit, Scanner::default()).class, C::OutOfMemory);
    }

    #[test]
    fn silence_and_endless_lines_do_no_harm() {
        let failure = of(FailureClass::Compile, "");
        assert!(failure.line.contains("status 2"), "{failure:?}");
        let mut scanner = Scanner::default();
        for _ in 0..100 {
            scanner.push(&[b'x'; 10_000]);
        }
        scanner.push(b"\nend\n");
        assert_eq!(scanner.lines(), 2);
        let failure = classify("s", FailureClass::Compile, &exit(1), scanner);
        assert_eq!(failure.line_number, Some(2));
        assert!(of(FailureClass::Compile, &"é".repeat(5000)).line.chars().count() <= 401);
    }
}
