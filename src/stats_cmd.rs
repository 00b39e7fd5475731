//! `stats`: tests and verdicts.

use anyhow::anyhow;
use stats::{Analysis, Options, Results, SeedPolicy, render};
use study::{Store, Study};

use crate::cli::{Cli, Format, Profile, Rules, StatsArgs, StatsCommand};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// Prints the analysis of a study, of a file of results, or of the paper's table.
pub fn stats(cli: &Cli, args: &StatsArgs) -> Result<(), Failure> {
    let form = form(cli, args);
    if let Some(StatsCommand::Paper) = args.what {
        let report = stats::paper::table_iv_report(form);
        return output::print_text(&report);
    }
    let analysis = match &args.results {
        Some(file) => {
            let mut options = profile(&args.rules);
            override_options(&mut options, &args.rules)?;
            let results = Results::read(file).map_err(Failure::input)?;
            stats::analyse(&results, &options)
        }
        None => {
            let study = studies::open(cli)?;
            analyse_study(&study, &study.store()?, &args.rules)?.1
        }
    };
    if args.verdicts {
        return print_verdicts(cli, &analysis);
    }
    output::print_text(&render::render(&analysis, form))
}

fn print_verdicts(cli: &Cli, analysis: &Analysis) -> Result<(), Failure> {
    let mut rows = Rows::new(&["bug", "verdict", "reason"]);
    for entry in &analysis.verdicts {
        rows.push([entry.bug.as_str(), entry.verdict.name(), &entry.reason]);
    }
    output::print(cli.format, &analysis.verdicts, &rows)
}

fn profile(rules: &Rules) -> Options {
    match rules.profile {
        Profile::Default => Options::default(),
        Profile::Paper => Options::paper(),
    }
}

/// Analyses a study, writes what came out into its `stats/`, and gives it with what went in.
pub fn analyse_study(
    study: &Study,
    store: &Store,
    rules: &Rules,
) -> Result<(Results, Analysis), Failure> {
    let mut options = profile(rules);
    options.alpha = study.config.stats.alpha;
    options.default_margin = study.config.stats.margin;
    override_options(&mut options, rules)?;
    options.seed_policy = match study.config.run.seed_policy {
        study::SeedPolicy::Single => SeedPolicy::Single,
        study::SeedPolicy::PerRun => SeedPolicy::PerRun,
    };
    let input = stats::store::read(store).map_err(Failure::input)?;
    options.invalid = input.invalid;
    let mut analysis = stats::analyse(&input.results, &options);
    analysis.add_identical(&input.identical, options.seed_policy);
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
    Ok((input.results, analysis))
}

fn override_options(options: &mut Options, rules: &Rules) -> Result<(), Failure> {
    if let Some(alpha) = rules.alpha {
        options.alpha = alpha;
    }
    if let Some(margin) = rules.margin {
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
