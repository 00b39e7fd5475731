//! Opening a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use study::Study;
use study::config::StoreConfig;

use crate::DepotError;
use crate::cache::Cache;

/// The longest time without an answer to one request.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store that a study may keep things in.
#[derive(Debug, Clone)]
pub struct Depot {
    pub(crate) store: Arc<dyn ObjectStore>,
    prefix: Path,
    pub(crate) url: String,
    pub(crate) cache: Cache,
}

impl Depot {
    /// The store that study.toml names; nothing if it names none. Nothing is asked of it yet.
    ///
    /// # Errors
    /// If the address cannot be one, or credentials are missing.
    pub fn of(study: &Study) -> Result<Option<Self>, DepotError> {
        let Some(config) = &study.config.store else { return Ok(None) };
        let limit = u64::from(config.cache_gib) << 30;
        let cache = Cache::new(study.cache_dir().join("store"), limit);
        let url = config.url.trim_end_matches('/').to_owned();
        let (store, prefix): (Arc<dyn ObjectStore>, &str) =
            if let Some(rest) = url.strip_prefix("s3://") {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                (Arc::new(s3(config, &url, bucket)?), prefix)
            } else if let Some(folder) = url.strip_prefix("file://") {
                (Arc::new(shared(&url, PathBuf::from(folder))?), "")
            } else {
                let reason =
                    format!("store.url is `{url}`; expected s3://BUCKET/PREFIX or file:///FOLDER");
                return Err(DepotError::Config(reason));
            };
        let prefix = Path::parse(prefix)
            .map_err(|error| DepotError::Config(format!("store.url: {error}")))?;
        Ok(Some(Self { store, prefix, url, cache }))
    }

    /// How people know it: the address in study.toml.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The place of an object's bytes.
    pub(crate) fn object(&self, sha256: &str) -> Path {
        let shelf = sha256.get(..2).unwrap_or_default();
        self.below(&format!("objects/{shelf}/{sha256}"))
    }

    /// The place of a folder's list.
    pub(crate) fn tree(&self, name: &str) -> Path {
        self.below(&format!("trees/{name}"))
    }

    fn below(&self, place: &str) -> Path {
        place.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// The folders that are in the store and whose name begins with `under`, in order.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn list(&self, under: &str) -> Result<Vec<String>, DepotError> {
        let base = self.below("trees");
        let place = self.tree(under.trim_end_matches('/'));
        let mut found = Vec::new();
        let mut entries = self.store.list(Some(&place));
        while let Some(entry) = entries.try_next().await.map_err(|error| self.failed(&error))? {
            if let Some(parts) = entry.location.prefix_match(&base) {
                let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                found.push(parts.join("/"));
            }
        }
        found.sort();
        Ok(found)
    }

    pub(crate) fn failed(&self, error: &object_store::Error) -> DepotError {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason += &format!(": {text}");
            }
            cause = error.source();
        }
        // One line is enough; servers answer with whole pages.
        let reason: String = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = reason.char_indices().nth(400).map_or(reason.len(), |(end, _)| end);
        let reason = reason.get(..end).unwrap_or_default().to_owned();
        DepotError::Store { url: self.url.clone(), reason }
    }
}

fn s3(
    config: &StoreConfig,
    url: &str,
    bucket: &str,
) -> Result<impl ObjectStore + use<>, DepotError> {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let known = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ];
    // Without any of these the library asks the address at which clouds tell their machines.
    if !known.iter().any(|name| set(name)) {
        return Err(DepotError::Credentials { url: url.to_owned() });
    }
    let client =
        ClientOptions::new().with_connect_timeout(Duration::from_secs(10)).with_timeout(PATIENCE);
    let retry = RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    let mut client = client;
    if let Some(endpoint) = &config.endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    builder
        .with_client_options(client)
        .build()
        .map_err(|error| DepotError::Config(format!("[store]: {error}")))
}

fn shared(url: &str, folder: PathBuf) -> Result<LocalFileSystem, DepotError> {
    let fail = |reason: String| DepotError::Store { url: url.to_owned(), reason };
    if !folder.is_dir() {
        // A folder that is not mounted must not be made on this machine's own disk.
        return Err(fail("there is no such folder here; mount it, or make it once".to_owned()));
    }
    LocalFileSystem::new_with_prefix(folder).map_err(|error| fail(error.to_string()))
}
