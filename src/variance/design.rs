//! The combinations of levels that a call of `variance` runs.

use anyhow::anyhow;
use serde::Serialize;
use stats::variance::Factor;
use study::{ArtifactRecord, BugId, Conditions, DataOrder, Evaluation, Experiment, Study};

use super::args::{Name, VarianceArgs};
use crate::failure::Failure;

/// The most experiments of one factorial.
const MOST_CELLS: usize = 4096;

/// Models of the Python client that have layers of dropout.
const WITH_DROPOUT: [&str; 5] = ["vgg-x", "vgg-x-det", "vgg11", "vgg16", "alexnet"];

/// The factors, and an experiment for each combination of their levels.
#[derive(Debug, Clone, Serialize)]
pub struct Factorial {
    /// The factors in the order of tables.
    pub factors: Vec<Factor>,
    /// Whether half of the combinations were left out.
    pub half: bool,
    /// Runs of each combination.
    pub repetitions: u32,
    /// The combinations.
    pub cells: Vec<Combination>,
}

/// One combination of levels.
#[derive(Debug, Clone, Serialize)]
pub struct Combination {
    /// The place of each factor's level.
    pub levels: Vec<usize>,
    /// What is run.
    pub experiment: Experiment,
}

impl Factorial {
    /// What the arguments ask for. `base` gives the study's experiment with a model.
    pub fn of(
        study: &Study,
        args: &VarianceArgs,
        subject: (&BugId, Evaluation, &ArtifactRecord),
        base: impl Fn(Option<&str>) -> Result<Experiment, Failure>,
    ) -> Result<Self, Failure> {
        let refuse = |text: String| Err(Failure::input(anyhow!(text)));
        if !(1..=study::config::MOST_RUNS).contains(&args.repetitions) {
            return refuse(format!("--repetitions is {}; expected 1 or more", args.repetitions));
        }
        if !(2..=1000).contains(&args.levels) {
            return refuse(format!("--levels is {}; expected 2 to 1000 seeds", args.levels));
        }
        let factors = factors(study, args)?;
        let all = factors.iter().try_fold(1_usize, |all, (_, l)| all.checked_mul(l.len()));
        if all.is_none_or(|all| all > MOST_CELLS) {
            return refuse(format!(
                "these factors have more than {MOST_CELLS} combinations; leave levels out, or add \
                 --half"
            ));
        }
        let two: Vec<usize> =
            (0..factors.len()).filter(|place| factors[*place].1.len() == 2).collect();
        if args.half && two.len() < 3 {
            return refuse(format!(
                "--half: with {} factors of two levels a half cannot tell them apart; expected \
                 three or more",
                two.len()
            ));
        }
        let mut cells = Vec::new();
        let mut levels = vec![0; factors.len()];
        loop {
            // The half on which the two-level factors have an even number of second levels.
            let even = two.iter().map(|place| levels[*place]).sum::<usize>() % 2 == 0;
            if even || !args.half {
                let experiment = combine(study, &factors, &levels, &subject, &base)?;
                cells.push(Combination { levels: levels.clone(), experiment });
            }
            // The next combination, the last factor fastest.
            let Some(place) =
                (0..levels.len()).rev().find(|place| levels[*place] + 1 < factors[*place].1.len())
            else {
                break;
            };
            levels[place] += 1;
            levels.iter_mut().skip(place + 1).for_each(|level| *level = 0);
        }
        let factors = factors.into_iter().map(|(name, levels)| Factor {
            name: name.as_str().to_owned(),
            levels,
            random: name == Name::Seed,
        });
        Ok(Self {
            factors: factors.collect(),
            half: args.half,
            repetitions: args.repetitions,
            cells,
        })
    }

    /// A short name that follows from all that is run.
    pub fn name(&self, artifact: &ArtifactRecord) -> String {
        let text = serde_json::to_string(&(self, &artifact.id)).unwrap_or_default();
        study::files::sha256_hex(text.as_bytes()).chars().take(12).collect()
    }
}

/// The factors with their levels: those that are asked for, else all that there are.
fn factors(study: &Study, args: &VarianceArgs) -> Result<Vec<(Name, Vec<String>)>, Failure> {
    let config = &study.config;
    let framework = config.framework.name.as_str();
    let has = |name: Name| match name {
        Name::Seed | Name::Order | Name::Model => true,
        // It runs on one thread, and knows no dropout.
        Name::Threads | Name::Deterministic | Name::Dropout => framework != "tinynn",
    };
    let by_default = |name: Name| match name {
        Name::Seed | Name::Order => true,
        Name::Threads | Name::Deterministic => has(name),
        Name::Dropout => has(name) && WITH_DROPOUT.contains(&config.model.name.as_str()),
        Name::Model => false,
    };
    let mut chosen = Vec::new();
    for name in Name::ALL {
        let mut asked = args.factors.iter().filter(|one| one.name == name);
        let first = asked.next();
        if asked.next().is_some() {
            let name = name.as_str();
            return Err(Failure::input(anyhow!("--factor {name}: expected each factor once")));
        }
        match first {
            Some(_) if !has(name) => {
                let name = name.as_str();
                return Err(Failure::input(anyhow!(
                    "--factor {name}: the client's layer for {framework} has nothing of the kind"
                )));
            }
            Some(one) => chosen.push((name, one.levels.clone())),
            None if args.factors.is_empty() && by_default(name) => chosen.push((name, None)),
            None => {}
        }
    }
    chosen
        .into_iter()
        .map(|(name, levels)| {
            let given = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let levels = match (name, levels) {
                (_, Some(levels)) => levels,
                (Name::Seed, None) => (0..args.levels).map(|seed| seed.to_string()).collect(),
                (Name::Order, None) => given(&["fixed", "per-epoch"]),
                (Name::Threads, None) => given(&["1", "2"]),
                (Name::Deterministic | Name::Dropout, None) => given(&["on", "off"]),
                (Name::Model, None) => {
                    return Err(Failure::input(anyhow!(
                        "--factor model: expected the models, like model=vgg-x,vgg-x-det"
                    )));
                }
            };
            Ok((name, levels))
        })
        .collect()
}

/// The experiment of one combination. What is no factor is as the study has it; without the
/// factor `seed`, all runs have the first seed.
fn combine(
    study: &Study,
    factors: &[(Name, Vec<String>)],
    levels: &[usize],
    (bug, evaluation, artifact): &(&BugId, Evaluation, &ArtifactRecord),
    base: &impl Fn(Option<&str>) -> Result<Experiment, Failure>,
) -> Result<Experiment, Failure> {
    let level = |name: Name| -> Option<(usize, &str)> {
        let place = factors.iter().position(|(known, _)| *known == name)?;
        Some((levels[place], factors[place].1[levels[place]].as_str()))
    };
    let mut experiment = base(level(Name::Model).map(|(_, model)| model))?;
    experiment.bug = (*bug).clone();
    experiment.evaluation = *evaluation;
    experiment.artifact = artifact.id.clone();
    experiment.toolchain.clone_from(&artifact.toolchain);
    match level(Name::Order) {
        Some((_, "fixed")) => experiment.challenge.order = DataOrder::Fixed,
        Some(_) => experiment.challenge.order = DataOrder::PerEpoch,
        None => {}
    }
    let seed = level(Name::Seed).map_or(0, |(place, _)| place as u32);
    let on = |name| level(name).is_none_or(|(_, word)| word == "on");
    experiment.conditions = Some(Conditions {
        // One list of seeds for all factorials of a study, whatever they vary.
        seed: study::seed::derive(
            study.config.study.meta_seed,
            "variance",
            study::SeedPolicy::PerRun,
            seed,
        ),
        threads: level(Name::Threads).and_then(|(_, count)| count.parse().ok()).unwrap_or(1),
        deterministic: on(Name::Deterministic),
        dropout: on(Name::Dropout),
    });
    Ok(experiment)
}
