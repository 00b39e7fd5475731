//! What a host needs before it can take runs, brought to it once: images by their digest, folders
//! into volumes that are named after their content, and what the host says of its hardware.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use containers::{Cancel, ContainerError, ContainerSpec, Docker, LogStream, STUDY_LABEL};
use tokio::sync::{Mutex, mpsc};

use super::host::{Host, Ready, Trouble};
use super::tree::{self, Tree};
use super::{Class, HostsSetup};
use crate::launch::{Launch, LaunchError};

/// What all hosts of a call have in common.
pub(super) struct Common {
    pub(super) label: String,
    pub(super) image: String,
    pub(super) client: PathBuf,
    pub(super) patience: Duration,
    pub(super) tell: Arc<dyn Fn(&str) + Send + Sync>,
    study: PathBuf,
    /// Held while an image of this machine is written to the study.
    saving: Mutex<()>,
    /// Bytes that were sent in this call.
    sent: AtomicU64,
}

/// The program that puts together what arrives.
const ARRIVE: &str = include_str!("arrive.py");
/// The program that asks for the hardware.
const PROBE: &str = include_str!("probe.py");
/// The program that tries to reach the server.
const REACH: &str = "import socket, sys, time\n\
    for last in (False, False, True):\n\
    \x20   try:\n\
    \x20       socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()\n\
    \x20       break\n\
    \x20   except OSError as error:\n\
    \x20       if last:\n\
    \x20           sys.exit(str(error))\n\
    \x20       time.sleep(2)\n";
/// Where containers see the volume that something arrives in.
const ARRIVING: &str = "/arriving";
/// How long such a program may take.
const PATIENCE: u64 = 1800;

impl Common {
    pub(super) fn new(setup: &HostsSetup, first: &Launch) -> Self {
        Self {
            label: setup.label.clone(),
            image: first.image.clone(),
            client: first.client.clone(),
            patience: setup.patience,
            tell: setup.tell.clone(),
            study: setup.study.clone(),
            saving: Mutex::new(()),
            sent: AtomicU64::new(0),
        }
    }

    /// Bytes that were sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The volume of the arrays that clients of this call share on a host.
    pub(super) fn arrays(&self) -> String {
        format!("reproduceml-arrays-{}", self.label)
    }

    /// Brings an image to a host that does not have it.
    pub(super) async fn bring_image(
        &self,
        host: &Host,
        ready: &Ready,
        image: &str,
    ) -> Result<(), Trouble> {
        let _held = ready.images.lock().await;
        if ready.docker.image_id(image).await?.is_some() {
            return Ok(());
        }
        let archive = study::image_archive(&self.study, image);
        {
            let _held = self.saving.lock().await;
            if !archive.exists() {
                let here = |error: ContainerError| Trouble::Here(LaunchError::Container(error));
                let docker = Docker::connect().await.map_err(here)?;
                let advice = "this machine's Docker has it no more either; `reproduceml build` \
                              makes it again";
                docker.ensure_image(image, advice).await.map_err(here)?;
                docker.save_image(image, &archive).await.map_err(here)?;
            }
        }
        let short = short(image);
        (self.tell)(&format!("host {} is brought the image {short}", host.setup.name));
        let name = format!("reproduceml/runs:{short}");
        let sent = containers::send_image(&ready.docker, image, &name, &archive).await?;
        self.sent.fetch_add(sent.bytes, Ordering::Relaxed);
        (self.tell)(&format!(
            "host {} has the image {short}: {} layers sent, {}; {} were there",
            host.setup.name,
            sent.parts,
            size(sent.bytes),
            sent.there
        ));
        Ok(())
    }

    /// Brings a folder to a host and gives the name of the volume that it is in.
    pub(super) async fn bring_folder(
        &self,
        host: &Host,
        ready: &Ready,
        folder: &Path,
    ) -> Result<String, Trouble> {
        let mut known = ready.folders.lock().await;
        if let Some(volume) = known.get(folder) {
            return Ok(volume.clone());
        }
        let unreadable = |error: std::io::Error| {
            Trouble::Here(LaunchError::Folder { path: folder.to_owned(), source: error })
        };
        let path = folder.to_owned();
        let tree = tokio::task::spawn_blocking(move || Tree::of(&path)).await;
        let tree = tree.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let tree = tree.map_err(unreadable)?;
        let short: String = tree.digest.chars().take(24).collect();
        let volume = format!("reproduceml-files-{}-{short}", self.label);
        // A volume of its own says that all is there: the files' volume is made before they are.
        let whole = format!("{volume}-whole");
        let docker = &ready.docker;
        let there = docker.has_volume(&volume).await?;
        if !there || !docker.has_volume(&whole).await? {
            let labels = [(STUDY_LABEL, self.label.as_str()), ("reproduceml.files", &*tree.digest)];
            docker.remove_volume(&whole).await?;
            docker.make_volume(&volume, &labels).await?;
            let arrived = if there {
                let said = self.arrive(ready, &volume, &["look"]).await?;
                serde_json::from_str(said.trim()).unwrap_or_default()
            } else {
                Vec::new()
            };
            let sent =
                self.send(ready, &volume, &tree, &arrived).await.map_err(
                    |trouble| match trouble {
                        Trouble::Here(LaunchError::Log(error)) => unreadable(error),
                        trouble => trouble,
                    },
                )?;
            self.arrive(ready, &volume, &["finish", &tree.digest]).await?;
            docker.make_volume(&whole, &labels).await?;
            self.sent.fetch_add(sent, Ordering::Relaxed);
            (self.tell)(&format!(
                "host {} has {}: {} of {} pieces sent, {}",
                host.setup.name,
                folder.display(),
                tree.pieces.len().saturating_sub(arrived.len()),
                tree.pieces.len(),
                size(sent)
            ));
        }
        known.insert(folder.to_owned(), volume.clone());
        Ok(volume)
    }

    /// Sends the pieces that have not arrived, and gives their bytes.
    async fn send(
        &self,
        ready: &Ready,
        volume: &str,
        tree: &Tree,
        arrived: &[String],
    ) -> Result<u64, Trouble> {
        let (tree, arrived) = (tree.clone(), arrived.to_vec());
        let (pieces, mut waiting) = mpsc::channel(1);
        let reader = tokio::task::spawn_blocking(move || {
            tree.missing(&arrived, |name, piece| {
                pieces.blocking_send((name.to_owned(), piece)).map_err(std::io::Error::other)
            })
        });
        let spec = self.spec(&["true"]).volume(volume, ARRIVING, true);
        let uploads = ready.docker.upload(&spec).await?;
        let mut sent = 0;
        while let Some((name, piece)) = waiting.recv().await {
            sent += piece.len() as u64;
            let archive = tree::wrapped(&name, &piece);
            let archive = archive.map_err(|error| Trouble::Here(LaunchError::Log(error)))?;
            uploads.put(ARRIVING, archive).await?;
        }
        uploads.end().await?;
        let read = reader.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        read.map_err(|error| Trouble::Here(LaunchError::Log(error)))?;
        Ok(sent)
    }

    /// Makes the volume of arrays anew, which every client may write to.
    pub(super) async fn open_arrays(&self, ready: &Ready) -> Result<(), Trouble> {
        let volume = self.arrays();
        ready.docker.remove_volume(&volume).await?;
        ready.docker.make_volume(&volume, &[(STUDY_LABEL, &self.label)]).await?;
        self.arrive(ready, &volume, &["open"]).await.map(drop)
    }

    /// Calls the program that puts together what arrives; gives what it printed.
    async fn arrive(
        &self,
        ready: &Ready,
        volume: &str,
        arguments: &[&str],
    ) -> Result<String, Trouble> {
        let command = [&["python3", "-c", ARRIVE][..], arguments].concat();
        self.call(ready, self.spec(&command).volume(volume, ARRIVING, true)).await
    }

    /// What the host's hardware has that makes it one of its class.
    pub(super) async fn probe(&self, host: &Host, ready: &Ready) -> Result<Class, Trouble> {
        let client = self.bring_folder(host, ready, &self.client).await?;
        let mut spec = self.spec(&["python3", "-c", PROBE]).volume(&client, "/client", false);
        spec = spec.env("PYTHONPATH", "/client").env("PYTHONDONTWRITEBYTECODE", "1");
        spec.user = ready.docker.stranger();
        spec.gpus = host.on_gpus().then(|| host.setup.gpus.clone());
        let said = self.call(ready, spec).await?;
        serde_json::from_str(said.trim()).map(Class).map_err(|error| {
            Trouble::ForGood(format!("what it says of its hardware is not understood: {error}"))
        })
    }

    /// Tries once whether containers on the host reach the server.
    pub(super) async fn check_server(
        &self,
        host: &Host,
        ready: &Ready,
        server: &str,
    ) -> Result<(), Trouble> {
        let check = || async {
            let place = server.split_once(':').map_or(server, |(_, place)| place);
            let (name, port) = place.rsplit_once(':').unwrap_or((place, ""));
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let mut spec = self.spec(&["python3", "-c", REACH, name, port]);
            spec.network = host.network();
            spec.user = ready.docker.stranger();
            self.call(ready, spec).await.map(drop).map_err(|trouble| match trouble {
                Trouble::ForGood(said) => Trouble::ForGood(format!(
                    "its containers do not reach this machine at {place} ({said}); docker.server \
                     in study.toml, or `server` of this host, must be a name or address of this \
                     machine that they reach, and no firewall may be in the way"
                )),
                trouble => trouble,
            })
        };
        ready.reaches.get_or_try_init(check).await.copied()
    }

    /// A container of this program's own, closed and as root over what it mounts.
    fn spec(&self, command: &[&str]) -> ContainerSpec {
        let mut spec = ContainerSpec::new(&self.image, command, (0, 0))
            .label(STUDY_LABEL, &self.label)
            .label("reproduceml.stage", "bring");
        spec.limits.time = Some(PATIENCE);
        spec
    }

    /// Runs such a container and gives what it printed.
    async fn call(&self, ready: &Ready, spec: ContainerSpec) -> Result<String, Trouble> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut log = |stream, bytes: &[u8]| {
            match stream {
                LogStream::Stdout => out.extend_from_slice(bytes),
                LogStream::Stderr => err.extend_from_slice(bytes),
            }
            Ok(())
        };
        let exit = ready.docker.run(&spec, &mut log, &Cancel::new()).await?;
        if exit.success() {
            return Ok(String::from_utf8_lossy(&out).into_owned());
        }
        let said = String::from_utf8_lossy(&err).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let what = spec.command.first().map_or("", String::as_str);
        Err(if exit.status == Some(1) {
            Trouble::ForGood(last.trim().to_owned())
        } else {
            Trouble::Passing(format!("{what} ended with {:?}: {last}", exit.status))
        })
    }
}

/// An image as people name it.
fn short(image: &str) -> String {
    image.trim_start_matches("sha256:").chars().take(12).collect()
}

pub(super) fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
