//! The command line, as arguments only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use study::BugId;

use crate::build::args::BuildArgs;
use crate::pack::args::{CheckArgs, PackArgs};
use crate::reach::args::ReachArgs;
use crate::store_cmd::args::StoreArgs;
use crate::variance::args::VarianceArgs;

/// Find out whether a bug fix in a machine-learning framework changed what models learn.
///
/// A study goes through four stages: `mine` reads release notes and git history, `build` makes an
/// artifact of the commit before and after each fix, `run` trains the same model many times on
/// both, and `stats` compares the outcomes. Each stage can be stopped at any moment and called
/// again. All commands work on one study: a folder with a study.toml.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The study's folder; else the one this folder lies in.
    #[arg(long, global = true, value_name = "DIR", env = "REPRODUCEML_STUDY")]
    pub study: Option<PathBuf>,

    /// How the result is printed on standard output.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub format: Format,

    /// Say more on standard error; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a stage finished with failures it reports; \
2 wrong usage or input; 3 something you must provide is missing (Docker, a GPU, network, disk); \
130 interrupted, call again to go on.";

/// The forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
    /// For pages.
    Markdown,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new study.
    Init(InitArgs),
    /// Say what this machine has and lacks, and what to do about it.
    Doctor,
    /// Read release notes and git history into the study's corpus.
    Mine(MineArgs),
    /// Judge bugs by the study's criteria, one key each; compare and settle people's labels.
    Label(LabelArgs),
    /// Make an artifact of the commit before and after each fix.
    Build(BuildArgs),
    /// Say of each bug whether the study's workload can see it, before time is spent on runs.
    Reach(ReachArgs),
    /// Train the study's model on both artifacts of each bug.
    Run(RunArgs),
    /// Serve seeds, data and metrics to clients that were started by hand or on other machines.
    Serve(ServeArgs),
    /// Print the ticket with which a client of `serve` takes one run.
    Ticket(TicketArgs),
    /// Compare the two sides of each bug.
    Stats(StatsArgs),
    /// Compare the two sides of each bug, and write one page about the whole study.
    Report(ReportArgs),
    /// Tell two runs apart: which factor differs, and the first epoch where their numbers part.
    Diff(DiffArgs),
    /// Take the spread of each metric apart: how much of it seeds, order, threads and other factors
    /// contribute, on one artifact.
    Variance(VarianceArgs),
    /// Show how many bugs came through each step, and why the others did not.
    Status,
    /// Spend a night on the study: mine, build, run, report, within a budget.
    ///
    /// Looks for new releases and changed notes, does what `[nightly]` of study.toml allows, and
    /// says what changed since the night before. Each stage is called as a person would call it
    /// and goes on the next night where it was. Exit codes: 0 nothing changed, 10 something did,
    /// 1 a stage could not do its work (what it said is in the night's folder).
    Nightly(NightlyArgs),
    /// Write the study as one archive that can be handed over.
    Pack(PackArgs),
    /// Check such an archive: every digest, and every table and verdict again from the raw runs.
    ///
    /// Needs no network and no study. Exit codes: 0 all agrees, 1 something does not (it is named),
    /// 2 the file is no whole pack.
    Check(CheckArgs),
    /// Keep artifacts, predictions and notes in a store that several machines share.
    Store(StoreArgs),
    /// Remove old things that no result rests on: artifacts, logs, images, what nights said.
    Gc(GcArgs),
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages, one a command, into a folder.
    Man {
        /// The folder; it is made if it is not there.
        dir: PathBuf,
    },
}

/// Arguments of `nightly`.
#[derive(Debug, Args)]
pub struct NightlyArgs {
    /// Hours the night may take, instead of the study's.
    #[arg(long, value_name = "H")]
    pub hours: Option<f64>,
    /// GiB by which the disk's free space may fall, instead of the study's.
    #[arg(long, value_name = "GIB")]
    pub disk_gib: Option<f64>,
    /// Hours of one GPU the night may use, instead of the study's.
    #[arg(long, value_name = "H")]
    pub gpu_hours: Option<f64>,
    /// Only this stage; any number of times.
    #[arg(long, value_name = "STAGE")]
    pub stage: Vec<study::NightlyStage>,
    /// Print what would be called, and call nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep what is younger than this; else as `[nightly]` of study.toml says, which is 90 days.
    #[arg(long, value_name = "DAYS")]
    pub keep_days: Option<u32>,
    /// List what would go, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to make; it must be empty or not be there.
    pub dir: PathBuf,
    /// The framework under study: `pytorch`, `tinynn`, or another with --repository.
    #[arg(long, required_unless_present = "from")]
    pub framework: Option<String>,
    /// The framework's repository on GitHub, as OWNER/NAME.
    #[arg(long)]
    pub repository: Option<String>,
    /// Start from a study's definition: a folder with a study.toml, or the name of one that comes
    /// with the program (`pytorch-1.1-1.6`, `quick-pytorch`, `quick-tinynn`).
    #[arg(long, value_name = "DIR|NAME", conflicts_with = "framework")]
    pub from: Option<PathBuf>,
    /// The number that all seeds are derived from; else one is drawn.
    #[arg(long)]
    pub meta_seed: Option<u64>,
}

/// Arguments of `mine`.
#[derive(Debug, Args)]
pub struct MineArgs {
    /// A folder of release notes, one Markdown file a tag (v2.7.0.md).
    #[arg(long, value_name = "DIR")]
    pub notes: Option<PathBuf>,
    /// A clone of the framework's repository, bare or not; it is never written to.
    #[arg(long, value_name = "CLONE")]
    pub repo: Option<PathBuf>,
    /// The repository's main line, where it is not called as study.toml says.
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Use no network.
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `label`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LabelArgs {
    /// What to do instead of labelling.
    #[command(subcommand)]
    pub what: Option<LabelCommand>,
    /// Who labels; else the name you are logged in with.
    #[arg(long, value_name = "NAME")]
    pub rater: Option<String>,
    /// Only this bug, also when it is labelled; any number of times.
    #[arg(long, value_name = "BUG")]
    pub bug: Vec<BugId>,
    /// A clone of the framework's repository to show changes from; else the one of study.toml.
    #[arg(long, value_name = "CLONE")]
    pub repo: Option<PathBuf>,
    /// Merge the labels of a CSV file into the study's.
    #[arg(long, value_name = "CSV")]
    pub import: Option<PathBuf>,
    /// Write the study's labels to a CSV file.
    #[arg(long, value_name = "CSV", conflicts_with = "import")]
    pub export: Option<PathBuf>,
}

/// What else `label` does.
#[derive(Debug, Subcommand)]
pub enum LabelCommand {
    /// Show how far each rater is, how well they agree, and where they do not.
    Status,
    /// Settle what raters disagree on.
    Resolve {
        /// A clone of the framework's repository to show changes from; else the one of
        /// study.toml.
        #[arg(long, value_name = "CLONE")]
        repo: Option<PathBuf>,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Only these bugs; else all that are built.
    pub bugs: Vec<BugId>,
    /// Runs a side; raised later, the missing ones are added.
    #[arg(long, value_name = "N")]
    pub runs: Option<u32>,
    /// Passes over the training data.
    #[arg(long, value_name = "E")]
    pub epochs: Option<u32>,
    /// The model, instead of the study's.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The data, instead of the study's.
    #[arg(long, value_name = "NAME")]
    pub challenge: Option<String>,
    /// Instead of the model, the tests that a fix brought: `test:BUG`, or `tests` for all bugs
    /// named, or all; what they measure on both artifacts is compared seed by seed.
    #[arg(long, value_name = "WORKLOAD", conflicts_with_all = crate::own_tests::args::OTHERS)]
    pub workload: Vec<crate::own_tests::args::Tests>,
    /// Runs at the same time; 0 takes one a core.
    #[arg(long, value_name = "J")]
    pub jobs: Option<u32>,
    /// Only this side.
    #[arg(long, value_name = "EVALUATION")]
    pub only: Option<study::Evaluation>,
    /// Run a control beside both sides: `aa` is the corrected artifact once more, with the same
    /// design, so that `stats` can tell how often it sees a difference where there is none.
    #[arg(long, value_name = "CONTROL")]
    pub control: Option<Control>,
    /// Run bugs as well that `reach` found to be out of this workload's reach.
    #[arg(long)]
    pub anyway: bool,
    /// Begin runs again that failed, and pairs of runs that differ in more than the artifact.
    #[arg(long)]
    pub retry_failed: bool,
    /// Factors that may differ between the sides, separated by commas: `hardware`, `software`,
    /// `runtime`, …. It is recorded and stated with the results; `none` takes it back.
    #[arg(long, value_name = "FACTOR", value_delimiter = ',')]
    pub allow: Vec<Allow>,
    /// Train on GPUs: their numbers as the machine counts them, separated by commas. Each run is
    /// given one of them.
    #[arg(long, value_name = "GPU", value_delimiter = ',')]
    pub gpus: Vec<String>,
    /// Where the processes run.
    #[command(flatten)]
    pub place: Place,
    /// Print the plan; change and run nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Enter the plan into the study, for clients that are started by hand, and run nothing.
    #[arg(long, conflicts_with = "dry_run")]
    pub plan_only: bool,
    /// Serve the dashboard meanwhile, at 127.0.0.1:4748 or a free port unless an address is given.
    /// It asks for the token of REPRODUCEML_TOKEN, if that is set.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true)]
    pub dashboard: Option<Option<std::net::SocketAddr>>,
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Where the processes of runs are started.
#[derive(Debug, Args)]
pub struct Place {
    /// Where runs are started: `docker`, `local`, `slurm` as `[slurm]` of study.toml says, or the
    /// `hosts` of its `[docker]`.
    #[arg(long, default_value = "docker")]
    pub executor: Executor,
    /// The Python to start with `--executor local`, and on a cluster's nodes without containers.
    #[arg(long, default_value = "python3")]
    pub python: String,
    /// A training client to start with `--executor local` instead of the Python one, such as
    /// clients/tch; docs/guide/tch.md says which runs it can make.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "python")]
    pub client: Option<String>,
    /// Where the server of seeds, data and metrics listens: for `--executor local` 127.0.0.1:0,
    /// for `slurm` and `hosts` any address of this machine, with a token and TLS.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
}

/// A factor that may differ, or `none` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow(pub Option<study::Factor>);

impl std::str::FromStr for Allow {
    type Err = study::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|factor| Self(Some(factor))) }
    }
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen: HOST:PORT or unix:PATH; may be given several times. An address that is not
    /// this machine's own (127.0.0.1, [::1]) needs a token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4747")]
    pub listen: Vec<ListenAddress>,
    #[command(flatten)]
    pub access: AccessArgs,
    /// Where the dashboard listens; else 127.0.0.1:4748, or a free port if that is taken. It asks
    /// for the token too, if there is one.
    #[arg(long, value_name = "ADDRESS")]
    pub dashboard: Option<std::net::SocketAddr>,
    /// Serve no dashboard.
    #[arg(long, conflicts_with = "dashboard")]
    pub no_dashboard: bool,
}

/// Arguments that say how a server lets clients in.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// A file with the token that clients must show, at least 16 characters; else the one in the
    /// environment's REPRODUCEML_TOKEN, if any.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A PEM file with the server's certificate, and after it those that signed it: addresses of
    /// TCP then speak TLS, and a dashboard away from this machine speaks HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Arguments of `ticket`.
#[derive(Debug, Args)]
pub struct TicketArgs {
    /// The experiment, as `run --plan-only` lists it.
    pub experiment: study::ExperimentId,
    /// The run's number, from 0.
    pub run: u32,
}

/// A place to listen as it is given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A path for a Unix socket.
    Unix(PathBuf),
    /// An address and a port.
    Tcp(std::net::SocketAddr),
}

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("expected a path after `unix:`".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let address = text.strip_prefix("tcp:").unwrap_or(text);
        address.parse().map(Self::Tcp).map_err(|_| {
            "expected an address and a port, such as 127.0.0.1:4747 or [::1]:4747, or unix:PATH"
                .to_owned()
        })
    }
}

/// What a study runs to know how far its verdicts can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Control {
    /// An artifact against itself: the negative control.
    Aa,
}

/// Where runs are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// In containers of the artifact's image.
    Docker,
    /// As processes of this machine.
    Local,
    /// As jobs of a Slurm cluster.
    Slurm,
    /// In containers on several Docker hosts, each bug on one of them.
    Hosts,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StatsArgs {
    /// What to print instead of the study's analysis.
    #[command(subcommand)]
    pub what: Option<StatsCommand>,
    /// Analyse a CSV or Parquet file of results instead of a study.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Print only the verdicts, with their reasons.
    #[arg(long, conflicts_with = "latex")]
    pub verdicts: bool,
    /// Print the tables as LaTeX, whatever --format says.
    #[arg(long)]
    pub latex: bool,
    /// How runs are compared.
    #[command(flatten)]
    pub rules: Rules,
}

/// How runs are compared.
#[derive(Debug, Args)]
pub struct Rules {
    /// The rules of analysis.
    #[arg(long, default_value = "default")]
    pub profile: Profile,
    /// The equivalence margin of every metric, as a fraction (0.005 is half a percentage point).
    #[arg(long, value_name = "FRACTION")]
    pub margin: Option<f64>,
    /// The family-wise error to accept.
    #[arg(long, value_name = "P")]
    pub alpha: Option<f64>,
    /// How p-values of rank tests are computed; the profile `paper` fixes it.
    #[arg(long)]
    pub method: Option<Method>,
    /// Asymptotic p-values without correction for continuity.
    #[arg(long)]
    pub no_continuity: bool,
    /// Which difference p-values are for, of the buggy side against the corrected one.
    #[arg(long)]
    pub alternative: Option<Alternative>,
    /// A planted fault that no run should feel, left out of the detection rate; beside those that
    /// study.toml marks. May be given again.
    #[arg(long, value_name = "NAME")]
    pub unfelt: Vec<String>,
}

impl Rules {
    /// Whether anything is given that changes how verdicts come about.
    pub fn change_verdicts(&self) -> bool {
        self.profile != Profile::Default
            || self.margin.is_some()
            || self.alpha.is_some()
            || self.method.is_some()
            || self.no_continuity
            || self.alternative.is_some()
    }
}

/// How p-values of rank tests are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Exact up to 50 values a side, asymptotic above.
    Auto,
    /// From all permutations, where they can be counted.
    Exact,
    /// From the normal approximation.
    Asymptotic,
}

/// Which difference p-values are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Alternative {
    /// In either direction.
    TwoSided,
    /// The buggy side has smaller values.
    Less,
    /// The buggy side has larger values.
    Greater,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The page to write; else stats/report.html in the study.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write all tables as Markdown too.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write all tables as LaTeX (booktabs) too.
    #[arg(long, value_name = "FILE")]
    pub latex: Option<PathBuf>,
    /// Write each figure as SVG, and PNG where there is a font, into this folder too.
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
    /// How runs are compared.
    #[command(flatten)]
    pub rules: Rules,
}

/// What else `stats` prints.
#[derive(Debug, Subcommand)]
pub enum StatsCommand {
    /// The paper's Table IV, re-analysed from its p-values.
    Paper,
}

/// Rules of analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Exact tests where they can be had, corrected for multiplicity.
    Default,
    /// The paper's: asymptotic, both samples cut to the shorter, nothing corrected.
    Paper,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run as EXPERIMENT/RUN, like pr16-buggy-0123456789ab/0.
    #[arg(value_name = "RUN")]
    pub left: study::RunKey,
    /// The run to compare it with.
    #[arg(value_name = "RUN")]
    pub right: study::RunKey,
    /// Make both runs again, beside the study, and name the first batch and the first module
    /// where they part, and how far they are apart.
    #[arg(long)]
    pub trace: bool,
    /// Where the processes run.
    #[command(flatten)]
    pub place: Place,
}
