//! Arguments of `variance`.

use std::str::FromStr;

use clap::Args;
use study::{ArtifactId, BugId};

use crate::cli::{AccessArgs, Place};

/// Arguments of `variance`.
#[derive(Debug, Args)]
pub struct VarianceArgs {
    /// The bug whose corrected artifact is run.
    #[arg(required_unless_present = "artifact")]
    pub bug: Option<BugId>,
    /// Another artifact of the study, by its identity.
    #[arg(long, value_name = "ID")]
    pub artifact: Option<ArtifactId>,
    /// A factor, or a factor with its levels: `seed`, `order=fixed,per-epoch`, `threads=1,2`,
    /// `deterministic=on,off`, `dropout=on,off`, `model=NAME,NAME`; any number of times. Else
    /// those that the framework and the model have.
    #[arg(long = "factor", value_name = "NAME[=LEVELS]")]
    pub factors: Vec<Asked>,
    /// How many seeds there are.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub levels: u32,
    /// Runs of each combination of levels.
    #[arg(long, value_name = "R", default_value_t = 2)]
    pub repetitions: u32,
    /// Half of the combinations: factors keep their shares, pairs of them are not told apart.
    #[arg(long)]
    pub half: bool,
    /// Passes over the training data, instead of the study's.
    #[arg(long, value_name = "E")]
    pub epochs: Option<u32>,
    /// Begin failed runs again.
    #[arg(long)]
    pub retry_failed: bool,
    /// Runs at the same time; 0 takes one a core.
    #[arg(long, value_name = "J")]
    pub jobs: Option<u32>,
    /// Train on GPUs: their numbers as the machine counts them, separated by commas.
    #[arg(long, value_name = "GPU", value_delimiter = ',')]
    pub gpus: Vec<String>,
    /// Where the processes run.
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub access: AccessArgs,
    /// Print the plan; change and run nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A factor as it is given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub name: Name,
    /// Its levels, if they are given.
    pub levels: Option<Vec<String>>,
}

/// The factors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The seed of initialisation, dropout, splits and order.
    Seed,
    /// Whether each epoch has an order of its own.
    Order,
    /// Threads of numeric code.
    Threads,
    /// The controls of deterministic algorithms.
    Deterministic,
    /// Layers of dropout.
    Dropout,
    /// The model.
    Model,
}

impl Name {
    /// All, in the order of tables.
    pub const ALL: [Self; 6] =
        [Self::Seed, Self::Order, Self::Threads, Self::Deterministic, Self::Dropout, Self::Model];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Order => "order",
            Self::Threads => "threads",
            Self::Deterministic => "deterministic",
            Self::Dropout => "dropout",
            Self::Model => "model",
        }
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, levels) = match text.split_once('=') {
            Some((name, levels)) => (name, Some(levels)),
            None => (text, None),
        };
        let name = Name::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            let all = Name::ALL.map(Name::as_str).join(", ");
            format!("`{name}` is no factor; expected one of {all}")
        })?;
        let levels: Option<Vec<String>> =
            levels.map(|list| list.split(',').map(|one| one.trim().to_owned()).collect());
        if let Some(levels) = &levels {
            check(name, levels)?;
        }
        Ok(Self { name, levels })
    }
}

/// Refuses levels that a factor does not have.
fn check(name: Name, levels: &[String]) -> Result<(), String> {
    let among = |words: &[&str]| match levels.iter().find(|l| !words.contains(&l.as_str())) {
        Some(level) => Err(format!("{}={level}: expected {}", name.as_str(), words.join(" or "))),
        None => Ok(()),
    };
    match name {
        Name::Seed => return Err("seed takes no levels; --levels says how many there are".into()),
        Name::Order => among(&["fixed", "per-epoch"])?,
        Name::Deterministic | Name::Dropout => among(&["on", "off"])?,
        Name::Threads => {
            let right = |level: &String| matches!(level.parse(), Ok(1..=1024_u32));
            if let Some(level) = levels.iter().find(|level| !right(level)) {
                return Err(format!("threads={level}: expected a number from 1 to 1024"));
            }
        }
        Name::Model => {}
    }
    let mut distinct = levels.to_vec();
    distinct.sort();
    distinct.dedup();
    if distinct.len() < levels.len() || levels.len() < 2 || levels.iter().any(String::is_empty) {
        return Err(format!("{}: expected two or more different levels", name.as_str()));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn factors_are_read_and_what_is_none_is_refused() {
        let asked: Asked = "threads=1, 4".parse().unwrap();
        assert_eq!((asked.name, asked.levels), (Name::Threads, Some(vec!["1".into(), "4".into()])));
        assert_eq!("seed".parse::<Asked>().unwrap().levels, None);
        for (text, word) in [
            ("thread=1,2", "no factor"),
            ("threads=0,1", "1 to 1024"),
            ("threads=2", "two or more"),
            ("threads=2,2", "two or more"),
            ("order=shuffled,fixed", "per-epoch"),
            ("dropout=on,of", "on or off"),
            ("model=a,", "two or more"),
            ("seed=3", "--levels"),
            ("", "no factor"),
        ] {
            let error = text.parse::<Asked>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
