//! Notes as the study keeps them: each as it was received, one Markdown file a tag, with
//! `index.json` beside them for digest, date and where they came from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use study::files::{sha256_hex, write_whole};

/// What is known of a kept note beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Where it came from: an address, or `folder`.
    pub source: String,
    /// When the release was published (RFC 3339), if the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
}

/// What a conditional request needs: the pages of releases and their entity tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Entity tags by address.
    #[serde(default)]
    pub etags: BTreeMap<String, String>,
    /// The page after each page that has one, so that an unchanged page leads on.
    #[serde(default)]
    pub next: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Listing {
    #[serde(default)]
    notes: BTreeMap<String, About>,
    #[serde(default)]
    pages: Pages,
}

/// The notes folder of a study.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    listing: Listing,
}

/// What keeping a note did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    New,
    /// It is as before.
    Same,
    /// It differs from before; the old bytes lie in the file named.
    Changed {
        /// Where the old bytes are.
        old: PathBuf,
    },
}

impl Kept {
    /// Opens the folder; one that is not there yet is empty. Notes without a listing, put there
    /// by hand, count too.
    ///
    /// # Errors
    /// If the listing cannot be read or is no JSON of the expected form.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("index.json");
        let mut listing: Listing = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Listing::default(),
            Err(error) => return Err(error),
        };
        // A note that was deleted must be fetched again, though its page did not change.
        if listing.notes.keys().any(|tag| !folder.join(format!("{tag}.md")).is_file()) {
            listing.pages = Pages::default();
        }
        Ok(Self { folder: folder.to_owned(), listing })
    }

    /// Keeps a note; `tag` must be safe as a file name.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn keep(
        &mut self,
        tag: &str,
        body: &[u8],
        source: &str,
        published_at: Option<String>,
    ) -> io::Result<Change> {
        let file = self.folder.join(format!("{tag}.md"));
        let before = match std::fs::read(&file) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let change = match before {
            None => Change::New,
            Some(bytes) if bytes == body => Change::Same,
            Some(bytes) => {
                let digest = sha256_hex(&bytes);
                let short = digest.get(..12).unwrap_or(&digest);
                let old = self.folder.join("changed").join(format!("{tag}-{short}.md"));
                write_whole(&old, &bytes)?;
                Change::Changed { old }
            }
        };
        if change != Change::Same {
            write_whole(&file, body)?;
        }
        let about = About { sha256: sha256_hex(body), source: source.to_owned(), published_at };
        if self.listing.notes.get(tag) != Some(&about) {
            self.listing.notes.insert(tag.to_owned(), about);
        }
        Ok(change)
    }

    /// Entity tags and order of the pages fetched before.
    pub fn pages(&mut self) -> &mut Pages {
        &mut self.listing.pages
    }

    /// Writes the listing.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn save(&self) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.listing)?;
        text.push('\n');
        let path = self.folder.join("index.json");
        if std::fs::read(&path).is_ok_and(|before| before == text.as_bytes()) {
            return Ok(());
        }
        write_whole(&path, text.as_bytes())
    }

    /// What is known of a note.
    pub fn about(&self, tag: &str) -> Option<&About> {
        self.listing.notes.get(tag)
    }

    /// All kept notes with their bytes, by tag.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn all(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        match self.folder.is_dir() {
            true => super::folder::read(&self.folder),
            false => Ok(Vec::new()),
        }
    }
}
