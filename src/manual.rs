//! `completions` and `man`: from the same definition as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, Rows};

/// Prints what `shell` needs to complete commands and options.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "reproduceml", &mut text);
    output::print_text(&String::from_utf8_lossy(&text))
}

/// Writes `reproduceml.1` and a page for every command, and lists the folder's pages.
pub fn pages(cli: &Cli, folder: &Path) -> Result<(), Failure> {
    let trouble = || format!("{}: the pages cannot be written", folder.display());
    std::fs::create_dir_all(folder).with_context(trouble).map_err(Failure::missing)?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(trouble)
        .map_err(Failure::missing)?;
    let entries = std::fs::read_dir(folder).with_context(trouble).map_err(Failure::missing)?;
    let mut written: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "1"))
        .collect();
    written.sort();
    let mut rows = Rows::new(&["file"]);
    for file in &written {
        rows.push([file.display().to_string()]);
    }
    output::print(cli.format, &written, &rows)
}
