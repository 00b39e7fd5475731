//! Taking a pack apart, which may be anybody's: nothing is written outside one folder, nothing
//! that the manifest does not list, and no more of it than the manifest says.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::{FORMAT, Manifest, Member, VERSION};
use crate::{PublicKey, path};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const SIGNATURE: &str = "manifest.sig";
pub(crate) const PUBLIC: &str = "manifest.pub";
/// Members that the manifest does not list.
pub(crate) const OWN: [&str; 3] = [MANIFEST, SIGNATURE, PUBLIC];

/// The longest manifest that is read: about a million files.
const LONGEST_MANIFEST: u64 = 256 << 20;

/// How much a pack may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all members together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30 }
    }
}

/// Why a file cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no pack, or not a whole one.
    #[error("{path}: this is no whole pack: {reason}; fetch it again from where it came")]
    NoPack {
        /// The file.
        path: PathBuf,
        /// Where reading ended.
        reason: String,
    },
    /// It holds what no pack holds: nothing of it is used.
    #[error("{path}: refused: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Which member, and why.
        reason: String,
    },
    /// It was made by a later program.
    #[error("{path}: the pack has version {found}, this program reads {VERSION}; use a newer one")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// A member that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The member.
    pub member: String,
    /// What is wrong with it.
    pub what: String,
}

/// What stands in the place of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// Nothing.
    None,
    /// A signature over the manifest by this key.
    By(PublicKey),
    /// A signature that is none, or is not over this manifest.
    Wrong,
}

/// A pack that was taken apart.
#[derive(Debug)]
pub struct Unpacked {
    /// What it lists.
    pub manifest: Manifest,
    /// Whether it is signed, by the key that it names itself.
    pub signature: Signature,
    /// Members that are missing, too many, or not as listed; in the order they were met.
    pub problems: Vec<Problem>,
}

/// Takes the pack `file` apart: every member's size and digest is held against the manifest, and
/// those that `wanted` names are written below `folder`, which must be empty. A member that is not
/// what the manifest says is not there afterwards.
///
/// # Errors
/// If it is no pack, garbled or cut off; if a member is no file, has no sound path, comes twice, or
/// is larger than listed; if it is larger than `limits`; if the folder cannot be written.
pub fn unpack(
    file: &Path,
    folder: &Path,
    limits: Limits,
    wanted: impl Fn(&str) -> bool,
) -> Result<Unpacked, ReadError> {
    let io = |source| ReadError::Io { path: file.to_owned(), source };
    let open = File::open(file).map_err(io)?;
    if !open.metadata().map_err(io)?.is_file() {
        let reason = "expected a file".to_owned();
        return Err(ReadError::NoPack { path: file.to_owned(), reason });
    }
    let decoder = zstd::Decoder::new(BufReader::new(open)).map_err(io)?;
    let mut archive = tar::Archive::new(decoder);
    let reader = Reader { file, folder, limits, wanted: &wanted };
    let mut unpacked = {
        let entries = archive.entries().map_err(|error| reader.garbled(&error))?;
        reader.members(entries.raw(true))?
    };
    // The frame's end and its checksum come after the archive's last member.
    let mut rest = archive.into_inner();
    let mut buffer = [0; 4096];
    loop {
        match rest.read(&mut buffer).map_err(|error| reader.garbled(&error))? {
            0 => break,
            read if buffer.iter().take(read).any(|byte| *byte != 0) => {
                return Err(reader.refused("something follows the archive".to_owned()));
            }
            _ => {}
        }
    }
    let missing = std::mem::take(&mut unpacked.1);
    for member in &unpacked.0.manifest.files {
        if member.link.is_none() && !missing.contains(&member.path) {
            unpacked.0.problems.push(Problem {
                member: member.path.clone(),
                what: "the manifest lists it, and it is not there".to_owned(),
            });
        }
    }
    Ok(unpacked.0)
}

struct Reader<'a, W> {
    file: &'a Path,
    folder: &'a Path,
    limits: Limits,
    wanted: &'a W,
}

impl<W: Fn(&str) -> bool> Reader<'_, W> {
    fn garbled(&self, error: &io::Error) -> ReadError {
        ReadError::NoPack { path: self.file.to_owned(), reason: error.to_string() }
    }

    fn refused(&self, reason: String) -> ReadError {
        ReadError::Refused { path: self.file.to_owned(), reason }
    }

    fn no_pack(&self, reason: &str) -> ReadError {
        ReadError::NoPack { path: self.file.to_owned(), reason: reason.to_owned() }
    }

    /// Reads all members; with the names of those that were met.
    fn members<R: Read>(
        &self,
        entries: tar::Entries<'_, R>,
    ) -> Result<(Unpacked, HashSet<String>), ReadError> {
        let mut manifest: Option<(Manifest, Vec<u8>)> = None;
        let (mut signature, mut public) = (None, None);
        let mut problems = Vec::new();
        let mut met = HashSet::new();
        let mut long_name: Option<String> = None;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.garbled(&error))?;
            if entry.header().entry_type() == tar::EntryType::GNULongName {
                if entry.size() > path::LONGEST as u64 + 1 || long_name.is_some() {
                    return Err(self.refused("a member's name is too long".to_owned()));
                }
                let bytes = self.whole(&mut entry)?;
                long_name = Some(self.name(bytes.strip_suffix(b"\0").unwrap_or(&bytes))?);
                continue;
            }
            let name = match long_name.take() {
                Some(name) => name,
                None => self.name(&entry.path_bytes())?,
            };
            if entry.header().entry_type() != tar::EntryType::Regular {
                return Err(self.refused(format!("{name} is no file but a link or a device")));
            }
            path::check(&name)
                .map_err(|error| self.refused(format!("{name:?} is no sound path: {error}")))?;
            if !met.insert(name.clone()) {
                return Err(self.refused(format!("{name} is there twice")));
            }
            let Some((manifest, _)) = &manifest else {
                if name != MANIFEST {
                    return Err(self.no_pack(&format!("it begins with {name}, not {MANIFEST}")));
                }
                manifest = Some(self.manifest(&mut entry)?);
                continue;
            };
            match name.as_str() {
                SIGNATURE | PUBLIC if entry.size() > 4096 => {
                    return Err(self.refused(format!("{name} is too large")));
                }
                SIGNATURE => signature = Some(self.whole(&mut entry)?),
                PUBLIC => public = Some(self.whole(&mut entry)?),
                _ => problems.extend(self.member(manifest, &name, &mut entry)?),
            }
        }
        let Some((manifest, text)) = manifest else {
            return Err(self.no_pack("there is nothing in it"));
        };
        let signature = match (signature, public.as_deref().map(PublicKey::of_pem)) {
            (None, None) => Signature::None,
            (Some(signature), Some(Some(key))) if key.verifies(&text, &signature) => {
                Signature::By(key)
            }
            _ => Signature::Wrong,
        };
        Ok((Unpacked { manifest, signature, problems }, met))
    }

    fn name(&self, bytes: &[u8]) -> Result<String, ReadError> {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| self.refused("a member's name is no UTF-8 text".to_owned()))
    }

    fn whole(&self, entry: &mut impl Read) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| self.garbled(&error))?;
        Ok(bytes)
    }

    fn manifest<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<(Manifest, Vec<u8>), ReadError> {
        if entry.size() > LONGEST_MANIFEST {
            return Err(self.refused("its manifest is too large".to_owned()));
        }
        let text = self.whole(entry)?;
        let no_manifest = |error: serde_json::Error| {
            self.no_pack(&format!("its {MANIFEST} is none of a pack: {error}"))
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(no_manifest)?;
        if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err(self.no_pack(&format!("its {MANIFEST} is not that of a pack")));
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version != u64::from(VERSION) {
            let found = u32::try_from(version).unwrap_or(u32::MAX);
            return Err(ReadError::Version { path: self.file.to_owned(), found });
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(no_manifest)?;
        let mut total = 0_u64;
        let mut last = "";
        for member in &manifest.files {
            let name = &member.path;
            path::check(name)
                .map_err(|error| self.refused(format!("{name:?} is no sound path: {error}")))?;
            if name.as_str() <= last || OWN.contains(&name.as_str()) {
                return Err(self.refused(format!("{name} is listed twice or out of order")));
            }
            last = name;
            total = total.saturating_add(member.bytes);
        }
        for member in &manifest.files {
            let mut above = member.path.as_str();
            while let Some((folder, _)) = above.rsplit_once('/') {
                if manifest.member(folder).is_some() {
                    return Err(self.refused(format!("{folder} is a file and a folder")));
                }
                above = folder;
            }
        }
        if total > self.limits.bytes {
            return Err(self.refused(format!(
                "its members have {total} bytes, more than the {} that are allowed",
                self.limits.bytes
            )));
        }
        Ok((manifest, text))
    }

    fn member<R: Read>(
        &self,
        manifest: &Manifest,
        name: &str,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<Option<Problem>, ReadError> {
        let problem = |what: String| Ok(Some(Problem { member: name.to_owned(), what }));
        let Some(listed) = manifest.member(name).filter(|member| member.link.is_none()) else {
            // Passed over without being read into memory or written.
            let bytes = entry.size();
            if bytes > self.limits.bytes {
                return Err(self.refused(format!("{name} has {bytes} bytes")));
            }
            io::copy(entry, &mut io::sink()).map_err(|error| self.garbled(&error))?;
            return problem("the manifest does not list it".to_owned());
        };
        if entry.size() > listed.bytes {
            return Err(self.refused(format!(
                "{name} has {} bytes where {} are listed",
                entry.size(),
                listed.bytes
            )));
        }
        let size = entry.size();
        let place = self.folder.join(name);
        let digest = if (self.wanted)(name) {
            self.keep(&place, entry)?
        } else {
            self.digest(entry, &mut io::sink(), &place)?
        };
        if digest.0 != size {
            return Err(self.no_pack(&format!("it ends within {name}")));
        }
        self.judge(listed, &digest, &place)
    }

    fn judge(
        &self,
        listed: &Member,
        (bytes, sha256): &(u64, String),
        place: &Path,
    ) -> Result<Option<Problem>, ReadError> {
        if *bytes == listed.bytes && *sha256 == listed.sha256 {
            return Ok(None);
        }
        match std::fs::remove_file(place) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ReadError::Io { path: place.to_owned(), source });
            }
            _ => {}
        }
        let what = if *bytes == listed.bytes {
            format!("its SHA-256 is {sha256}, the manifest says {}", listed.sha256)
        } else {
            format!("it has {bytes} bytes, the manifest says {}", listed.bytes)
        };
        Ok(Some(Problem { member: listed.path.clone(), what }))
    }

    fn keep(&self, place: &Path, entry: &mut impl Read) -> Result<(u64, String), ReadError> {
        let io = |source| ReadError::Io { path: place.to_owned(), source };
        if let Some(above) = place.parent() {
            std::fs::create_dir_all(above).map_err(io)?;
        }
        let mut file = File::options().write(true).create_new(true).open(place).map_err(io)?;
        self.digest(entry, &mut file, place)
    }

    fn digest(
        &self,
        entry: &mut impl Read,
        out: &mut impl Write,
        place: &Path,
    ) -> Result<(u64, String), ReadError> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0_u64;
        loop {
            let read = entry.read(&mut buffer).map_err(|error| self.garbled(&error))?;
            if read == 0 {
                return Ok((bytes, hex::encode(hasher.finalize())));
            }
            let piece = buffer.get(..read).unwrap_or_default();
            hasher.update(piece);
            bytes += read as u64;
            out.write_all(piece)
                .map_err(|source| ReadError::Io { path: place.to_owned(), source })?;
        }
    }
}
