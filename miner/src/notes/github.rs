//! Notes from GitHub's releases, through octocrab: paged, conditional, patient within limits.

use std::time::Duration;

use http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LINK, RETRY_AFTER};
use octocrab::Octocrab;
use octocrab::service::middleware::retry::RetryConfig;
use serde::Deserialize;

use super::kept::{Change, Kept};
use crate::mine::Progress;

/// What to ask GitHub for.
#[derive(Debug, Clone)]
pub struct Request {
    /// `owner/name`.
    pub repository: String,
    /// The releases wanted, in words: another choice asks for every page anew.
    pub range: String,
    /// A token; without one GitHub answers 60 requests an hour.
    pub token: Option<String>,
    /// Another address than GitHub's own.
    pub api_base: Option<String>,
    /// How often a broken answer is asked for again.
    pub tries: u32,
    /// The pause after the first broken answer; each further one doubles it.
    pub pause: Duration,
    /// The longest wait for a rate limit to end.
    pub longest_wait: Duration,
}

impl Request {
    /// A request with the usual patience: five tries from one second on, a minute for a limit.
    pub fn new(repository: &str, token: Option<String>, api_base: Option<String>) -> Self {
        Self {
            repository: repository.to_owned(),
            range: String::new(),
            token,
            api_base,
            tries: 5,
            pause: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// What was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Notes new or changed.
    pub received: usize,
    /// Pages that had not changed.
    pub unchanged_pages: usize,
    /// Notes that are not what they were.
    pub warnings: Vec<String>,
}

/// Why notes could not be had. What was received before is kept.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// The address or token cannot be used.
    #[error("GitHub at {base}: {message}; check REPRODUCEML_GITHUB_API and GITHUB_TOKEN")]
    Setup {
        /// The address.
        base: String,
        /// What is wrong.
        message: String,
    },
    /// The rate limit is used up.
    #[error(
        "{address}: GitHub's rate limit is used up until {until}; run again then, or set GITHUB_TOKEN for a higher limit. What was received is kept; --offline goes on with it"
    )]
    Limit {
        /// What was asked for.
        address: String,
        /// When it ends.
        until: String,
    },
    /// A status that asking again does not change.
    #[error("{address}: GitHub answered {status}{hint}. What was received is kept")]
    Status {
        /// What was asked for.
        address: String,
        /// The status.
        status: u16,
        /// What may be the reason.
        hint: &'static str,
    },
    /// No whole answer after all tries.
    #[error(
        "{address}: no whole answer after {tries} tries ({message}); check the network and run again. What was received is kept; --offline goes on with it"
    )]
    Broken {
        /// What was asked for.
        address: String,
        /// How often it was tried.
        tries: u32,
        /// What happened last.
        message: String,
    },
    /// A note could not be written.
    #[error("the notes folder: {0}")]
    Io(#[from] std::io::Error),
}

#[derive(Debug, Deserialize)]
struct Release {
    tag_name: String,
    body: Option<String>,
    published_at: Option<String>,
    html_url: Option<String>,
    #[serde(default)]
    draft: bool,
}

/// One page as it came.
enum Page {
    Unchanged,
    Fresh { releases: Vec<Release>, etag: Option<String>, next: Option<String> },
}

/// Fetches the notes of every release whose tag is wanted and keeps each as soon as its page is
/// there.
///
/// # Errors
/// See [`GithubError`].
pub async fn fetch(
    request: &Request,
    kept: &mut Kept,
    wanted: &dyn Fn(&str) -> bool,
    progress: &dyn Fn(Progress),
) -> Result<Fetched, GithubError> {
    let client = client(request)?;
    let mut fetched = Fetched::default();
    let mut seen = 0;
    let mut next = Some(format!("/repos/{}/releases?per_page=100", request.repository));
    // A server that leads in a circle must not hold us for ever.
    let mut left = 1000;
    while let Some(address) = next.take().filter(|_| left > 0) {
        left -= 1;
        let key = format!("{address} {}", request.range);
        let etag = kept.pages().etags.get(&key).cloned();
        match page(&client, request, &address, etag.as_deref()).await? {
            Page::Unchanged => {
                fetched.unchanged_pages += 1;
                next = kept.pages().next.get(&key).cloned();
            }
            Page::Fresh { releases, etag, next: follows } => {
                for release in releases {
                    if release.draft || !wanted(&release.tag_name) {
                        continue;
                    }
                    let source = release.html_url.unwrap_or_else(|| address.clone());
                    let body = release.body.unwrap_or_default();
                    let tag = &release.tag_name;
                    match kept.keep(tag, body.as_bytes(), &source, release.published_at)? {
                        Change::Same => {}
                        Change::New => fetched.received += 1,
                        Change::Changed { old } => {
                            fetched.received += 1;
                            fetched.warnings.push(crate::gather::changed(tag, &old));
                        }
                    }
                    seen += 1;
                    progress(Progress::Notes(seen));
                }
                let pages = kept.pages();
                match etag {
                    Some(etag) => pages.etags.insert(key.clone(), etag),
                    None => pages.etags.remove(&key),
                };
                match &follows {
                    Some(follows) => pages.next.insert(key, follows.clone()),
                    None => pages.next.remove(&key),
                };
                kept.save()?;
                next = follows;
            }
        }
    }
    Ok(fetched)
}

fn client(request: &Request) -> Result<Octocrab, GithubError> {
    let base = request.api_base.clone().unwrap_or_else(|| "https://api.github.com".into());
    let fail = |message: String| GithubError::Setup { base: base.clone(), message };
    let mut builder = Octocrab::builder()
        // Retrying is ours: a truncated body is seen only here.
        .add_retry_config(RetryConfig::None)
        .set_connect_timeout(Some(Duration::from_secs(30)))
        .set_read_timeout(Some(Duration::from_secs(60)))
        .base_uri(base.trim_end_matches('/'))
        .map_err(|e| fail(e.to_string()))?;
    if let Some(token) = &request.token {
        builder = builder.personal_token(token.clone());
    }
    builder.build().map_err(|e| fail(e.to_string()))
}

/// What to do after an answer that is no page.
enum Trouble {
    /// Ask again after the pause.
    Again(String),
    /// Ask again after this long.
    Wait(Duration),
    /// Asking again is of no use.
    Final(GithubError),
}

async fn page(
    client: &Octocrab,
    request: &Request,
    address: &str,
    etag: Option<&str>,
) -> Result<Page, GithubError> {
    let mut pause = request.pause;
    let mut last = String::new();
    for attempt in 0..request.tries.max(1) {
        match ask(client, address, etag).await {
            Ok(page) => return Ok(page),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Wait(wait)) if wait > request.longest_wait => {
                return Err(GithubError::Limit { address: address.into(), until: after(wait) });
            }
            Err(Trouble::Wait(wait)) => {
                tracing::warn!("GitHub asks to wait {} s", wait.as_secs());
                last = "its rate limit".into();
                tokio::time::sleep(wait).await;
            }
            Err(Trouble::Again(message)) => {
                tracing::warn!("{address}: {message}");
                last = message;
                if attempt + 1 < request.tries {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
            }
        }
    }
    Err(GithubError::Broken { address: address.into(), tries: request.tries, message: last })
}

async fn ask(client: &Octocrab, address: &str, etag: Option<&str>) -> Result<Page, Trouble> {
    let mut headers = HeaderMap::new();
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(IF_NONE_MATCH, etag);
    }
    let answer = client._get_with_headers(address, Some(headers)).await;
    let answer = answer.map_err(|e| Trouble::Again(chain(&e)))?;
    let status = answer.status().as_u16();
    let text = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    match status {
        304 => return Ok(Page::Unchanged),
        200 => {}
        403 | 429 => {
            let used_up = text("x-ratelimit-remaining").as_deref() == Some("0");
            let after = text(RETRY_AFTER.as_str()).and_then(|t| t.parse().ok());
            let reset = text("x-ratelimit-reset").and_then(|t| t.parse::<i64>().ok());
            let now = jiff::Timestamp::now().as_second();
            let until = reset.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or(0) + 1);
            return Err(match (after, until) {
                (Some(seconds), _) => Trouble::Wait(Duration::from_secs(seconds)),
                (None, Some(seconds)) if used_up || status == 429 => {
                    Trouble::Wait(Duration::from_secs(seconds))
                }
                (None, _) if status == 429 => Trouble::Again("429, too many requests".into()),
                _ => Trouble::Final(GithubError::Status {
                    address: address.into(),
                    status,
                    hint: ": the token may lack the right to read this repository",
                }),
            });
        }
        500..=599 => return Err(Trouble::Again(format!("status {status}"))),
        _ => {
            let hint = match status {
                401 => ": the token is not valid",
                404 => ": no such repository, or a private one without the right token",
                _ => "",
            };
            let address = address.into();
            return Err(Trouble::Final(GithubError::Status { address, status, hint }));
        }
    }
    let etag = text(ETAG.as_str());
    let next = text(LINK.as_str()).as_deref().and_then(next_of);
    let body = client.body_to_string(answer).await.map_err(|e| Trouble::Again(chain(&e)))?;
    let releases = serde_json::from_str(&body)
        .map_err(|e| Trouble::Again(format!("the answer is not what it should be: {e}")))?;
    Ok(Page::Fresh { releases, etag, next })
}

/// The address of the next page in a `Link` header.
fn next_of(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (address, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| address.to_owned())
    })
}

fn after(wait: Duration) -> String {
    let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::now().as_second();
    let at = jiff::Timestamp::from_second(now.saturating_add(seconds)).unwrap_or_default();
    at.to_string()
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().lines().next().unwrap_or("").to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let line = cause.to_string().lines().next().unwrap_or("").to_owned();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        source = cause.source();
    }
    text
}
