//! `init`: a new study.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use study::files::write_whole;
use study::{Study, StudyConfig};

use crate::cli::{Cli, InitArgs};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{self, Rows};

const PYTORCH: &str = include_str!("../data/templates/pytorch.toml");
const TINYNN: &str = include_str!("../data/templates/tinynn.toml");
const OTHER: &str = include_str!("../data/templates/other.toml");

/// Makes a study in an empty or new folder.
pub fn init(cli: &Cli, args: &InitArgs) -> Result<(), Failure> {
    refuse_taken(&args.dir)?;
    match &args.from {
        Some(template) => copy_definition(&definition(template)?, &args.dir)?,
        None => {
            let text = fill_template(args)?;
            let file = args.dir.join("study.toml");
            StudyConfig::parse(&text, &file).map_err(Failure::input)?;
            write_whole(&file, text.as_bytes())
                .with_context(|| format!("{}", file.display()))
                .map_err(Failure::input)?;
        }
    }
    let study = Study::open(&args.dir)?;
    study.store()?;
    if study.corpus_file().is_file() {
        // With bugs at hand, what is chosen of them is known before anything is mined.
        crate::mine::select(&study)?;
    }
    let mut rows = Rows::new(&["study", "name", "meta seed"]);
    let about = &study.config.study;
    rows.push([
        study.root().display().to_string(),
        about.name.clone(),
        about.meta_seed.to_string(),
    ]);
    let value = serde_json::json!({
        "study": study.root(), "name": about.name, "meta_seed": about.meta_seed,
    });
    output::print(cli.format, &value, &rows)?;
    eprintln!(
        "Next: look at {}, then run `reproduceml --study {} mine`.",
        study.root().join("study.toml").display(),
        args.dir.display()
    );
    Ok(())
}

fn refuse_taken(dir: &Path) -> Result<(), Failure> {
    if dir.exists() && !dir.is_dir() {
        return Err(Failure::input(anyhow!("{} is no folder", dir.display())));
    }
    let taken = dir.is_dir()
        && std::fs::read_dir(dir)
            .with_context(|| format!("{}", dir.display()))
            .map_err(Failure::input)?
            .next()
            .is_some();
    if taken {
        return Err(Failure::input(anyhow!(
            "{} is not empty; name a new folder, so that nothing in it is overwritten",
            dir.display()
        )));
    }
    Ok(())
}

fn fill_template(args: &InitArgs) -> Result<String, Failure> {
    let framework = args.framework.as_deref().unwrap_or_default();
    let template = match framework {
        "pytorch" => PYTORCH,
        "tinynn" => TINYNN,
        _ => OTHER,
    };
    let repository = match (&args.repository, framework) {
        (Some(repository), _) => repository.as_str(),
        (None, "pytorch") => "pytorch/pytorch",
        (None, "tinynn") => "tinynn/tinynn",
        (None, _) => {
            return Err(Failure::input(anyhow!(
                "`{framework}` is no framework known here (pytorch, tinynn); \
                 say where its repository is with --repository OWNER/NAME"
            )));
        }
    };
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    };
    if !plain(framework) || !plain(repository) || repository.split('/').count() != 2 {
        return Err(Failure::input(anyhow!(
            "expected a framework's name and a repository as OWNER/NAME, \
             found `{framework}` and `{repository}`"
        )));
    }
    let name = std::path::absolute(&args.dir)
        .ok()
        .and_then(|dir| dir.file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "study".into());
    // TOML holds whole numbers of 63 bits.
    let meta_seed = args.meta_seed.unwrap_or_else(|| RandomState::new().hash_one(&name) >> 1);
    Ok(template
        .replace("{name}", &name.replace(['"', '\\'], "_"))
        .replace("{framework}", framework)
        .replace("{repository}", repository)
        .replace("{meta_seed}", &meta_seed.to_string()))
}

/// The folder of a definition: one that is there, or one that comes with the program, by its name.
fn definition(template: &Path) -> Result<PathBuf, Failure> {
    if template.exists() || template.components().count() != 1 {
        return Ok(template.to_owned());
    }
    let folder = Home::find()?.definitions();
    let shipped = folder.join(template);
    if shipped.is_dir() {
        return Ok(shipped);
    }
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Err(Failure::input(anyhow!(
        "{}: no such folder, and no definition that comes with the program ({})",
        template.display(),
        names.join(", ")
    )))
}

/// Copies what defines a study: `study.toml`, labels, faults, models, and the corpus if it has one.
fn copy_definition(template: &Path, dir: &Path) -> Result<(), Failure> {
    Study::open(template)?;
    let copy = |name: &Path| -> Result<(), Failure> {
        let from = template.join(name);
        let content = std::fs::read(&from)
            .with_context(|| format!("{}", from.display()))
            .map_err(Failure::input)?;
        write_whole(&dir.join(name), &content)
            .with_context(|| format!("{}", dir.display()))
            .map_err(Failure::input)
    };
    if template.join("labels.csv").is_file() {
        copy(Path::new("labels.csv"))?;
    }
    for folder in ["faults", "models", "corpus"] {
        let Ok(entries) = std::fs::read_dir(template.join(folder)) else { continue };
        for entry in entries.flatten().filter(|e| e.path().is_file()) {
            copy(&Path::new(folder).join(entry.file_name()))?;
        }
    }
    // Last, since it is what makes the folder a study.
    copy(Path::new("study.toml"))
}
