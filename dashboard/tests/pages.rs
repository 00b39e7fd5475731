//! The pages and the API over real HTTP, on a study that code filled with hostile text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{Filled, MARKUP, artifact, ask, get, record};
use reproduceml_dashboard::{Dashboard, DashboardError, Token};
use serde_json::Value;
use study::{Evaluation, RunKey};

/// Every kind of page, on what [`Filled::new`] makes.
fn pages(filled: &Filled) -> Vec<String> {
    let left = filled.side(1, Evaluation::Buggy).id();
    let right = filled.side(1, Evaluation::Corrected).id();
    let log = artifact(1);
    vec![
        "/".into(),
        "/bugs".into(),
        "/bugs?q=samples&sort=-lines&per=20".into(),
        "/bugs/pr1".into(),
        "/bugs/pr2".into(),
        "/bugs/pr3".into(),
        "/compare".into(),
        format!("/compare?left={left}&right={right}"),
        format!("/compare?left={left}/1&right={right}/1"),
        "/study".into(),
        format!("/experiments/{left}"),
        format!("/runs/{left}/0"),
        format!("/runs/{left}/2"),
        format!("/runs/{left}/0/log"),
        format!("/builds/{log}/log"),
    ]
}

/// Fails if any of the planted markup became markup.
#[track_caller]
fn harmless(path: &str, text: &str) {
    for bad in ["<script>", "<img", "onerror=alert(1)>", "&amp;\"", "\"><img"] {
        // Escaped, the planted text still holds the words but no angle bracket or quote.
        let at = text.find(bad);
        let around = at.map(|at| {
            &text[text.floor_char_boundary(at.saturating_sub(80))
                ..text.ceil_char_boundary((at + 80).min(text.len()))]
        });
        assert!(at.is_none(), "{path}: {bad} in {around:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_elsewhere_is_text_everywhere() {
    let filled = Filled::new(20);
    let served = filled.serve().await;
    let mut seen = 0;
    for path in pages(&filled) {
        let answer = get(served.address(), &path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        let text = answer.text();
        harmless(&path, &text);
        seen += text.matches("&lt;script&gt;").count();
    }
    assert!(seen > 200, "the planted texts are shown: {seen}");
    // Each place by itself, so that none is only not shown.
    let shows = |path: &str, what: &str| {
        let text = get(served.address(), path).text();
        assert!(text.contains(&format!("{what}&lt;script&gt;")), "{path} hides `{what}`");
    };
    for what in [
        "samples ",
        "src/1",
        "note ",
        "reason ",
        "A Processor ",
        "tf32 ",
        "tool ",
        "fault",
        "line 4999 ",
    ] {
        shows("/bugs/pr1", what);
    }
    shows("/bugs/pr1", "signal 11 ");
    shows("/bugs/pr1", "found ");
    shows("/bugs", "found ");
    shows("/bugs/pr1", "tests ");
    shows("/bugs/pr2", "ann ");
    shows("/", "seed ");
    shows(&format!("/builds/{}/log", artifact(1)), "line 10 ");
    let odd = get(served.address(), "/bugs/%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    assert_eq!(odd.status, 404);
    harmless("a bug that is none", &odd.text());
    let odd = get(served.address(), "/bugs?sort=%3Cscript%3E&q=%22%3E%3Cimg%20src%3Dx%3E");
    assert_eq!(odd.status, 400);
    harmless("a column that is none", &odd.text());
    let odd = get(served.address(), "/bugs?q=%22%3E%3Cimg%20src%3Dx%3E&release=%3Cscript%3E");
    harmless("a filter", &odd.text());
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_headers_that_protect_it() {
    let filled = Filled::new(8);
    let served = filled.serve().await;
    let others =
        ["/nowhere", "/assets/style.css", "/api/v1/bugs", "/metrics", "/report", "/api/v1/x"];
    for path in pages(&filled).into_iter().chain(others.map(String::from)) {
        let answer = get(served.address(), &path);
        let header = |name: &str| answer.headers.get(name).cloned().unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe-eval") && !policy.contains('*'), "{path}: {policy}");
        if path == "/report" {
            assert!(policy.contains("sandbox") && !policy.contains("script-src"), "{policy}");
        } else {
            assert!(!policy.contains("unsafe-inline"), "{path}: {policy}");
        }
        // Nothing from elsewhere, nothing inline that the policy would refuse.
        let text = answer.text();
        if header("content-type").starts_with("text/html") && path != "/report" {
            for inline in [" style=", " onclick", " onload", "<style", "src=\"http", "@import"] {
                assert!(!text.contains(inline), "{path}: {inline}");
            }
        }
    }
    let style = get(served.address(), "/assets/style.css").text();
    assert!(!style.contains("url(") && !style.contains("@import"));
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_only_shows() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
        for path in ["/", "/bugs/pr1", "/api/v1/bugs", "/metrics"] {
            let status = ask(served.address(), method, path, &[], "").status;
            assert!([400, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    let head = ask(served.address(), "HEAD", "/", &[], "");
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_elsewhere_cannot_read_along_under_its_own_name() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    let port = served.address().port();
    for host in ["localhost".to_owned(), format!("127.0.0.1:{port}"), format!("LOCALHOST:{port}")] {
        assert_eq!(ask(served.address(), "GET", "/", &[("Host", &host)], "").status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "10.1.2.3"]
    {
        for path in ["/", "/api/v1/bugs", "/events", "/assets/live.js"] {
            let answer = ask(served.address(), "GET", path, &[("Host", host)], "");
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(!answer.text().contains("pr1"));
        }
    }
    served.shutdown().await;
}

const SECRET: &str = "a token of more than sixteen characters";

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_token_nothing_is_seen_without_it() {
    let filled = Filled::new(3);
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut config = reproduceml_dashboard::Config::loopback();
    config.listen = open;
    let refused = Dashboard::start(std::sync::Arc::clone(&filled.study), config).await;
    assert!(matches!(refused, Err(DashboardError::TokenNeeded { .. })));

    let served = filled
        .serve_with(|config| {
            config.listen = open;
            config.token = Some(Token::new(|given| given == SECRET));
        })
        .await;
    let at = SocketAddr::from(([127, 0, 0, 1], served.address().port()));
    for path in pages(&filled) {
        let answer = get(at, &path);
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.headers["location"].starts_with("/login?next=%2F"), "{:?}", answer.headers);
        assert!(answer.text().is_empty());
    }
    for path in ["/api/v1/bugs", "/metrics", "/api/v1/nothing"] {
        let answer = get(at, path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let given = |scheme: &str, token: &str| {
            let value = format!("{scheme} {token}");
            ask(at, "GET", path, &[("Authorization", &value)], "").status
        };
        assert_eq!(given("Bearer", "wrong"), 401);
        assert_eq!(given("Basic", SECRET), 401);
        assert_ne!(given("bearer", SECRET), 401);
    }
    assert_eq!(get(at, "/events").status, 303);
    assert_eq!(get(at, "/bugs?token=a+token+of+more+than+sixteen+characters").status, 303);

    // The form: wrong, from another page, right.
    let form = get(at, "/login?next=%2Fbugs%3Fq%3Dx");
    assert!(form.text().contains("value=\"/bugs?q=x\""), "{}", form.text());
    let enter = |body: &str, headers: &[(&str, &str)]| ask(at, "POST", "/login", headers, body);
    let wrong = enter("token=nonsense&next=%2F", &[]);
    assert_eq!(wrong.status, 401);
    assert!(!wrong.headers.contains_key("set-cookie") && !wrong.text().contains("nonsense"));
    let body = format!("token={}&next=%2Fbugs%3Fq%3Dx", SECRET.replace(' ', "+"));
    assert_eq!(enter(&body, &[("Origin", "http://evil.example")]).status, 403);
    let right = enter(&body, &[("Origin", &format!("http://{at}"))]);
    assert_eq!((right.status, right.headers["location"].as_str()), (303, "/bugs?q=x"));
    let cookie = right.headers["set-cookie"].clone();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("token of"), "the cookie does not hold the token");
    let away = enter(&body.replace("%2Fbugs%3Fq%3Dx", "%2F%2Fevil.example"), &[]);
    assert_eq!(away.headers["location"], "/");

    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with = |cookie: &str, path: &str| ask(at, "GET", path, &[("Cookie", cookie)], "").status;
    assert_eq!(with(&cookie, "/bugs"), 200);
    assert_eq!(with(&cookie, "/api/v1/bugs"), 200);
    assert_eq!(with("reproduceml=0000", "/bugs"), 303);
    assert_eq!(ask(at, "POST", "/logout", &[("Cookie", &cookie)], "").status, 303);
    assert_eq!(with(&cookie, "/bugs"), 303, "who left is not known any more");
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bugs_are_filtered_sorted_and_leafed_through_by_address() {
    let filled = Filled::new(1200);
    let served = filled.serve().await;
    let list = |query: &str| get(served.address(), &format!("/api/v1/bugs?{query}")).json();
    let total = |query: &str| list(query)["total"].as_u64().unwrap();
    let all = |query: &str, field: &str| -> Vec<Value> {
        list(&format!("per=1000&{query}"))["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[field].clone())
            .collect()
    };
    assert_eq!(total(""), 1200);
    assert_eq!(total("release=v1.10.0"), 300);
    assert!(all("release=v1.10.0", "release").iter().all(|r| r == "v1.10.0"));
    assert_eq!(total("section=Section+2"), 240);
    assert_eq!(total("scope=python") + total("scope=cpp-cpu"), 1200);
    assert_eq!(total("resolution=not-found"), 171);
    assert_eq!(total("label=disputed"), 1);
    assert_eq!(total("label=favourable"), 1);
    assert_eq!(total("build=built"), 2);
    assert_eq!(total("build=failed"), 1);
    assert_eq!(total("verdict=different"), 1);
    assert_eq!(total("verdict=none"), 1198);
    assert_eq!(total("reach=may-differ"), 1);
    assert_eq!(total("reach=none"), 1198);
    assert_eq!(all("reach=not-executed", "bug"), ["pr4"]);
    assert_eq!(all("reach=not-executed", "reach_strength"), ["traced"]);
    assert_eq!(list("per=1")["items"][0]["own_tests"], "different");
    assert_eq!(all("sort=-reach", "bug")[..3], ["pr1", "pr4", "pr2"].map(Value::from));
    assert_eq!(all("q=pr5&reach=none", "reach").first(), Some(&Value::Null), "of another model");
    assert_eq!(total("lost=resolved"), 171);
    assert_eq!(all("q=THING77%60+samples", "bug"), ["pr77"]);
    assert_eq!(total("q=nothing+has+this"), 0);
    assert_eq!(all("sort=-lines", "lines_added")[0], 1200);
    let releases = all("sort=release", "release");
    assert_eq!((&releases[0], &releases[999]), (&"v1.9.0".into(), &"v2.0.0".into()));
    assert!(releases.iter().position(|r| r == "v1.10.0") > Some(0), "1.10 is after 1.9");
    assert_eq!(list("per=500&page=3")["items"].as_array().unwrap().len(), 200);
    assert_eq!(list("per=500&page=9")["items"].as_array().unwrap().len(), 0);
    for bad in ["per=0", "per=1001", "page=x", "sort=nonsense", "colour=red", "q=a&q=b"] {
        let answer = get(served.address(), &format!("/api/v1/bugs?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
        assert_eq!(get(served.address(), &format!("/bugs?{bad}")).status, 400, "{bad}");
    }
    // What the page shows is what the same query of the API says, and its links keep the query.
    let page = get(served.address(), "/bugs?scope=python&sort=-id&per=50").text();
    assert_eq!(page.matches("<th scope=\"row\">").count(), 50);
    assert!(page.contains("<strong>400</strong> of 1,200 bugs"), "{page}");
    assert!(page.contains("scope=python&amp;sort=-id&amp;page=2&amp;per=50"), "the next page");
    assert!(page.contains("aria-sort=\"descending\""));
    assert!(page.contains("<option value=\"python\" selected>"));
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_in_the_form_that_is_wanted() {
    let filled = Filled::new(250);
    let served = filled.serve().await;
    let wanted =
        |accept: &str| ask(served.address(), "GET", "/api/v1/bugs", &[("Accept", accept)], "");
    assert_eq!(wanted("application/json").json()["items"].as_array().unwrap().len(), 100);
    let csv = wanted("text/csv");
    assert!(csv.headers["content-type"].starts_with("text/csv"));
    assert!(csv.headers["content-disposition"].contains("filled-bugs.csv"));
    // One line a bug and the head: no planted text breaks a line.
    assert_eq!(csv.text().lines().count(), 251);
    let parquet = wanted("application/vnd.apache.parquet");
    assert_eq!(&parquet.bytes[..4], b"PAR1");
    assert_eq!(parquet.bytes[4], 250);
    assert_eq!(wanted("image/png").status, 406);
    let link = get(served.address(), "/api/v1/bugs?release=v2.0.0&format=csv");
    assert_eq!(link.text().lines().count(), 63);
    assert_eq!(get(served.address(), "/api/v1/bugs?format=xml").status, 400);
    served.shutdown().await;
    let without = filled.serve_with(|config| config.parquet = None).await;
    assert_eq!(get(without.address(), "/api/v1/bugs?format=parquet").status, 406);
    without.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sides_are_compared_by_their_identifiers() {
    let filled = Filled::new(5);
    let served = filled.serve().await;
    let (left, right) =
        (filled.side(1, Evaluation::Buggy).id(), filled.side(1, Evaluation::Corrected).id());
    let api =
        |a: &str, b: &str| get(served.address(), &format!("/api/v1/compare?left={a}&right={b}"));
    let told = api(left.as_str(), right.as_str()).json();
    assert_eq!(told["runs"][0]["compared"]["state"], "same");
    assert_eq!(told["runs"][1]["compared"], serde_json::json!({"state": "parted", "epoch": 2}));
    assert_eq!(told["runs"][3]["compared"]["state"], "open");
    let attributes: Vec<&str> = told["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["attribute"].as_str().unwrap())
        .collect();
    assert_eq!(attributes, ["artifact", "evaluation"]);
    let counting: Vec<&Value> =
        told["factors"].as_array().unwrap().iter().filter(|f| f["counts"] == true).collect();
    assert_eq!(counting.len(), 1, "{counting:?}");
    assert_eq!(counting[0]["factor"], "threads");
    assert_eq!(told["samples"]["accuracy"]["right"].as_array().unwrap().len(), 3);
    let runs = api(&format!("{left}/1"), &format!("{right}/1")).json();
    assert_eq!(runs["compared"]["epoch"], 2);
    assert_eq!(api(left.as_str(), &format!("{right}/1")).status, 400);
    assert_eq!(api("pr9-buggy-000000000000", right.as_str()).status, 404);
    assert_eq!(api(&format!("{left}/99"), &format!("{right}/0")).status, 404);
    assert_eq!(get(served.address(), "/api/v1/compare?left=x").status, 400);
    let page = get(served.address(), &format!("/compare?left={left}/1&right={right}/1")).text();
    assert!(page.contains("they part here"), "{page}");
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_against_itself_is_shown_as_the_control_it_is() {
    let filled = Filled::new(5);
    filled.control();
    let served = filled.serve().await;
    let text = |path: &str| {
        let told = get(served.address(), path);
        assert_eq!(told.status, 200, "{path}");
        told.text()
    };
    // The bug's own comparison comes first, though it was planned last.
    let page = text("/bugs/pr1");
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("no `{words}`: {page}"));
    assert!(at("buggy and corrected") < at("corrected against itself (A/A)"));
    assert!(page.contains("reason ") && !page.contains("A control:"), "{page}");
    let control = text("/bugs/pr1?pair=aa");
    assert!(control.contains("A control:") && control.contains("control &lt;script"), "{control}");
    harmless("/bugs/pr1?pair=aa", &control);
    assert!(text("/compare").contains("pr1, corrected against itself (A/A)"));

    // What an artifact shows against itself is no verdict on the bug.
    let bugs = get(served.address(), "/api/v1/bugs").json();
    let verdict = |bug: &str| {
        let items = bugs["items"].as_array().unwrap();
        items.iter().find(|item| item["bug"] == bug).unwrap()["verdict"].clone()
    };
    assert_eq!((verdict("pr1"), verdict("pr5")), ("different".into(), Value::Null));
    let lone = text("/bugs/pr5");
    let heading = lone.split("</h1>").next().unwrap();
    assert!(!heading.contains("identical") && lone.contains("A control:"), "{lone}");
    let verdicts = get(served.address(), "/api/v1/verdicts").json();
    let kinds = verdicts["items"].as_array().unwrap().iter().filter(|v| v["kind"] == "aa");
    assert_eq!(kinds.count(), 2);

    // A false alarm calls for a person, and leads to the control.
    let found = get(served.address(), "/api/v1/attention").json();
    let alarms: Vec<&Value> =
        found["items"].as_array().unwrap().iter().filter(|a| a["kind"] == "control").collect();
    assert_eq!(alarms.len(), 1, "{found}");
    assert_eq!(alarms[0]["page"], "/bugs/pr1?pair=aa#verdict");
    let overview = text("/");
    assert!(overview.contains("/bugs/pr1?pair=aa#verdict"), "{overview}");
    harmless("/", &overview);
    served.shutdown().await;
}

/// What the description says of an answer, checked as far as it goes.
fn conforms(schema: &Value, value: &Value, place: &str) {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => return,
    };
    let found = kind(value);
    let fits = allowed.contains(&found) || (found == "integer" && allowed.contains(&"number"));
    assert!(fits, "{place}: {found} is none of {allowed:?}");
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(name).is_some(), "{place}: no `{name}` in {value}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            conforms(schema, value, &format!("{place}.{name}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for value in values {
            conforms(items, value, &format!("{place}[]"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_what_its_description_says() {
    let filled = Filled::new(20);
    let served = filled.serve().await;
    let description = get(served.address(), "/api/v1/openapi.json").json();
    let (left, right) =
        (filled.side(1, Evaluation::Buggy).id(), filled.side(1, Evaluation::Corrected).id());
    let mut asked = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        let mut address = path
            .replace("{bug}", "pr1")
            .replace("{artifact}", artifact(1).as_str())
            .replace("{experiment}", left.as_str())
            .replace("{run}", "0");
        if path.ends_with("/compare") {
            address += &format!("?left={left}&right={right}");
        }
        let content = item["get"]["responses"]["200"]["content"].as_object().unwrap();
        for (media, body) in content {
            let answer = ask(served.address(), "GET", &address, &[("Accept", media)], "");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let found = &answer.headers["content-type"];
            assert!(found.starts_with(media.as_str()), "{path}: {found}, not {media}");
            if media == "application/json" {
                conforms(&body["schema"], &answer.json(), path);
            }
            asked += 1;
        }
        for parameter in item["get"]["parameters"].as_array().unwrap() {
            if parameter["in"] == "query" && !path.ends_with("/compare") {
                let name = parameter["name"].as_str().unwrap();
                let value = match name {
                    "page" | "per" => "1",
                    "sort" => "id",
                    "format" => "json",
                    "experiment" => left.as_str(),
                    _ => "pr1",
                };
                let answer = get(served.address(), &format!("{address}?{name}={value}"));
                assert_eq!(answer.status, 200, "{path}?{name}: {}", answer.text());
            }
        }
        let missing = path.replace("{bug}", "pr999999").replace("{artifact}", &"f".repeat(64));
        let missing = missing.replace("{experiment}", "pr9-buggy-0").replace("{run}", "0");
        if missing != *path {
            let answer = get(served.address(), &missing);
            assert_eq!(answer.status, 404, "{missing}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
    }
    assert!(asked > 40, "{asked}");
    // And nothing is served that it does not say: the addresses in the code are those it names.
    let code = include_str!("../src/api/mod.rs");
    let routes: Vec<&str> = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
        .filter(|route| !route.ends_with("openapi.json"))
        .collect();
    let named: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    assert_eq!(routes.len(), named.len(), "{routes:?}\n{named:?}");
    assert!(routes.iter().all(|route| named.iter().any(|name| name == route)));
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_metrics() {
    let filled = Filled::new(20);
    let served = filled.serve().await;
    let answer = get(served.address(), "/metrics");
    assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    for line in [
        "reproduceml_bugs{study=\"filled\",step=\"mined\"} 20",
        "reproduceml_bugs_lost{study=\"filled\",step=\"resolved\"} 2",
        "reproduceml_runs{study=\"filled\",status=\"failed\"} 2",
        "reproduceml_runs{study=\"filled\",status=\"running\"} 4",
        "reproduceml_artifacts{study=\"filled\",outcome=\"compile\"} 1",
        "reproduceml_verdicts{study=\"filled\",verdict=\"different\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "no `{line}` in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("reproduceml_") && value.parse::<f64>().is_ok(), "{line}");
    }
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_leafed_through_coloured_and_raw() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    let page =
        |query: &str| get(served.address(), &format!("/builds/{}/log{query}", artifact(1))).text();
    let first = page("");
    assert!(first.contains("<span class=\"f1 bo\">error:</span> a coloured line"), "{first}");
    assert!(first.contains("lines 1–2,000 of 5,001") && first.contains("?from=2000"));
    let last = page("?from=4000");
    assert!(last.contains("lines 4,001–5,001 of 5,001") && last.contains("line 4999 "));
    assert!(page("?from=999999").contains("of 5,001"));
    let raw = get(served.address(), &format!("/api/v1/builds/{}/log", artifact(1)));
    assert_eq!(raw.headers["content-type"], "text/plain; charset=utf-8");
    assert!(raw.text().contains(&format!("line 4999 {MARKUP}\n")));
    served.shutdown().await;
}

/// Reads events until one has `words`.
fn until(reader: &mut impl BufRead, words: &str) -> String {
    let began = Instant::now();
    let mut line = String::new();
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended before `{words}`");
        if line.contains(words) {
            return line;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no `{words}` came");
    }
}

/// A page once it is as it must become: it may be as old as a moment.
fn once(at: SocketAddr, path: &str, is: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let page = get(at, path).text();
        if is(&page) {
            return page;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{path} stays as it is: {page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn events(at: SocketAddr, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    BufReader::new(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_said_at_once() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    let mut reader = events(served.address(), "/events");
    until(&mut reader, "text/event-stream");
    until(&mut reader, "event: change");
    let key = RunKey { experiment: filled.side(1, Evaluation::Buggy).id(), run: 3 };
    let run = format!("/runs/{key}");
    assert!(get(served.address(), &run).text().contains("epoch 1 of 3"));
    filled.store.put_epoch(&key, &record(2, false)).unwrap();
    until(&mut reader, "event: change");
    let page = get(served.address(), &run).text();
    assert!(page.contains("epoch 2 of 3"), "{page}");
    assert!(page.contains("http-equiv=\"refresh\""), "it is live without the script too");
    // A file of a stage is a change too.
    std::fs::write(filled.study.labels_file(), "bug,rater,crash\npr1,ann,no\n").unwrap();
    until(&mut reader, "event: change");
    // Streams end with the dashboard.
    served.shutdown().await;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_loaded_at_the_word_of_a_change_shows_it() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    let mut reader = events(served.address(), "/events");
    until(&mut reader, "event: change");
    let folder = filled.study.build_dir(&artifact(9));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(".part-log.zst"), "").unwrap();
    until(&mut reader, "event: change");
    for step in 0..4 {
        // The page before the change is kept for a moment; it must not be given after it. What
        // is written this late is noticed while that page would still do.
        tokio::time::sleep(Duration::from_millis(450)).await;
        let _ = get(served.address(), "/");
        let note =
            serde_json::json!({"what": format!("step {step}"), "process": std::process::id()});
        std::fs::write(folder.join("building.json"), note.to_string()).unwrap();
        std::fs::write(folder.join(".part-log.zst"), "x".repeat(step + 1)).unwrap();
        until(&mut reader, "event: change");
        assert!(get(served.address(), "/").text().contains(&format!("step {step}")));
    }
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_while_it_is_written() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    let folder = filled.study.build_dir(&artifact(9));
    std::fs::create_dir_all(&folder).unwrap();
    let partial = folder.join(".part-log.zst");
    let note = serde_json::json!({"what": format!("source {MARKUP}"), "since": "2026-11-23T02:00:00Z",
        "process": std::process::id()});
    std::fs::write(folder.join("building.json"), note.to_string()).unwrap();
    let mut encoder = zstd::Encoder::new(std::fs::File::create(&partial).unwrap(), 3).unwrap();
    encoder.write_all(b"first\nhalf of").unwrap();
    encoder.flush().unwrap();
    let listed = format!("/builds/{}/log", artifact(9));
    let overview = once(served.address(), "/", |page| page.contains(&listed));
    harmless("a build under way", &overview);
    let page = get(served.address(), &format!("/builds/{}/log", artifact(9))).text();
    assert!(page.contains("data-follow=\"/events/builds/") && page.contains("?from=2"), "{page}");
    let mut reader = events(served.address(), &format!("/events/builds/{}/log", artifact(9)));
    assert!(until(&mut reader, "data: <span").contains(">first"));
    encoder.write_all(format!(" a line {MARKUP}\n").as_bytes()).unwrap();
    encoder.flush().unwrap();
    let line = until(&mut reader, "half of");
    assert!(line.contains("half of a line &lt;script&gt;"), "whole and escaped: {line}");
    encoder.write_all(b"last").unwrap();
    encoder.finish().unwrap();
    std::fs::rename(&partial, folder.join("log.zst")).unwrap();
    until(&mut reader, ">last");
    until(&mut reader, "event: end");
    once(served.address(), "/", |page| !page.contains(&listed));
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_without_anything_and_one_with_damage_are_shown() {
    let filled = Filled::empty();
    let served = filled.serve().await;
    for path in ["/", "/bugs", "/compare", "/study", "/api/v1/bugs", "/api/v1/overview", "/metrics"]
    {
        assert_eq!(get(served.address(), path).status, 200, "{path}");
    }
    assert!(get(served.address(), "/").text().contains("reproduceml mine"));
    assert_eq!(get(served.address(), "/report").status, 404);
    assert_eq!(get(served.address(), "/api/v1/analysis").status, 404);
    served.shutdown().await;

    let filled = Filled::new(5);
    std::fs::write(filled.study.analysis_file(), "{\"verdicts\": 3").unwrap();
    std::fs::write(filled.study.labels_file(), "<script>\n").unwrap();
    std::fs::write(study::reach::file(&filled.study), "<script>\n").unwrap();
    std::fs::write(study::own_tests::file(&filled.study), "<script>\n").unwrap();
    let served = filled.serve().await;
    let page = get(served.address(), "/bugs/pr1");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("analysis.json") && page.text().contains("labels.csv"));
    let text = page.text();
    assert!(text.contains("reach/findings.jsonl") && text.contains("own-tests/findings.jsonl"));
    harmless("damage", &page.text());
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_the_dashboard() {
    let filled = Filled::new(3);
    let served = filled.serve().await;
    // Many who say nothing, and one who asks.
    let idle: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(served.address()).unwrap()).collect();
    assert_eq!(get(served.address(), "/").status, 200);
    let long = format!("/bugs?q={}", "x".repeat(100_000));
    let mut stream = TcpStream::connect(served.address()).unwrap();
    let _ = write!(stream, "GET {long} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(served.address(), "/").status, 200);
    let began = Instant::now();
    served.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(8), "open connections do not hold it up");
    drop(idle);
}
