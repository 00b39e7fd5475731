//! What is in a pack: `manifest.json`.

use serde::{Deserialize, Serialize};

/// The word by which a pack is known.
pub const FORMAT: &str = "reproduceml-pack";
/// The version of the format that is written.
pub const VERSION: u32 = 1;

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The study's name.
    pub study: String,
    /// The program that made it: `reproduceml 0.1.0`.
    pub program: String,
    /// Whether the artifacts' files are in it.
    pub artifacts: bool,
    /// Whether the runs' predictions are in it.
    pub predictions: bool,
}

/// A listed member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path, as [`crate::path::check`] allows it.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content in hexadecimal.
    pub sha256: String,
    /// Whether it can be executed where it came from. Nothing of a pack is made executable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub executable: bool,
    /// It is a symbolic link with this target, listed and never made: there is no such member in
    /// the archive, and `bytes` and `sha256` are those of the target's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The first member of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// What it says of itself.
    #[serde(flatten)]
    pub about: About,
    /// Every other member, by path.
    pub files: Vec<Member>,
}

impl Manifest {
    /// The member with a path.
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&Member> {
        let place = self.files.binary_search_by(|member| member.path.as_str().cmp(path)).ok()?;
        self.files.get(place)
    }
}
