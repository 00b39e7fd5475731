//! Docker daemons of a test's own, beside the machine's: their own data, sockets and bridge, all of
//! which go with the test. And an ssh server that leads to one of them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the test.
pub struct Running(Child);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Politely, so that a daemon takes its mounts away; one that was stopped must go on for it.
        for signal in ["-TERM", "-CONT"] {
            let _ = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        }
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network bridge that goes with the test.
struct Bridge {
    name: String,
    address: String,
}

impl Bridge {
    /// One whose name and network nobody else on this machine has.
    fn new(number: usize) -> Self {
        let id = std::process::id();
        let name = format!("rmh{id}n{number}");
        let mut tries = 0;
        loop {
            let net = (id as usize + number * 64 + tries * 7) % 250;
            let address = format!("198.18.{net}.1");
            let taken = Command::new("ip").args(["-4", "-o", "addr"]).output().unwrap().stdout;
            if !String::from_utf8_lossy(&taken).contains(&format!(" {address}/")) {
                sh(
                    &format!(
                        "ip link add {name} type bridge; ip addr add {address}/24 dev {name}; \
                         ip link set {name} up"
                    ),
                    Path::new("/"),
                );
                return Self { name, address };
            }
            tries += 1;
            assert!(tries < 100, "no free network");
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.name]).status();
    }
}

pub fn sh(script: &str, folder: &Path) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An authority, a server's and a client's certificate, and the authority of somebody else.
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

/// Whether this machine can have daemons of a test's own.
pub fn possible(test: &str) -> bool {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let there = |what: &str| Command::new(what).arg("-V").output().is_ok();
    if root && ["dockerd", "openssl", "ip"].into_iter().all(there) {
        return true;
    }
    eprintln!("SKIPPED {test}: a daemon of its own needs root, dockerd, openssl and ip");
    false
}

/// A daemon on a socket and on TCP with TLS.
pub struct Daemon {
    /// First, so that it ends before its folder and its bridge go.
    process: Option<Running>,
    folder: tempfile::TempDir,
    bridge: Bridge,
    port: u16,
}

impl Daemon {
    /// Starts one; `number` tells those of one test apart. Its bridge is its own: with
    /// `--bridge=none` a daemon removes `docker0`, which is another's.
    pub fn start(number: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        sh(CERTIFICATES, folder.path());
        let mut daemon =
            Self { process: None, folder, bridge: Bridge::new(number), port: free_port() };
        daemon.begin();
        daemon
    }

    /// Starts the daemon again, as its machine would.
    pub fn begin(&mut self) {
        let at = |name: &str| self.at(name).display().to_string();
        let mut command = Command::new("dockerd");
        command
            .arg(format!("--host=tcp://127.0.0.1:{}", self.port))
            .arg(format!("--host=unix://{}", at("docker.sock")))
            .args(["--tlsverify", "--bridge", &self.bridge.name])
            .args([
                "--storage-driver",
                if overlay(self.folder.path()) { "overlay2" } else { "vfs" },
            ])
            .args(["--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .args(["--tlscacert", &at("ca.pem"), "--tlscert", &at("server.pem")])
            .args(["--tlskey", &at("server-key.pem"), "--data-root", &at("data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .stdout(Stdio::null())
            .stderr(fs::File::options().create(true).append(true).open(at("log")).unwrap());
        self.process = Some(Running(command.spawn().unwrap()));
        wait_for("a daemon", || {
            let info = self.docker(&["info"]);
            info.status.success()
        });
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its address by its socket.
    pub fn unix(&self) -> String {
        format!("unix://{}", self.at("docker.sock").display())
    }

    /// Its address by TCP; `mine` are certificates that it takes, `other` those of others.
    pub fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// The address at which its containers reach this machine.
    pub fn gateway(&self) -> &str {
        &self.bridge.address
    }

    /// Calls `docker` on it.
    pub fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker").args(["-H", &self.unix()]).args(arguments).output().unwrap()
    }

    /// What `docker` prints, by lines.
    pub fn ask(&self, arguments: &[&str]) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.docker(arguments).stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// It dies with all that runs on it, as when a machine loses its power.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            // The daemons first: nothing begins any more. Then what they started, by its parents,
            // whose command lines name this daemon's folder.
            let containerd = fs::read_to_string(self.at("exec/containerd/containerd.pid"));
            signal("-KILL", &process.id().to_string());
            if let Ok(id) = containerd {
                signal("-KILL", id.trim());
            }
            drop(process);
            let folder = self.folder.path().display().to_string();
            wait_for("all of a machine to be dead", || {
                let mine = processes(|id| {
                    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                    String::from_utf8_lossy(&line).contains(&folder) && id != std::process::id()
                });
                let parent = |id| {
                    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
                    let after = stat.rsplit(") ").next().unwrap_or_default().to_owned();
                    after.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok())
                };
                let shims = processes(|id| {
                    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
                    mine.contains(&id) && name.starts_with("containerd-shim")
                });
                let inside = processes(|id| parent(id).is_some_and(|its| shims.contains(&its)));
                for id in inside.iter().chain(&shims) {
                    signal("-KILL", &id.to_string());
                }
                shims.is_empty()
            });
        }
        let _ = fs::remove_file(self.at("pid"));
        let _ = fs::remove_file(self.at("exec/containerd/containerd.pid"));
    }

    /// It hangs: connections are taken and nothing is said.
    pub fn stop(&self) {
        if let Some(process) = &self.process {
            signal("-STOP", &process.id().to_string());
        }
    }

    /// Runs that are under way on it.
    pub fn running(&self) -> usize {
        self.ask(&["ps", "-q", "--filter", "label=reproduceml.stage=run"]).len()
    }

    /// The last of what it wrote.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.at("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // One that was stopped would answer nothing.
            signal("-CONT", &process.id().to_string());
            let left = self.ask(&["ps", "-aq"]);
            if !left.is_empty() {
                let mut arguments = vec!["rm", "-f"];
                arguments.extend(left.iter().map(String::as_str));
                self.docker(&arguments);
            }
        }
        drop(self.process.take());
        // Whatever a killed daemon left mounted; then the folder can go.
        let below = self.folder.path().display();
        let script = format!(
            "awk '$2 ~ \"^{below}/\" {{print $2}}' /proc/mounts | sort -r | \
             while read -r mount; do umount -l \"$mount\" || true; done"
        );
        let _ = Command::new("sh").args(["-c", &script]).status();
    }
}

fn signal(signal: &str, id: &str) {
    let _ = Command::new("kill").args([signal, id]).stderr(Stdio::null()).status();
}

/// The processes of this machine that are wanted.
fn processes(wanted: impl Fn(u32) -> bool) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| wanted(*id))
        .collect()
}

/// Whether the folder's file system can be the upper one of an overlay.
fn overlay(folder: &Path) -> bool {
    let script = "mkdir -p o/l o/u o/w o/m; mount -t overlay x \
                  -o lowerdir=o/l,upperdir=o/u,workdir=o/w o/m && umount o/m";
    let tried = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    tried.status.success()
}

/// An ssh server on a port of its own, with keys of its own, that leads to a daemon.
pub struct Ssh {
    _process: Running,
    folder: tempfile::TempDir,
    port: u16,
    user: String,
}

impl Ssh {
    /// One through which `docker` is that daemon, or the machine's; `None`, said aloud, where there
    /// is no sshd.
    pub fn start(test: &str, daemon: Option<&Daemon>) -> Option<Self> {
        let sshd = "/usr/sbin/sshd";
        if !Path::new(sshd).is_file() {
            eprintln!("SKIPPED {test}: no sshd here (`apt-get install openssh-server`)");
            return None;
        }
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout);
        let user = user.unwrap().trim().to_owned();
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
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             PidFile none\n{}",
            at("host"),
            at("user.pub"),
            daemon
                .map_or(String::new(), |daemon| format!("SetEnv DOCKER_HOST={}\n", daemon.unix()))
        );
        fs::write(at("sshd_config"), config).unwrap();
        let server = Command::new(sshd)
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let process = Running(server);
        wait_for("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        // This user's own settings and known hosts stay out of it.
        let wrapper = format!(
            "#!/bin/sh\nexec ssh -F none -i {} -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile={} \"$@\"\n",
            at("user"),
            at("known")
        );
        fs::write(at("ssh"), wrapper).unwrap();
        sh("chmod +x ssh", folder.path());
        Some(Self { _process: process, folder, port, user })
    }

    pub fn address(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}", self.user, self.port)
    }

    /// What `REPRODUCEML_SSH` is to say.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("ssh")
    }
}
