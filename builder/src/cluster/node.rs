//! The part that a node does: what its order says, into its own folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use containers::{Cancel, Docker, Leftover, STUDY_LABEL};
use study::Study;

use super::order::{self, JOB_LABEL, JobFolder, Order, OrderedToolchain, node_mark};
use crate::error::BuildError;
use crate::event::Event;
use crate::image::ReadyToolchain;
use crate::layout;
use crate::make::Workshop;
use crate::queue::check_disk;
use crate::toolchain::Toolchain;

/// How often a node looks whether its work is still wanted.
const LOOK: Duration = Duration::from_secs(5);

/// Builds on a node what the folder's order says, with the node's own Docker. The study is only
/// read, but for its caches: results stay in the folder, for the machine that handed the job over.
///
/// # Errors
/// See [`BuildError`]. That a commit does not build is a result in the folder, not an error.
pub async fn work(
    study: &Study,
    folder: &Path,
    cancel: &Cancel,
    progress: &(dyn Fn(Event) + Send + Sync),
) -> Result<(), BuildError> {
    let folder = JobFolder(folder.to_owned());
    let order = folder.order()?;
    let docker = Docker::connect().await?;
    for container in dead(&docker, &order.mark, false).await? {
        progress(Event::Cleaned { what: format!("container {}", container.name) });
    }
    if let Some(scratch) = &order.scratch {
        for path in order::dead_scratch(study, scratch, &order.mark)? {
            layout::remove_folder(&path)?;
            progress(Event::Cleaned { what: path.display().to_string() });
        }
    }
    let mut toolchains = BTreeMap::new();
    for wanted in &order.toolchains {
        let ready = ready(&docker, wanted).await?;
        toolchains.insert(ready.identity.clone(), ready);
    }
    let places = folder.places(&order);
    let shop = Workshop {
        docker: &docker,
        study,
        places: places.clone(),
        toolchains: &toolchains,
        clone: order.clone.clone(),
        limits: order.limits,
        cpus: order.cpus,
        cancel,
        progress,
    };
    let outcome = tokio::select! {
        outcome = make_all(&shop, &order) => outcome,
        () = unwanted(&folder, cancel) => Err(BuildError::Interrupted),
    };
    if order.scratch.is_some() {
        layout::remove_folder(&places.scratch)?;
    }
    outcome
}

async fn make_all(shop: &Workshop<'_>, order: &Order) -> Result<(), BuildError> {
    for job in &order.chain {
        if shop.cancel.is_cancelled() {
            return Err(BuildError::Interrupted);
        }
        // A fault on an artifact that could not be made cannot be planted.
        if job.base.as_ref().is_some_and(|base| !shop.find(base).join("record.json").is_file()) {
            continue;
        }
        check_disk(shop)?;
        (shop.progress)(Event::Started { id: job.id.clone(), what: job.describe() });
        shop.make(job).await?;
    }
    Ok(())
}

/// Ends when nobody waits for the folder's results any more: the job was taken back while this
/// node could not be reached. What is under way is ended then, and this never returns before.
async fn unwanted(folder: &JobFolder, cancel: &Cancel) {
    while folder.is_wanted() {
        tokio::time::sleep(LOOK).await;
    }
    cancel.cancel();
    // Containers end with the flag; a moment for that.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The toolchain as it was ordered, with its image on this node's daemon.
async fn ready(docker: &Docker, wanted: &OrderedToolchain) -> Result<ReadyToolchain, BuildError> {
    let wrong = |what: String| BuildError::Toolchain { path: wanted.folder.clone(), what };
    let name = wanted.folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let (Some(above), Some(name)) = (wanted.folder.parent(), name) else {
        return Err(wrong("it is no folder of a toolchain".into()));
    };
    let toolchain = Toolchain::read(above, &name)?;
    if toolchain.files_digest != wanted.files_digest {
        return Err(wrong("it is not the one that was ordered".into()));
    }
    if docker.image(&wanted.image_id).await?.is_none() {
        docker.load_image(&wanted.archive).await?;
        if docker.image(&wanted.image_id).await?.is_none() {
            return Err(wrong(format!(
                "its image {} is not what this node's Docker made of {}: the two keep images in \
                 different ways; give nodes the image by `docker load` or a registry",
                wanted.image_id,
                wanted.archive.display()
            )));
        }
    }
    Ok(ReadyToolchain {
        toolchain,
        identity: wanted.identity.clone(),
        base_id: wanted.base_id.clone(),
        tag: wanted.tag.clone(),
        image_id: wanted.image_id.clone(),
    })
}

/// Containers on this daemon of jobs that nobody waits for any more, which are removed unless with
/// `dry_run`. A job that was killed cannot do it itself.
pub(crate) async fn dead(
    docker: &Docker,
    mark: &str,
    dry_run: bool,
) -> Result<Vec<Leftover>, BuildError> {
    let mark = node_mark(mark);
    let mut dead = Vec::new();
    for container in docker.leftovers(&[(STUDY_LABEL, &mark)]).await? {
        let Some(folder) = container.labels.get(JOB_LABEL) else { continue };
        if JobFolder(folder.into()).is_wanted() {
            continue;
        }
        if !dry_run {
            docker.remove_leftovers(&[(STUDY_LABEL, &mark), (JOB_LABEL, folder)]).await?;
        }
        dead.push(container);
    }
    Ok(dead)
}
