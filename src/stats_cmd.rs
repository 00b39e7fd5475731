//! `stats`: tests and verdicts.

use anyhow::anyhow;
use stats::store::{StudyResults, StudyResultsError};
use stats::{Analysis, Options, Results, SeedPolicy, mann_whitney, render};
use study::own_tests::OwnTests;
use study::{Store, Study};

use crate::cli::{Alternative, Cli, Format, Method, Profile, Rules, StatsArgs, StatsCommand};
use crate::design;
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
            let analysis = stats::analyse(&results, &options);
            known_faults(&analysis, &args.rules)?;
            analysis
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
    let entries = &analysis.verdicts;
    // A control by repetition has its bug's name. People need the kind only then; programs always
    // find it in the same place.
    let mixed = entries.windows(2).any(|pair| pair[0].kind != pair[1].kind);
    let reach = |entry: &stats::BugVerdict| {
        let words = |reach: &stats::Reach| format!("{} ({})", reach.answer, reach.strength);
        entry.reach.as_ref().map(words).unwrap_or_default()
    };
    if cli.format == Format::Table && !mixed {
        let mut rows = Rows::new(&["bug", "verdict", "reach", "reason"]);
        for entry in entries {
            rows.push([entry.bug.as_str(), entry.verdict.name(), &reach(entry), &entry.reason]);
        }
        return output::print(cli.format, entries, &rows);
    }
    let mut rows = Rows::new(&["bug", "kind", "verdict", "reach", "reason"]);
    for entry in entries {
        let (kind, verdict) = (entry.kind.name(), entry.verdict.name());
        rows.push([entry.bug.as_str(), kind, verdict, &reach(entry), &entry.reason]);
    }
    output::print(cli.format, entries, &rows)
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
    let record = design::read(study)?;
    if let Some(record) = &record {
        if rules.change_verdicts() {
            return Err(Failure::input(anyhow!(
                "this study has a sequential design, whose verdicts are those of its looks: leave \
                 out --profile, --alpha, --margin, --method, --no-continuity and --alternative"
            )));
        }
        options.alpha = record.declaration.alpha;
        options.default_margin = record.declaration.margin;
        options.outcomes.clone_from(&record.declaration.outcomes);
    }
    let unfelt = study.config.faults.iter().filter(|fault| !fault.felt);
    options.unfelt = unfelt.map(|fault| fault.id.to_string()).collect();
    override_options(&mut options, rules)?;
    options.seed_policy = match study.config.run.seed_policy {
        study::SeedPolicy::Single => SeedPolicy::Single,
        study::SeedPolicy::PerRun => SeedPolicy::PerRun,
    };
    let (results, analysis) = computed(study, store, options)?;
    known_faults(&analysis, rules)?;
    let file = study.analysis_file();
    let table = file.with_file_name("results.csv");
    output::write_with(&table, |out| results.csv_to(out).map_err(std::io::Error::other))?;
    output::write_with(&file.with_file_name("tests.csv"), |out| render::csv_to(&analysis, out))?;
    // Last: `status` takes it as the sign that the analysis is done.
    output::write_with(&file, |out| render::json_to(&analysis, out))?;
    Ok((results, analysis))
}

/// Analyses what the store holds, with these options; which sides are invalid, the store says.
pub fn computed(
    study: &Study,
    store: &Store,
    mut options: Options,
) -> Result<(Results, Analysis), Failure> {
    let own_tests = study::own_tests::read(study).map_err(Failure::input)?;
    let input = results(store, &own_tests).map_err(Failure::input)?;
    let inputs = stats::store::digest(&input, &own_rules(study)?);
    options.invalid = input.invalid;
    let mut analysis = stats::analyse(&input.results, &options);
    if let Some(record) = &design::read(study)? {
        analysis.apply_design(record);
    }
    analysis.add_identical(&input.identical, options.seed_policy);
    analysis.add_reach(&study::reach::of_own_workload(study).map_err(Failure::input)?);
    analysis.own_tests = own_tests;
    analysis.inputs = Some(inputs);
    Ok((input.results, analysis))
}

/// Refuses a name after `--unfelt` that no planted fault has: a slip would change a rate silently.
fn known_faults(analysis: &Analysis, rules: &Rules) -> Result<(), Failure> {
    let faults = analysis.verdicts.iter().filter(|one| one.kind == stats::Kind::Artificial);
    let faults: Vec<&str> = faults.map(|one| one.bug.as_str()).collect();
    match rules.unfelt.iter().find(|name| !faults.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let there = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
            Err(Failure::input(anyhow!(
                "--unfelt {name}: expected a planted fault that was run (there: {there})"
            )))
        }
    }
}

/// What study.toml says about the analysis; a change there makes an analysis old.
fn own_rules(study: &Study) -> Result<String, Failure> {
    let config = &study.config;
    let unfelt: Vec<_> = config.faults.iter().filter(|f| !f.felt).map(|f| f.id.as_str()).collect();
    let mut rules = format!(
        "alpha {} margin {} seeds {:?} unfelt {unfelt:?}",
        config.stats.alpha, config.stats.margin, config.run.seed_policy
    );
    if let Some(record) = design::read(study)? {
        rules += &format!(" design {} looks {:?}", record.declaration.digest(), record.looks);
    }
    let own_tests = study::own_tests::read(study).map_err(Failure::input)?;
    if !own_tests.is_empty() {
        rules += &format!(" own tests {own_tests:?}");
    }
    Ok(rules)
}

/// The digest that an analysis of the study as it is would carry; nothing where there is nothing to
/// analyse.
pub fn present_inputs(study: &Study, store: &Store) -> Result<Option<String>, Failure> {
    let own_tests = study::own_tests::read(study).map_err(Failure::input)?;
    match results(store, &own_tests) {
        Ok(input) => Ok(Some(stats::store::digest(&input, &own_rules(study)?))),
        Err(StudyResultsError::NoRuns) => Ok(None),
        Err(error) => Err(Failure::input(error)),
    }
}

/// What the runs gave. Where none is finished, what the fixes' own tests showed is told all the
/// same.
fn results(store: &Store, own_tests: &[OwnTests]) -> Result<StudyResults, StudyResultsError> {
    match stats::store::read(store) {
        Err(StudyResultsError::NoRuns) if !own_tests.is_empty() => Ok(StudyResults::none()),
        read => read,
    }
}

fn override_options(options: &mut Options, rules: &Rules) -> Result<(), Failure> {
    if let Some(alpha) = rules.alpha {
        options.alpha = alpha;
    }
    if let Some(margin) = rules.margin {
        options.default_margin = margin;
    }
    let chosen = rules.method.is_some() || rules.no_continuity || rules.alternative.is_some();
    if chosen && rules.profile == Profile::Paper {
        return Err(Failure::input(anyhow!(
            "--profile paper is asymptotic, two-sided and with continuity correction: leave out \
             --method, --no-continuity and --alternative, or the profile"
        )));
    }
    if let Some(method) = rules.method {
        options.method = match method {
            Method::Auto => stats::Choice::Auto,
            Method::Exact => stats::Choice::Exact,
            Method::Asymptotic => stats::Choice::Asymptotic,
        };
    }
    options.continuity = !rules.no_continuity;
    if let Some(alternative) = rules.alternative {
        options.alternative = match alternative {
            Alternative::TwoSided => mann_whitney::Alternative::TwoSided,
            Alternative::Less => mann_whitney::Alternative::Less,
            Alternative::Greater => mann_whitney::Alternative::Greater,
        };
    }
    options.unfelt.extend(rules.unfelt.iter().cloned());
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
