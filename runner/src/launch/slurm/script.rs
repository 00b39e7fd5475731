//! The script of a job, its options, and the file of a run's secrets.
//!
//! The script is kept with each run and holds nothing that must not be known. What must not (the
//! ticket, the token) is in a file beside it that only its owner can read and that is removed when
//! the job is over: a job that begins after that finds nothing to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use study::{NodeContainer, SlurmPolicy};

use super::job::script_status::{NO_PROGRAM, NOT_SHARED, WITHDRAWN};
use crate::launch::Launch;

/// What the jobs of a batch have in common.
pub(super) struct Batch<'a> {
    pub(super) policy: &'a SlurmPolicy,
    /// The study's folder.
    pub(super) study: &'a Path,
    /// The Python of the nodes, for jobs without a container.
    pub(super) python: &'a str,
    /// GPUs of each job.
    pub(super) gpus: u32,
    /// Makes the names of this batch's files its own.
    pub(super) nonce: &'a str,
    /// What keeps the jobs on one kind of node.
    pub(super) placement: &'a [String],
}

/// Names of files in a run's folder that belong to one job.
pub(super) struct Names {
    /// The secrets.
    pub(super) launch: String,
    /// What the client said.
    pub(super) out: String,
    /// Its exit status.
    pub(super) status: String,
}

impl Names {
    pub(super) fn of(nonce: &str) -> Self {
        Self {
            launch: format!("job-{nonce}.env"),
            out: format!("job-{nonce}.out"),
            status: format!("job-{nonce}.status"),
        }
    }
}

impl Batch<'_> {
    /// The options of `sbatch`, but for the job's name. They are handed over on the command line,
    /// where they are stronger than the environment's.
    pub(super) fn options(&self, launch: &Launch, tasks: usize) -> Vec<String> {
        let policy = self.policy;
        let minutes = launch.time.as_secs().div_ceil(60);
        let minutes = policy.time_minutes.map_or(minutes, u64::from);
        let memory = policy.memory_mib.unwrap_or(launch.memory_mib);
        let mut options = vec![
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={}", policy.cpus),
            format!("--mem={memory}M"),
            format!("--time={minutes}"),
        ];
        let named = [
            ("partition", &policy.partition),
            ("account", &policy.account),
            ("qos", &policy.qos),
            ("constraint", &policy.constraint),
        ];
        for (name, value) in named {
            options.extend(value.iter().map(|value| format!("--{name}={value}")));
        }
        if self.gpus > 0 {
            let kind = policy.gpu_type.as_ref().map_or(String::new(), |kind| format!(":{kind}"));
            options.push(format!("--gres=gpu{kind}:{}", self.gpus));
        }
        options.extend_from_slice(self.placement);
        options.extend_from_slice(&policy.options);
        options.extend(
            [
                // Who starts a run again is this program, which makes it a new ticket.
                "--no-requeue",
                // Nothing of the submitting shell but these: it would be part of the manifest.
                "--export=HOME,PATH,USER",
                // The script writes to the run's folder, once it has seen it.
                "--output=/dev/null",
                "--error=/dev/null",
                "--chdir=/",
            ]
            .map(str::to_owned),
        );
        if tasks > 1 {
            options.push(format!("--array=0-{}", tasks - 1));
        }
        options
    }

    /// The script of an array whose tasks make these runs, each told by its folder below `root`.
    pub(super) fn script(&self, root: &Path, runs: &[String], launch: &Launch) -> String {
        let names = Names::of(self.nonce);
        let list: Vec<String> = runs.iter().map(|run| quote(run)).collect();
        let mut setup = self.policy.setup.join("\n");
        if !setup.is_empty() {
            setup.push('\n');
        }
        format!(
            r#"#!/bin/bash
# One task a run; submitted by `reproduceml run --executor slurm`. Exit statuses of this script's own:
# {NO_PROGRAM} a program is missing on the node, {NOT_SHARED} the node does not see a folder of the study,
# {WITHDRAWN} the run was taken back before the job began.
runs=({list})
here={root}/${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}
[ -d {study} ] || exit {NOT_SHARED}
# A file system that nodes share may show a new file late.
for _ in {{1..20}}; do [ -r "$here/{launch}" ] && break; sleep 1; done
[ -r "$here/{launch}" ] || exit {WITHDRAWN}
exec >>"$here/{out}" 2>&1 </dev/null
set -a
. "$here/{launch}" || exit {WITHDRAWN}
set +a
lacks() {{ echo "$SLURMD_NODENAME $2"; echo "$1" >"$here/{status}"; exit "$1"; }}
for folder in "$PYTHONPATH" "$REPRODUCEML_ARTIFACT"; do
    [ -d "$folder" ] || lacks {NOT_SHARED} "does not see $folder"
done
{setup}{start}status=$?
echo "$status" >"$here/.{status}" && mv "$here/.{status}" "$here/{status}"
exit "$status"
"#,
            list = list.join(" "),
            root = quote(&root.to_string_lossy()),
            study = quote(&self.study.to_string_lossy()),
            launch = names.launch,
            out = names.out,
            status = names.status,
            start = self.start(launch),
        )
    }

    /// The lines that run the client; the last one's status is the run's.
    fn start(&self, launch: &Launch) -> String {
        match self.policy.container {
            NodeContainer::None => {
                let python = quote(self.python);
                format!(
                    "command -v {python} >/dev/null || lacks {NO_PROGRAM} \"has no \"{python}\n\
                     {python} -m reproduceml_client\n"
                )
            }
            NodeContainer::Docker => self.docker(launch),
            NodeContainer::Apptainer => self.apptainer(launch),
        }
    }

    fn docker(&self, launch: &Launch) -> String {
        let variables: String =
            inside(launch).map(|name| format!("    --env {name} \\\n")).collect();
        let cache = if launch.cache.is_some() {
            "    --volume \"$REPRODUCEML_CACHE:/cache\" --env REPRODUCEML_CACHE=/cache \\\n"
        } else {
            ""
        };
        let gpus = if self.gpus > 0 {
            "    --gpus \"\\\"device=${SLURM_JOB_GPUS:-$CUDA_VISIBLE_DEVICES}\\\"\" \\\n"
        } else {
            ""
        };
        let memory = self.policy.memory_mib.unwrap_or(launch.memory_mib);
        format!(
            r#"command -v docker >/dev/null || lacks {NO_PROGRAM} "has no docker"
docker image inspect "$REPRODUCEML_IMAGE" >/dev/null 2>&1 ||
    docker load --quiet --input "$REPRODUCEML_ARCHIVE" ||
    lacks {NO_PROGRAM} "cannot load the image $REPRODUCEML_IMAGE"
container=reproduceml-$SLURM_JOB_ID
# The daemon, not the job, is the container's parent: it must be told.
trap 'docker kill "$container" >/dev/null 2>&1' TERM INT EXIT
user=$(id -u):$(id -g); [ "$(id -u)" != 0 ] || user=65534:65534
docker run --rm --name "$container" --network=host --read-only --cap-drop=ALL \
    --security-opt=no-new-privileges --pids-limit=256 --user="$user" \
    --memory={memory}m --memory-swap={memory}m \
    --cpuset-cpus="$(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status)" \
    --tmpfs /tmp:mode=1777,exec --workdir=/tmp --env HOME=/tmp --env PYTHONPATH=/client \
    --env REPRODUCEML_ARTIFACT=/artifact \
    --volume "$PYTHONPATH:/client:ro" --volume "$REPRODUCEML_ARTIFACT:/artifact:ro" \
{cache}{gpus}{variables}    "$REPRODUCEML_IMAGE" python3 -m reproduceml_client &
wait $!
"#
        )
    }

    fn apptainer(&self, launch: &Launch) -> String {
        let variables: String = inside(launch)
            .map(|name| {
                format!(
                    "export APPTAINERENV_{name}=\"${name}\" SINGULARITYENV_{name}=\"${name}\"\n"
                )
            })
            .collect();
        let cache = if launch.cache.is_some() {
            " --bind \"$REPRODUCEML_CACHE:/cache\" --env REPRODUCEML_CACHE=/cache"
        } else {
            ""
        };
        let gpus = if self.gpus > 0 { " --nv" } else { "" };
        format!(
            r#"apptainer=$(command -v apptainer || command -v singularity) ||
    lacks {NO_PROGRAM} "has neither apptainer nor singularity"
image=${{REPRODUCEML_ARCHIVE%.tar}}.sif
if ! [ -e "$image" ]; then
    (
        flock 9
        [ -e "$image" ] && exit 0
        "$apptainer" build "$image.part" "docker-archive:$REPRODUCEML_ARCHIVE" &&
            mv "$image.part" "$image"
    ) 9>"$image.lock" || lacks {NO_PROGRAM} "cannot make $image"
fi
{variables}"$apptainer" exec --containall --cleanenv --no-home --pwd /tmp{gpus} --env HOME=/tmp \
    --env PYTHONPATH=/client --env REPRODUCEML_ARTIFACT=/artifact{cache} \
    --bind "$PYTHONPATH:/client:ro" --bind "$REPRODUCEML_ARTIFACT:/artifact:ro" \
    "$image" python3 -m reproduceml_client
"#
        )
    }
}

/// Where an image lies for nodes: an archive as `docker save` writes it, named after the image.
pub(in crate::launch) fn image_archive(folder: &Path, image: &str) -> PathBuf {
    let digest = study::files::sha256_hex(image.as_bytes());
    folder.join(format!("{}.tar", digest.get(..16).unwrap_or(&digest)))
}

/// What the client's environment says, by its names on the node's own file system.
///
/// `images` is the folder of images, for jobs in containers.
pub(super) fn environment(
    launch: &Launch,
    server: &str,
    images: Option<&Path>,
) -> BTreeMap<String, String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut all = launch.env.clone();
    let own = [
        ("PYTHONPATH", path(&launch.client)),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("REPRODUCEML_SERVER", server.to_owned()),
        ("REPRODUCEML_TICKET", launch.ticket.clone()),
        ("REPRODUCEML_ARTIFACT", path(&launch.artifact)),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if let Some(images) = images {
        let archive = path(&image_archive(images, &launch.image));
        all.insert("REPRODUCEML_ARCHIVE".to_owned(), archive);
        all.insert("REPRODUCEML_IMAGE".to_owned(), launch.image.clone());
    }
    all.extend(launch.cache.iter().map(|cache| ("REPRODUCEML_CACHE".to_owned(), path(cache))));
    all
}

/// Names of variables whose values hold inside of a container too.
fn inside(launch: &Launch) -> impl Iterator<Item = String> {
    const PATHS: [&str; 3] = ["PYTHONPATH", "REPRODUCEML_ARTIFACT", "REPRODUCEML_CACHE"];
    environment(launch, "", None).into_keys().filter(|name| !PATHS.contains(&name.as_str()))
}

/// Variables as lines that a shell reads.
pub(super) fn as_lines(environment: &BTreeMap<String, String>) -> String {
    environment.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// A word that a shell takes as it is.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::launch::example;

    fn policy(text: &str) -> SlurmPolicy {
        serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap()
    }

    fn batch<'a>(policy: &'a SlurmPolicy, study: &'a Path, placement: &'a [String]) -> Batch<'a> {
        Batch {
            policy,
            study,
            python: "python3",
            gpus: policy.gpus_for("cpu"),
            nonce: "7",
            placement,
        }
    }

    fn bash_accepts(script: &str) {
        let read = Command::new("bash").args(["-n", "-c", script]).output().unwrap();
        assert!(read.status.success(), "{}\n{script}", String::from_utf8_lossy(&read.stderr));
    }

    #[test]
    fn what_a_study_says_becomes_options() {
        let policy = policy(
            r#"{"container": "none", "partition": "gpu", "account": "a", "gpu_type": "a100",
                "constraint": "x&y", "memory_mib": 7, "options": ["--exclusive"]}"#,
        );
        let placement = ["--exclude=n9".to_owned()];
        let options = batch(&policy, "/s".as_ref(), &placement).options(&example(61), 3);
        for wanted in [
            "--partition=gpu",
            "--account=a",
            "--gres=gpu:a100:1",
            "--constraint=x&y",
            "--mem=7M",
            "--time=2",
            "--exclusive",
            "--exclude=n9",
            "--no-requeue",
            "--array=0-2",
        ] {
            assert!(options.iter().any(|option| option == wanted), "{wanted} in {options:?}");
        }
        let one = batch(&policy, "/s".as_ref(), &[]).options(&example(60), 1);
        assert!(!one.iter().any(|option| option.starts_with("--array")), "{one:?}");
    }

    #[test]
    fn scripts_hold_no_secret_and_are_read_by_a_shell() {
        for container in ["none", "docker", "apptainer"] {
            for gpus in [0, 1] {
                let policy = policy(&format!(r#"{{"container": "{container}", "gpus": {gpus}}}"#));
                let mut launch = example(60);
                launch.ticket = "rml1.secret".into();
                launch.env.insert("REPRODUCEML_TOKEN".into(), "another secret".into());
                launch.cache = Some("/study's/cache".into());
                let study = Path::new("/study's");
                let script = batch(&policy, study, &[]).script(
                    &study.join("runs"),
                    &["x/0000".into(), "y/0000".into()],
                    &launch,
                );
                assert!(!script.contains("secret"), "{script}");
                bash_accepts(&script);
                if container != "none" {
                    assert!(script.contains("REPRODUCEML_TOKEN"), "by its name: {script}");
                    assert_eq!(gpus == 1, script.contains("--nv") || script.contains("--gpus"));
                }
            }
        }
    }

    #[test]
    fn a_shell_reads_the_environment_as_it_was() {
        let odd = "a b'c\"$HOME`id`\\";
        let all = BTreeMap::from([("REPRODUCEML_X".to_owned(), odd.to_owned())]);
        let script = format!("{}printf %s \"$REPRODUCEML_X\"", as_lines(&all));
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), odd);
    }

    /// A study with one run, whose "Python" is a script; how its job's script ends there.
    fn carry_out(python: &str, change: impl Fn(&Path)) -> (tempfile::TempDir, i32) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path();
        let run = study.join("runs/x/0000");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(study.join("artifact")).unwrap();
        let program = study.join("python");
        std::fs::write(&program, format!("#!/bin/sh\n{python}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launch =
            Launch { artifact: study.join("artifact"), client: study.to_owned(), ..example(60) };
        let lines = as_lines(&environment(&launch, "tcp:h:1", None));
        std::fs::write(run.join(Names::of("7").launch), lines).unwrap();
        let policy = policy(r#"{"container": "none", "setup": ["SET=up", "export SET"]}"#);
        let batch = Batch { python: &program.to_string_lossy(), ..batch(&policy, study, &[]) };
        // The wait for a late file is not what these tests are about.
        let script = batch.script(&study.join("runs"), &["x/0000".into()], &launch);
        let script = script.replace("{1..20}", "1");
        change(study);
        let ended = Command::new("bash").args(["-c", &script]).status().unwrap();
        (folder, ended.code().unwrap())
    }

    #[test]
    fn the_client_is_told_what_to_do_and_its_status_is_kept() {
        let client = "echo $SET $REPRODUCEML_SERVER $REPRODUCEML_TICKET $*; exit 3";
        let (folder, code) = carry_out(client, |_| ());
        assert_eq!(code, 3);
        let read = |name: &str| {
            std::fs::read_to_string(folder.path().join("runs/x/0000").join(name)).unwrap()
        };
        let names = Names::of("7");
        assert_eq!(read(&names.out), "up tcp:h:1 t -m reproduceml_client\n");
        assert_eq!(read(&names.status), "3\n");
    }

    #[test]
    fn apptainer_makes_its_image_once_and_is_told_what_docker_is() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path();
        let run = study.join("runs/x/0000");
        std::fs::create_dir_all(&run).unwrap();
        let program = study.join("apptainer");
        let does = "#!/bin/sh\ncase $1 in build) echo \"$@\" >>made; touch \"$2\";; \
                    exec) echo \"$@\"; echo $APPTAINERENV_REPRODUCEML_TICKET; exit 4;; esac\n";
        std::fs::write(&program, does).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launch = Launch {
            artifact: study.to_owned(),
            client: study.to_owned(),
            cache: Some(study.to_owned()),
            ..example(60)
        };
        let policy = policy(r#"{"container": "apptainer"}"#);
        let script =
            batch(&policy, study, &[]).script(&study.join("runs"), &["x/0000".into()], &launch);
        let path = format!("{}:{}", study.display(), std::env::var("PATH").unwrap());
        for _ in 0..2 {
            let lines = as_lines(&environment(&launch, "tcp:h:1", Some(study)));
            std::fs::write(run.join(Names::of("7").launch), lines).unwrap();
            let mut bash = Command::new("bash");
            let ended = bash.args(["-c", &script]).env("PATH", &path).current_dir(study).status();
            assert_eq!(ended.unwrap().code(), Some(4), "the client's status");
        }
        let made = std::fs::read_to_string(study.join("made")).unwrap();
        let archive = image_archive(study, "image");
        assert_eq!(made.lines().count(), 1, "{made}");
        assert!(made.contains(&format!("docker-archive:{}", archive.display())), "{made}");
        let said = std::fs::read_to_string(run.join(Names::of("7").out)).unwrap();
        for wanted in
            [":/client:ro", ":/artifact:ro", ":/cache", ".sif python3 -m reproduceml_client\nt\n"]
        {
            assert!(said.contains(wanted), "{wanted} in {said}");
        }
    }

    #[test]
    fn what_a_node_lacks_is_told_apart() {
        let remove = |name: &'static str| {
            move |study: &Path| {
                let path = study.join(name);
                let gone = if path.is_dir() {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                };
                gone.unwrap();
            }
        };
        for (gone, status) in
            [("python", NO_PROGRAM), ("artifact", NOT_SHARED), ("runs/x/0000/job-7.env", WITHDRAWN)]
        {
            let (_folder, code) = carry_out("exit 0", remove(gone));
            assert_eq!(i64::from(code), status, "{gone}");
        }
        let (_folder, code) = carry_out("exit 0", |study| std::fs::remove_dir_all(study).unwrap());
        assert_eq!(i64::from(code), NOT_SHARED);
    }
}
