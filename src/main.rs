//! The `reproduceml` program: parse, call a stage, print.

mod access;
mod build;
mod cli;
mod cluster;
mod dashboard;
mod design;
mod diff;
mod doctor;
#[cfg(test)]
mod documented;
mod embedded;
mod failure;
mod gc;
mod home;
mod hosts;
mod init;
mod label;
mod manual;
mod mine;
mod nightly;
mod output;
mod own_tests;
mod pack;
mod places;
mod progress;
mod reach;
mod report;
mod run;
mod serve;
mod stats_cmd;
mod status;
mod store_cmd;
mod studies;
mod variance;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// How long an interrupted program stays to remove its containers; the next call finds the rest.
const REMOVAL: std::time::Duration = std::time::Duration::from_millis(1500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    progress::start_logging(cli.verbose);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::stage(error).report(),
    };
    // These end on a signal too, but in order.
    let ends_itself = match &cli.command {
        Command::Serve(_) => true,
        Command::Build(args) => args.is_on_node(),
        _ => false,
    };
    let result = runtime.block_on(async {
        // Commands first: what never waits is then ended by a signal at once, as by default.
        let result = tokio::select! {
            biased;
            result = dispatch(&cli) => result,
            () = interrupted(), if !ends_itself => Err(Failure::Interrupted),
        };
        if matches!(result, Err(Failure::Interrupted)) {
            // Containers that were under way are removed in the background.
            tokio::time::sleep(REMOVAL).await;
        }
        result
    });
    // Blocking work that is still under way must not hold up an interrupted program.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn dispatch(cli: &Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Init(args) => init::init(cli, args),
        Command::Doctor => doctor::doctor(cli).await,
        Command::Mine(args) => mine::mine(cli, args).await,
        Command::Label(args) => label::label(cli, args).await,
        Command::Build(args) => build::build(cli, args).await,
        Command::Reach(args) => reach::reach(cli, args).await,
        Command::Run(args) => run::run(cli, args).await,
        Command::Serve(args) => serve::serve(cli, args).await,
        Command::Ticket(args) => serve::ticket(cli, args),
        Command::Stats(args) => stats_cmd::stats(cli, args),
        Command::Report(args) => report::report(cli, args),
        Command::Diff(args) => diff::diff(cli, args).await,
        Command::Variance(args) => variance::variance(cli, args).await,
        Command::Status => status::status(cli).await,
        // The only one that says more than success with its exit code.
        Command::Nightly(args) => return nightly::nightly(cli, args).await,
        Command::Pack(args) => pack::pack(cli, args),
        Command::Check(args) => pack::check(cli, args),
        Command::Store(args) => store_cmd::store(cli, args).await,
        Command::Gc(args) => gc::gc(cli, args).await,
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::pages(cli, dir),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or a polite request to end.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
