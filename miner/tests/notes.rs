//! The parser of release notes: every form of the design, real notes if there are any, and
//! generated ones of which it must miss and invent nothing.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeSet;

use proptest::prelude::*;
use reproduceml_miner::notes::parse::{Origin, Parsed, Rules, parse};

fn rules() -> Rules {
    Rules {
        repository: "pytorch/pytorch".into(),
        sections: vec!["Bug fixes".into(), "Bug fix".into()],
        whole_note: false,
    }
}

fn read(body: &str) -> Parsed {
    parse(body, &rules())
}

fn distinct(parsed: &Parsed) -> BTreeSet<u64> {
    parsed.entries.iter().flat_map(|e| e.prs.iter().copied()).collect()
}

#[test]
fn real_notes_give_exactly_their_pull_requests() {
    let Some(path) = std::env::var_os("REPRODUCEML_NOTES_V2_7_0") else {
        eprintln!("SKIPPED: set REPRODUCEML_NOTES_V2_7_0 to the file of PyTorch's 2.7.0 notes");
        return;
    };
    let parsed = read(&std::fs::read_to_string(path).unwrap());
    assert_eq!(parsed.entries.len(), 182, "list entries");
    assert_eq!(distinct(&parsed).len(), 190, "distinct pull requests");
    let parents: Vec<_> = parsed.entries.iter().filter(|e| e.prs.is_empty()).collect();
    assert_eq!(parents.len(), 1, "only the parent of a nested list names none: {parents:?}");
    assert!(parsed.entries.iter().all(|e| e.section[0] == "Bug fixes"));
    let of = |pr: u64| parsed.entries.iter().find(|e| e.prs.contains(&pr)).unwrap();
    assert_eq!(of(147675).section.len(), 3, "a skipped level keeps the path whole");
    assert_eq!(of(149004).section, ["Bug fixes", "MPS"], "nested lists stay in their section");
    assert_eq!(of(145515).prs.len(), 5, "several pull requests in one entry");
    assert!(!distinct(&parsed).contains(&146868), "the next section is not ours");
}

const FORMS: &str = "\
# Release Notes
- [Highlights](#highlights)
- [Bug fixes](#bug-fixes)

# Highlights
- Faster (#1)

```python
# Bug Fixes
- not one (#2)
```

## BugFixes:

### Autograd
* Plain #101
* In brackets (#102)
* Link with hash [#103](https://github.com/pytorch/pytorch/pull/103)
* Link of old ([104](https://github.com/pytorch/pytorch/pull/104)).
* Link whose address says little ([#105](…))
* Repository pytorch/pytorch#106
* Bare https://github.com/pytorch/pytorch/pull/107
* Angle <https://github.com/pytorch/pytorch/pull/108>
* Many (#109, #110) (#111)
* First this (#112). Then that (#113).
* By reference [#114][r]
* Not issue [#900](https://github.com/pytorch/pytorch/issues/900), nor
  [#901](https://github.com/pytorch/vision/pull/901), nor pytorch/xla#902 but `#903` (#115)
* Parent without number:
  - nested (#116)
    1. deeper (#117)
* Parent with number (#118)
  + nested (#119)

  second paragraph (#120)

#### Skipped a level
1. Numbered (#121)

A paragraph names one (#122), another none.

| fix | where |
| --- | ----- |
| row | #123 |

### A heading that is the entry (#124)

<details>
<summary>More</summary>
<ul><li>In HTML <a href=\"https://github.com/pytorch/pytorch/pull/125\">125</a></li>
<li>And <code>#904</code> (#126)<!-- #905 --></li></ul>
- dashed in HTML (#127)
</details>

* inline <a href=\"https://github.com/pytorch/pytorch/pull/128\">#128</a> HTML

```
# Performance
- fenced #906
```

- after the fence (#129)

> # Performance
> quoted (#130)

Bug Fix
-------
- underlined heading (#131)

## Performance
- not one (#3)

[r]: https://github.com/pytorch/pytorch/pull/114
";

#[test]
fn every_form_is_taken_in() {
    let parsed = read(FORMS);
    assert_eq!(distinct(&parsed), (101..=131).collect());
    assert_eq!(parsed.origin, Origin::Sections);
    insta::assert_snapshot!(
        parsed
            .entries
            .iter()
            .map(|e| format!("{} | {} | {:?}", e.section.join(" > "), e.text, e.prs))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn line_ends_and_byte_order_marks_change_nothing() {
    let windows = format!("\u{feff}{}", FORMS.replace('\n', "\r\n"));
    assert_eq!(read(&windows), read(FORMS));
}

#[test]
fn every_spelling_and_level_of_the_heading_counts() {
    for title in ["Bug Fixes", "Bug fixes", "Bugfixes", "Bug Fix", "BUG-FIXES:", "🐛 Bug fixes"] {
        for level in 1..=6 {
            let body = format!("{} {title}\n- x #7\n", "#".repeat(level));
            assert_eq!(distinct(&read(&body)), BTreeSet::from([7]), "{body}");
        }
    }
    for title in ["Bug fixes in docs", "No bug fixes", "Fixes", "", "7"] {
        assert!(read(&format!("# {title}\n- x #7\n")).entries.is_empty(), "{title}");
    }
    assert_eq!(
        distinct(&read("<h2>Bug Fixes</h2>\n\n- x #7\n\n<h2>Other</h2>\n\n- y #8")).len(),
        1
    );
}

#[test]
fn a_patch_release_is_fixes_throughout_unless_it_says_otherwise() {
    let mut rules = rules();
    rules.whole_note = true;
    let body = "# 1.13.1, a bug fix release\n- [Contents](#x)\n## A\n- one (#5)\n## B\n- two #6\n";
    let parsed = parse(body, &rules);
    assert_eq!((parsed.entries.len(), parsed.origin), (2, Origin::WholeNote));
    assert_eq!(parsed.entries[1].section, ["1.13.1, a bug fix release", "B"]);
    let parsed = parse("## New\n- one #5\n## Bug fixes\n- two #6", &rules);
    assert_eq!(distinct(&parsed), BTreeSet::from([6]));
}

#[test]
fn empty_and_huge_notes_are_no_trouble() {
    for body in ["", "\n\n", "no heading at all", "\u{feff}", "\0", "- - - -", "<"] {
        assert_eq!(read(body).origin, Origin::Nothing, "{body:?}");
    }
    let entries: u64 = 120_000;
    let mut body = String::from("## Bug fixes\n");
    for number in 1..=entries {
        body.push_str(&format!("- fix number of its own ([#{number}](x)) `a`\n"));
    }
    assert!(body.len() > 5_000_000);
    assert_eq!(distinct(&read(&body)).len() as u64, entries);
    for hostile in ["<a \"", "[", "<!--", "- ", "> ", "#", "`", "https://", "\\", "<script>"] {
        let body = format!("# Bug fixes\n{}", hostile.repeat(40_000));
        let _ = read(&body);
    }
}

/// One way to name a pull request.
fn form() -> impl Strategy<Value = u8> {
    0u8..9
}

fn written(form: u8, number: u64) -> String {
    let url = format!("https://github.com/pytorch/pytorch/pull/{number}");
    match form {
        0 => format!("(#{number})"),
        1 => format!("#{number}"),
        2 => format!("([#{number}]({url}))"),
        3 => format!("([{number}]({url}))"),
        4 => format!("pytorch/pytorch#{number}"),
        5 => url,
        6 => format!("[link]({url}/files)"),
        7 => format!("<{url}>"),
        _ => format!("<a href=\"{url}\">{number}</a>"),
    }
}

/// References that are none of ours; numbers from 900000 on.
fn foreign(form: u8, number: u64) -> String {
    let number = 900_000 + number;
    match form % 7 {
        0 => format!("[#{number}](https://github.com/pytorch/pytorch/issues/{number})"),
        1 => format!("pytorch/vision#{number}"),
        2 => format!("https://github.com/pytorch/xla/pull/{number}"),
        3 => format!("`#{number}`"),
        4 => format!("(see issue #{number})"),
        5 => format!("<!-- #{number} -->"),
        _ => format!("https://github.com/pytorch/pytorch/issues/{number}"),
    }
}

#[derive(Debug, Clone)]
struct Item {
    depth: usize,
    forms: Vec<u8>,
    foreign: Option<u8>,
    heading_before: bool,
    fence_before: bool,
}

fn item() -> impl Strategy<Value = Item> {
    let parts = (0usize..3, prop::collection::vec(form(), 0..4), prop::option::of(form()));
    (parts, any::<bool>(), any::<bool>()).prop_map(|((depth, forms, foreign), h, f)| Item {
        depth,
        forms,
        foreign,
        heading_before: h,
        fence_before: f,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_pull_request_is_missed_or_invented(
        items in prop::collection::vec(item(), 0..30),
        level in 1usize..4,
        title in prop::sample::select(vec!["Bug Fixes", "Bug fixes", "Bugfixes", "Bug Fix"]),
        crlf in any::<bool>(),
    ) {
        let marks = "#".repeat(level);
        let mut body = format!("- [{title}](#bug-fixes)\n\n{marks} New\n- other (#800001)\n\n");
        body.push_str(&format!("{marks} {title}\n\n"));
        let mut expected = BTreeSet::new();
        let mut depth = 0;
        for (index, item) in items.iter().enumerate() {
            if item.heading_before {
                body.push_str(&format!("\n{marks}## Part {index}\n\n"));
                depth = 0;
            }
            if item.fence_before {
                body.push_str("\n```\n# Performance\n- #800002\n```\n\n");
                depth = 0;
            }
            depth = item.depth.min(depth + 1);
            body.push_str(&format!("{}- entry", "  ".repeat(depth)));
            if depth == 0 && item.fence_before { depth = 0; }
            for (place, form) in item.forms.iter().enumerate() {
                let number = 100_000 + 10 * index as u64 + place as u64;
                expected.insert(number);
                body.push_str(&format!(" and {}", written(*form, number)));
            }
            if let Some(form) = item.foreign {
                body.push_str(&format!(" beside {}", foreign(form, index as u64)));
            }
            body.push('\n');
        }
        body.push_str(&format!("\n{marks} Performance\n- other (#800003)\n"));
        if crlf { body = body.replace('\n', "\r\n"); }
        let parsed = read(&body);
        prop_assert_eq!(distinct(&parsed), expected, "{}", body);
    }

    #[test]
    fn no_text_breaks_it(body in "[-#*>`<a-z0-9 \\[\\]()!\"/\n\r|~_é]{0,400}") {
        let _ = read(&body);
    }
}
