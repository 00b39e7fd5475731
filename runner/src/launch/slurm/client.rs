//! What a job does that makes a run: the shell lines that start its client, and the environment
//! that they read.

use std::collections::BTreeMap;
use std::path::Path;

use slurm::quote;
use slurm::script_status::NO_PROGRAM;
use study::{NodeContainer, SlurmPolicy};

use crate::launch::Launch;

/// How the clients of a study are started on nodes.
pub(super) struct Starter<'a> {
    pub(super) policy: &'a SlurmPolicy,
    /// The Python of the nodes, for jobs without a container.
    pub(super) python: &'a str,
    /// GPUs of each run.
    pub(super) gpus: u32,
}

impl Starter<'_> {
    /// The lines that run the client; the last one's status is the run's.
    pub(super) fn lines(&self, launch: &Launch) -> String {
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
        // `--cleanenv` would take away what says which of the node's GPUs are this job's, and with
        // `--nv` all that the job may open are there.
        let (gpus, visible) = if self.gpus > 0 {
            (
                " --nv",
                "[ -z \"$CUDA_VISIBLE_DEVICES\" ] ||\n    export \
                 APPTAINERENV_CUDA_VISIBLE_DEVICES=\"$CUDA_VISIBLE_DEVICES\" \
                 SINGULARITYENV_CUDA_VISIBLE_DEVICES=\"$CUDA_VISIBLE_DEVICES\"\n",
            )
        } else {
            ("", "")
        };
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
{variables}{visible}"$apptainer" exec --containall --cleanenv --no-home --pwd /tmp{gpus} --env HOME=/tmp \
    --env PYTHONPATH=/client --env REPRODUCEML_ARTIFACT=/artifact{cache} \
    --bind "$PYTHONPATH:/client:ro" --bind "$REPRODUCEML_ARTIFACT:/artifact:ro" \
    "$image" python3 -m reproduceml_client
"#
        )
    }
}

/// What the client's environment says, by its names on the node's own file system.
///
/// `archive` is that of the image, for jobs in containers.
pub(super) fn environment(
    launch: &Launch,
    server: &str,
    archive: Option<&Path>,
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
    if let Some(archive) = archive {
        all.insert("REPRODUCEML_ARCHIVE".to_owned(), path(archive));
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
