//! `build --executor slurm`: what the nodes of a cluster need to build, and the part that they do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use builder::{BuildOptions, ClusterOptions};
use containers::Cancel;
use study::Study;

use super::args::MakeArgs;
use super::explain;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::home::Home;
use crate::progress::Progress;
use crate::studies;

/// Makes a call one whose builds the nodes of a cluster make.
pub fn hand_over(
    study: &Study,
    args: &MakeArgs,
    options: &mut BuildOptions,
) -> Result<(), Failure> {
    let slurm = crate::cluster::policy(study)?;
    if args.rebuild {
        return Err(Failure::input(anyhow!(
            "--rebuild builds again on this machine; call it without --executor slurm"
        )));
    }
    let mut policy = slurm.for_builds();
    if let Some(jobs) = args.jobs {
        policy.jobs = jobs.max(1);
    }
    options.jobs = policy.jobs as usize;
    // A plan alone copies nothing.
    let (home, program) = if args.dry_run {
        (Home::find()?, this_program()?)
    } else {
        let home = Home::for_nodes(study)?;
        let program = copy_program(study)?;
        (home, program)
    };
    options.toolchains_dir = home.toolchains();
    options.faults_dir = Some(home.faults());
    options.cluster = Some(ClusterOptions {
        policy,
        scratch: slurm.build.as_ref().and_then(|build| build.scratch.clone()),
        program,
        home: home.folder().to_owned(),
    });
    Ok(())
}

fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::missing(anyhow!("where this program lies cannot be found out: {error}"))
    })
}

/// Copies this program into the study, where nodes find it: named after its content, since a job
/// that is at work must not lose it to a newer one.
fn copy_program(study: &Study) -> Result<PathBuf, Failure> {
    let own = this_program()?;
    let place = study.cache_dir().join("program");
    let copy = || -> std::io::Result<PathBuf> {
        let digest = study::files::sha256_file(&own)?;
        let whole = place.join(format!("reproduceml-{}", digest.get(..12).unwrap_or(&digest)));
        if whole.is_file() {
            return Ok(whole);
        }
        std::fs::create_dir_all(&place)?;
        let part = tempfile::Builder::new().prefix(".part-").tempfile_in(&place)?;
        std::fs::copy(&own, part.path())?;
        std::fs::set_permissions(part.path(), std::fs::Permissions::from_mode(0o755))?;
        part.as_file().sync_all()?;
        part.persist(&whole).map_err(|error| error.error)?;
        Ok(whole)
    };
    copy().map_err(|error| {
        Failure::missing(anyhow!("{}: the program cannot be copied here: {error}", place.display()))
    })
}

/// What a job does on its node. Told to end, it ends its containers and its log first.
pub async fn work(cli: &Cli, folder: &Path) -> Result<(), Failure> {
    let study = studies::open(cli)?;
    let cancel = Cancel::new();
    let signals = cancel.clone();
    let watch = tokio::spawn(async move {
        crate::interrupted().await;
        signals.cancel();
    });
    let progress = Progress::new();
    let told = |event| super::make::show(&progress, event);
    let done = builder::work(&study, folder, &cancel, &told).await.map_err(explain);
    watch.abort();
    done
}
