//! `check`: digests, signature, and every table and verdict again from the raw runs.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use packing::{Limits, PublicKey, ReadError, Signature};
use serde::Serialize;
use study::store::RowsError;
use study::{Store, Study};

use super::args::CheckArgs;
use super::{again, compare, grade, record, tables};
use crate::cli::{Cli, Format};
use crate::failure::Failure;
use crate::output::{self, Rows};

/// Problems that the table shows.
const SHOWN: usize = 40;

/// Something that does not agree.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The file, and within a table the cell.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl Finding {
    pub fn new(place: impl Into<String>, what: String) -> Self {
        Self { place: place.into(), what }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Whether everything agrees.
    pub agrees: bool,
    /// The study's name.
    pub study: String,
    /// The program that made the pack.
    pub program: String,
    /// The key that signed it, in hexadecimal.
    pub signed_by: Option<String>,
    /// Files whose digest was held against the manifest.
    pub files: usize,
    /// Runs in the record, those that did not finish too.
    pub runs: usize,
    /// Artifacts whose files are in the pack.
    pub artifacts: usize,
    /// Splits of runs whose metrics were computed from their predictions.
    pub regraded: usize,
    /// Tables that were made again.
    pub tables: Vec<String>,
    /// Verdicts among them.
    pub verdicts: usize,
    /// Looks of a sequential design that were taken again.
    pub looks: usize,
    /// Bugs whose own tests' runs were compared again.
    pub own_tests: usize,
    /// What does not agree.
    pub problems: Vec<Finding>,
    /// What was not looked at, and what is good to know.
    pub notes: Vec<String>,
}

/// Where things are that a pack does not hold, and how much it may.
pub struct Places {
    pub data: PathBuf,
    pub limits: Limits,
}

impl Places {
    /// Those of a study of this machine.
    pub fn of(study: &Study) -> Self {
        Self { data: study.root().join("data"), limits: Limits { bytes: u64::MAX } }
    }
}

/// Checks a pack and prints what was found.
pub fn check(cli: &Cli, args: &CheckArgs) -> Result<(), Failure> {
    let key = args.key.as_deref().map(PublicKey::read).transpose().map_err(Failure::input)?;
    let places = Places {
        data: args.data.clone().unwrap_or_else(|| PathBuf::from("data")),
        limits: Limits { bytes: u64::from(args.limit_gib) << 30 },
    };
    let checked = examine(&args.file, key, &places)?;
    for note in &checked.notes {
        eprintln!("note: {note}");
    }
    output::print(cli.format, &checked, &rows(&checked, cli.format))?;
    match checked.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::stage(anyhow!("1 thing in this pack does not agree with the others"))),
        many => {
            Err(Failure::stage(anyhow!("{many} things in this pack do not agree with the others")))
        }
    }
}

fn rows(checked: &Checked, format: Format) -> Rows {
    let mut rows = Rows::new(&["what", "result"]);
    rows.push(["study", &checked.study]);
    rows.push(["packed by", &checked.program]);
    rows.push(["signed by", checked.signed_by.as_deref().unwrap_or("nobody")]);
    for (what, count) in [
        ("files by their digests", checked.files),
        ("runs in the record", checked.runs),
        ("artifacts by their content", checked.artifacts),
        ("splits graded again", checked.regraded),
        ("tables made again", checked.tables.len()),
        ("verdicts made again", checked.verdicts),
        ("looks taken again", checked.looks),
        ("own tests compared again", checked.own_tests),
    ] {
        rows.push([what, &count.to_string()]);
    }
    let shown = if format == Format::Table { SHOWN } else { usize::MAX };
    for problem in checked.problems.iter().take(shown) {
        rows.push(["DIFFERS", &format!("{}: {}", problem.place, problem.what)]);
    }
    if checked.problems.len() > shown {
        let more = checked.problems.len() - shown;
        rows.push(["…", &format!("and {more} more; --format json lists all")]);
    }
    rows.push(["all agrees", if checked.agrees { "yes" } else { "no" }]);
    rows
}

/// Takes a pack apart in a folder of its own and looks at everything in it.
pub fn examine(file: &Path, key: Option<PublicKey>, places: &Places) -> Result<Checked, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::missing)?;
    let root = folder.path().join("study");
    std::fs::create_dir(&root).map_err(Failure::missing)?;
    // An artifact's files are held against their digests and not needed beyond that.
    let wanted = |name: &str| !(name.starts_with("artifacts/") && name.contains("/files/"));
    let unpacked =
        packing::unpack(file, &root, places.limits, wanted).map_err(|e| refuse(file, e))?;
    let about = &unpacked.manifest.about;
    let mut checked = Checked {
        agrees: false,
        study: about.study.clone(),
        program: about.program.clone(),
        signed_by: None,
        files: unpacked.manifest.files.len(),
        runs: 0,
        artifacts: 0,
        regraded: 0,
        tables: Vec::new(),
        verdicts: 0,
        looks: 0,
        own_tests: 0,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    signature(unpacked.signature, key, &mut checked);
    let damaged = unpacked.problems.into_iter();
    checked.problems.extend(damaged.map(|problem| Finding::new(problem.member, problem.what)));
    if about.program != super::program() {
        checked.notes.push(format!(
            "made by {}, checked by {}: where tables differ, try the former too",
            about.program,
            super::program()
        ));
    }
    if let Err(problem) = record_of(&unpacked.manifest, &root, places, &mut checked)? {
        checked.problems.push(problem);
    }
    checked.agrees = checked.problems.is_empty();
    Ok(checked)
}

fn refuse(file: &Path, error: ReadError) -> Failure {
    match error {
        ReadError::Io { ref path, .. } if path != file => Failure::missing(error),
        error => Failure::input(error),
    }
}

fn signature(found: Signature, key: Option<PublicKey>, checked: &mut Checked) {
    let mut problem = |what: &str| {
        checked.problems.push(Finding::new("manifest.sig", what.to_owned()));
    };
    match (found, key) {
        (Signature::Wrong, _) => problem("it is no signature over this manifest by the key in it"),
        (Signature::None, Some(_)) => problem("the pack is not signed"),
        (Signature::By(by), Some(key)) if by != key => {
            problem(&format!("it is by another key: {}", by.fingerprint()));
        }
        (Signature::By(by), key) => {
            checked.signed_by = Some(by.fingerprint());
            if key.is_none() {
                checked.notes.push(
                    "the signature is by the key that came with it; --key says whose it must be"
                        .to_owned(),
                );
            }
        }
        (Signature::None, None) => checked.notes.push(
            "the pack is not signed: whoever can change its runs can change its tables with them"
                .to_owned(),
        ),
    }
}

/// Looks at what the record says, and makes its tables again. The inner error is a problem of the
/// pack that ends this; the outer one is of this machine.
fn record_of(
    manifest: &packing::Manifest,
    root: &Path,
    places: &Places,
    checked: &mut Checked,
) -> Result<Result<(), Finding>, Failure> {
    let study = match Study::open(root) {
        Ok(study) => study,
        Err(error) => return Ok(Err(Finding::new("study.toml", below(root, &error)))),
    };
    let store = match import(root) {
        Ok(store) => store,
        Err(RowsError::Store(error @ study::StoreError::Full { .. })) => return Err(error.into()),
        Err(error) => return Ok(Err(Finding::new("rows", below(root, &error)))),
    };
    let mut problems = Vec::new();
    match look(manifest, &study, &store, places, checked, &mut problems) {
        Ok(()) => {}
        // A full disk, say, is nothing that the pack is to blame for.
        Err(error @ Failure::Missing(_)) => return Err(error),
        Err(Failure::Stage(error) | Failure::Input(error)) => {
            problems.push(Finding::new("the record", below(root, &error)));
        }
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
    }
    checked.problems.append(&mut problems);
    Ok(Ok(()))
}

/// An error's words without the folder that the pack was taken apart in.
fn below(root: &Path, error: &impl std::fmt::Display) -> String {
    error.to_string().replace(&format!("{}/", root.display()), "")
}

fn import(root: &Path) -> Result<Store, RowsError> {
    Store::import_rows(&root.join("study.db"), |table| {
        std::fs::File::open(root.join("rows").join(format!("{table}.jsonl")))
    })
}

fn look(
    manifest: &packing::Manifest,
    study: &Study,
    store: &Store,
    places: &Places,
    checked: &mut Checked,
    problems: &mut Vec<Finding>,
) -> Result<(), Failure> {
    checked.runs = record::runs(store, problems)?;
    checked.artifacts = record::artifacts(manifest, study.root(), store, problems)?;
    if manifest.about.predictions {
        let graded = grade::all(study, store, &places.data, problems)?;
        checked.regraded = graded.splits;
        if graded.without > 0 {
            let note = format!("{} splits of runs came without predictions", graded.without);
            checked.notes.push(note);
        }
        for why in graded.unknown {
            checked.notes.push(format!(
                "metrics of this data were not computed again, since its targets are not here \
                 (--data DIR): {why}"
            ));
        }
    } else {
        checked.notes.push(
            "the pack holds no predictions: metrics are taken as the runs' server computed them"
                .to_owned(),
        );
    }
    if let Some(options) = tables::departures(study)? {
        let note = format!("the analysis was made with options beside study.toml: {options}");
        checked.notes.push(note);
    }
    if let Some(source) = &study.config.model.source {
        let here = study::files::sha256_file(&study.resolve(source)).ok();
        let states = store.experiment_states()?;
        let other = states.iter().filter(|state| state.active).any(|state| {
            let model = &state.experiment.model;
            model.source.as_ref() == Some(source) && model.source_digest != here
        });
        if other && here.is_some() {
            let note = format!("{source} is not the file that the runs' model was read from");
            checked.notes.push(note);
        }
    }
    again::looks(study, store, checked, problems)?;
    again::tests(study, checked, problems)?;
    let analysed = study.analysis_file().is_file();
    if !analysed && stats::store::read(store).is_ok() {
        let what = "runs are finished, and there is no analysis of them".to_owned();
        problems.push(Finding::new("stats/analysis.json", what));
    }
    // What the pack lists and what the runs give must be the same set of tables.
    let computed = tables::of(study, store, &manifest.about.program)?;
    for (name, bytes) in &computed {
        let Ok(packed) = std::fs::read(study.root().join(name)) else {
            if manifest.member(name).is_none() {
                problems.push(Finding::new(name.as_str(), "it is not in the pack".to_owned()));
            }
            continue;
        };
        for (place, what) in compare::tables(name, &packed, bytes) {
            let place = if place.is_empty() { name.clone() } else { format!("{name}: {place}") };
            problems.push(Finding::new(place, what));
        }
        if name == "stats/analysis.json" {
            let analysis: serde_json::Value =
                serde_json::from_slice(bytes).map_err(Failure::stage)?;
            checked.verdicts = analysis["verdicts"].as_array().map_or(0, Vec::len);
        }
        checked.tables.push(name.clone());
    }
    let made = |name: &str| computed.iter().any(|(table, _)| table == name);
    for member in &manifest.files {
        let table = ["stats/", "report/", "corpus/"].iter().any(|f| member.path.starts_with(f));
        if table && !made(&member.path) && member.path != "corpus/bugs.jsonl" {
            let what = "nothing in the pack gives this table".to_owned();
            problems.push(Finding::new(member.path.as_str(), what));
        }
    }
    Ok(())
}
