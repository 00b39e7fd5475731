//! The beginning of a session: who may have which run, and what its job is.

use std::sync::Arc;

use protocol::{ErrorCode, Hello, Job, Reply, VERSIONS};
use study::store::{Holder, SessionOutcome, SessionWrite};
use study::{Experiment, RunKey};

use super::{Session, Shared, blocking};
use crate::challenge::Dataset;
use crate::connection::Connection;
use crate::event::Event;
use crate::job;
use crate::ledger::Ledger;
use crate::refusal::{End, Refusal, ledger_refusal};

/// Answers `hello`: checks version, token and ticket, writes the seed, and takes the run.
pub(super) async fn open(
    shared: &Arc<Shared>,
    ledger: Ledger,
    hello: Hello,
    connection: &mut Connection<'_>,
) -> Result<Session, End> {
    let Some(version) = VERSIONS.iter().copied().find(|v| hello.versions.contains(v)) else {
        let what = format!(
            "this server speaks versions {VERSIONS:?} of the protocol, the client {:?}",
            hello.versions.iter().take(16).collect::<Vec<_>>()
        );
        return Err(Refusal::never(ErrorCode::Version, what).into());
    };
    if let Some(token) = &shared.config.token
        && !token.is(hello.token.as_deref().unwrap_or_default())
    {
        let what = "the token is missing or wrong; set REPRODUCEML_TOKEN to the server's token";
        return Err(Refusal::never(ErrorCode::Token, what).into());
    }
    let Some((key, issued)) = shared.tickets.read(&hello.ticket) else {
        let what = "the ticket is not one of this study's; take the one the server issued";
        return Err(Refusal::never(ErrorCode::Ticket, what).into());
    };
    if hello.holder.len() != 32 || !hello.holder.bytes().all(|b| b.is_ascii_hexdigit()) {
        let what = "the holder's name must be 32 hexadecimal digits, chosen at random";
        return Err(Refusal::never(ErrorCode::BadMessage, what).into());
    }
    let prepared = {
        let (shared, key) = (Arc::clone(shared), key.clone());
        blocking(move || prepare(&shared, &key)).await?
    };
    let (experiment, dataset, job) = prepared;
    let holder = Holder { key: key.clone(), name: hello.holder };
    let left = shared.holds.left(&key);
    let claim = SessionWrite::Claim { issued, seed: job.seed, expired: left.is_zero() };
    let outcome = ledger.write(holder.clone(), claim).await;
    let SessionOutcome::Claimed { attempt, resumed } =
        outcome.map_err(|error| ledger_refusal(error, left))?
    else {
        return Err(Refusal::never(ErrorCode::Internal, "a claim was not answered as one").into());
    };
    shared.holds.hear(&key);
    shared.tell(Event::RunClaimed { key, attempt, resumed });
    let limits = &shared.config.limits;
    let welcome = Reply::Welcome {
        version,
        attempt,
        heartbeat_seconds: limits.heartbeat.as_secs_f64(),
        lease_seconds: limits.lease.as_secs_f64(),
        job: job.clone(),
    };
    connection.reply(&welcome).await?;
    connection.let_in();
    Ok(Session { shared: Arc::clone(shared), ledger, holder, experiment, dataset, job })
}

fn prepare(shared: &Shared, key: &RunKey) -> Result<(Experiment, Arc<Dataset>, Box<Job>), Refusal> {
    let experiment = shared.store.experiment(&key.experiment)?.ok_or_else(|| {
        let what = format!("the study has no experiment {}; plan it again", key.experiment);
        Refusal::never(ErrorCode::Ticket, what)
    })?;
    let dataset = shared
        .datasets
        .get(&experiment)
        .map_err(|error| Refusal::never(ErrorCode::Challenge, error))?;
    let seed = shared.store.issue_seed(&experiment, key.run)?;
    let trace = shared.config.trace;
    let job = job::build(&shared.study, &experiment, key.run, seed, &dataset, trace)
        .map_err(|error| Refusal::never(ErrorCode::Challenge, error))?;
    Ok((experiment, dataset, Box::new(job)))
}
