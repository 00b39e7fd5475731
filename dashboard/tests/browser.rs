//! The pages in a real Chromium: no complaint, by keyboard, for every eye, on a phone and on paper.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/browser.rs"]
mod browser;
mod common;

use browser::{ACCESSIBILITY, Browser, chromium};
use common::{Filled, artifact, record};
use study::{Evaluation, RunKey};

fn pages(filled: &Filled) -> Vec<(&'static str, String)> {
    let left = filled.side(1, Evaluation::Buggy).id();
    let right = filled.side(1, Evaluation::Corrected).id();
    vec![
        ("overview", "/".into()),
        ("bugs", "/bugs?sort=-lines".into()),
        ("bug", "/bugs/pr1".into()),
        ("bug-failed", "/bugs/pr2".into()),
        ("compare", "/compare".into()),
        ("compare-experiments", format!("/compare?left={left}&right={right}")),
        ("compare-runs", format!("/compare?left={left}/1&right={right}/1")),
        ("study", "/study".into()),
        ("experiment", format!("/experiments/{left}")),
        ("run", format!("/runs/{left}/0")),
        ("log", format!("/builds/{}/log", artifact(1))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_shown_without_complaint_and_fit_for_everyone() {
    if !chromium("each_page_is_shown_without_complaint_and_fit_for_everyone") {
        return;
    }
    let filled = Filled::new(60);
    let served = filled.serve().await;
    let mut browser = Browser::start();
    for (name, path) in pages(&filled) {
        let url = format!("http://{}{path}", served.address());
        browser.size(1300, 900, false);
        for scheme in ["light", "dark"] {
            browser.medium("screen", scheme);
            browser.open(&url);
            // All of the page counts, what is folded away too.
            browser.eval("document.querySelectorAll('details').forEach((d) => d.open = true)");
            let wrong = browser.eval(ACCESSIBILITY);
            assert_eq!(wrong, serde_json::json!([]), "{name}, {scheme}");
            browser.picture(&format!("{name}-{scheme}"));
        }
        browser.medium("screen", "light");
        browser.size(390, 844, true);
        browser.open(&url);
        let (page, screen) =
            (browser.eval("document.documentElement.scrollWidth"), browser.eval("innerWidth"));
        assert!(page.as_f64() <= screen.as_f64(), "{name}: {page} wide on a phone of {screen}");
        browser.picture(&format!("{name}-phone"));
        browser.size(794, 1123, false);
        browser.medium("print", "dark");
        let ground = browser.eval("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground, "rgb(255, 255, 255)", "{name}: paper is white");
        let shown =
            browser.eval("getComputedStyle(document.querySelector('body > header nav')).display");
        assert_eq!(shown, "none", "{name}: nobody clicks on paper");
        browser.picture(&format!("{name}-print"));
        browser.is_content(name);
    }
    // A planted script would have shown itself by now, here or in the console.
    browser.size(1300, 900, false);
    drop(browser);
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_work_by_keyboard_alone_with_and_without_the_script() {
    if !chromium("filters_work_by_keyboard_alone_with_and_without_the_script") {
        return;
    }
    let filled = Filled::new(60);
    let served = filled.serve().await;
    let mut browser = Browser::start();
    let at = format!("http://{}", served.address());
    browser.open(&format!("{at}/bugs"));
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    browser.press("/");
    assert_eq!(browser.eval("document.activeElement.id"), "f-q", "`/` goes to the search");
    browser.write("samples");
    browser.press("Enter");
    browser.until("location.search === '?q=samples' && document.readyState === 'complete'");
    for script in [true, false] {
        browser.call("Emulation.setScriptExecutionDisabled", serde_json::json!({"value": !script}));
        browser.open(&format!("{at}/bugs?q=samples"));
        // From the text on: release is the next, its second choice is v1.10.0.
        browser.eval("document.getElementById('f-q').focus()");
        browser.press("Tab");
        assert_eq!(browser.eval("document.activeElement.id"), "f-release");
        browser.press("ArrowDown");
        browser.press("ArrowDown");
        let chosen = browser.eval("document.getElementById('f-release').value");
        // An open list of choices takes the first one.
        for _ in 0..10 {
            browser.press("Tab");
            if browser.eval("document.activeElement.textContent") == "Filter" {
                break;
            }
        }
        assert_eq!(browser.eval("document.activeElement.textContent"), "Filter");
        browser.press("Enter");
        browser.until("new URLSearchParams(location.search).get('release') !== null && document.readyState === 'complete'");
        let release = browser.eval("new URLSearchParams(location.search).get('release')");
        assert_eq!(release, chosen);
        let shown = browser.eval("[...document.querySelectorAll('.bugs tbody td:nth-child(2)')].map((c) => c.textContent)");
        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), 15, "script: {script}");
        assert!(shown.iter().all(|release| *release == chosen));
        // The heads of the columns sort.
        browser.eval("document.querySelector('.bugs thead a').focus()");
        browser.press("Enter");
        browser.until("new URLSearchParams(location.search).get('sort') === 'id' && document.readyState === 'complete'");
    }
    browser.is_content("filters");
    drop(browser);
    served.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_moves_when_the_study_does() {
    if !chromium("a_page_moves_when_the_study_does") {
        return;
    }
    let filled = Filled::new(5);
    let served = filled.serve().await;
    let mut browser = Browser::start();
    let key = RunKey { experiment: filled.side(1, Evaluation::Buggy).id(), run: 3 };
    browser.open(&format!("http://{}/runs/{key}", served.address()));
    browser.until("document.getElementById('live').textContent === 'live'");
    assert!(browser.eval("document.body.textContent").as_str().unwrap().contains("epoch 1 of 3"));
    browser.eval("window.same = true");
    filled.store.put_epoch(&key, &record(2, false)).unwrap();
    browser.until("document.body.textContent.includes('epoch 2 of 3')");
    assert_eq!(browser.eval("window.same"), true, "the page was not loaded again");
    browser.is_content("a page that moves");
    drop(browser);
    served.shutdown().await;
}
