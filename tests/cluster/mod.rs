//! A Slurm cluster of one machine: its own configuration, key, ports and folders, all of which go
//! with it. Nothing of the machine's own Slurm is read or changed.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A node: its name, and the features that it says it has. One with the feature `gpu` says that it
/// has one of type `a100` too.
pub type Node = (&'static str, &'static str);

/// A running cluster.
pub struct Cluster {
    folder: tempfile::TempDir,
    daemons: Vec<(String, Child)>,
}

/// The daemons, which Debian keeps where only root looks.
const DAEMONS: [&str; 3] = ["munged", "slurmctld", "slurmd"];
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

fn daemon(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(FOLDERS.map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Cluster {
    /// Starts a cluster with these nodes of two processors each; if there is no Slurm, says so
    /// aloud, and fails where it is required.
    pub fn start(test: &str, nodes: &[Node]) -> Option<Self> {
        if let Some(missing) = DAEMONS.iter().find(|name| daemon(name).is_none()) {
            assert!(
                std::env::var_os("REPRODUCEML_REQUIRE_SLURM").is_none(),
                "{test}: REPRODUCEML_REQUIRE_SLURM is set and there is no {missing}"
            );
            eprintln!("SKIPPED {test}: no {missing}; `scripts/setup --tests` installs Slurm");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { folder, daemons: Vec::new() };
        cluster.configure(nodes);
        cluster.start_munge();
        cluster.spawn("slurmctld", "slurmctld", &["-D", "-c"]);
        for (name, _) in nodes {
            cluster.start_node(name);
        }
        let ready = || cluster.ask("sinfo", &["-h", "-N", "-p", "main", "-o", "%T"]);
        until(30, || ready().lines().filter(|state| *state == "idle").count() == nodes.len())
            .unwrap_or_else(|| panic!("no cluster:\n{}\n{}", ready(), cluster.logs()));
        Some(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, nodes: &[Node]) {
        for folder in ["state", "log", "munge"] {
            std::fs::create_dir(self.path(folder)).unwrap();
        }
        use std::os::unix::fs::PermissionsExt;
        // Munge takes no folder that others could write to, and its clients must get in.
        for folder in [self.folder.path().to_owned(), self.path("munge")] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let named = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let host = named("uname", &["-n"]);
        let host = host.split('.').next().unwrap();
        let user = named("id", &["-un"]);
        // Held together, so that they are different ones.
        let held: Vec<TcpListener> =
            (0..=nodes.len()).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        let here = self.folder.path().display();
        let mut text = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser={user}\nSlurmdUser={user}\n\
             AuthType=auth/munge\nAuthInfo=socket={here}/munge/socket\nCredType=cred/munge\n\
             SlurmctldPort={ctld}\nStateSaveLocation={here}/state\nSlurmdSpoolDir={here}/spool-%n\n\
             SlurmctldPidFile={here}/slurmctld.pid\nSlurmdPidFile={here}/slurmd-%n.pid\n\
             SlurmctldLogFile={here}/log/slurmctld\nSlurmdLogFile={here}/log/%n\n\
             SlurmdParameters=config_overrides\nProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n\
             AccountingStorageType=accounting_storage/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=2\n\
             SlurmdTimeout=5\nKillWait=1\nMinJobAge=3600\nCompleteWait=0\n\
             PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
             GresTypes=gpu\nSchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,\
             bf_interval=1\n",
            ctld = ports[0],
        );
        for ((name, features), port) in nodes.iter().zip(&ports[1..]) {
            text += &format!(
                "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 \
                 RealMemory=4000 Feature={features}{gres}\n",
                gres = if *features == "gpu" { " Gres=gpu:a100:1" } else { "" },
            );
        }
        text += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n\
                 PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9\n";
        std::fs::write(self.config(), text).unwrap();
        // Any file does for a device that nothing opens.
        let gpus = nodes.iter().filter(|(_, features)| *features == "gpu");
        let gpus =
            gpus.map(|(name, _)| format!("NodeName={name} Name=gpu Type=a100 File=/dev/null\n"));
        std::fs::write(self.path("gres.conf"), gpus.collect::<String>()).unwrap();
        std::fs::write(self.path("cgroup.conf"), "CgroupAutomount=no\n").unwrap();
    }

    /// What `SLURM_CONF` is to say.
    pub fn config(&self) -> PathBuf {
        self.path("slurm.conf")
    }

    fn start_munge(&mut self) {
        let mut key = [0; 128];
        use std::io::Read;
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut key).unwrap();
        let file = self.path("munge/key");
        std::fs::write(&file, key).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let at = |option: &str, name: &str| {
            format!("--{option}={}", self.path("munge").join(name).display())
        };
        let arguments = [
            "--foreground".to_owned(),
            "--force".to_owned(),
            at("key-file", "key"),
            at("socket", "socket"),
            at("pid-file", "pid"),
            at("log-file", "log"),
            at("seed-file", "seed"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.spawn("munged", "munged", &arguments);
        let socket = self.path("munge/socket");
        until(10, || socket.exists()).expect("munged makes its socket");
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, name: &str) {
        std::fs::create_dir_all(self.path(&format!("spool-{name}"))).unwrap();
        self.spawn(name, "slurmd", &["-D", "-N", name]);
    }

    fn spawn(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let log = std::fs::File::create(self.path("log").join(format!("{name}.said"))).unwrap();
        let child = Command::new(daemon(program).unwrap())
            .args(arguments)
            .env("SLURM_CONF", self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemons.push((name.to_owned(), child));
    }

    /// What one of Slurm's commands prints.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.config())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// States of all jobs that the cluster knows, each `JOB NAME STATE NODE`.
    pub fn jobs(&self) -> Vec<Vec<String>> {
        let format = ["--states=all", "--array", "-h", "-o", "%i|%j|%T|%N"];
        let told = self.ask("squeue", &format);
        told.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// Numbers of the jobs in a state.
    pub fn in_state(&self, state: &str) -> Vec<String> {
        let jobs = self.jobs().into_iter().filter(|job| job[2] == state);
        jobs.map(|job| job[0].clone()).collect()
    }

    /// The controller goes for some seconds and comes back, as when a cluster is updated.
    pub fn restart_controller(&mut self) {
        let at = self.daemons.iter().position(|(its, _)| its == "slurmctld").unwrap();
        let (_, mut controller) = self.daemons.remove(at);
        // In order: so it writes down what it knows.
        let stopped = Command::new("kill").arg(controller.id().to_string()).status().unwrap();
        assert!(stopped.success() && controller.wait().is_ok());
        std::thread::sleep(Duration::from_secs(3));
        self.spawn("slurmctld", "slurmctld", &["-D"]);
    }

    /// A node dies with all that runs on it.
    pub fn kill_node(&mut self, name: &str) {
        let jobs =
            self.ask("squeue", &["-h", "--array", "--states=running", "-w", name, "-o", "%A"]);
        let at = self.daemons.iter().position(|(its, _)| its == name).unwrap();
        let (_, mut slurmd) = self.daemons.remove(at);
        slurmd.kill().unwrap();
        slurmd.wait().unwrap();
        let steps: Vec<String> = jobs.lines().map(|job| format!("slurmstepd: [{job}.")).collect();
        let node = format!("SLURMD_NODENAME={name}");
        self.kill_processes(|environment, command| {
            environment.contains(&node)
                || steps.iter().any(|step| command.starts_with(step.as_str()))
        });
    }

    /// Kills what belongs to this cluster and is `wanted` by its environment and command line.
    fn kill_processes(&self, wanted: impl Fn(&[String], &str) -> bool) {
        let mark = format!("SLURM_CONF={}", self.config().display());
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let environment: Vec<String> = read("environ")
                .split(|byte| *byte == 0)
                .map(|one| String::from_utf8_lossy(one).into_owned())
                .collect();
            let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
            if id != std::process::id()
                && environment.contains(&mark)
                && wanted(&environment, &command)
            {
                // It may be gone by now.
                let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            }
        }
    }

    /// What the daemons wrote last.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.path("log")).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(15);
            all += &format!("== {}\n{}\n", entry.path().display(), lines[last..].join("\n"));
        }
        all
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, daemon) in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // Steps of jobs and what they run are no children of this process.
        self.kill_processes(|environment, command| {
            command.starts_with("slurmstepd")
                || environment.iter().any(|one| one.starts_with("SLURMD_NODENAME="))
        });
    }
}

/// Waits until something holds, at most so many seconds; `None` if it never did.
pub fn until(seconds: u64, mut holds: impl FnMut() -> bool) -> Option<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if holds() {
            return Some(());
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
