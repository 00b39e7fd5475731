//! The dashboard as `serve` and `run --dashboard` serve it, with the built program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../dashboard/tests/common/browser.rs"]
mod browser;
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use browser::{Browser, chromium};
use common::{TestStudy, Told, docker, root};

/// A child that does not outlive its test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(url: &str, headers: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (at, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {at}\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Starts `serve`; gives it with what it printed on standard output, as JSON.
fn serve(study: &TestStudy, arguments: &[&str], token: Option<&str>) -> (Kept, serde_json::Value) {
    let mut command = study.command(&["--format", "json", "serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments).env_remove("REPRODUCEML_TOKEN");
    command.envs(token.map(|token| ("REPRODUCEML_TOKEN", token)));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    while serde_json::from_str::<serde_json::Value>(&text).is_err() {
        assert!(reader.read_line(&mut text).unwrap() > 0, "it printed only: {text}");
    }
    (Kept(child), serde_json::from_str(&text).unwrap())
}

/// Asks with Python's client, which trusts the tests' authority and nobody else.
fn get_tls(url: &str, token: &str) -> String {
    let program = "import ssl, sys, urllib.request as r\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        request = r.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[3]})\n\
        sys.stdout.write(r.urlopen(request, context=context).read().decode())";
    let authority = root().join("server/tests/tls/authority.pem");
    let output = Command::new("python3")
        .args(["-c", program, url])
        .arg(authority)
        .arg(token)
        .env_remove("SSL_CERT_FILE")
        .output()
        .unwrap();
    Told::of(output).expect(&[0]).out
}

#[test]
fn away_from_this_machine_it_speaks_https_with_the_server_s_certificate() {
    const SECRET: &str = "a-dashboard-token-of-29-bytes";
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    let pem = |name: &str| root().join("server/tests/tls").join(name).display().to_string();
    let (chain, key) = (pem("server.pem"), pem("server.key"));
    let with = ["--tls-cert", &chain, "--tls-key", &key, "--dashboard"];
    {
        let (_kept, told) = serve(&study, &[&with[..], &["0.0.0.0:0"]].concat(), Some(SECRET));
        let url = told["dashboard"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
        assert!(url.starts_with("https://"), "{url}");
        assert!(get_tls(&url, SECRET).contains("quick-tinynn"));
        let plain = url.replace("https://", "http://");
        let told = get(&plain, "");
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("speaks HTTPS"), "{told}");
        // The cookie of the form is for this way alone.
        let program = "import ssl, sys, urllib.request as r\n\
            class Stay(r.HTTPRedirectHandler):\n    def redirect_request(*_): return None\n\
            context = ssl.create_default_context(cafile=sys.argv[2])\n\
            opener = r.build_opener(Stay, r.HTTPSHandler(context=context))\n\
            try: opener.open(sys.argv[1] + 'login', b'next=/&token=' + sys.argv[3].encode())\n\
            except r.HTTPError as answer: print(answer.headers['Set-Cookie'])";
        let output = Command::new("python3")
            .args(["-c", program, &url, &pem("authority.pem"), SECRET])
            .output()
            .unwrap();
        let cookie = Told::of(output).expect(&[0]).out;
        assert!(cookie.contains("; Secure") && cookie.contains("HttpOnly"), "{cookie}");
    }
    // On this machine nobody listens in; without a certificate it is said that others can.
    let (_kept, told) = serve(&study, &[&with[..], &["127.0.0.1:0"]].concat(), Some(SECRET));
    assert!(told["dashboard"].as_str().unwrap().starts_with("http://"));
}

#[test]
fn serve_brings_the_dashboard_along() {
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    // Two of one study cannot be; two of two studies find two ports.
    let other = TestStudy::from_definition("quick-tinynn", &[]);
    let (_one, first) = serve(&study, &[], None);
    let (_two, second) = serve(&other, &[], None);
    let (first, second) =
        (first["dashboard"].as_str().unwrap(), second["dashboard"].as_str().unwrap());
    assert_ne!(first, second);
    for url in [first, second] {
        let page = get(url, "");
        assert!(page.starts_with("HTTP/1.0 200") && page.contains("quick-tinynn"), "{page}");
    }
    let parquet = get(&format!("{first}api/v1/funnel?format=parquet"), "");
    assert!(parquet.contains("PAR1"), "{parquet}");

    let third = TestStudy::from_definition("quick-tinynn", &[]);
    let (_three, none) = serve(&third, &["--no-dashboard"], None);
    assert_eq!(none["dashboard"], serde_json::Value::Null);
}

#[test]
fn a_signal_ends_it_in_order_with_a_page_open() {
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    let (mut kept, told) = serve(&study, &["--dashboard", "127.0.0.1:0"], None);
    let url = told["dashboard"].as_str().unwrap();
    let at = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.contains("event: change") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    let id = kept.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(kept.0.wait().unwrap().code(), Some(0));
}

#[test]
fn others_need_the_token_and_no_one_prints_it() {
    const SECRET: &str = "a-dashboard-token-of-29-bytes";
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    let mut command = study.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.args(["--dashboard", "0.0.0.0:0"]).env_remove("REPRODUCEML_TOKEN");
    let told = Told::of(command.output().unwrap()).expect(&[2]);
    assert!(
        told.err.contains("needs a token") && told.err.contains("--token-file"),
        "{}",
        told.err
    );
    assert_eq!(told.out, "", "nothing is served");

    let (mut kept, told) = serve(&study, &["--dashboard", "0.0.0.0:0"], Some(SECRET));
    assert!(!told.to_string().contains(SECRET));
    let url = told["dashboard"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
    assert!(get(&url, "").starts_with("HTTP/1.0 303"));
    let api = format!("{url}api/v1/study");
    assert!(get(&api, "").starts_with("HTTP/1.0 401"));
    assert!(get(&api, "Authorization: Bearer wrong\r\n").starts_with("HTTP/1.0 401"));
    let right = get(&api, &format!("Authorization: Bearer {SECRET}\r\n"));
    assert!(right.starts_with("HTTP/1.0 200") && !right.contains(SECRET), "{right}");
    kept.0.kill().unwrap();
}

#[test]
fn a_browser_sees_a_real_run_move() {
    const TEST: &str = "a_browser_sees_a_real_run_move";
    if !chromium(TEST) || !docker(TEST) {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 1"), ("epochs = 3", "epochs = 400")]);
    study.call(&["build", "pr16"]).expect(&[0]);
    let mut browser = Browser::start();
    let mut command = study.command(&["run", "pr16", "--jobs", "1", "--dashboard=127.0.0.1:0"]);
    command.env_remove("REPRODUCEML_TOKEN").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = Kept(command.spawn().unwrap());
    let mut said = BufReader::new(run.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("dashboard at ") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it never said where the dashboard is");
    }
    let drain = std::thread::spawn(move || {
        let mut rest = String::new();
        said.read_to_string(&mut rest).map(|_| rest)
    });
    let url = line.split("dashboard at ").nth(1).unwrap().trim().to_owned();
    browser.open(&url);
    // The overview lists the run once it has begun; its page moves from epoch to epoch.
    browser.until("document.querySelector('a[href^=\"/runs/\"]') !== null");
    let path = browser.eval("document.querySelector('a[href^=\"/runs/\"]').getAttribute('href')");
    browser.open(&format!("{}{}", url.trim_end_matches('/'), path.as_str().unwrap()));
    const EPOCH: &str =
        "Number(document.querySelector('.progress').textContent.match(/epoch (\\d+) of 400/)[1])";
    browser.eval("window.same = true");
    let first = browser.eval(EPOCH).as_u64().unwrap();
    browser.until(&format!("{EPOCH} > {first}"));
    let second = browser.eval(EPOCH).as_u64().unwrap();
    browser.until(&format!(
        "{EPOCH} > {second} || document.querySelector('.progress').textContent.includes('finished')"
    ));
    browser.until("document.querySelectorAll('.plot path.mid').length === 1");
    assert_eq!(browser.eval("window.same"), true, "the page was not loaded again");
    browser.is_content("a run under way");
    drop(browser);
    // What was to be seen was seen; the rest of the run would only take time.
    let id = run.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(run.0.wait().unwrap().code(), Some(130), "{:?}", drain.join());
}
