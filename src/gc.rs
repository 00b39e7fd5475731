//! `gc`: what no result rests on any more, on the disk and on the Docker daemon.

use std::time::Duration;

use builder::UnusedImage;
use containers::Docker;
use serde::Serialize;
use study::Study;
use study::prune::{self, Prunable};

use crate::cli::{Cli, GcArgs};
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::studies;

/// What was found, and removed unless it was only listed.
#[derive(Debug, Serialize)]
struct Collected {
    removed: bool,
    bytes: u64,
    items: Vec<Prunable>,
    images: Vec<UnusedImage>,
}

/// Removes old things that no result rests on, or lists them.
pub async fn gc(cli: &Cli, args: &GcArgs) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let _lock = study.lock()?;
    let days = u64::from(args.keep_days.unwrap_or(study.config.nightly.keep_days));
    let keep = Duration::from_secs(days * 24 * 3600);
    let items = prune::prunable(&study, keep)?;
    let mut rows = Rows::new(&["what", "bytes", "where", "why"]);
    for item in &items {
        if !args.dry_run {
            prune::remove(item)?;
        }
        rows.push([
            item.what.to_owned(),
            item.bytes.to_string(),
            item.path.display().to_string(),
            item.why.to_owned(),
        ]);
    }
    // After the records of builds that went: what they alone named is not needed any more.
    let images = images(&study, keep, args.dry_run).await?;
    for image in &images {
        let why = if image.whole {
            "no lock or build of the study names it, and no other study holds it"
        } else {
            "no lock or build of the study names it; the image stays for others"
        };
        rows.push([
            "image".to_owned(),
            image.bytes.to_string(),
            image.names.join(" "),
            why.to_owned(),
        ]);
    }
    let bytes = items.iter().map(|item| item.bytes).sum::<u64>()
        + images.iter().map(|image| image.bytes).sum::<u64>();
    let count = items.len() + images.len();
    match (count, args.dry_run) {
        (0, _) => eprintln!("nothing that is older than {days} days can go"),
        (_, true) => eprintln!("{count} would go, {bytes} bytes"),
        (_, false) => eprintln!("{count} are gone, {bytes} bytes"),
    }
    let collected = Collected { removed: !args.dry_run, bytes, items, images };
    output::print(cli.format, &collected, &rows)
}

/// Lets go of the study's images that nothing rests on, or lists them. Without a daemon there are
/// none to see.
async fn images(study: &Study, keep: Duration, dry_run: bool) -> Result<Vec<UnusedImage>, Failure> {
    let docker = match Docker::connect().await {
        Ok(docker) => docker,
        Err(error) => {
            eprintln!("images were left alone: {error}");
            return Ok(Vec::new());
        }
    };
    let found = builder::unused_images(&docker, study, keep).await.map_err(Failure::stage)?;
    if dry_run {
        return Ok(found);
    }
    let mut gone = Vec::new();
    for image in found {
        match builder::remove_image(&docker, study, &image).await {
            Ok(()) => gone.push(image),
            // A container that uses it keeps it until the next call.
            Err(error) => eprintln!("{} stays: {error}", image.names.join(" ")),
        }
    }
    Ok(gone)
}
