//! Notes from a GitHub that runs in the test, through octocrab itself.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reproduceml_miner::notes::github::{Fetched, GithubError, Request, fetch};
use reproduceml_miner::notes::kept::Kept;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers a request, given its head and how many came before it, with raw bytes.
type Script = Box<dyn Fn(&str, usize) -> Vec<u8> + Send + Sync>;

struct Server {
    base: String,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn serve(script: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (seen, script): (_, Arc<Script>) = (heads.clone(), Arc::new(Box::new(script)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, script) = (seen.clone(), script.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut byte = [0u8; 1];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte).await {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let place = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(head.clone());
                    seen.len() - 1
                };
                let _ = stream.write_all(&script(&head, place)).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Server { base, heads }
}

fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}\r\n{body}").into_bytes()
}

fn releases(tags: &[(&str, Option<&str>)]) -> String {
    let list: Vec<_> = tags
        .iter()
        .map(|(tag, body)| {
            serde_json::json!({"tag_name": tag, "body": body, "draft": false,
                "published_at": "2020-01-01T00:00:00Z", "html_url": format!("https://x/{tag}")})
        })
        .collect();
    serde_json::to_string(&list).unwrap()
}

fn request(server: &Server) -> Request {
    Request {
        tries: 3,
        pause: Duration::from_millis(5),
        longest_wait: Duration::from_secs(2),
        ..Request::new("tinynn/tinynn", None, Some(server.base.clone()))
    }
}

async fn get(server: &Server, folder: &std::path::Path) -> Result<Fetched, GithubError> {
    let mut kept = Kept::open(folder).unwrap();
    fetch(&request(server), &mut kept, &|tag| tag.starts_with('v'), &|_| ()).await
}

fn page_two(head: &str) -> bool {
    head.contains("page=2")
}

fn notes(folder: &std::path::Path) -> Vec<String> {
    Kept::open(folder).unwrap().all().unwrap().into_iter().map(|(tag, _)| tag).collect()
}

#[tokio::test]
async fn pages_follow_and_an_unchanged_night_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|head, _| {
        let lower = head.to_lowercase();
        if lower.contains("if-none-match") {
            return answer("304 Not Modified", &[], "");
        }
        if page_two(head) {
            return answer("200 OK", &[("etag", "\"b\"")], &releases(&[("v1.0.0", None)]));
        }
        let host = lower.lines().find_map(|l| l.strip_prefix("host: ")).unwrap().trim().to_owned();
        let link = format!("<http://{host}/repos/tinynn/tinynn/releases?per_page=100&page=2>; rel=\"next\", <x>; rel=\"last\"");
        let body = releases(&[("v1.2.0", Some("two\r\n")), ("v1.1.0", Some("one")), ("ciflow/x", Some("no"))]);
        answer("200 OK", &[("etag", "W/\"a\""), ("link", &link)], &body)
    })
    .await;
    let first = get(&server, folder.path()).await.unwrap();
    assert_eq!((first.received, first.unchanged_pages), (3, 0));
    assert_eq!(notes(folder.path()), ["v1.0.0", "v1.1.0", "v1.2.0"]);
    let kept = Kept::open(folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("v1.2.0.md")).unwrap(), b"two\r\n", "as received");
    assert_eq!(kept.about("v1.0.0").unwrap().source, "https://x/v1.0.0");
    assert!(kept.about("v1.0.0").unwrap().published_at.is_some());
    let second = get(&server, folder.path()).await.unwrap();
    assert_eq!((second.received, second.unchanged_pages), (0, 2));
    let heads = server.heads.lock().unwrap().clone();
    assert!(heads[2].to_lowercase().contains("if-none-match: w/\"a\""), "{}", heads[2]);
    assert!(heads[3].to_lowercase().contains("if-none-match: \"b\""));
    // A note that someone deleted is fetched again.
    std::fs::remove_file(folder.path().join("v1.1.0.md")).unwrap();
    assert_eq!(get(&server, folder.path()).await.unwrap().received, 1);
}

#[tokio::test]
async fn a_changed_note_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|_, n| {
        answer("200 OK", &[], &releases(&[("v1.0.0", Some(if n == 0 { "a" } else { "b" }))]))
    })
    .await;
    get(&server, folder.path()).await.unwrap();
    let again = get(&server, folder.path()).await.unwrap();
    assert!(again.warnings[0].starts_with("v1.0.0: the notes changed"), "{again:?}");
}

#[tokio::test]
async fn broken_answers_are_asked_for_again() {
    for kind in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(move |_, n| match (n, kind) {
            (0, 0) => answer("500 Internal Server Error", &[], "oops"),
            (0, 1) => {
                let mut whole = answer("200 OK", &[], &releases(&[("v1.0.0", Some("a"))]));
                whole.truncate(whole.len() - 9);
                whole
            }
            (0, 2) => Vec::new(),
            (0, _) => answer("200 OK", &[], "<html>"),
            _ => answer("200 OK", &[], &releases(&[("v1.0.0", Some("a"))])),
        })
        .await;
        let fetched = get(&server, folder.path()).await.unwrap();
        assert_eq!(fetched.received, 1, "kind {kind}");
    }
}

#[tokio::test]
async fn what_stays_broken_is_reported_and_what_came_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|head, _| match page_two(head) {
        true => answer("502 Bad Gateway", &[], ""),
        false => {
            let next = "</repos/tinynn/tinynn/releases?page=2>; rel=\"next\"";
            answer(
                "200 OK",
                &[("link", next), ("etag", "\"a\"")],
                &releases(&[("v1.0.0", Some("a"))]),
            )
        }
    })
    .await;
    let error = get(&server, folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("after 3 tries (status 502)") && error.contains("--offline"), "{error}");
    assert_eq!(notes(folder.path()), ["v1.0.0"]);
}

#[tokio::test]
async fn a_short_rate_limit_is_waited_out_and_a_long_one_named() {
    for (header, value) in [("retry-after", "0"), ("retry-after", "1")] {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(move |_, n| match n {
            0 => answer("429 Too Many Requests", &[(header, value)], ""),
            _ => answer("200 OK", &[], &releases(&[("v1.0.0", Some("a"))])),
        })
        .await;
        assert_eq!(get(&server, folder.path()).await.unwrap().received, 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|_, _| {
        let reset = (jiff::Timestamp::now().as_second() + 3000).to_string();
        let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        answer("403 Forbidden", &headers, "{}")
    })
    .await;
    let error = get(&server, folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("rate limit is used up until 20") && error.contains("GITHUB_TOKEN"));
    assert_eq!(server.heads.lock().unwrap().len(), 1, "no request against a used-up limit");
}

#[tokio::test]
async fn refusals_are_final_and_redirects_followed() {
    for (status, hint) in [
        ("401 Unauthorized", "token is not valid"),
        ("404 Not Found", "no such repository"),
        ("403 Forbidden", "lack the right"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(move |_, _| answer(status, &[], "{}")).await;
        let error = get(&server, folder.path()).await.unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
        assert_eq!(server.heads.lock().unwrap().len(), 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|head, _| match head.starts_with("GET /repositories/1/") {
        true => answer("200 OK", &[], &releases(&[("v1.0.0", Some("a"))])),
        false => answer("301 Moved Permanently", &[("location", "/repositories/1/releases")], ""),
    })
    .await;
    assert_eq!(get(&server, folder.path()).await.unwrap().received, 1);
    let nobody = Server { base: "http://127.0.0.1:1".into(), heads: Default::default() };
    let error = get(&nobody, folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("after 3 tries"), "{error}");
}

#[tokio::test]
async fn a_circle_of_pages_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|_, _| {
        answer(
            "200 OK",
            &[("link", "</repos/tinynn/tinynn/releases?per_page=100>; rel=\"next\"")],
            "[]",
        )
    })
    .await;
    assert!(get(&server, folder.path()).await.is_ok());
}
