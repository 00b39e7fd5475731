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
    let said = hosts
        .iter()
        .map(|host| format!("  {} ({}): {}", host.setup.name, host.setup.address, host.why()));
    HostsError::NoneLeft { said: said.collect::<Vec<_>>().join("\n") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use containers::Docker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::HostSetup;
    use super::*;
    use crate::launch::Seat;
    use study::placed::Placed;

    /// A daemon that says its version and nothing else.
    async fn daemon() -> Docker {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                        let body = r#"{"ApiVersion": "1.41", "ServerVersion": "20.10.24"}"#;
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
                        let length = body.len();
                        let text = format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}");
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Docker::connect_with(&address, None).await.unwrap()
    }

    fn hosts(names: &[&str], device: &str) -> Vec<Arc<Host>> {
        let setup = |name: &str| HostSetup {
            name: name.to_owned(),
            address: format!("ssh://{name}"),
            certs: None,
            jobs: None,
            class: None,
            gpus: vec!["3".to_owned(), "5".to_owned()],
            server: None,
            network: "bridge".to_owned(),
        };
        names.iter().map(|name| Arc::new(Host::new(setup(name), device))).collect()
    }

    fn bugs(folder: &std::path::Path, begun: &[&str]) -> Bugs {
        let begun: BTreeSet<String> = begun.iter().map(|bug| (*bug).to_owned()).collect();
        let placed = Placed::read(folder.join("hosts/placed.json"), &begun).unwrap();
        Bugs { placed, begun }
    }

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(3600);

    fn yes(seated: Result<Seated, HostsError>) -> Seat {
        match seated.unwrap() {
            Seated::Yes(seat) => seat,
            Seated::Later => panic!("later"),
            Seated::Never(why) => panic!("{why}"),
        }
    }

    fn later(seated: Result<Seated, HostsError>) -> bool {
        matches!(seated, Ok(Seated::Later))
    }

    #[tokio::test]
    async fn a_bug_keeps_to_its_host_and_another_begins_where_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let docker = daemon().await;
        let hosts = hosts(&["a", "b"], "cpu");
        let mut bugs = bugs(folder.path(), &[]);
        assert!(later(seat(&hosts, &mut bugs, "pr1", true, NOW)), "none is ready yet");
        hosts[0].pretend(&docker, "x", 2, 1);
        hosts[1].pretend(&docker, "x", 1, 1);
        assert!(later(seat(&hosts, &mut bugs, "pr1", false, NOW)), "what was begun comes first");
        let first = yes(seat(&hosts, &mut bugs, "pr1", true, NOW));
        let second = yes(seat(&hosts, &mut bugs, "pr1", false, NOW));
        assert_eq!((first.host.as_deref(), second.host.as_deref()), (Some("a"), Some("a")));
        assert!(later(seat(&hosts, &mut bugs, "pr1", true, NOW)), "its host is full, b is not");
        let other = yes(seat(&hosts, &mut bugs, "pr2", true, NOW));
        assert_eq!(other.host.as_deref(), Some("b"));
        assert!(later(seat(&hosts, &mut bugs, "pr3", true, NOW)));
        drop(second);
        assert_eq!(yes(seat(&hosts, &mut bugs, "pr1", false, NOW)).host.as_deref(), Some("a"));
        assert_eq!(other.gpu, None);

        // On record: what has finished runs stays, what has none is free again.
        let again = tests::bugs(folder.path(), &["pr2"]);
        assert_eq!(again.placed.get("pr2").unwrap().host, "b");
        assert!(again.placed.get("pr1").is_none());
    }

    #[tokio::test]
    async fn each_run_on_cuda_has_a_gpu_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = hosts(&["a"], "cuda");
        hosts[0].pretend(&daemon().await, "x", 9, 1);
        let mut bugs = bugs(folder.path(), &[]);
        let taken = [(); 2].map(|()| yes(seat(&hosts, &mut bugs, "pr1", true, NOW)));
        let gpus: BTreeSet<_> = taken.iter().map(|seat| seat.gpu.clone().unwrap()).collect();
        assert_eq!(gpus, BTreeSet::from(["3".to_owned(), "5".to_owned()]));
        assert!(later(seat(&hosts, &mut bugs, "pr1", true, NOW)));
    }

    #[tokio::test]
    async fn what_was_begun_goes_on_only_where_the_hardware_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let docker = daemon().await;
        let hosts = hosts(&["a", "b", "c"], "cpu");
        let ready = hosts[0].pretend(&docker, "x", 4, 1);
        let mut bugs = bugs(folder.path(), &[]);
        drop(yes(seat(&hosts[..1], &mut bugs, "pr1", true, NOW)));
        drop(yes(seat(&hosts[..1], &mut bugs, "pr2", true, NOW)));
        bugs.begun.insert("pr1".to_owned());
        hosts[1].pretend(&docker, "y", 4, 1);
        hosts[0].pretend_lost(&ready, false);
        assert!(later(seat(&hosts[..2], &mut bugs, "pr1", true, LONG)), "it may come back");
        let moved = yes(seat(&hosts[..2], &mut bugs, "pr2", false, LONG));
        assert_eq!(moved.host.as_deref(), Some("b"), "it has nothing to match");
        let Ok(Seated::Never(why)) = seat(&hosts[..2], &mut bugs, "pr1", true, NOW) else {
            panic!("its class is gone")
        };
        assert!(why.contains("host a") && why.contains("class=x"), "{why}");
        assert!(why.contains("placed.json"), "{why}");

        hosts[2].pretend(&docker, "x", 1, 1);
        let moved = yes(seat(&hosts, &mut bugs, "pr1", false, NOW));
        assert_eq!(moved.host.as_deref(), Some("c"));
        assert_eq!(bugs.placed.get("pr1").unwrap().host, "c", "on record");

        // The first one is back with another kernel: it is not the same any more.
        hosts[0].pretend(&docker, "z", 4, 2);
        assert!(later(seat(&hosts, &mut bugs, "pr1", false, NOW)), "c is full");
    }

    #[tokio::test]
    async fn with_no_host_left_everything_ends() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = hosts(&["a"], "cpu");
        let ready = hosts[0].pretend(&daemon().await, "x", 1, 1);
        let mut bugs = bugs(folder.path(), &[]);
        hosts[0].pretend_lost(&ready, true);
        let error = seat(&hosts, &mut bugs, "pr1", true, LONG).map(drop).unwrap_err().to_string();
        assert!(error.contains("a (ssh://a): gone") && error.contains("docker -H"), "{error}");
    }
}
