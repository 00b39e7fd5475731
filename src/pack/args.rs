//! Arguments of `pack` and `check`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// Take the artifacts' files along, and not only where they come from.
    #[arg(long)]
    pub artifacts: bool,
    /// Take the runs' predictions along, so that `check` can compute the metrics again.
    #[arg(long)]
    pub predictions: bool,
    /// Sign it with this Ed25519 key in PEM, as `openssl genpkey -algorithm ed25519` makes it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The archive to write; else STUDY.pack.tar.zst in this folder.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The archive that `pack` wrote.
    pub file: PathBuf,
    /// The public key, in PEM, that it must be signed with.
    #[arg(long, value_name = "PUBLIC")]
    pub key: Option<PathBuf>,
    /// A folder of published data sets (a folder each, such as cifar10), to compute metrics from
    /// predictions; synthetic data needs none.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// GiB that the pack's files may have together.
    #[arg(long, value_name = "GIB", default_value_t = 64)]
    pub limit_gib: u32,
}
