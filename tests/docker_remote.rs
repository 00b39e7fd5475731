//! Docker daemons that are reached over TCP with TLS, or through ssh, on this machine's loopback.
//! Each test says aloud what it lacks and passes, unless REPRODUCEML_REQUIRE_DOCKER is set: then
//! only ssh may be missing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestStudy, Told, docker};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Politely, so that a daemon takes its mounts away.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network bridge that goes with the test.
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        let name = format!("rml{}", std::process::id());
        sh(
            &format!("ip link add {name} type bridge; ip addr add 192.0.2.1/24 dev {name}"),
            Path::new("/"),
        );
        Self(name)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sh(script: &str, folder: &Path) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn wait_for(port: u16) {
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A dry run of the build, which needs to know the daemon and nothing of it.
fn plan(study: &TestStudy, environment: &[(&str, &str)]) -> Told {
    let mut command = study.command(&["build", "pr16", "--dry-run"]);
    command.envs(environment.iter().copied());
    Told::of(command.output().unwrap())
}

const CERTIFICATES: &str = "
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca-key.pem -out ca.pem
for who in server client; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who-key.pem -out $who.csr
    printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > $who.ext
    openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
        -extfile $who.ext -out $who.pem
done
mkdir mine other
cp ca.pem mine/ca.pem; cp client.pem mine/cert.pem; cp client-key.pem mine/key.pem
cp mine/*.pem other/
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other-ca -keyout x.pem -out other/ca.pem
";

#[test]
fn a_daemon_on_tcp_with_tls_knows_its_users_and_they_know_it() {
    let name = "a_daemon_on_tcp_with_tls_knows_its_users_and_they_know_it";
    if !docker(name) {
        return;
    }
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let there = |what: &str| Command::new(what).arg("-V").output().is_ok();
    if !root || !["dockerd", "openssl", "ip"].into_iter().all(there) {
        eprintln!("SKIPPED {name}: a daemon of its own needs root, dockerd, openssl and ip");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sh(CERTIFICATES, folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port();
    // A bridge of its own: with `--bridge=none` a daemon removes `docker0`, which is another's.
    let others = Path::new("/sys/class/net/docker0").exists();
    let bridge = Bridge::new();
    let mut daemon = Command::new("dockerd");
    daemon
        .arg(format!("--host=tcp://127.0.0.1:{port}"))
        .args(["--tlsverify", "--bridge", &bridge.0, "--storage-driver=vfs"])
        .args(["--iptables=false", "--ip-forward=false", "--ip-masq=false"])
        .args(["--tlscacert", &at("ca.pem"), "--tlscert", &at("server.pem")])
        .args(["--tlskey", &at("server-key.pem"), "--data-root", &at("data")])
        .args(["--exec-root", &at("exec"), "--pidfile", &at("pid")])
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("log")).unwrap());
    let running = Running(daemon.spawn().unwrap());
    wait_for(port);

    let study = TestStudy::tinynn(&[]);
    let host = format!("tcp://127.0.0.1:{port}");
    let tls = |certificates: &str| {
        let folder = at(certificates);
        let all =
            [("DOCKER_HOST", &*host), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &*folder)];
        plan(&study, &all)
    };
    tls("mine").expect(&[0]);
    // A daemon of another authority, no certificates, and plain TCP are all refused with advice.
    let told = tls("other").expect(&[3]);
    assert!(told.err.contains("certificate"), "{}", told.err);
    let told = tls("nowhere").expect(&[3]);
    assert!(told.err.contains("DOCKER_CERT_PATH"), "{}", told.err);
    let told = plan(&study, &[("DOCKER_HOST", &host)]).expect(&[3]);
    assert!(told.err.contains("no Docker daemon answers"), "{}", told.err);
    drop(running);
    assert_eq!(Path::new("/sys/class/net/docker0").exists(), others, "the other daemon's bridge");
}

#[test]
fn a_daemon_behind_ssh_is_used_like_a_local_one() {
    let name = "a_daemon_behind_ssh_is_used_like_a_local_one";
    if !docker(name) {
        return;
    }
    let (sshd, me) = ("/usr/sbin/sshd", Command::new("id").arg("-un").output().unwrap().stdout);
    if !Path::new(sshd).is_file() {
        eprintln!("SKIPPED {name}: no sshd here (`apt-get install openssh-server`)");
        return;
    }
    let me = String::from_utf8(me).unwrap().trim().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    sh(
        "ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f user
         mkdir -p /run/sshd 2>/dev/null || true",
        folder.path(),
    );
    let port = free_port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n",
        at("host"),
        at("user.pub")
    );
    fs::write(at("sshd_config"), config).unwrap();
    let server = Command::new(sshd)
        .args(["-D", "-e", "-f", &at("sshd_config")])
        .stderr(fs::File::create(at("log")).unwrap())
        .spawn()
        .unwrap();
    let _server = Running(server);
    wait_for(port);
    // This user's own settings and known hosts stay out of it.
    let wrapper = format!(
        "#!/bin/sh\nexec ssh -F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile={} \"$@\"\n",
        at("user"),
        at("known")
    );
    fs::write(at("ssh"), wrapper).unwrap();
    sh("chmod +x ssh", folder.path());

    let study = TestStudy::tinynn(&[]);
    let host = format!("ssh://{me}@127.0.0.1:{port}");
    let ssh = at("ssh");
    let mut build = study.command(&["--format", "json", "build", "pr16"]);
    build.env("DOCKER_HOST", &host).env("REPRODUCEML_SSH", &ssh);
    let summary = Told::of(build.output().unwrap()).expect(&[0]).json();
    assert_eq!(summary["pairs"], 1, "two commits built through ssh");
    let mut probe = study.command(&["--format", "json", "build", "probe", "pr16"]);
    probe.env("DOCKER_HOST", &host).env("REPRODUCEML_SSH", &ssh);
    let probes = Told::of(probe.output().unwrap()).expect(&[0]).json();
    assert_eq!(probes["probes"][0]["buggy_passes"], false);
    assert_eq!(probes["probes"][0]["corrected_passes"], true);

    // What ssh says is handed on.
    let nowhere = format!("ssh://{me}@127.0.0.1:{}", free_port());
    let told = plan(&study, &[("DOCKER_HOST", &nowhere), ("REPRODUCEML_SSH", &ssh)]).expect(&[3]);
    assert!(told.err.contains("Connection refused"), "{}", told.err);
    let told = plan(&study, &[("DOCKER_HOST", "ssh://-oProxyCommand=x")]).expect(&[3]);
    assert!(told.err.contains("ssh://USER@HOST:PORT"), "{}", told.err);
}
