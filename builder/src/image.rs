//! The images of a toolchain: the base it starts from, and the one made of its Dockerfile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use containers::{ContainerError, Docker};
use futures_util::stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::content::is_root;
use crate::error::BuildError;
use crate::event::Event;
use crate::lock::Locked;
use crate::toolchain::Toolchain;

/// A toolchain with its images on the daemon.
#[derive(Debug, Clone)]
pub struct ReadyToolchain {
    /// The toolchain.
    pub toolchain: Toolchain,
    /// Its identity as it was locked.
    pub identity: String,
    /// Digest of the base image.
    pub base_id: String,
    /// Name of the image made of it.
    pub tag: String,
    /// Digest of that image.
    pub image_id: String,
}

impl ReadyToolchain {
    /// The toolchain as it was locked, in an image that holds what was locked.
    pub(crate) fn locked(toolchain: &Toolchain, locked: &Locked, image_id: String) -> Self {
        Self {
            toolchain: toolchain.clone(),
            identity: locked.identity.clone(),
            base_id: locked.base_id.clone(),
            tag: tag(toolchain, &locked.base_id),
            image_id,
        }
    }
}

/// Label of every image made here; its value is the digest of toolchain and base.
pub const TOOLCHAIN_LABEL: &str = "reproduceml.toolchain";

/// A toolchain's images on the daemon.
#[derive(Debug, Clone)]
pub struct ToolchainImage {
    /// Digest of the base image.
    pub base_id: String,
    /// Name of the image made of it.
    pub tag: String,
    /// Digest of that image.
    pub image_id: String,
}

/// Name of the image made of a toolchain on a base.
pub(crate) fn tag(toolchain: &Toolchain, base_id: &str) -> String {
    toolchain.image_tag(&toolchain.identity(base_id))
}

/// Makes sure that a toolchain's images are on the daemon, in whatever versions are to be had
/// today. What is there is not made again; a base that is missing is pulled or else bootstrapped.
///
/// # Errors
/// [`BuildError::BaseImage`] when the base is missing and cannot be had, [`BuildError::Container`]
/// when the Dockerfile fails.
pub async fn prepare(
    docker: &Docker,
    toolchain: &Toolchain,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<ToolchainImage, BuildError> {
    prepare_from(docker, toolchain, None, progress).await
}

/// As [`prepare`]; a base that is missing is pulled by its digest where one was locked.
pub(crate) async fn prepare_from(
    docker: &Docker,
    toolchain: &Toolchain,
    digest: Option<&str>,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<ToolchainImage, BuildError> {
    let recipe = &toolchain.recipe;
    let base_id = match docker.image_id(&recipe.base).await? {
        Some(id) => id,
        None => make_base(docker, toolchain, digest, progress).await?,
    };
    let identity = toolchain.identity(&base_id);
    let tag = toolchain.image_tag(&identity);
    let image_id = match docker.image_id(&tag).await? {
        Some(id) => id,
        None => {
            progress(Event::Image { tag: tag.clone(), line: "building".into() });
            let context = containers::build_context(&toolchain.folder)?;
            let labels = BTreeMap::from([
                (TOOLCHAIN_LABEL.to_owned(), identity.clone()),
                (crate::images::HELD_LABEL.to_owned(), "by-name".to_owned()),
            ]);
            let mut log = |line: &str| {
                progress(Event::Image { tag: tag.clone(), line: line.to_owned() });
            };
            docker.build_image(context, &tag, &labels, &BTreeMap::new(), &mut log).await?
        }
    };
    Ok(ToolchainImage { base_id, tag, image_id })
}

/// Gets the base image from a registry, or else bootstraps it here.
async fn make_base(
    docker: &Docker,
    toolchain: &Toolchain,
    digest: Option<&str>,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<String, BuildError> {
    let base = &toolchain.recipe.base;
    let say = |line: String| progress(Event::Image { tag: base.clone(), line });
    say("pulling".into());
    // What the tag means today need not be what was locked.
    let why = match docker.pull_image(digest.unwrap_or(base)).await {
        Ok(id) => {
            if digest.is_some() {
                docker.tag_image(&id, base).await?;
            }
            return Ok(id);
        }
        Err(ContainerError::NoImage { advice, .. }) => advice,
        Err(error) => return Err(error.into()),
    };
    let missing = |what: String| BuildError::BaseImage { image: base.clone(), what };
    let Some(suite) = &toolchain.recipe.debootstrap else {
        return Err(missing(format!(
            "{why}, and the toolchain does not say how to bootstrap it. Load it with `docker \
             load` or `docker import`, or let this machine reach a registry"
        )));
    };
    let by_hand = format!(
        "Make it on a Debian or Ubuntu machine: `debootstrap --variant=minbase {suite} root && \
         tar -C root -c . | docker import - {base}`"
    );
    if !is_root() {
        return Err(missing(format!("{why}, and bootstrapping it needs root. {by_hand}")));
    }
    let plain = suite.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if suite.is_empty() || !plain {
        return Err(missing(format!("`debootstrap = \"{suite}\"` is no name of a release")));
    }
    say(format!("no registry has it ({why}); bootstrapping Debian {suite}"));
    let folder = tempfile::Builder::new()
        .prefix("reproduceml-base-")
        .tempdir()
        .map_err(BuildError::io(std::env::temp_dir()))?;
    let root = folder.path().join("root");
    bootstrap(suite, &root, &say).await.map_err(|what| missing(format!("{what}. {by_hand}")))?;
    say("importing".into());
    let id = import(docker, &root, base).await?;
    // debootstrap leaves root's files; removing them may take a moment and may fail harmlessly.
    drop(folder);
    Ok(id)
}

/// Runs debootstrap with its own default mirror, telling each of its lines.
async fn bootstrap(suite: &str, root: &Path, say: &dyn Fn(String)) -> Result<(), String> {
    let program = ["/usr/sbin/debootstrap", "/usr/bin/debootstrap"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or("debootstrap is not installed (`apt-get install debootstrap`)")?;
    let mut child = Command::new(program)
        .arg("--variant=minbase")
        .arg(suite)
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("debootstrap cannot be started: {e}"))?;
    let mut last = String::new();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            say(line.clone());
            last = line;
        }
    }
    let status = child.wait().await.map_err(|e| format!("debootstrap was lost: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("debootstrap failed ({status}): {last}")) }
}

/// Streams a root file system into the daemon as an image.
async fn import(docker: &Docker, root: &Path, name: &str) -> Result<String, BuildError> {
    let mut child = Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"])
        .args(["--numeric-owner", "--sort=name", "-c", "."])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(BuildError::io("tar"))?;
    let output = child.stdout.take();
    let archive = stream::unfold(output, |output| async move {
        let mut output = output?;
        let mut piece = vec![0; 1 << 18];
        match output.read(&mut piece).await {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some((Ok(piece), Some(output)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    let changes = ["CMD [\"bash\"]"];
    let id = docker.import_image(archive, name, &changes).await?;
    let status = child.wait().await.map_err(BuildError::io("tar"))?;
    if !status.success() {
        // A part of a system must not stay under the name of a whole one.
        docker.remove_image(name).await?;
        let what = format!("tar failed with {status}");
        return Err(BuildError::io(root)(std::io::Error::other(what)));
    }
    Ok(id)
}
