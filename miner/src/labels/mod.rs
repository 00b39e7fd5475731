//! People's labels: what each rater says of each bug against the paper's criteria, kept as a CSV
//! that git can merge, one row a rater and bug.

pub mod agreement;
pub mod consensus;
pub mod hints;
mod table;

pub use consensus::{Disagreement, Lost, Reason, disagreements, filter};
pub use table::{LabelError, Labels};

use study::BugId;

macro_rules! criteria {
    ($($(#[$doc:meta])* $variant:ident => $word:literal, $key:literal, $question:literal, $excludes:literal;)+) => {
        /// The paper's criteria, one question each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum Criterion { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }

        impl Criterion {
            /// All criteria, in the order they are asked and in which columns stand.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The column's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The key that answers yes to it.
            pub fn key(self) -> char {
                match self { $(Self::$variant => $key,)+ }
            }

            /// The question as a rater reads it.
            pub fn question(self) -> &'static str {
                match self { $(Self::$variant => $question,)+ }
            }

            /// Whether a yes takes the bug out of the study.
            pub fn excludes(self) -> bool {
                match self { $(Self::$variant => $excludes,)+ }
            }
        }
    };
}

criteria! {
    /// The bug shows when the framework or a user's extension is compiled.
    CompilationError => "compilation_error", 'c', "Does the bug only show as a compilation error?", true;
    /// The bug ends the program.
    Crash => "crash", 'x', "Does the bug end the program (crash, exception) before it learns?", true;
    /// The user's own code is at fault.
    UserCode => "user_code", 'u', "Is it caused by the user's own code?", true;
    /// It happens on the CPU only.
    CpuOnly => "cpu_only", 'o', "Does it occur on the CPU only?", true;
    /// Nothing that trains a model is affected.
    NoApplication => "no_application", 'n', "Is no application that trains a model affected?", true;
    /// Gradients, mathematical functions: what the study looks for.
    Favourable => "favourable", 'f', "Is it favourable: gradients, mathematical functions, training?", false;
}

/// One rater's answer to one criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// The rater cannot tell.
    Unsure,
}

impl Answer {
    /// Every answer.
    pub const ALL: &'static [Self] = &[Self::Yes, Self::No, Self::Unsure];

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unsure => "unsure",
        }
    }
}

/// The name under which a disagreement is settled.
pub const CONSENSUS: &str = "consensus";

/// What one rater says of one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The bug.
    pub bug: BugId,
    /// Who says it; [`CONSENSUS`] settles what the others disagree on.
    pub rater: String,
    /// The answers, in the order of [`Criterion::ALL`]; `None` is not answered yet.
    pub answers: [Option<Answer>; 6],
    /// What else the rater says.
    pub note: String,
    /// When (RFC 3339).
    pub at: String,
}

impl Label {
    /// A label without answers, as of now.
    pub fn new(bug: BugId, rater: &str) -> Self {
        let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second());
        Self {
            bug,
            rater: rater.to_owned(),
            answers: [None; 6],
            note: String::new(),
            at: at.unwrap_or_default().to_string(),
        }
    }

    /// The answer to `criterion`.
    pub fn answer(&self, criterion: Criterion) -> Option<Answer> {
        self.answers.get(criterion as usize).copied().flatten()
    }

    /// Answers `criterion`.
    pub fn set(&mut self, criterion: Criterion, answer: Option<Answer>) {
        if let Some(place) = self.answers.get_mut(criterion as usize) {
            *place = answer;
        }
    }

    /// Whether every criterion is answered.
    pub fn is_complete(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }
}
