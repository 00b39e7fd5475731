//! Which toolchain a bug is built with, and why.
//!
//! The user's word counts first: the flag, the bug's own entry in `study.toml`, the study's
//! toolchain. With `auto` it is decided by rule from what each toolchain says of itself (`[suits]`):
//! framework, dates of the bug's commits, release, the Python versions that the commits' setup.py
//! supports, and whether the change or the study's runs need a GPU. Of those that remain, the one made for the shortest time
//! is taken.

use std::path::Path;

use jiff::civil::Date;
use serde::Serialize;
use study::{Bug, BugId, Resolution, Strategy, Study};

use crate::error::BuildError;
use crate::lock::Lock;
use crate::options::BuildOptions;
use crate::python::{python_fits, python_requires};
use crate::toolchain::{self, Toolchain};

/// The word in `study.toml` that leaves the choice to the rule.
pub const AUTO: &str = "auto";

/// The toolchain of a bug.
#[derive(Debug, Clone)]
pub struct Suited {
    /// The toolchain.
    pub toolchain: Toolchain,
    /// Why this one, in a sentence.
    pub reason: String,
}

/// The toolchains of a call's bugs.
#[derive(Debug, Clone, Default)]
pub struct Assignment {
    /// The bugs that can be built.
    pub bugs: Vec<Bug>,
    /// The toolchain of each of them, in their order.
    pub suited: Vec<Suited>,
    /// The bugs that no toolchain suits or whose toolchain is not to be had.
    pub left_out: Vec<LeftOut>,
}

impl Assignment {
    /// Leaves out the bugs of a toolchain.
    pub(crate) fn leave_out(&mut self, name: &str, reason: &str) {
        let bugs = std::mem::take(&mut self.bugs);
        let suited = std::mem::take(&mut self.suited);
        for (bug, suited) in bugs.into_iter().zip(suited) {
            if suited.toolchain.recipe.name == name {
                self.left_out.push(LeftOut { bug: bug.id, reason: reason.to_owned() });
            } else {
                self.bugs.push(bug);
                self.suited.push(suited);
            }
        }
    }
}

/// A bug that this call does not build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The bug.
    pub bug: BugId,
    /// Why, and what to do.
    pub reason: String,
}

/// The choice as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolchainChoice {
    /// The toolchain's name.
    pub name: String,
    /// Why this one, in a sentence.
    pub reason: String,
}

/// Chooses the toolchain of each bug, in the order of `bugs`.
///
/// # Errors
/// [`BuildError::Request`] naming what rules each toolchain out, if that is so for every bug;
/// [`BuildError::Toolchain`] if one that is named is not there.
pub fn for_bugs(
    study: &Study,
    options: &BuildOptions,
    clone: Option<&Path>,
    bugs: Vec<Bug>,
) -> Result<Assignment, BuildError> {
    let mut known: Vec<Toolchain> = Vec::new();
    let mut read = |name: &str| -> Result<Toolchain, BuildError> {
        if let Some(toolchain) = known.iter().find(|t| t.recipe.name == name) {
            return Ok(toolchain.clone());
        }
        let toolchain = Toolchain::read(&options.toolchains_dir, name)?;
        known.push(toolchain.clone());
        Ok(toolchain)
    };
    let build = &study.config.build;
    let mut candidates: Option<Candidates> = None;
    let mut choose = |bug: &Bug| -> Result<Result<Suited, String>, BuildError> {
        let named = if let Some(name) = &options.toolchain {
            Some((name, "asked for with --toolchain"))
        } else if let Some(name) = build.toolchains.get(&bug.id) {
            Some((name, "study.toml names it for this bug"))
        } else if build.toolchain == AUTO {
            None
        } else {
            Some((&build.toolchain, "study.toml names it"))
        };
        let facts = Facts::of(study, clone, bug);
        if let Some((name, by)) = named {
            let toolchain = read(name)?;
            let reason = match facts.objection(&toolchain) {
                None => by.to_owned(),
                Some(why) => format!("{by}, though {why}"),
            };
            return Ok(Ok(Suited { toolchain, reason }));
        }
        let candidates = match &mut candidates {
            Some(known) => known,
            none => none.insert(Candidates::read(study, options)?),
        };
        // What the study uses already comes first, so that it stays with it.
        Ok(facts.choose(&candidates.locked).or_else(|_| facts.choose(&candidates.all)))
    };
    let mut assignment = Assignment::default();
    for bug in bugs {
        match choose(&bug)? {
            Ok(suited) => {
                assignment.bugs.push(bug);
                assignment.suited.push(suited);
            }
            Err(reason) => assignment.left_out.push(LeftOut { bug: bug.id, reason }),
        }
    }
    if let (true, Some(first)) = (assignment.bugs.is_empty(), assignment.left_out.first()) {
        return Err(BuildError::Request(format!("{}: {}", first.bug, first.reason)));
    }
    Ok(assignment)
}

/// The toolchains that the study's selected bugs are built with, each once.
///
/// # Errors
/// As [`for_bugs`].
pub fn in_use(study: &Study, options: &BuildOptions) -> Result<Vec<Toolchain>, BuildError> {
    let bugs = crate::plan::bugs(study, options)?;
    let clone = crate::queue::find_clone(study, options);
    let mut found: Vec<Toolchain> = Vec::new();
    for suited in for_bugs(study, options, clone.as_deref(), bugs)?.suited {
        if found.iter().all(|known| known.recipe.name != suited.toolchain.recipe.name) {
            found.push(suited.toolchain);
        }
    }
    Ok(found)
}

/// The toolchains that `auto` chooses among.
struct Candidates {
    /// Those that the study has locked.
    locked: Vec<Toolchain>,
    all: Vec<Toolchain>,
}

impl Candidates {
    fn read(study: &Study, options: &BuildOptions) -> Result<Self, BuildError> {
        let lock = Lock::read(study)?;
        let dir = &options.toolchains_dir;
        let all = toolchain::list(dir)
            .iter()
            .map(|name| Toolchain::read(dir, name))
            .collect::<Result<Vec<_>, _>>()?;
        let locked = |t: &&Toolchain| lock.get(&t.recipe.name).is_some();
        Ok(Self { locked: all.iter().filter(locked).cloned().collect(), all })
    }
}

/// What decides about a bug's toolchain.
#[derive(Debug, Clone, Default)]
struct Facts {
    framework: String,
    release: String,
    day: Option<Date>,
    /// What the commits' setup.py says of Python, each once.
    python: Vec<String>,
    needs_cuda: bool,
    strategy: Option<Strategy>,
}

impl Facts {
    fn of(study: &Study, clone: Option<&Path>, bug: &Bug) -> Self {
        let planted = bug.resolution == Resolution::Planted;
        let commits = bug.buggy.iter().chain(&bug.fix);
        let mut python: Vec<String> = clone
            .map(|clone| commits.filter_map(|commit| python_requires(clone, commit)).collect())
            .unwrap_or_default();
        python.dedup();
        Self {
            framework: study.config.framework.name.clone(),
            // A planted fault is of no release: it goes into what the toolchain has.
            release: if planted {
                String::new()
            } else {
                bug.release.trim_start_matches('v').to_owned()
            },
            day: bug.fixed_at.as_ref().and_then(|time| time.get(..10)?.parse().ok()),
            python: if planted { Vec::new() } else { python },
            // What trains on a GPU must be built for one, whatever the change needs.
            needs_cuda: bug.needs_cuda || study.config.run.device == "cuda",
            strategy: Some(match study.config.build.strategy {
                // What can be taken back in a release needs no compiler.
                Strategy::Auto if bug.python_only => Strategy::Overlay,
                Strategy::Auto => Strategy::Source,
                strategy => strategy,
            }),
        }
    }

    /// What speaks against a toolchain, if anything does.
    fn objection(&self, toolchain: &Toolchain) -> Option<String> {
        let recipe = &toolchain.recipe;
        let suits = &recipe.suits;
        if !suits.frameworks.is_empty() && !suits.frameworks.contains(&self.framework) {
            return Some(format!("it is for {}", suits.frameworks.join(", ")));
        }
        match self.strategy {
            Some(Strategy::Source) if recipe.steps.is_empty() => {
                return Some("it does not build from source".into());
            }
            Some(Strategy::Release) if recipe.release.is_none() && recipe.wheels.is_empty() => {
                return Some("it holds no released package".into());
            }
            Some(Strategy::Overlay) if crate::release::releases(recipe).is_empty() => {
                return Some("it holds no release to take a fix back in".into());
            }
            _ => {}
        }
        let commits = self.strategy == Some(Strategy::Source) && self.day.is_some();
        if commits && let Some(day) = self.day {
            let parse = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Date>().ok());
            if let Some(from) = parse(&suits.from).filter(|from| day < *from) {
                return Some(format!("it is for commits from {from}, and the fix is of {day}"));
            }
            if let Some(to) = parse(&suits.to).filter(|to| day > *to) {
                return Some(format!("it is for commits up to {to}, and the fix is of {day}"));
            }
        } else if !suits.releases.is_empty()
            && !self.release.is_empty()
            && !suits.releases.contains(&self.release)
            && self.strategy == Some(Strategy::Release)
        {
            return Some(format!("it is for release {}", suits.releases.join(", ")));
        }
        if let Some(python) = &suits.python {
            for requirement in &self.python {
                if !python_fits(requirement, python) {
                    return Some(format!(
                        "its Python is {python}, and setup.py asks for {requirement}"
                    ));
                }
            }
        }
        if self.needs_cuda && suits.cuda.is_none() {
            return Some("it builds for CPUs alone, and a GPU is needed".into());
        }
        None
    }

    fn choose(&self, candidates: &[Toolchain]) -> Result<Suited, String> {
        let mut fit: Vec<&Toolchain> = Vec::new();
        let mut against = Vec::new();
        for toolchain in candidates {
            match self.objection(toolchain) {
                None => fit.push(toolchain),
                Some(why) => against.push(format!("{}: {why}", toolchain.recipe.name)),
            }
        }
        // A toolchain for CPUs is smaller and runs anywhere.
        let rank = |t: &&Toolchain| {
            let suits = &t.recipe.suits;
            let cuda = suits.cuda.is_some() != self.needs_cuda;
            (cuda, span(t), t.recipe.name.clone())
        };
        let Some(best) = fit.iter().min_by_key(|t| rank(t)) else {
            return Err(format!(
                "no toolchain suits it; {}. Name one with --toolchain, or in study.toml under \
                 [build.toolchains]",
                against.join("; ")
            ));
        };
        Ok(Suited { toolchain: (*best).clone(), reason: self.reason(best, fit.len()) })
    }

    fn reason(&self, best: &Toolchain, fit: usize) -> String {
        let suits = &best.recipe.suits;
        let mut parts = Vec::new();
        if let Some(day) = self.day {
            let open = |day: &Option<String>| day.clone().unwrap_or_else(|| "…".into());
            if suits.from.is_some() || suits.to.is_some() {
                parts.push(format!(
                    "the fix is of {day}, it is for {} to {}",
                    open(&suits.from),
                    open(&suits.to)
                ));
            }
        }
        if let Some(python) = &suits.python {
            match self.python.first() {
                Some(requirement) => {
                    parts.push(format!("setup.py asks for Python {requirement}, it has {python}"));
                }
                None => parts.push(format!("it has Python {python}, setup.py names none")),
            }
        }
        match (&suits.cuda, self.needs_cuda) {
            (Some(cuda), true) => parts.push(format!("a GPU is needed, it has CUDA {cuda}")),
            (None, false) => parts.push("no GPU is needed".into()),
            _ => {}
        }
        if fit > 1 {
            parts.push(format!("{} others suit too, none made for a shorter time", fit - 1));
        }
        format!("by rule: {}", parts.join("; "))
    }
}

/// Days a toolchain is for; one without bounds is for all time.
fn span(toolchain: &Toolchain) -> i64 {
    let parse = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Date>().ok());
    match (parse(&toolchain.recipe.suits.from), parse(&toolchain.recipe.suits.to)) {
        (Some(from), Some(to)) => i64::from((to - from).get_days()),
        _ => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Suits;

    fn toolchain(name: &str, suits: Suits) -> Toolchain {
        let text = format!(
            "name = \"{name}\"\ndescription = \"d\"\nbase = \"b\"\n[[steps]]\nname = \"s\"\nrun = \
             \"true\"\n[smoke]\nrun = \"true\"\n"
        );
        let mut recipe: crate::Recipe = toml::from_str(&text).unwrap();
        recipe.suits = suits;
        Toolchain { folder: "/".into(), recipe, files_digest: "f".into() }
    }

    fn suits(from: &str, to: &str, python: &str, cuda: Option<&str>) -> Suits {
        Suits {
            frameworks: vec!["pytorch".into()],
            releases: Vec::new(),
            from: Some(from.into()),
            to: Some(to.into()),
            python: Some(python.into()),
            cuda: cuda.map(str::to_owned),
        }
    }

    fn facts(day: &str, python: &str, needs_cuda: bool) -> Facts {
        Facts {
            framework: "pytorch".into(),
            release: "1.5.0".into(),
            day: Some(day.parse().unwrap()),
            python: vec![python.into()],
            needs_cuda,
            strategy: Some(Strategy::Source),
        }
    }

    #[test]
    fn the_rule_takes_date_python_and_gpu_into_account() {
        let all = [
            toolchain("old", suits("2019-01-01", "2019-12-31", "3.6.7", Some("10.1"))),
            toolchain("gpu", suits("2019-01-01", "2021-12-31", "3.7.9", Some("10.1"))),
            toolchain("cpu", suits("2019-07-01", "2020-12-31", "3.9.2", None)),
            toolchain("long", suits("2018-01-01", "2024-12-31", "3.9.2", None)),
        ];
        let choose = |facts: Facts| facts.choose(&all).unwrap();
        let suited = choose(facts("2020-01-22", ">=3.6.1", false));
        assert_eq!(suited.toolchain.recipe.name, "cpu");
        assert_eq!(
            suited.reason,
            "by rule: the fix is of 2020-01-22, it is for 2019-07-01 to 2020-12-31; setup.py asks \
             for Python >=3.6.1, it has 3.9.2; no GPU is needed; 2 others suit too, none made \
             for a shorter time"
        );
        let suited = choose(facts("2019-03-01", ">=2.7", true));
        assert_eq!(suited.toolchain.recipe.name, "old");
        // Python 3.9 is ruled out, so a toolchain with a GPU does it.
        let suited = choose(facts("2020-01-22", ">=3.6.1,<3.9", false));
        assert_eq!(suited.toolchain.recipe.name, "gpu");
        let error = facts("2017-01-01", ">=2.7", false).choose(&all).unwrap_err();
        assert!(error.contains("cpu: it is for commits from 2019-07-01"), "{error}");
        assert!(error.contains("--toolchain"), "{error}");
    }

    #[test]
    fn the_papers_bugs_get_a_toolchain_of_their_time() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dir = root.join("dockerfiles");
        let all: Vec<Toolchain> =
            toolchain::list(&dir).iter().map(|name| Toolchain::read(&dir, name).unwrap()).collect();
        let corpus = root.join("data/studies/pytorch-1.1-1.6/corpus/bugs.jsonl");
        let bugs = study::corpus::read(&corpus).unwrap();
        assert_eq!(bugs.len(), 18);
        for bug in bugs {
            let day = bug.fixed_at.as_ref().unwrap().get(..10).unwrap().to_owned();
            let facts = facts(&day, ">=3.6.1", bug.needs_cuda);
            let suited = facts.choose(&all).unwrap();
            let wanted =
                if bug.needs_cuda { "ubuntu-18.04-cuda-10.1-py3.6" } else { "debian-bullseye-cpu" };
            assert_eq!(suited.toolchain.recipe.name, wanted, "{}: {}", bug.id, suited.reason);
        }
    }
}
