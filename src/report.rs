//! `report`: one page about the whole study, and its tables and figures alone.

use std::path::{Path, PathBuf};

use stats::figures::scene::{Scene, system_font};
use stats::report;

use crate::cli::{Cli, Profile, ReportArgs, Rules};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::{stats_cmd, status, studies};

/// A file that was written.
#[derive(serde::Serialize)]
struct Written {
    file: PathBuf,
    bytes: usize,
    sha256: String,
}

/// Analyses the study and writes the report.
pub fn report(cli: &Cli, args: &ReportArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let store = study.store()?;
    let (results, analysis) = stats_cmd::analyse_study(&study, &store, &args.rules)?;
    let funnel = status::funnel(&study, &store)?;
    let context =
        report::gather(&study, &store, &funnel, &spell(&args.rules)).map_err(Failure::input)?;

    let out =
        args.out.clone().unwrap_or_else(|| study.analysis_file().with_file_name("report.html"));
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Some(file) = &args.markdown {
        files.push((file.clone(), report::markdown(&analysis, &context).into_bytes()));
    }
    if let Some(file) = &args.latex {
        files.push((file.clone(), report::latex(&analysis, &context).into_bytes()));
    }
    if let Some(folder) = &args.figures {
        files.extend(pictures(folder, &report::figures(&results, &analysis, &context))?);
    }
    files.push((out, report::html(&results, &analysis, &context).into_bytes()));

    let mut rows = Rows::new(&["file", "bytes", "sha256"]);
    let mut written = Vec::new();
    for (file, bytes) in files {
        output::write_file(&file, &bytes)?;
        let sha256 = study::files::sha256_hex(&bytes);
        rows.push([file.display().to_string(), bytes.len().to_string(), sha256.clone()]);
        written.push(Written { file, bytes: bytes.len(), sha256 });
    }
    output::print(cli.format, &written, &rows)
}

/// Each figure as SVG, and as PNG where this machine has a font for it.
fn pictures(
    folder: &Path,
    figures: &[(String, Scene)],
) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let font = system_font();
    if let Err(error) = &font {
        tracing::warn!("figures are written as SVG alone: {error}");
    }
    let mut files = Vec::new();
    for (name, scene) in figures {
        files.push((folder.join(format!("{name}.svg")), scene.svg().into_bytes()));
        if let Ok(font) = font {
            let png = scene.png(font).map_err(Failure::stage)?;
            files.push((folder.join(format!("{name}.png")), png));
        }
    }
    Ok(files)
}

/// The rules as they are written on the command line; nothing for the defaults.
fn spell(rules: &Rules) -> String {
    let mut text = String::new();
    if rules.profile == Profile::Paper {
        text += " --profile paper";
    }
    if let Some(margin) = rules.margin {
        text += &format!(" --margin {margin}");
    }
    if let Some(alpha) = rules.alpha {
        text += &format!(" --alpha {alpha}");
    }
    if let Some(method) = rules.method {
        text += &format!(" --method {}", word(&method));
    }
    if rules.no_continuity {
        text += " --no-continuity";
    }
    if let Some(alternative) = rules.alternative {
        text += &format!(" --alternative {}", word(&alternative));
    }
    for fault in &rules.unfelt {
        text += &format!(" --unfelt {fault}");
    }
    text
}

/// An option's value as it is written on the command line.
fn word(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
