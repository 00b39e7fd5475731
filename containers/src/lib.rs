//! Where containers run: the one seam between ReproduceML and a Docker daemon.
//!
//! The builder turns commits into artifacts in containers, the runner trains in containers. Both
//! need the same few verbs, and neither may know the other, so the verbs live here:
//!
//! * [`Docker::connect`] finds the daemon (`DOCKER_HOST`, else the local socket), agrees on an API
//!   version, and tells apart "not there", "not permitted" and "too old";
//! * [`Docker::image_id`], [`Docker::build_image`], [`Docker::import_image`] and
//!   [`Docker::ensure_image`] make images;
//! * [`Docker::run`] runs one command in a locked-down container from creation to removal, and
//!   says how it ended ([`ContainerExit`]);
//! * [`send_image`] brings an image to another daemon, layer by layer, and [`Docker::upload`] files
//!   into a named volume of it;
//! * [`Docker::remove_leftovers`] removes what a killed process left behind.
//!
//! A [`ContainerSpec`] is closed by default: no network, no capabilities, no new privileges, a
//! read-only root file system, limits on memory, processes and time. A caller opens what it needs.

mod cancel;
mod connect;
mod error;
mod images;
mod layers;
mod leftovers;
mod remote;
mod run;
mod spec;
mod transfer;
mod volumes;
mod watch;

pub use cancel::Cancel;
pub use connect::{DaemonInfo, Docker};
pub use error::ContainerError;
pub use images::{ImageInfo, build_context};
pub use leftovers::{Leftover, STUDY_LABEL};
pub use run::{ContainerExit, Ended, LogStream};
pub use spec::{ContainerSpec, DiskLimit, Limits, Mount, Network, VolumeMount};
pub use transfer::{Sent, send_image};
pub use volumes::Uploads;
pub use watch::{folder_bytes, free_bytes};
