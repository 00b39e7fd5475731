//! The HTML report: self-contained, escaped, stable.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::report::{Context, html};
use reproduceml_stats::{Evaluation, Options, Results, analyse};

fn page() -> String {
    let mut random = Random(12);
    let mut rows = Vec::new();
    for (bug, shift) in [("pr1", -0.03), ("pr2", 0.0)] {
        rows.extend(side(&mut random, bug, Evaluation::Buggy, 20, 0.7 + shift));
        rows.extend(side(&mut random, bug, Evaluation::Corrected, 20, 0.7));
    }
    rows.extend(side(&mut random, "<planted>", Evaluation::Artificial, 8, 0.6));
    rows.extend(side(&mut random, "<planted>", Evaluation::Corrected, 8, 0.7));
    let results = Results::from_rows(rows).unwrap();
    let context = Context {
        title: "A study & more".to_owned(),
        attributes: vec![("epochs".to_owned(), "30".to_owned())],
        funnel: vec![("mined".to_owned(), 737, String::new())],
        factors: vec![("threads".to_owned(), "one".to_owned())],
        commands: vec!["reproduceml run".to_owned(), "reproduceml stats".to_owned()],
        digests: vec![("results.csv".to_owned(), "sha256:00".to_owned())],
        threats: vec!["one data set".to_owned()],
        figures: Vec::new(),
    };
    html(&results, &analyse(&results, &Options::default()), &context)
}

#[test]
fn one_page_needs_nothing_else() {
    let page = page();
    assert_eq!(page, self::page());
    for absent in ["<script", "src=", "@import", "url(", "<planted>", "NaN", "https://"] {
        assert!(!page.contains(absent), "{absent}");
    }
    // The only address is the name of the SVG namespace.
    assert_eq!(page.matches("http://").count(), page.matches("http://www.w3.org/2000/svg").count());
    for present in [
        "A study &amp; more",
        "&lt;planted&gt;",
        "<td>different</td>",
        "737",
        "reproduceml run\nreproduceml stats",
        "sha256:00",
        "one data set",
        "planted faults found different",
    ] {
        assert!(page.contains(present), "{present}");
    }
    if let Ok(folder) = std::env::var("REPRODUCEML_FIGURES") {
        std::fs::write(format!("{folder}/report.html"), &page).unwrap();
    }
}

#[test]
fn every_element_that_opens_closes() {
    let page = page();
    for name in
        ["table", "tr", "td", "th", "section", "figure", "svg", "div", "ul", "li", "nav", "text"]
    {
        let opened =
            page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        assert_eq!(opened, page.matches(&format!("</{name}>")).count(), "{name}");
        assert!(opened > 0, "{name}");
    }
}
