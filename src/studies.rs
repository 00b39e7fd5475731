//! Opening the study a command works on.

use study::Study;

use crate::cli::Cli;
use crate::failure::Failure;

/// The study of `--study`, else the one the current folder lies in.
pub fn open(cli: &Cli) -> Result<Study, Failure> {
    match &cli.study {
        Some(folder) => Ok(Study::open(folder)?),
        None => {
            let here = std::env::current_dir().map_err(Failure::input)?;
            Ok(Study::find(&here)?)
        }
    }
}
