//! Getting folders out of a store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::tree::{self, Entry, Kind, Tree};
use crate::{Depot, DepotError};

/// No list of a folder is longer than this, in bytes.
const LONGEST_TREE: u64 = 256 << 20;

/// What a call fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pulled {
    /// Files of the folder.
    pub files: usize,
    /// … that came from the store and not from the cache.
    pub fetched: usize,
    /// Bytes that came from the store.
    pub bytes: u64,
}

/// Something in a store that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Depot {
    /// The list of a folder; nothing if the store has none of this name.
    ///
    /// # Errors
    /// If the store cannot be asked, or the list was changed.
    pub async fn look(&self, name: &str) -> Result<Option<Tree>, DepotError> {
        if !tree::sound(name) {
            return Ok(None);
        }
        let place = self.tree(name);
        let found = match self.store.get(&place).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let corrupt = |reason| self.corrupt(&place, reason);
        if found.meta.size > LONGEST_TREE {
            return Err(corrupt("it is too long".to_owned()));
        }
        let text = found.bytes().await.map_err(|error| self.failed(&error))?;
        Tree::read(&text).map(Some).map_err(corrupt)
    }

    /// Fetches the folder `name` to `folder`, which must not be there: it appears whole, with every
    /// file as it was sent, or not at all. Nothing if the store has no such folder.
    ///
    /// # Errors
    /// If the store cannot be asked, something in it was changed, or the disk cannot be written.
    pub async fn pull(&self, name: &str, folder: &Path) -> Result<Option<Pulled>, DepotError> {
        let Some(tree) = self.look(name).await? else { return Ok(None) };
        let above = folder.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(DepotError::io(above))?;
        let part = tempfile::Builder::new()
            .prefix(".part-")
            .tempdir_in(above)
            .map_err(DepotError::io(above))?;
        let mut pulled = Pulled { files: tree.files.len(), ..Pulled::default() };
        for entry in &tree.files {
            self.place(entry, part.path(), &mut pulled).await?;
        }
        self.cache.trim();
        let io = |source| DepotError::Io { path: folder.to_owned(), source };
        fs::set_permissions(part.path(), fs::Permissions::from_mode(0o755)).map_err(io)?;
        match fs::rename(part.path(), folder) {
            // Another process was first, with the same.
            Err(_) if folder.is_dir() => return Ok(Some(pulled)),
            other => other.map_err(io)?,
        }
        study::files::sync_folder(above).map_err(io)?;
        Ok(Some(pulled))
    }

    async fn place(
        &self,
        entry: &Entry,
        folder: &Path,
        pulled: &mut Pulled,
    ) -> Result<(), DepotError> {
        let path = folder.join(&entry.path);
        let io = |source| DepotError::Io { path: path.clone(), source };
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(io)?;
        }
        let mode = match &entry.kind {
            Kind::Link(target) => return std::os::unix::fs::symlink(target, &path).map_err(io),
            Kind::Executable => 0o755,
            Kind::File => 0o644,
        };
        if !self.cache.take(&entry.sha256, &path).map_err(io)? {
            self.fetch(entry, &path).await?;
            self.cache.keep(&entry.sha256, &path);
            pulled.fetched += 1;
            pulled.bytes += entry.bytes;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io)
    }

    /// Writes an object to `path`, which is not there afterwards if it is not what it should be.
    async fn fetch(&self, entry: &Entry, path: &Path) -> Result<(), DepotError> {
        let place = self.object(&entry.sha256);
        let file = tokio::fs::File::create(path).await.map_err(DepotError::io(path))?;
        let fetched = self.read(entry, &place, Some((file, path))).await;
        if fetched.is_err() {
            let _ = fs::remove_file(path);
        }
        fetched
    }

    /// Reads an object and holds it against its digest.
    async fn read(
        &self,
        entry: &Entry,
        place: &object_store::path::Path,
        mut out: Option<(tokio::fs::File, &Path)>,
    ) -> Result<(), DepotError> {
        let found = match self.store.get(place).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(self.corrupt(place, "it is not there".to_owned()));
            }
            Err(error) => return Err(self.failed(&error)),
        };
        let size = found.meta.size;
        if size != entry.bytes {
            let reason = format!("it has {size} bytes, {} were put there", entry.bytes);
            return Err(self.corrupt(place, reason));
        }
        let mut hasher = Sha256::new();
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|error| self.failed(&error))? {
            hasher.update(&piece);
            if let Some((file, path)) = &mut out {
                file.write_all(&piece).await.map_err(DepotError::io(*path))?;
            }
        }
        let digest = hex::encode(hasher.finalize());
        if digest != entry.sha256 {
            return Err(self.corrupt(place, format!("its SHA-256 is {digest}")));
        }
        if let Some((file, path)) = &mut out {
            file.sync_all().await.map_err(DepotError::io(*path))?;
        }
        Ok(())
    }

    /// Reads everything of a folder in the store, and names what is not what it should be.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn verify(&self, name: &str) -> Result<Vec<Refused>, DepotError> {
        let mut refused = Vec::new();
        let mut note = |result: Result<(), DepotError>| match result {
            Err(DepotError::Corrupt { object, reason, .. }) => {
                refused.push(Refused { object, reason });
                Ok(())
            }
            other => other,
        };
        let tree = match self.look(name).await {
            Ok(tree) => tree.unwrap_or_default(),
            Err(error) => {
                note(Err(error))?;
                Tree::default()
            }
        };
        for entry in tree.files.iter().filter(|entry| !matches!(entry.kind, Kind::Link(_))) {
            note(self.read(entry, &self.object(&entry.sha256), None).await)?;
        }
        Ok(refused)
    }

    fn corrupt(&self, place: &object_store::path::Path, reason: String) -> DepotError {
        DepotError::Corrupt { url: self.url.clone(), object: place.to_string(), reason }
    }
}
