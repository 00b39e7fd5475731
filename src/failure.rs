//! What went wrong, as people and shells are told.

use std::process::ExitCode;

/// Why the program ends without success.
#[derive(Debug)]
pub enum Failure {
    /// A stage finished, with failures that it has reported (1).
    Stage(anyhow::Error),
    /// Wrong usage or input (2).
    Input(anyhow::Error),
    /// Something the user must provide is missing (3).
    Missing(anyhow::Error),
    /// Ctrl-C or SIGTERM (130).
    Interrupted,
}

impl Failure {
    /// A failure of a stage.
    pub fn stage(error: impl Into<anyhow::Error>) -> Self {
        Self::Stage(error.into())
    }

    /// Wrong usage or input.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self::Input(error.into())
    }

    /// Something is missing.
    pub fn missing(error: impl Into<anyhow::Error>) -> Self {
        Self::Missing(error.into())
    }

    /// Prints the reason on standard error and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (code, error) = match self {
            Self::Stage(error) => (1, error),
            Self::Input(error) => (2, error),
            Self::Missing(error) => (3, error),
            Self::Interrupted => {
                eprintln!("interrupted; call the same command again to go on");
                return ExitCode::from(130);
            }
        };
        eprintln!("error: {error}");
        let mut last = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Messages that quote their cause already need not say it again.
            if !last.contains(&cause) {
                eprintln!("  because: {cause}");
            }
            last = cause;
        }
        ExitCode::from(code)
    }
}

impl From<study::StudyError> for Failure {
    fn from(error: study::StudyError) -> Self {
        match error {
            study::StudyError::Store(error) => error.into(),
            other => Self::input(other),
        }
    }
}

impl From<study::StoreError> for Failure {
    fn from(error: study::StoreError) -> Self {
        match error {
            study::StoreError::Full { .. } => Self::missing(error),
            other => Self::input(other),
        }
    }
}

impl From<study::corpus::CorpusError> for Failure {
    fn from(error: study::corpus::CorpusError) -> Self {
        Self::input(error)
    }
}
