//! `stats`: tests and verdicts.

use anyhow::anyhow;
use stats::{Analysis, Options, Results, SeedPolicy, render};
use study::Study;

use crate::cli::{Cli, Format, Profile, StatsArgs, StatsCommand};
use crate::failure::Failure;
use crate::{output, studies};

/// Prints the analysis of a study, of a file of results, or of the paper's table.
pub fn stats(cli: &Cli, args: &StatsArgs) -> Result<(), Failure> {
    let form = form(cli, args);
    if let Some(StatsCommand::Paper) = args.what {
        let report = stats::paper::table_iv_report(form);
        return output::print_text(&report);
    }
    let mut options = match args.profile {
        Profile::Default => Options::default(),
        Profile::Paper => Options::paper(),
    };
    let analysis = match &args.results {
        Some(file) => {
            override_options(&mut options, args)?;
            let results = Results::read(file).map_err(Failure::input)?;
            stats::analyse(&results, &options)
        }
        None => {
            let study = studies::open(cli)?;
            options.alpha = study.config.stats.alpha;
            options.default_margin = study.config.stats.margin;
            override_options(&mut options, args)?;
            analyse_study(&study, options)?
        }
    };
    output::print_text(&render::render(&analysis, form))
}

fn analyse_study(study: &Study, mut options: Options) -> Result<Analysis, Failure> {
    options.seed_policy = match study.config.run.seed_policy {
        study::SeedPolicy::Single => SeedPolicy::Single,
        study::SeedPolicy::PerRun => SeedPolicy::PerRun,
    };
    let store = study.store()?;
    let input = stats::store::read(&store).map_err(Failure::input)?;
    options.invalid = input.invalid;
    let analysis = stats::analyse(&input.results, &options);
    let file = study.analysis_file();
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::missing(anyhow!("{}: {error}", folder.display())))?;
    }
    let write = |path: &std::path::Path, text: String| {
        study::files::write_whole(path, text.as_bytes())
            .map_err(|error| Failure::missing(anyhow!("{}: {error}", path.display())))
    };
    let results = file.with_file_name("results.csv");
    input.results.write_csv(&results).map_err(Failure::input)?;
    write(&file.with_file_name("tests.csv"), render::csv(&analysis))?;
    // Last: `status` takes it as the sign that the analysis is done.
    write(&file, render::json(&analysis))?;
    Ok(analysis)
}

fn override_options(options: &mut Options, args: &StatsArgs) -> Result<(), Failure> {
    if let Some(alpha) = args.alpha {
        options.alpha = alpha;
    }
    if let Some(margin) = args.margin {
        options.default_margin = margin;
    }
    options.check().map_err(|problem| Failure::input(anyhow!(problem)))
}

fn form(cli: &Cli, args: &StatsArgs) -> render::Format {
    if args.latex {
        return render::Format::Latex;
    }
    match cli.format {
        Format::Table => render::Format::Table,
        Format::Json => render::Format::Json,
        Format::Csv => render::Format::Csv,
        Format::Markdown => render::Format::Markdown,
    }
}
