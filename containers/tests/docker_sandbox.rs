//! The sandbox seen from inside, and hostile commands that must not get away with it. Needs a
//! Docker daemon with the image `debian:bookworm-slim`: without one every test here says so and
//! passes, unless `REPRODUCEML_REQUIRE_DOCKER=1`, in which case it fails.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use containers::{Cancel, ContainerExit, ContainerSpec, DiskLimit, Docker, Ended, LogStream};
use reproduceml_containers as containers;

const IMAGE: &str = "debian:bookworm-slim";

/// A connection, or `None` after saying loudly why this test is skipped.
async fn docker(test: &str) -> Option<Docker> {
    let reason = match Docker::connect().await {
        Ok(docker) => match docker.image_id(IMAGE).await {
            Ok(Some(_)) => return Some(docker),
            Ok(None) => format!("the image {IMAGE} is not on the daemon"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    assert!(
        std::env::var("REPRODUCEML_REQUIRE_DOCKER").as_deref() != Ok("1"),
        "{test}: REPRODUCEML_REQUIRE_DOCKER=1, but {reason}"
    );
    eprintln!("SKIPPED {test}: {reason}");
    None
}

fn shell(docker: &Docker, script: &str) -> ContainerSpec {
    ContainerSpec::new(IMAGE, &["sh", "-c", script], docker.sandbox_user())
        .label("reproduceml.test", "sandbox")
}

async fn run(docker: &Docker, spec: &ContainerSpec) -> (ContainerExit, String) {
    let mut text = String::new();
    let mut log = |_: LogStream, bytes: &[u8]| {
        text.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    };
    let exit = docker.run(spec, &mut log, &Cancel::new()).await.unwrap();
    (exit, text)
}

#[tokio::test]
async fn status_output_and_signal_come_back() {
    let Some(docker) = docker("status_output_and_signal_come_back").await else { return };
    let (exit, text) =
        run(&docker, &shell(&docker, "echo out; echo err >&2; echo $VAR; exit 3").env("VAR", "v"))
            .await;
    assert_eq!((exit.status, exit.signal, exit.success()), (Some(3), None, false));
    assert!(text.contains("out") && text.contains("err") && text.contains('v'), "{text}");
    let (exit, _) = run(&docker, &shell(&docker, "kill -ABRT $$")).await;
    assert_eq!(exit.signal, Some(6));
    let (exit, _) = run(&docker, &shell(&docker, "true")).await;
    assert!(exit.success());
}

#[tokio::test]
async fn the_inside_has_no_network_no_capabilities_and_nothing_to_write_to() {
    let name = "the_inside_has_no_network_no_capabilities_and_nothing_to_write_to";
    let Some(docker) = docker(name).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "id -u; \
        grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status; \
        ls /sys/class/net; \
        touch /file 2>&1; touch /given/file 2>&1; touch /usr/bin/file 2>&1; \
        touch /tmp/file && echo tmp is writable; \
        ls /var/run/docker.sock 2>&1; \
        cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/pids.max";
    let spec = shell(&docker, script).read_only(folder.path(), "/given");
    let (_, text) = run(&docker, &spec).await;
    let zero = "0000000000000000";
    for line in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(text.contains(&format!("{line}:\t{zero}")), "{line}: {text}");
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(!text.starts_with("0\n") || docker.info().rootless, "runs as root: {text}");
    assert!(text.contains("lo\n") && !text.contains("eth0"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 3, "{text}");
    assert!(text.contains("tmp is writable"), "{text}");
    assert!(text.contains("docker.sock': No such file"), "{text}");
    if docker.info().cgroup_version == "2" {
        assert!(text.contains("4294967296\n0\n1024"), "{text}");
    }
}

#[tokio::test]
async fn a_memory_eater_is_killed_and_named() {
    let Some(docker) = docker("a_memory_eater_is_killed_and_named").await else { return };
    // In the main process, and in a child whose parent goes on: both must be seen.
    for script in ["exec tail /dev/zero", "tail /dev/zero; echo status $?; exit 1"] {
        let mut spec = shell(&docker, script);
        spec.limits.memory = Some(64 << 20);
        let (exit, text) = run(&docker, &spec).await;
        assert!(exit.oom_killed, "{script}: {exit:?} {text}");
        assert!(!exit.success());
    }
}

#[tokio::test]
async fn a_fork_bomb_meets_the_process_limit() {
    let Some(docker) = docker("a_fork_bomb_meets_the_process_limit").await else { return };
    let script = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo all started";
    let mut spec = shell(&docker, script);
    spec.limits.processes = Some(32);
    spec.limits.time = Some(20);
    let began = Instant::now();
    let (exit, text) = run(&docker, &spec).await;
    assert!(!text.contains("all started"), "{text}");
    assert!(text.contains("fork"), "{exit:?} {text}");
    assert!(began.elapsed() < Duration::from_secs(40));
}

#[tokio::test]
async fn a_hang_is_ended_by_time_and_by_silence() {
    let Some(docker) = docker("a_hang_is_ended_by_time_and_by_silence").await else { return };
    let mut spec = shell(&docker, "echo alive; sleep 600");
    spec.limits.time = Some(2);
    let (exit, text) = run(&docker, &spec).await;
    assert_eq!((exit.ended.clone(), exit.timed_out), (Ended::Timeout, true));
    assert!(exit.duration < Duration::from_secs(10) && text.contains("alive"), "{exit:?}");
    spec.limits.time = None;
    spec.limits.silence = Some(1);
    let (exit, _) = run(&docker, &spec).await;
    assert_eq!(exit.ended, Ended::Silence);
    // Closed outputs do not hide a hang either.
    let mut spec = shell(&docker, "exec >&- 2>&-; sleep 600");
    spec.limits.time = Some(2);
    let (exit, _) = run(&docker, &spec).await;
    assert_eq!(exit.ended, Ended::Timeout);
}

#[tokio::test]
async fn a_disk_filler_is_ended() {
    let Some(docker) = docker("a_disk_filler_is_ended").await else { return };
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let script = "while :; do head -c 1000000 /dev/zero >> /given/file; sleep 0.02; done";
    let mut spec = shell(&docker, script).read_write(folder.path(), "/given");
    spec.limits.time = Some(60);
    spec.limits.disk =
        Some(DiskLimit { folders: vec![folder.path().into()], max_bytes: 10_000_000, min_free: 0 });
    let (exit, _) = run(&docker, &spec).await;
    assert!(matches!(&exit.ended, Ended::Disk(how) if how.contains("allowed")), "{exit:?}");
    // A single file has a limit of its own, which holds to the byte.
    let mut spec = shell(&docker, "head -c 9000000 /dev/zero > /given/other")
        .read_write(folder.path(), "/given");
    spec.limits.file_size = Some(1_000_000);
    let (exit, _) = run(&docker, &spec).await;
    assert!(!exit.success());
    let size = std::fs::metadata(folder.path().join("other")).unwrap().len();
    assert_eq!(size, 1_000_000);
}

#[tokio::test]
async fn endless_output_and_a_failing_log_end_it() {
    let Some(docker) = docker("endless_output_and_a_failing_log_end_it").await else { return };
    let mut spec = shell(&docker, "yes").label("reproduceml.test", "endless");
    spec.limits.log = Some(1 << 20);
    let (exit, text) = run(&docker, &spec).await;
    assert_eq!(exit.ended, Ended::Log);
    assert!(text.len() < 4 << 20);
    let mut refuse = |_: LogStream, _: &[u8]| Err(std::io::Error::other("disk full"));
    let error = docker.run(&spec, &mut refuse, &Cancel::new()).await.unwrap_err();
    assert!(error.to_string().contains("disk full"));
    let left = docker.leftovers(&[("reproduceml.test", "endless")]).await.unwrap();
    assert_eq!(left, vec![]);
}

#[tokio::test]
async fn cancelled_dropped_and_forgotten_containers_go_away() {
    let name = "cancelled_dropped_and_forgotten_containers_go_away";
    let Some(docker) = docker(name).await else { return };
    let mark = format!("{}", std::process::id());
    let labels = [("reproduceml.test.mark", mark.as_str())];
    let spec = shell(&docker, "sleep 600").label("reproduceml.test.mark", &mark);
    let mut log = |_: LogStream, _: &[u8]| Ok(());

    let cancel = Cancel::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        later.cancel();
    });
    let exit = docker.run(&spec, &mut log, &cancel).await.unwrap();
    assert_eq!(exit.ended, Ended::Cancelled);
    assert_eq!(docker.leftovers(&labels).await.unwrap(), vec![]);

    // A future that is dropped removes its container in the background.
    let never = Cancel::new();
    let run = docker.run(&spec, &mut log, &never);
    assert!(tokio::time::timeout(Duration::from_secs(2), run).await.is_err());
    let began = Instant::now();
    while !docker.leftovers(&labels).await.unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "the container is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // A process that is killed cannot clean up: the next one finds its containers by label.
    let (killed, lost) = (docker.clone(), spec.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut log = |_: LogStream, _: &[u8]| Ok(());
            let docker = Docker::connect_to(killed.host()).await.unwrap();
            let never = Cancel::new();
            let run = docker.run(&lost, &mut log, &never);
            let _ = tokio::time::timeout(Duration::from_secs(2), run).await;
        });
        runtime.shutdown_background();
    })
    .join()
    .unwrap();
    docker.remove_leftovers(&labels).await.unwrap();
    assert_eq!(docker.leftovers(&labels).await.unwrap(), vec![]);
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}
