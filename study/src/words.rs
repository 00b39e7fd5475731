//! The closed vocabularies of a study. Each is one table that both parses and prints, so that a
//! word cannot print in one spelling and be read in another.

/// A word that is not one of its vocabulary.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is no {what}; expected one of: {expected}")]
pub struct UnknownWord {
    /// What kind of word was expected.
    pub what: &'static str,
    /// What was found instead.
    pub found: String,
    /// The words that would do, separated by commas.
    pub expected: String,
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word of this vocabulary, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it is written in files, flags and output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| UnknownWord {
                    what: $what,
                    found: text.to_owned(),
                    expected: Self::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

vocabulary! {
    /// Which side of a comparison an experiment is.
    Evaluation, "evaluation" {
        /// The last commit with the bug.
        Buggy => "buggy",
        /// The commit that fixes it.
        Corrected => "corrected",
        /// The corrected artifact with a planted fault: the positive control.
        Artificial => "artificial",
        /// The corrected artifact once more: the negative control.
        Aa => "aa",
    }
}

vocabulary! {
    /// How a corpus entry was traced to the commit that fixed it.
    Resolution, "resolution" {
        /// One commit on the main line carries the pull request.
        Unique => "unique",
        /// It was taken back and landed again; the last live landing counts.
        Relanded => "relanded",
        /// Only a release branch has it.
        CherryPicked => "cherry-picked",
        /// Several commits carry it and no rule tells them apart.
        Ambiguous => "ambiguous",
        /// No commit that still stands carries it.
        NotFound => "not-found",
        /// No history was at hand.
        Unresolved => "unresolved",
        /// A fault planted by the study itself, which has no commit.
        Planted => "planted",
    }
}

vocabulary! {
    /// How runs get their seeds.
    SeedPolicy, "seed policy" {
        /// All runs share one seed: the paper's design.
        Single => "single",
        /// Run *i* has seed *i*, on both sides.
        PerRun => "per-run",
    }
}

vocabulary! {
    /// A stage of a night, named after its command.
    NightlyStage, "stage of a night" {
        /// Releases and notes.
        Mine => "mine",
        /// Artifacts.
        Build => "build",
        /// Training.
        Run => "run",
        /// Tests, verdicts and the report.
        Report => "report",
        /// What nothing rests on any more.
        Gc => "gc",
    }
}

vocabulary! {
    /// How a commit becomes an artifact.
    Strategy, "strategy" {
        /// Compiled from the commit's tree.
        Source => "source",
        /// A released package with the fix's Python changes applied or taken back.
        Overlay => "overlay",
        /// A published package as it is.
        Release => "release",
        /// Another artifact with a planted fault.
        Fault => "fault",
        /// For each bug the cheapest that is right for it. A study's wish; no artifact has it.
        Auto => "auto",
    }
}

vocabulary! {
    /// What runs a training client on a node of a cluster.
    NodeContainer, "container of a node" {
        /// A Python of the node.
        None => "none",
        /// Docker.
        Docker => "docker",
        /// Apptainer, from the same image.
        Apptainer => "apptainer",
    }
}

vocabulary! {
    /// What hardware all runs of a bug have in common on a cluster.
    SameHardware, "sameness of hardware" {
        /// Nodes of which the cluster says the same.
        Class => "class",
        /// One node.
        Node => "node",
        /// Nothing that the scheduler is told; the manifests decide.
        Any => "any",
    }
}

vocabulary! {
    /// How a run's process ended, where it did not simply end well.
    Ending, "ending" {
        /// The kernel killed it for want of memory.
        OutOfMemory => "out-of-memory",
        /// It took too long and was ended.
        Timeout => "timeout",
        /// Somebody killed it (SIGKILL, SIGTERM, SIGINT).
        Killed => "killed",
        /// A signal of its own making: a segmentation fault, an abort.
        Crash => "crash",
        /// A Python exception; the run's reason has its traceback.
        Exception => "exception",
        /// The job, the artifact or the model does not fit.
        Job => "job",
        /// It lost the server of seeds, data and metrics, or was refused.
        ServerLost => "server-lost",
        /// It ended by itself and without results.
        Exit => "exit",
        /// The program that started it came to its end first.
        Stopped => "stopped",
        /// The cluster gave its node to somebody else.
        Preempted => "preempted",
        /// Its node failed.
        NodeLost => "node-lost",
        /// Somebody cancelled its job.
        Cancelled => "cancelled",
    }
}

impl Ending {
    /// Whether the end says nothing of the run itself, so that it starts over.
    pub fn starts_over(self) -> bool {
        match self {
            Self::ServerLost
            | Self::Stopped
            | Self::Preempted
            | Self::NodeLost
            | Self::Cancelled => true,
            Self::OutOfMemory
            | Self::Timeout
            | Self::Killed
            | Self::Crash
            | Self::Exception
            | Self::Job
            | Self::Exit => false,
        }
    }
}

vocabulary! {
    /// A non-determinism introducing factor: a part of a run's manifest.
    Factor, "factor" {
        /// The run's seed and how each generator was seeded.
        Seeds => "seeds",
        /// The model's source and the hyperparameters.
        Model => "model",
        /// Versions of all that is loaded and is not the artifact's.
        Software => "software",
        /// Threads and their scheduling.
        Threads => "threads",
        /// Kernel, C library, image, environment.
        Runtime => "runtime",
        /// Processor, memory, GPU.
        Hardware => "hardware",
        /// The arrays, in the order they were used.
        Data => "data",
        /// Which controls took effect.
        Controls => "controls",
        /// Operations without a deterministic implementation.
        Operations => "nondeterministic_operations",
    }
}

vocabulary! {
    /// What the analysis concludes for a bug.
    Verdict, "verdict" {
        /// All runs of both sides are the same bit for bit.
        Identical => "identical",
        /// The difference lies within the stated margin.
        Equivalent => "equivalent",
        /// The sides differ after correction for multiplicity.
        Different => "different",
        /// The data allow no conclusion.
        Inconclusive => "inconclusive",
        /// The comparison itself is not sound.
        Invalid => "invalid",
    }
}

vocabulary! {
    /// Whether a workload can see a change.
    ReachAnswer, "answer of reach" {
        /// Nothing that goes into the artifact changed.
        NotInArtifact => "not-in-artifact",
        /// The workload executes nothing of what changed.
        NotExecuted => "not-executed",
        /// It does, and every number that was compared is the same on both sides.
        ExecutedSame => "executed-same",
        /// It executes some of what changed.
        MayDiffer => "may-differ",
        /// The evidence at hand does not tell.
        Unknown => "unknown",
    }
}

impl ReachAnswer {
    /// Whether runs of this workload cannot show the change.
    pub fn out_of_reach(self) -> bool {
        matches!(self, Self::NotInArtifact | Self::NotExecuted)
    }
}

vocabulary! {
    /// What kind of evidence an answer of reach rests on, the weakest first.
    ReachStrength, "strength of an answer" {
        /// Read from the change and the artifacts alone.
        Static => "static",
        /// Names of the change against names that one traced epoch of the workload met.
        Traced => "traced",
        /// Changed lines against lines that one epoch of the workload executed.
        Covered => "covered",
        /// Numbers of both sides from the same seed.
        Measured => "measured",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_prints_and_parses_alike() {
        fn round<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug + Copy>(
            all: &[T],
        ) where
            T::Err: std::fmt::Debug,
        {
            for word in all {
                assert_eq!(word.to_string().parse::<T>().unwrap(), *word);
            }
        }
        round(Evaluation::ALL);
        round(Resolution::ALL);
        round(SeedPolicy::ALL);
        round(Strategy::ALL);
        round(Verdict::ALL);
        round(Ending::ALL);
        round(Factor::ALL);
        round(NodeContainer::ALL);
        round(SameHardware::ALL);
        round(ReachAnswer::ALL);
        round(ReachStrength::ALL);
        for word in Resolution::ALL {
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("\"{word}\""), "JSON spells it like the terminal");
        }
    }

    #[test]
    fn an_unknown_word_names_what_would_do() {
        let error = "fixed".parse::<Evaluation>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`fixed` is no evaluation; expected one of: buggy, corrected, artificial, aa"
        );
    }
}
