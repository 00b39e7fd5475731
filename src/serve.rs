//! `serve` and `ticket`: the server alone, for clients that `run` does not start.

use std::sync::Arc;

use anyhow::anyhow;
use server::{Event, Listen, Server, ServerConfig, ServerHandle, ShutdownReport, Ticket};
use study::{RunKey, Study};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use crate::access;
use crate::cli::{Cli, ListenAddress, ServeArgs, TicketArgs};
use crate::dashboard;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::progress::Progress;
use crate::studies;

/// Serves until a signal asks for the end.
pub async fn serve(cli: &Cli, args: &ServeArgs) -> Result<(), Failure> {
    let study = Arc::new(studies::open(cli)?);
    let config = config(&study, args)?;
    let _serving = study.lock_serving()?;
    let store = Arc::new(study.store()?);
    let mut stop = Stop::new()?;
    let shown = config.clone();
    let started =
        (!args.no_dashboard).then(|| dashboard::start(Arc::clone(&study), args.dashboard, &shown));
    let handle = Server::start(store, Arc::clone(&study), config).await.map_err(access::explain)?;
    let mut events = handle.events();
    let dashboard = match started {
        Some(start) => Some(start.await?),
        None => None,
    };
    print_addresses(cli, &handle, dashboard.as_ref())?;
    let progress = Progress::new();
    loop {
        tokio::select! {
            () = stop.asked() => break,
            event = events.recv() => match event {
                Ok(event) => show(&progress, &event),
                Err(RecvError::Lagged(missed)) => {
                    progress.line(&format!("{missed} events were too many to show"));
                }
                // The server holds the other end as long as it runs.
                Err(RecvError::Closed) => break,
            },
        }
    }
    progress.line("ending: no new clients; those that are here finish their message");
    if let Some(dashboard) = dashboard {
        dashboard.shutdown().await;
    }
    let report = handle.shutdown().await;
    while let Ok(event) = events.try_recv() {
        show(&progress, &event);
    }
    said_goodbye(&progress, &report)
}

/// Prints a ticket.
pub fn ticket(cli: &Cli, args: &TicketArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let store = study.store()?;
    let planned = store.active_experiments()?;
    let Some((_, runs)) = planned.iter().find(|(e, _)| e.id() == args.experiment) else {
        return Err(Failure::input(anyhow!(
            "the study plans no experiment {}; `reproduceml run --plan-only` plans and lists them",
            args.experiment
        )));
    };
    if args.run >= *runs {
        return Err(Failure::input(anyhow!(
            "{} has {runs} runs, expected a number below that, not {}; `run --plan-only --runs N` \
             plans more",
            args.experiment,
            args.run
        )));
    }
    let key = RunKey { experiment: args.experiment.clone(), run: args.run };
    let ticket = Ticket::issue(&study, &key).map_err(access::explain)?;
    let mut rows = Rows::new(&["ticket"]);
    rows.push([ticket.as_str()]);
    let value = serde_json::json!({
        "experiment": args.experiment, "run": args.run, "ticket": ticket.as_str(),
    });
    match cli.format {
        // Alone on its line, so that a script can take it.
        crate::cli::Format::Table => output::print_text(&format!("{}\n", ticket.as_str())),
        format => output::print(format, &value, &rows),
    }
}

fn config(study: &Study, args: &ServeArgs) -> Result<ServerConfig, Failure> {
    let place = |place: &ListenAddress| match place {
        ListenAddress::Unix(path) => Listen::Unix(path.clone()),
        ListenAddress::Tcp(address) => Listen::Tcp(*address),
    };
    let listen = args.listen.iter().map(place).collect();
    let loopback = ServerConfig::loopback(study.root().join("data"));
    access::apply(&args.access, ServerConfig { listen, ..loopback })
}

/// The signals that ask for an end, caught from the moment this is made.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(Failure::stage);
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: catch(terminate)?, interrupt: catch(interrupt)? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn print_addresses(
    cli: &Cli,
    handle: &ServerHandle,
    dashboard: Option<&dashboard::Handle>,
) -> Result<(), Failure> {
    let url = dashboard.map(dashboard::Handle::url);
    let fingerprint = handle.fingerprint().map(|digest| digest.to_string());
    if let Some(digest) = &fingerprint {
        eprintln!("the certificate's fingerprint, for REPRODUCEML_TLS_FINGERPRINT: {digest}");
    }
    let mut rows = Rows::new(&["address"]);
    for address in handle.addresses() {
        rows.push([address]);
    }
    if let Some(url) = &url {
        rows.push([url]);
    }
    let value = serde_json::json!({
        "addresses": handle.addresses(), "tls_fingerprint": fingerprint, "dashboard": url,
    });
    output::print(cli.format, &value, &rows)
}

fn show(progress: &Progress, event: &Event) {
    match event {
        Event::RunClaimed { key, attempt, resumed: false } => {
            progress.line(&format!("{key} began, attempt {attempt}"));
        }
        Event::RunClaimed { key, .. } => tracing::info!("{key} came back"),
        Event::Epoch { key, number, loss, .. } => {
            tracing::info!("{key} epoch {number}, loss {loss:?}");
        }
        Event::Finished { key, metrics } => {
            let accuracy = metrics.get("test/accuracy").copied().unwrap_or(f64::NAN);
            progress.line(&format!("{key} finished, accuracy {accuracy:.4} on the test split"));
        }
        Event::Failed { key, reason } => progress.line(&format!("{key} failed: {reason}")),
        Event::SeedMismatch { key, expected, found } => progress.line(&format!(
            "{key} failed: its client used seed {found}, expected {expected}; the experiment is \
             marked as not comparable"
        )),
        Event::StorageTrouble { message } => progress.line(&format!("cannot store: {message}")),
        // The server logs these itself.
        Event::Refused { .. } => {}
    }
}

fn said_goodbye(progress: &Progress, report: &ShutdownReport) -> Result<(), Failure> {
    match report.unfinished.len() {
        0 => progress.line("ended; no run was left unfinished"),
        left => {
            progress.line(&format!(
                "ended; {left} runs are unfinished, and their clients go on when `serve` is back:"
            ));
            for key in &report.unfinished {
                progress.line(&format!("  {key}"));
            }
        }
    }
    if report.drained {
        Ok(())
    } else {
        Err(Failure::stage(anyhow!(
            "not every session came to a stop in time; what was acknowledged is stored all the same"
        )))
    }
}
