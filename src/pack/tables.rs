//! The tables of a study, made from its corpus, its labels and its raw runs.

use anyhow::anyhow;
use stats::{Options, Profile, SeedPolicy, render, report};
use study::{Store, Study};

use crate::failure::Failure;
use crate::{stats_cmd, status};

/// What an analysis says of how it was made.
#[derive(serde::Deserialize)]
struct Made {
    #[serde(default)]
    inputs: Option<String>,
    options: Options,
}

/// The options of the analysis that lies in the study; nothing where there is none.
fn made(study: &Study) -> Result<Option<Made>, Failure> {
    let path = study.analysis_file();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::input(anyhow!("{}: {error}", path.display()))),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::input(anyhow!("{}: {error}", path.display())))
}

/// All tables with their names, of a study whose analysis is of what it holds now.
pub fn of_a_current_study(study: &Study, store: &Store) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let present = stats_cmd::present_inputs(study, store)?;
    let stale = |what: &str| {
        Failure::input(anyhow!(
            "{what}; call `reproduceml stats` (with the options you want the analysis to be made \
             with), and pack again"
        ))
    };
    let made = made(study)?;
    match (&made, &present) {
        (None, Some(_)) => return Err(stale("the runs of this study are not analysed yet")),
        (Some(made), _) if made.inputs != present => {
            return Err(stale(
                "the analysis is out of date: runs or study.toml have changed since",
            ));
        }
        _ => {}
    }
    let all = of(study, store, &super::program())?;
    for (name, bytes) in &all {
        let path = study.root().join(name);
        let lies = std::fs::read(&path).ok();
        match name.as_str() {
            "stats/analysis.json" | "stats/results.csv" | "stats/tests.csv"
                if lies.as_deref() != Some(bytes) =>
            {
                let what = format!("{name} is not what the runs give now");
                return Err(stale(&what));
            }
            name if name.starts_with("corpus/") && lies.as_deref() != Some(bytes) => {
                return Err(Failure::input(anyhow!(
                    "{name} is not what the corpus, the labels and study.toml give now; call \
                     `reproduceml mine`, and pack again"
                )));
            }
            _ => {}
        }
    }
    Ok(all)
}

/// All tables with their names. What was analysed how, the analysis in the study's folder says; the
/// numbers come from the store alone. `program` is the one that made the report.
pub fn of(study: &Study, store: &Store, program: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut all = corpus(study)?;
    let funnel = status::funnel(study, store)?;
    let mut text = serde_json::to_vec_pretty(&funnel).map_err(Failure::stage)?;
    text.push(b'\n');
    all.push(("status.json".to_owned(), text));
    let Some(made) = made(study)? else { return Ok(all) };
    let (results, analysis) = stats_cmd::computed(study, store, made.options)?;
    let mut context = report::gather(study, store, &funnel, &spell(study, &analysis.options))
        .map_err(Failure::input)?;
    for (name, value) in &mut context.digests {
        if name == "program" {
            program.clone_into(value);
        }
    }
    let csv = results.csv().map_err(Failure::input)?;
    all.push(("stats/results.csv".to_owned(), csv));
    all.push(("stats/tests.csv".to_owned(), render::csv(&analysis).into_bytes()));
    all.push(("stats/analysis.json".to_owned(), render::json(&analysis).into_bytes()));
    let page = report::html(&results, &analysis, &context);
    all.push(("report/report.html".to_owned(), page.into_bytes()));
    all.push(("report/tables.md".to_owned(), report::markdown(&analysis, &context).into_bytes()));
    all.push(("report/tables.tex".to_owned(), report::latex(&analysis, &context).into_bytes()));
    Ok(all)
}

/// What follows from the corpus: its other forms, and which bugs go on.
fn corpus(study: &Study) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let bugs = match study.corpus() {
        Ok(bugs) => bugs,
        Err(study::StudyError::Corpus(study::corpus::CorpusError::Missing { .. })) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let folder = tempfile::tempdir().map_err(Failure::missing)?;
    miner::corpus::write(folder.path(), &bugs).map_err(Failure::input)?;
    let excluded = crate::label::excluded(study, &bugs)?;
    let choices = study::selection::select(&study.config, &bugs, &excluded);
    study::selection::write(&folder.path().join("selection.jsonl"), &choices)?;
    let mut all = Vec::new();
    for name in ["bugs.csv", "bugs.parquet", "selection.jsonl"] {
        let bytes = std::fs::read(folder.path().join(name)).map_err(Failure::missing)?;
        all.push((format!("corpus/{name}"), bytes));
    }
    Ok(all)
}

/// The options as they are written on the command line; nothing for those of study.toml.
fn spell(study: &Study, options: &Options) -> String {
    let own = &study.config.stats;
    let usual = Options::default();
    let mut text = String::new();
    let paper = options.profile == Profile::Paper;
    if paper {
        text += " --profile paper";
    }
    if options.default_margin != own.margin {
        text += &format!(" --margin {}", options.default_margin);
    }
    if options.alpha != own.alpha {
        text += &format!(" --alpha {}", options.alpha);
    }
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    if !paper && options.method != usual.method {
        text += &format!(" --method {}", word(serde_json::to_value(options.method)));
    }
    if !options.continuity {
        text += " --no-continuity";
    }
    if options.alternative != usual.alternative {
        text += &format!(" --alternative {}", word(serde_json::to_value(options.alternative)));
    }
    let marked = |name: &String| {
        study.config.faults.iter().any(|fault| !fault.felt && fault.id.as_str() == name)
    };
    for fault in options.unfelt.iter().filter(|name| !marked(name)) {
        text += &format!(" --unfelt {fault}");
    }
    text
}

/// What the analysis was made with that study.toml says otherwise.
pub fn departures(study: &Study) -> Result<Option<String>, Failure> {
    let Some(made) = made(study)? else { return Ok(None) };
    let policy = match study.config.run.seed_policy {
        study::SeedPolicy::Single => SeedPolicy::Single,
        study::SeedPolicy::PerRun => SeedPolicy::PerRun,
    };
    let mut text = spell(study, &made.options);
    if made.options.seed_policy != policy {
        text += " (and another policy of seeds)";
    }
    Ok((!text.is_empty()).then(|| text.trim().to_owned()))
}
