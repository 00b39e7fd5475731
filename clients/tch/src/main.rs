//! The training client over libtorch: one run of one experiment.
//!
//! The same protocol, models and manifest as the Python client, and with the same libtorch the same
//! parameters to the last bit.

mod dial;
mod digest;
mod environment;
mod error;
mod libtorch;
mod loaded;
mod manifest;
mod models;
mod session;
mod train;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use environment::Variables;
use error::{RunError, ServerError};
use session::Session;

const HELP: &str = "\
Runs one training over libtorch: reproduceml-tch

The environment says what to do:

    REPRODUCEML_SERVER        unix:/path or tcp:host:port
    REPRODUCEML_TICKET        the ticket of the run (`reproduceml ticket` prints it), or
    REPRODUCEML_TICKET_FILE   a file with the ticket, which keeps it out of process lists
    REPRODUCEML_TOKEN         the server's token, where it asks for one
    REPRODUCEML_ARTIFACT      optional folder: libtorch 2.11 in its site/torch/lib is used
                              instead of the one this program was built with
    REPRODUCEML_CACHE         optional folder that keeps arrays by their digest
    REPRODUCEML_TIMEOUT       optional: seconds to wait for one answer of the server (60)
    REPRODUCEML_PATIENCE      optional: seconds to try a lost server again (600)
    REPRODUCEML_IMAGE, REPRODUCEML_ARTIFACT_DIGEST
                              optional digests, for the manifest

`reproduceml run --executor local --client PATH` sets them and starts this program.

Models: alexnet, lenet, vgg-x, vgg-x-det, vgg11, vgg16, on the CPU with one thread. Models and
planted faults written in Python are for the Python client.

Options: -h, --help; -V, --version

Exit status: 0 the results were accepted, 1 the training failed (the server was told why),
2 the environment is wrong, 3 the server was lost or refused.
";

const DONE: u8 = 0;
const TRAINING_FAILED: u8 = 1;
const WRONG_USE: u8 = 2;
const SERVER_LOST: u8 = 3;

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    ExitCode::from(match arguments.first().map(|argument| argument.to_string_lossy()) {
        None => run(started),
        Some(argument) if matches!(&*argument, "-h" | "--help") => {
            print!("{HELP}");
            DONE
        }
        Some(argument) if matches!(&*argument, "-V" | "--version") => {
            println!(
                "reproduceml-tch {} (libtorch {})",
                env!("CARGO_PKG_VERSION"),
                libtorch::version()
            );
            DONE
        }
        Some(argument) => {
            complain(&format!("there is no argument {argument}; see --help"));
            WRONG_USE
        }
    })
}

fn complain(message: &str) {
    eprintln!("reproduceml: {message}");
}

fn run(started: Instant) -> u8 {
    let variables = environment::variables();
    let missing = environment::missing(&variables);
    if !missing.is_empty() {
        complain(&format!("could not start anew: {}", environment::restart(missing)));
        return WRONG_USE;
    }
    let opening = match environment::opening(&variables) {
        Ok(opening) => opening,
        Err(error) => {
            complain(&error.to_string());
            return WRONG_USE;
        }
    };
    let address = opening.address.clone();
    match Session::connect(opening) {
        Ok(session) => train(&session, &variables, started),
        Err(error) => {
            complain(&format!("no session with {address}: {error}"));
            SERVER_LOST
        }
    }
}

/// One run, ended either way; the exit status.
fn train(session: &Session, variables: &Variables, started: Instant) -> u8 {
    let run = train::Run::new(session, variables, started);
    // tch panics where it has no other way to tell of an error; the server is to know.
    let ended = catch_unwind(AssertUnwindSafe(|| run.execute()));
    let (kind, message) = match ended {
        Ok(Ok(())) => return DONE,
        Ok(Err(RunError::Server(error))) => return lost(&error),
        Ok(Err(error)) => (error.kind(), error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            ("panic", text.unwrap_or("the training broke off").to_owned())
        }
    };
    complain(&message);
    match session.fail(kind, &message) {
        Ok(()) => TRAINING_FAILED,
        Err(error) => lost(&error),
    }
}

fn lost(error: &ServerError) -> u8 {
    complain(&format!("the server was lost: {error}"));
    SERVER_LOST
}
