//! Which host a bug's next run goes to.

use std::sync::Arc;
use std::time::Duration;

use super::host::Host;
use super::{Bugs, HostsError, Place};
use crate::launch::Seated;

/// A seat for a run of a bug, if there is one now. Only where `fresh` a bug that has no host yet is
/// given one: the bug that was begun is carried on first.
pub(super) fn seat(
    hosts: &[Arc<Host>],
    bugs: &mut Bugs,
    bug: &str,
    fresh: bool,
    patience: Duration,
) -> Result<Seated, HostsError> {
    let Some(place) = bugs.placed.get(bug).cloned() else {
        return if fresh { begin(hosts, bugs, bug, patience) } else { Ok(Seated::Later) };
    };
    let its = hosts.iter().find(|host| host.setup.name == place.host);
    let standing = its.map(|host| host.standing(patience));
    if let (Some(host), Some(Ok(class))) = (its, &standing)
        && *class == place.class
    {
        return Ok(host.take().map_or(Seated::Later, Seated::Yes));
    }
    // Its host is gone, or not what it was: another of the same class takes all that is left.
    let alike: Vec<&Arc<Host>> = hosts
        .iter()
        .filter(|host| host.standing(patience).is_ok_and(|class| class == place.class))
        .collect();
    if !alike.is_empty() {
        let roomy = alike.into_iter().max_by_key(|host| host.room());
        let Some((host, seat)) = roomy.and_then(|host| Some((host, host.take()?))) else {
            return Ok(Seated::Later);
        };
        let place = Place { host: host.setup.name.clone(), class: place.class };
        bugs.placed.fix(bug, &place)?;
        return Ok(Seated::Yes(seat));
    }
    if !bugs.begun.contains(bug) {
        // It has no finished run that others would have to match.
        return begin(hosts, bugs, bug, patience);
    }
    if hosts.iter().any(|host| host.standing(patience) == Err(true)) {
        return Ok(Seated::Later);
    }
    if hosts.iter().all(|host| host.standing(patience).is_err()) {
        return Err(none_left(hosts));
    }
    Ok(Seated::Never(format!(
        "the runs of {bug} were made on the host {}, which is lost, and no other is of its class \
         of hardware ({}). Wait for it, or take {bug} out of {} and make its runs again: `run \
         --retry-failed`",
        place.host,
        place.class,
        bugs.placed.path().display()
    )))
}

/// A seat for the first run of a bug, on the host with the most room.
fn begin(
    hosts: &[Arc<Host>],
    bugs: &mut Bugs,
    bug: &str,
    patience: Duration,
) -> Result<Seated, HostsError> {
    let ready = hosts.iter().filter_map(|host| Some((host, host.standing(patience).ok()?)));
    let Some((host, class)) = ready.max_by_key(|(host, _)| host.room()) else {
        if hosts.iter().any(|host| host.standing(patience) == Err(true)) {
            return Ok(Seated::Later);
        }
        return Err(none_left(hosts));
    };
    let Some(seat) = host.take() else { return Ok(Seated::Later) };
    bugs.placed.fix(bug, &Place { host: host.setup.name.clone(), class })?;
    Ok(Seated::Yes(seat))
}

fn none_left(hosts: &[Arc<Host>]) -> HostsError {
    let said = hosts.iter().map(|host| {
        format!("  {} ({}): {}", host.setup.name, host.setup.address, host.why())
    });
    HostsError::NoneLeft { said: said.collect::<Vec<_>>().join("\n") }
}
