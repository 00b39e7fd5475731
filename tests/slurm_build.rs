//! Builds as jobs of a real Slurm cluster, with real Docker on its nodes, which are all this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cluster;
mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, until};
use common::{TestStudy, Told, docker, root};
use serde_json::{Value, json};

/// A first step that a test holds up, or lets fail, by files in the compiler cache.
const GATE: &str = r#"
[[steps]]
name = "gate"
kind = "compile"
run = """
[ ! -e /cache/fail ] || { echo 'src/nn.c:1:1: error: the test says so'; exit 1; }
while [ -e /cache/hold ]; do touch /cache/held; echo held; sleep 0.3; done
"""

[[steps]]
name = "compile"
"#;

/// A study of tinynn, and a home of the program in which its toolchain has the gate.
struct Gated {
    study: TestStudy,
    home: tempfile::TempDir,
}

impl Gated {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let name = "debian-bookworm-tinynn";
        let toolchain = home.path().join("dockerfiles").join(name);
        std::fs::create_dir_all(&toolchain).unwrap();
        for file in ["Dockerfile", "smoke.py", "toolchain.toml"] {
            let text = std::fs::read_to_string(root().join("dockerfiles").join(name).join(file));
            let text = text.unwrap().replacen("\n[[steps]]\nname = \"compile\"\n", GATE, 1);
            std::fs::write(toolchain.join(file), text).unwrap();
        }
        for part in ["clients", "data"] {
            std::os::unix::fs::symlink(root().join(part), home.path().join(part)).unwrap();
        }
        let study = TestStudy::tinynn(&[]);
        let gated = Self { study, home };
        std::fs::create_dir_all(gated.gate("")).unwrap();
        gated
    }

    /// Says how the study uses the cluster.
    fn say(self, slurm: &str) -> Self {
        let file = self.study.path().join("study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let common = "\n[slurm]\ncontainer = \"none\"\npoll_seconds = 1\n[slurm.build]\ncpus = 1\n";
        std::fs::write(&file, format!("{text}{common}{slurm}\n")).unwrap();
        self
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.study.path().join("cache/ccache").join(name)
    }

    fn hold(&self) {
        let _ = std::fs::remove_file(self.gate("held"));
        std::fs::write(self.gate("hold"), "").unwrap();
    }

    fn let_go(&self) {
        std::fs::remove_file(self.gate("hold")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.study.command(&[&["--format", "json"], arguments].concat());
        command.env("REPRODUCEML_HOME", self.home.path());
        command
    }

    fn call(&self, arguments: &[&str]) -> Told {
        Told::of(self.command(arguments).output().unwrap())
    }

    fn on(&self, cluster: &Cluster, arguments: &[&str]) -> Command {
        let mut command = self.command(&[&["build", "--executor", "slurm"], arguments].concat());
        command.env("SLURM_CONF", cluster.config());
        command
    }

    fn build(&self, cluster: &Cluster, arguments: &[&str]) -> Told {
        Told::of(self.on(cluster, arguments).output().unwrap())
    }

    /// Starts a call and waits until one of its builds is held up.
    fn begin(&self, cluster: &Cluster, arguments: &[&str]) -> Child {
        self.hold();
        let mut command = self.on(cluster, arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.held(cluster);
        child
    }

    /// Waits until a build is held up.
    fn held(&self, cluster: &Cluster) {
        until(120, || self.gate("held").exists())
            .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    }

    /// The content of each side's artifact, or the class of its failure.
    fn results(&self) -> BTreeMap<String, String> {
        let store = study::Study::open(&self.study.path()).unwrap().store().unwrap();
        let named =
            |(bug, side, record): (study::BugId, study::Evaluation, study::ArtifactRecord)| {
                let end = match record.status {
                    study::ArtifactStatus::Built { content, .. } => content,
                    study::ArtifactStatus::Failed { class, .. } => class,
                };
                (format!("{bug} {side}"), end)
            };
        store.builds().unwrap().into_iter().map(named).collect()
    }

    /// The folders of a bug's two builds.
    fn builds(&self, summary: &Value, bug: &str) -> Vec<PathBuf> {
        let id = |side: &Value| side["artifact"].as_str().unwrap().to_owned();
        let below = self.study.path().join("builds");
        sides(summary, bug).iter().map(|side| below.join(id(side))).collect()
    }

    /// What jobs left in the study's folder for them, and their containers.
    fn left(&self) -> (Vec<String>, String) {
        let folder = self.study.path().join("slurm/builds");
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let names = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
        let study = study::Study::open(&self.study.path()).unwrap();
        let label = format!("label=reproduceml.study={}.jobs", builder::study_mark(&study));
        let told = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output().unwrap();
        (names, String::from_utf8(told.stdout).unwrap())
    }
}

fn end(child: Child) -> Told {
    Told::of(child.wait_with_output().unwrap())
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

fn sides(summary: &Value, bug: &str) -> Vec<Value> {
    let bugs = summary["bugs"].as_array().unwrap();
    let its = bugs.iter().find(|one| one["bug"] == bug).unwrap();
    its["sides"].as_array().unwrap().clone()
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn active(cluster: &Cluster) -> usize {
    let jobs = cluster.jobs().into_iter();
    jobs.filter(|job| matches!(job[2].as_str(), "PENDING" | "RUNNING" | "COMPLETING")).count()
}

#[test]
fn a_cluster_builds_what_this_machine_builds_a_pair_a_job() {
    let test = "a_cluster_builds_what_this_machine_builds_a_pair_a_job";
    if !docker(test) {
        return;
    }
    let Some(cluster) = Cluster::start(test, &[("n1", "x"), ("n2", "x")]) else { return };
    let gated = Gated::new().say("");
    let bugs = ["pr16", "pr21"];

    // What would be done is said, and nothing is.
    let planned = gated.build(&cluster, &[&["--dry-run"][..], &bugs].concat()).expect(&[0]);
    for said in ["2 jobs named reproduceml-build-", "sbatch --nodes=1", "--cpus-per-task=1", "#!/"]
    {
        assert!(planned.err.contains(said), "{said} in {}", planned.err);
    }
    assert!(cluster.jobs().is_empty());

    let summary = gated.build(&cluster, &bugs).expect(&[0]).json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(2), &json!(4)), "{summary}");
    assert_eq!(cluster.in_state("COMPLETED").len(), 2, "{:?}", cluster.jobs());
    assert_eq!(gated.left(), (vec![], String::new()));
    for bug in bugs {
        let folders = gated.builds(&summary, bug);
        let jobs: Vec<Value> = folders.iter().map(|at| read(at.join("job.json"))).collect();
        assert_eq!(jobs[0]["job"], jobs[1]["job"], "one job makes both sides");
        assert_eq!(jobs[0]["state"], "Completed");
        for folder in &folders {
            let script = std::fs::read_to_string(folder.join("job.sh")).unwrap();
            assert!(script.contains("build work \"$here\""), "{script}");
            assert_eq!(read(folder.join("record.json"))["host"]["node"], jobs[0]["node"]);
        }
        let hits = |side: &Value| side["cache"]["hits"].as_u64().unwrap();
        let sides = sides(&summary, bug);
        assert!(hits(&sides[1]) > hits(&sides[0]), "the second profits of the first: {sides:?}");
    }
    gated.call(&["build", "verify"]).expect(&[0]);

    // The same as on this machine, bit for bit, and nothing is done twice.
    let local = Gated::new();
    local.call(&[&["build"][..], &bugs].concat()).expect(&[0]);
    assert_eq!(gated.results(), local.results());
    let again = gated.build(&cluster, &bugs).expect(&[0]).json();
    assert_eq!((&again["built"], &again["reused"]), (&json!(0), &json!(4)));

    // A build that fails is a result there too.
    std::fs::write(gated.gate("fail"), "").unwrap();
    let told = gated.build(&cluster, &["pr30"]).expect(&[1]);
    let summary = told.json();
    for side in sides(&summary, "pr30") {
        assert_eq!(
            (&side["outcome"]["status"], &side["outcome"]["class"]),
            (&json!("failed"), &json!("compile"))
        );
        assert!(side["outcome"]["line"].as_str().unwrap().contains("the test says so"), "{side}");
    }
    let id = sides(&summary, "pr30")[0]["artifact"].as_str().unwrap().to_owned();
    let shown = gated.call(&["build", "show", &id]).expect(&[0]);
    assert!(shown.out.contains("error: the test says so"), "{}", shown.out);

    // What the cluster or the call refuses.
    let refused = gated.build(&cluster, &["pr30", "--rebuild"]).expect(&[2]);
    assert!(refused.err.contains("--rebuild"), "{}", refused.err);
    let gated = gated.say_more("memory_mib = 9999999");
    let refused = gated.build(&cluster, &["pr30", "--retry", "all"]).expect(&[3]);
    assert!(refused.err.contains("[slurm.build]"), "{}", refused.err);
    assert_eq!(local.build(&cluster, &["pr30"]).code, 2, "its study.toml has no [slurm]");
}

impl Gated {
    /// Adds a line to what the study says of builds on the cluster.
    fn say_more(self, line: &str) -> Self {
        let file = self.study.path().join("study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{line}\n")).unwrap();
        self
    }
}

#[test]
fn a_build_that_loses_its_node_starts_over_and_what_takes_too_long_fails() {
    let test = "a_build_that_loses_its_node_starts_over_and_what_takes_too_long_fails";
    if !docker(test) {
        return;
    }
    let Some(mut cluster) = Cluster::start(test, &[("n1", "x"), ("n2", "x")]) else { return };
    let gated = Gated::new().say("");

    // Its node dies, with all that the node runs but the containers, whose parent is the daemon.
    let child = gated.begin(&cluster, &["pr21"]);
    let job = cluster.jobs().remove(0);
    let (lost, other) = if job[3] == "n1" { ("n1", "n2") } else { ("n2", "n1") };
    let _ = std::fs::remove_file(gated.gate("held"));
    cluster.kill_node(lost);
    // Its container still says that it is held, until the next job removes it.
    until(120, || cluster.in_state("RUNNING").iter().any(|id| *id != job[0]))
        .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    // On the other node somebody more urgent comes.
    let urgent =
        ["-p", "urgent", "-w", other, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"];
    cluster.ask("sbatch", &urgent);
    until(120, || cluster.in_state("PREEMPTED").len() == 1)
        .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    gated.let_go();
    let told = end(child).expect(&[0]);
    for said in ["lost its node", "had to leave its node"] {
        assert!(told.err.contains(said), "{said} in {}", told.err);
    }
    let summary = told.json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");
    assert_eq!(gated.left(), (vec![], String::new()));
    cluster.start_node(lost);

    // A limit of time is minutes, which a test need not wait for: the end is brought nearer.
    let child = gated.begin(&cluster, &["pr16"]);
    let job = cluster.in_state("RUNNING").remove(0);
    cluster.ask("scontrol", &["update", &format!("JobId={job}"), "EndTime=now+1seconds"]);
    let told = end(child).expect(&[1]);
    let summary = told.json();
    let outcomes: Vec<Value> =
        sides(&summary, "pr16").iter().map(|side| side["outcome"].clone()).collect();
    assert_eq!(
        (&outcomes[0]["class"], &outcomes[1]["status"]),
        (&json!("timeout"), &json!("pending"))
    );
    assert!(outcomes[0]["line"].as_str().unwrap().contains("time_minutes"), "{summary}");
    let log = gated.builds(&summary, "pr16")[0].join("log.zst");
    let log = builder::read_log(&log).unwrap();
    assert!(log.contains("held") && log.contains("= ended: job"), "{log}");
    gated.let_go();
    let summary = gated.build(&cluster, &["pr16", "--retry", "timeout"]).expect(&[0]).json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");

    // Cancelled by somebody, it did not fail: the next call makes it.
    let child = gated.begin(&cluster, &["pr30"]);
    let job = cluster.in_state("RUNNING").remove(0);
    cluster.ask("scancel", &[&job]);
    let told = end(child).expect(&[1]);
    let summary = told.json();
    assert_eq!(summary["unmade"].as_array().unwrap().len(), 2, "{summary}");
    assert!(told.err.contains("was cancelled"), "{}", told.err);
    gated.let_go();
    let summary = gated.build(&cluster, &["pr30"]).expect(&[0]).json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");
    assert_eq!(gated.left(), (vec![], String::new()));
}

#[test]
fn killed_the_next_call_waits_for_its_jobs_and_interrupted_none_stays() {
    let test = "killed_the_next_call_waits_for_its_jobs_and_interrupted_none_stays";
    if !docker(test) {
        return;
    }
    let Some(cluster) = Cluster::start(test, &[("n1", "x")]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let gated = Gated::new().say(&format!("scratch = \"{}\"", scratch.path().display()));

    // Two jobs are at work when the call is killed.
    let mut killed = gated.begin(&cluster, &["pr16", "pr21"]);
    until(120, || cluster.in_state("RUNNING").len() == 2).unwrap();
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    // A plan changes nothing of them; neither does it clean up what is at work.
    gated.build(&cluster, &["--dry-run", "pr16", "pr21"]).expect(&[0]);
    assert_eq!(active(&cluster), 2, "{:?}", cluster.jobs());
    // The next call wants only one of them: it waits for that, and cancels the other.
    let mut command = gated.on(&cluster, &["pr21"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(120, || cluster.in_state("CANCELLED").len() == 1)
        .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    assert_eq!(cluster.in_state("RUNNING").len(), 1, "{:?}", cluster.jobs());
    gated.let_go();
    let told = end(child).expect(&[0]);
    for said in ["1 jobs of a call that was killed were cancelled", "are at work and waited for"] {
        assert!(told.err.contains(said), "{said} in {}", told.err);
    }
    let summary = told.json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");
    assert_eq!(cluster.jobs().len(), 2, "nothing was handed over again: {:?}", cluster.jobs());

    // Killed, and the job comes to its end before anybody asks for it.
    let mut killed = gated.begin(&cluster, &["pr16"]);
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    gated.let_go();
    until(120, || active(&cluster) == 0).unwrap();
    let summary = gated.build(&cluster, &["pr16"]).expect(&[0]).json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");
    assert_eq!(cluster.jobs().len(), 3, "{:?}", cluster.jobs());

    // Interrupted, it takes its jobs with it.
    let mut child = gated.begin(&cluster, &["pr30"]);
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    until(60, || active(&cluster) == 0).unwrap_or_else(|| panic!("{:?}", cluster.jobs()));
    gated.let_go();
    let summary = gated.build(&cluster, &["pr30"]).expect(&[0]).json();
    assert_eq!((&summary["pairs"], &summary["built"]), (&json!(1), &json!(2)), "{summary}");
    assert_eq!(gated.left(), (vec![], String::new()));
    // Trees and objects lay on the node's own disk, and are gone from there.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
