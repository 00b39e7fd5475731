//! Writing a pack.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::manifest::{About, FORMAT, Manifest, Member, VERSION};
use crate::path::{self, PathError};
use crate::{SigningKey, read};

/// Compression level: rows of text become a tenth at it, and more effort gains little.
const LEVEL: i32 = 6;

/// Where the content of a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file. A link in its place is not followed.
    File(PathBuf),
    /// In an executable file.
    Executable(PathBuf),
    /// Nowhere: it is a link to this target.
    Link(String),
}

/// Why a pack was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A member's path is none.
    #[error("{path}: this cannot be the path of a member: {reason}")]
    Path {
        /// The path.
        path: String,
        /// The rule it breaks.
        reason: PathError,
    },
    /// Two members have one path.
    #[error("{path}: two members have this path")]
    Twice {
        /// The path.
        path: String,
    },
    /// A file is no file, or is another one than a moment ago.
    #[error("{path}: {reason}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: &'static str,
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

/// Writes a pack of `members` (path and content) into `out`, an open file at `path`; signed if there
/// is a key. The same members, key and program give the same bytes.
///
/// # Errors
/// If a path is none, is there twice, or a file cannot be read or written, or changes meanwhile.
pub fn write(
    out: &mut File,
    at: &Path,
    about: About,
    mut members: Vec<(String, Source)>,
    key: Option<&SigningKey>,
) -> Result<Manifest, WriteError> {
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let mut files = Vec::with_capacity(members.len());
    for (name, source) in &members {
        path::check(name).map_err(|reason| WriteError::Path { path: name.clone(), reason })?;
        if read::OWN.contains(&name.as_str())
            || files.last().is_some_and(|last: &Member| last.path == *name)
        {
            return Err(WriteError::Twice { path: name.clone() });
        }
        files.push(describe(name, source)?);
    }
    let manifest = Manifest { format: FORMAT.into(), version: VERSION, about, files };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| WriteError::Io { path: at.to_owned(), source: error.into() })?;
    let text = text + "\n";
    let io = |source| WriteError::Io { path: at.to_owned(), source };
    let mut encoder = zstd::Encoder::new(&mut *out, LEVEL).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    let mut archive = tar::Builder::new(encoder);
    append(&mut archive, read::MANIFEST, text.len() as u64, text.as_bytes()).map_err(io)?;
    if let Some(key) = key {
        let signature = key.sign(text.as_bytes());
        append(&mut archive, read::SIGNATURE, signature.len() as u64, &*signature).map_err(io)?;
        let public = key.public().pem();
        append(&mut archive, read::PUBLIC, public.len() as u64, public.as_bytes()).map_err(io)?;
    }
    for ((name, source), member) in members.iter().zip(&manifest.files) {
        match source {
            Source::Bytes(bytes) => {
                append(&mut archive, name, member.bytes, &**bytes).map_err(io)?;
            }
            Source::File(file) | Source::Executable(file) => {
                let changed = WriteError::Changed {
                    path: file.clone(),
                    reason: "it changed while it was packed; call again when nothing writes to it",
                };
                let mut reader = Same::of(file, member)?;
                let appended = append(&mut archive, name, member.bytes, &mut reader);
                if reader.differs() {
                    return Err(changed);
                }
                appended.map_err(io)?;
            }
            Source::Link(_) => {}
        }
    }
    let encoder = archive.into_inner().map_err(io)?;
    encoder.finish().and_then(|out| out.flush()).map_err(io)?;
    Ok(manifest)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content)
}

fn describe(name: &str, source: &Source) -> Result<Member, WriteError> {
    let of_bytes = |bytes: &[u8]| Member {
        path: name.to_owned(),
        bytes: bytes.len() as u64,
        sha256: study::files::sha256_hex(bytes),
        executable: false,
        link: None,
    };
    match source {
        Source::Bytes(bytes) => Ok(of_bytes(bytes)),
        Source::Link(target) => {
            Ok(Member { link: Some(target.clone()), ..of_bytes(target.as_bytes()) })
        }
        Source::File(file) | Source::Executable(file) => {
            let io = |source| WriteError::Io { path: file.clone(), source };
            let metadata = std::fs::symlink_metadata(file).map_err(io)?;
            if !metadata.is_file() {
                let reason = "expected a file here, and no link or anything else";
                return Err(WriteError::Changed { path: file.clone(), reason });
            }
            Ok(Member {
                path: name.to_owned(),
                bytes: metadata.len(),
                sha256: study::files::sha256_file(file).map_err(io)?,
                executable: matches!(source, Source::Executable(_)),
                link: None,
            })
        }
    }
}

/// Reads a file and says whether it still is what it was described as.
struct Same<'a> {
    file: BufReader<io::Take<File>>,
    hasher: sha2::Sha256,
    left: u64,
    member: &'a Member,
}

impl<'a> Same<'a> {
    fn of(path: &Path, member: &'a Member) -> Result<Self, WriteError> {
        let file =
            File::open(path).map_err(|source| WriteError::Io { path: path.to_owned(), source })?;
        let file = BufReader::new(file.take(member.bytes));
        Ok(Self { file, hasher: sha2::Digest::new(), left: member.bytes, member })
    }

    fn differs(self) -> bool {
        use sha2::Digest;
        self.left > 0 || hex::encode(self.hasher.finalize()) != self.member.sha256
    }
}

impl Read for Same<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use sha2::Digest;
        let read = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.left -= read as u64;
        Ok(read)
    }
}
