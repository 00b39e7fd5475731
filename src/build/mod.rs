//! `build`: an artifact of the commit before and after each fix, and what there is to know about
//! artifacts.

pub mod args;
mod artifacts;
mod cluster;
mod lock;
mod make;
mod mirror;
mod probe;
mod upkeep;

use builder::BuildError;
use study::{BugId, Evaluation};

use self::args::{BuildArgs, BuildCommand};
use crate::cli::Cli;
use crate::failure::Failure;

/// Builds what is missing, or does what the subcommand says.
pub async fn build(cli: &Cli, args: &BuildArgs) -> Result<(), Failure> {
    match &args.what {
        None => make::make(cli, &args.make).await,
        Some(BuildCommand::List) => artifacts::list(cli),
        Some(BuildCommand::Show { id }) => artifacts::show(cli, id),
        Some(BuildCommand::Export { id, dir }) => artifacts::export(cli, id, dir),
        Some(BuildCommand::Probe { bugs, repo }) => probe::probe(cli, bugs, repo.as_deref()).await,
        Some(BuildCommand::Lock { toolchains, check, repo }) => {
            lock::lock(cli, toolchains, *check, repo.as_deref()).await
        }
        Some(BuildCommand::Mirror { bugs, from, repo, toolchain, dry_run }) => {
            let wanted =
                mirror::Wanted { bugs, from, repo: repo.as_deref(), toolchain, dry_run: *dry_run };
            mirror::mirror(cli, &wanted).await
        }
        Some(BuildCommand::Work { folder }) => cluster::work(cli, folder).await,
        Some(BuildCommand::Compare) => upkeep::compare(cli),
        Some(BuildCommand::Report) => upkeep::report(cli),
        Some(BuildCommand::Verify) => upkeep::verify(cli),
        Some(BuildCommand::Gc { dry_run }) => upkeep::gc(cli, *dry_run).await,
    }
}

fn explain(error: BuildError) -> Failure {
    if error.is_missing_provision() {
        return Failure::missing(error);
    }
    match error {
        BuildError::Interrupted => Failure::Interrupted,
        BuildError::Container(_) => Failure::missing(error),
        BuildError::Study(error) => error.into(),
        BuildError::Store(error) => error.into(),
        error => Failure::input(error),
    }
}

/// Sides of bugs as a table shows them.
fn sides(sides: &[(BugId, Evaluation)]) -> String {
    let all: Vec<String> = sides.iter().map(|(bug, side)| format!("{bug} {side}")).collect();
    all.join(", ")
}
