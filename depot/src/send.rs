//! Putting folders into a store.

use std::path::Path;

use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::tree::{self, Kind, Tree};
use crate::{Depot, DepotError};

/// Files up to this size go in one request.
const WHOLE: u64 = 8 << 20;
/// Bytes of each part of a larger one.
const PART: usize = 8 << 20;

/// What a call sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// Files of the folder.
    pub files: usize,
    /// … that were not there and were sent.
    pub sent: usize,
    /// Bytes sent.
    pub bytes: u64,
}

impl Depot {
    /// Puts the folder under `name` into the store. What is there already is not sent again.
    ///
    /// # Errors
    /// If the folder cannot be read or changes meanwhile, or the store cannot be written.
    pub async fn push(&self, name: &str, folder: &Path) -> Result<Pushed, DepotError> {
        if !tree::sound(name) {
            let reason = format!("{name:?} cannot be a name in a store");
            return Err(DepotError::Content { path: folder.to_owned(), reason });
        }
        let tree = Tree::of(folder)?;
        let mut pushed = Pushed { files: tree.files.len(), ..Pushed::default() };
        for entry in tree.files.iter().filter(|entry| !matches!(entry.kind, Kind::Link(_))) {
            let place = self.object(&entry.sha256);
            match self.store.head(&place).await {
                Ok(there) if there.size == entry.bytes => continue,
                // Another size: it was changed there, and the right one takes its place.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(&error)),
            }
            self.send(&folder.join(&entry.path), &place, &entry.sha256, entry.bytes).await?;
            pushed.sent += 1;
            pushed.bytes += entry.bytes;
        }
        // Last: until it is there, nobody sees any of it.
        let text = tree.written();
        self.store
            .put(&self.tree(name), PutPayload::from(text.into_bytes()))
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(pushed)
    }

    async fn send(
        &self,
        path: &Path,
        place: &object_store::path::Path,
        sha256: &str,
        bytes: u64,
    ) -> Result<(), DepotError> {
        let changed = || DepotError::Content {
            path: path.to_owned(),
            reason: "it changed while it was sent; call again when nothing writes to it".to_owned(),
        };
        if bytes <= WHOLE {
            let content = tokio::fs::read(path).await.map_err(DepotError::io(path))?;
            if study::files::sha256_hex(&content) != sha256 {
                return Err(changed());
            }
            let put = self.store.put(place, PutPayload::from(content)).await;
            return put.map(|_| ()).map_err(|error| self.failed(&error));
        }
        let upload = self.store.put_multipart(place).await.map_err(|error| self.failed(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let sent = async {
            let mut file = tokio::fs::File::open(path).await.map_err(DepotError::io(path))?;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 1 << 20];
            loop {
                upload.wait_for_capacity(4).await.map_err(|error| self.failed(&error))?;
                let read = file.read(&mut buffer).await.map_err(DepotError::io(path))?;
                if read == 0 {
                    break;
                }
                let piece = buffer.get(..read).unwrap_or_default();
                hasher.update(piece);
                upload.write(piece);
            }
            if hex::encode(hasher.finalize()) == sha256 { Ok(()) } else { Err(changed()) }
        }
        .await;
        match sent {
            Ok(()) => upload.finish().await.map(|_| ()).map_err(|error| self.failed(&error)),
            Err(error) => {
                // What cannot be taken back is not seen by anybody, and goes with the bucket's own
                // rule for uploads that were begun.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}
