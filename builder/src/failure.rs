//! What a failed build is: its class, and the line that tells why.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use study::UnknownWord;

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident => $word:literal,)+) => {
        /// The class of a failed build.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FailureClass {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl FailureClass {
            /// Every class, in the order in which a build passes them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The class as it is written in files, flags and output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

classes! {
    /// The commit's tree could not be laid out.
    Checkout => "checkout",
    /// The fix cannot be taken back out of a release.
    Overlay => "overlay",
    /// The build could not be set up: a missing dependency, an unusable option.
    Configure => "configure",
    /// A compiler refused a source file.
    Compile => "compile",
    /// The linker refused.
    Link => "link",
    /// What was compiled could not be put together, or nothing came out.
    Package => "package",
    /// The artifact cannot be imported.
    Import => "import",
    /// The artifact can be imported but not train a step.
    Train => "train",
    /// The planted fault cannot be used.
    Fault => "fault",
    /// The build wanted the network, which it does not get.
    Network => "network",
    /// More memory than the limit.
    OutOfMemory => "out-of-memory",
    /// More disk than the limit, or the disk is full.
    OutOfDisk => "out-of-disk",
    /// More processes than the limit.
    OutOfProcesses => "out-of-processes",
    /// More output than the limit.
    TooMuchOutput => "too-much-output",
    /// Longer than the limit, in all or in silence.
    Timeout => "timeout",
    /// The Docker daemon failed; tried again by itself.
    Daemon => "daemon",
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FailureClass {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.iter().copied().find(|class| class.as_str() == text).ok_or_else(|| UnknownWord {
            what: "failure class",
            found: text.to_owned(),
            expected: Self::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl FailureClass {
    /// Whether the same build may well succeed later although nothing of its identity changes.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Daemon | Self::OutOfDisk)
    }
}

/// A failed build's class and the line that tells why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// The step that failed.
    pub step: String,
    /// The first line that tells why, shortened if it is very long.
    pub line: String,
    /// Where that line stands in the log, from 1; none if it is not from the log.
    pub line_number: Option<u64>,
}
