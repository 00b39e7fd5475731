//! The report of a study whose runs are made up: funnel to digests, and as a browser sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::TestStudy;
use serde_json::json;
use study::store::EpochRecord;
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, RunKey, Store,
    Strategy, Study,
};

/// A quick-tinynn study, mined.
fn mined() -> TestStudy {
    TestStudy::tinynn(&[("runs = 10", "runs = 8")])
}

fn artifact(study: &Study, store: &Store, bug: &BugId, side: Evaluation, byte: u8) -> ArtifactId {
    let id = ArtifactId::from_digest([byte; 32]);
    let record = ArtifactRecord {
        id: id.clone(),
        repository: study.config.framework.repository.clone(),
        commit: None,
        toolchain: study.config.build.toolchain.clone(),
        toolchain_digest: "toolchain-digest-of-the-test".into(),
        image: "sha256:image-of-the-test".into(),
        strategy: Strategy::Source,
        fault: None,
        status: ArtifactStatus::Built { content: format!("content-{byte}"), bytes: 10 },
        seconds: 1.0,
    };
    store.put_artifact(&record).unwrap();
    store.assign_artifact(bug, side, &id).unwrap();
    id
}

/// Numbers in [−0.5, 0.5) that are the same every time.
fn noise(salt: u32, run: u32) -> f64 {
    let mixed = (salt * 7919 + run * 104_729 + 13).wrapping_mul(2_654_435_761);
    f64::from(mixed >> 8) / f64::from(1_u32 << 24) - 0.5
}

fn manifest(seed: u32, artifact: &ArtifactId) -> serde_json::Value {
    json!({
        "format": 1,
        "seeds": {"seed": seed, "generators": [{"name": "seed python", "value": seed}]},
        "model": {"name": "mlp", "class": "Mlp", "optimizer": "sgd"},
        "software": {"python": {"version": "3.11.2"}, "packages": {}},
        "threads": {"cpus_allowed": 1},
        "runtime": {"kernel": "6.1", "libc": "glibc 2.36"},
        "hardware": {"cpu": "A Processor <of the test>", "cpus": 2},
        "data": {"challenge": {"name": "synthetic"}},
        "controls": [
            {"name": "OMP_NUM_THREADS", "value": "1", "status": "set", "detail": ""},
            {"name": "tf32 off", "value": false, "status": "unavailable", "detail": ""},
        ],
        "nondeterministic_operations": [],
        "artifact": {"digest": artifact.as_str()},
    })
}

/// Fills the store with eight runs a side whose accuracy lies around `centres`; `salts` choose
/// the noise of each side, so that equal ones with equal centres make equal runs.
fn fill(study: &Study, bug: &str, first: Evaluation, centres: [f64; 2], salts: [u32; 2]) {
    let store = study.store().unwrap();
    let bug = BugId::new(bug).unwrap();
    let mut planned = Vec::new();
    for (place, evaluation) in [first, Evaluation::Corrected].into_iter().enumerate() {
        let byte = (salts[place] * 2 + u32::try_from(place).unwrap()) as u8;
        planned.push(Experiment {
            artifact: artifact(study, &store, &bug, evaluation, byte),
            bug: bug.clone(),
            evaluation,
            framework: study.config.framework.name.clone(),
            toolchain: study.config.build.toolchain.clone(),
            model: study.config.model_spec(None),
            challenge: study.config.challenge.clone(),
            hyperparameters: study.config.hyperparameters(),
            seed_policy: study.config.run.seed_policy,
            meta_seed: study.config.study.meta_seed,
            device: "cpu".into(),
            conditions: None,
        });
    }
    store.plan(&planned.iter().map(|e| (e.clone(), 8)).collect::<Vec<_>>()).unwrap();
    for (place, experiment) in planned.iter().enumerate() {
        for run in 0..8 {
            let (key, seed) = (RunKey { experiment: experiment.id(), run }, experiment.seed(run));
            store.begin_run(&key, seed).unwrap();
            let accuracy = centres[place] + 0.02 * noise(salts[place], run);
            for epoch in 0..4 {
                let loss = (1.2 - accuracy) / f64::from(epoch + 1);
                let record = EpochRecord {
                    epoch,
                    loss_bits: (epoch > 0).then(|| loss.to_bits()),
                    digest: format!("{epoch}-{accuracy}"),
                    seconds: 0.5,
                    extra: None,
                };
                store.put_epoch(&key, &record).unwrap();
            }
            let metrics: BTreeMap<String, f64> = ["accuracy", "precision", "recall", "f1"]
                .map(|name| (name.to_owned(), accuracy))
                .into();
            store.put_metrics(&key, "test", &format!("p-{accuracy}"), &metrics).unwrap();
            store.put_manifest(&key, &manifest(seed, &experiment.artifact)).unwrap();
            assert!(store.finish_run(&key, &json!({})).unwrap());
        }
    }
}

/// A study with a bug that changes what is learnt, one that changes nothing, one that may, and a
/// planted fault.
fn filled() -> (TestStudy, [String; 3]) {
    let study = mined();
    let opened = Study::open(&study.path()).unwrap();
    let choices = study::selection::read(&opened.selection_file()).unwrap();
    let mut bugs = choices.iter().filter(|c| c.lost_at.is_none()).map(|c| c.bug.to_string());
    let bugs: [String; 3] = std::array::from_fn(|_| bugs.next().unwrap());
    fill(&opened, &bugs[0], Evaluation::Buggy, [0.80, 0.90], [1, 2]);
    fill(&opened, &bugs[1], Evaluation::Buggy, [0.90, 0.90], [4, 4]);
    fill(&opened, &bugs[2], Evaluation::Buggy, [0.90, 0.90], [6, 7]);
    fill(&opened, "planted", Evaluation::Artificial, [0.50, 0.90], [8, 9]);
    (study, bugs)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn one_page_tells_the_whole_study() {
    let (study, bugs) = filled();
    let told = study.call(&["report"]).expect(&[0]);
    assert!(told.out.contains("report.html"), "{}", told.out);
    let page = read(&study.path().join("stats/report.html"));
    for present in [
        "Report of the study quick-tinynn",
        // The funnel, with a loss of mining and one of building.
        "<td>mined</td>",
        "pr35",
        "it has not been built",
        // Attributes, factors, controls.
        "<td>8</td>",
        "learning rate 0.01, momentum 0.5, batches of 64",
        "A Processor &lt;of the test&gt;",
        "the same in all 64 runs",
        "tf32 off",
        "planted faults found different",
        // Threats.
        "Controls that were unavailable in some runs: tf32 off.",
        "have no sound verdict",
        // Repeating it.
        "reproduceml run --runs 8",
        "sha256:image-of-the-test",
        "toolchain-digest-of-the-test",
        "content-2",
        &study::files::sha256_file(&study.path().join("study.toml")).unwrap(),
        &study::files::sha256_file(&study.path().join("stats/results.csv")).unwrap(),
        // Figures, learning curves among them.
        &format!("{}: training loss after each epoch", bugs[0]),
        "n = 8",
    ] {
        assert!(page.contains(present), "{present}");
    }
    for (bug, verdict) in bugs.iter().zip(["different", "identical", "inconclusive"]) {
        let row = format!("<td>{bug}</td><td>bug</td><td>{verdict}</td>");
        assert!(page.contains(&row), "{row}");
    }
    for absent in ["<script", "src=", "@import", "url(", "NaN", "Table IV beside"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let address = study.path().display().to_string();
    assert!(!page.contains(&address), "the page names a folder of this machine");
    if let Ok(folder) = std::env::var("REPRODUCEML_FIGURES") {
        std::fs::write(format!("{folder}/study.html"), &page).unwrap();
    }
    study.call(&["report"]).expect(&[0]);
    assert_eq!(read(&study.path().join("stats/report.html")), page, "the same bytes again");
}

/// What `reach` found about the first two bugs and another model's, and what the first one's own
/// tests showed.
fn know(study: &TestStudy, bugs: &[String; 3]) {
    let opened = Study::open(&study.path()).unwrap();
    let config = &opened.config;
    let own = config.model.name.as_str();
    let finding = |bug: &String, model: &str, answer: &str, strength: &str| {
        let line = json!({"bug": bug, "model": model, "challenge": config.challenge.name,
            "device": config.run.device, "answer": answer, "strength": strength, "reason": "so it is",
            "decides": "", "evidence": []});
        format!("{line}\n")
    };
    let file = study::reach::file(&opened);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let lines = [
        finding(&bugs[0], own, "may-differ", "measured"),
        finding(&bugs[1], own, "not-executed", "traced"),
        finding(&bugs[2], "another", "not-executed", "traced"),
    ];
    std::fs::write(file, lines.concat()).unwrap();
    let own_tests = study::own_tests::OwnTests {
        bug: BugId::new(&bugs[0]).unwrap(),
        verdict: study::Verdict::Different,
        reason: "assertEqual was given 1.0 with the bug and 2.0 with the fix".into(),
        runs: 0,
        pairs: 4,
        equal_pairs: 1,
        tests: 2,
        evidence: true,
        unsteady: vec![],
        first: None,
        buggy: ArtifactId::from_digest([1; 32]),
        corrected: ArtifactId::from_digest([2; 32]),
    };
    study::own_tests::keep(&opened, &[own_tests]).unwrap();
}

#[test]
fn reach_and_own_tests_stand_beside_the_verdicts() {
    let (study, bugs) = filled();
    let before = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    let entry = |all: &serde_json::Value, bug: &str| -> serde_json::Value {
        let verdicts = all["verdicts"].as_array().unwrap();
        verdicts.iter().find(|one| one["bug"] == bug).unwrap().clone()
    };
    assert_eq!(entry(&before, &bugs[0])["reach"], json!(null), "nobody asked");
    assert!(!study.call(&["stats"]).expect(&[0]).out.contains("own tests"));
    know(&study, &bugs);

    let all = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    let reach = json!({"answer": "may-differ", "strength": "measured", "reason": "so it is"});
    assert_eq!(entry(&all, &bugs[0])["reach"], reach);
    assert_eq!(entry(&all, &bugs[1])["reach"]["answer"], "not-executed");
    assert_eq!(entry(&all, &bugs[2])["reach"], json!(null), "that is about another model");
    assert_eq!(entry(&all, "planted")["reach"], json!(null));
    assert_eq!(all["own_tests"][0]["verdict"], "different");
    for bug in &bugs {
        assert_eq!(entry(&all, bug)["verdict"], entry(&before, bug)["verdict"], "no verdict moves");
    }
    // In every other form, with a dash or an empty cell where nothing is known.
    for form in [&["stats"][..], &["--format", "markdown", "stats"], &["stats", "--latex"]] {
        let text = study.call(form).expect(&[0]).out;
        let own = |line: &&str, bug: &str| {
            line.trim_start_matches([' ', '|']).starts_with(bug) && line.contains(" bug ")
        };
        let row = |bug: &str| text.lines().find(|line| own(line, bug)).unwrap();
        assert!(row(&bugs[0]).contains("may-differ (measured)"), "{text}");
        assert!(row(&bugs[1]).contains("not-executed (traced)"), "{text}");
        assert!(row(&bugs[2]).contains('–') || row(&bugs[2]).contains("--"), "{text}");
        assert!(text.contains("was given 1.0 with the bug"), "{text}");
    }
    let csv = study.call(&["--format", "csv", "stats"]).expect(&[0]).out;
    assert_eq!(csv, read(&study.path().join("stats/tests.csv")));
    let row = |bug: &str| csv.lines().find(|line| line.starts_with(bug)).unwrap();
    assert!(csv.lines().next().unwrap().ends_with(",notes,reach,reach_strength"));
    assert!(row(&bugs[0]).ends_with(",may-differ,measured"), "{}", row(&bugs[0]));
    assert!(row(&bugs[2]).ends_with(",,"), "{}", row(&bugs[2]));
    let verdicts = study.call(&["--format", "csv", "stats", "--verdicts"]).expect(&[0]).out;
    assert!(verdicts.starts_with("bug,kind,verdict,reach,reason\n"), "{verdicts}");
    study.call(&["report"]).expect(&[0]);
    let page = read(&study.path().join("stats/report.html"));
    assert!(page.contains("<td>not-executed (traced)</td>") && page.contains("own tests"));
    let digest = study::files::sha256_file(&study.path().join("reach/findings.jsonl")).unwrap();
    assert!(page.contains(&digest));

    std::fs::write(study.path().join("reach/findings.jsonl"), "{}\n").unwrap();
    let told = study.call(&["stats"]).expect(&[2]);
    assert!(told.err.contains("line 1") && told.err.contains("reproduceml reach"), "{}", told.err);
}

#[test]
fn tables_and_figures_also_come_alone() {
    let (study, bugs) = filled();
    let out = study.path().join("out");
    let at = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let (html, md, tex, figures) = (at("r.html"), at("r.md"), at("r.tex"), at("figures"));
    let arguments = ["--format", "json", "report", "--out", &html, "--markdown", &md];
    let more = ["--latex", &tex, "--figures", &figures, "--margin", "0.02"];
    let told = study.call(&[&arguments[..], &more[..]].concat()).expect(&[0]).json();
    for entry in told.as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let digest = study::files::sha256_file(Path::new(file)).unwrap();
        assert_eq!(entry["sha256"], digest, "{file}");
    }
    let (md, tex) = (read(Path::new(&md)), read(Path::new(&tex)));
    for title in [
        "From release notes to verdicts",
        "Attributes of the study",
        "Verdicts",
        "Controls",
        "Digests",
    ] {
        assert!(md.contains(&format!("### {title}")), "{title}");
        assert!(tex.contains(&format!("\\caption{{{title}")), "{title}");
    }
    assert!(md.contains("reproduceml stats --margin 0.02"), "{md}");
    assert_eq!(tex.matches("\\toprule").count(), tex.matches("\\bottomrule").count());
    let names: Vec<String> = std::fs::read_dir(&figures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for part in ["shifts-accuracy.svg", "p-values.svg", "deviations.svg"] {
        assert!(names.iter().any(|name| name.ends_with(part)), "{part}: {names:?}");
    }
    for bug in &bugs {
        let (curve, points) =
            (format!("learning-{bug}.svg"), format!("distributions-{bug}-bug.svg"));
        assert!(names.iter().any(|name| name.ends_with(&curve)), "{curve}: {names:?}");
        assert!(names.iter().any(|name| name.ends_with(&points)), "{points}: {names:?}");
    }
    assert!(!study.path().join("stats/report.html").exists());
}

#[test]
fn the_paper_stands_beside_its_own_study() {
    let study = TestStudy::from_definition("pytorch-1.1-1.6", &[]);
    let opened = Study::open(&study.path()).unwrap();
    fill(&opened, "pr31433", Evaluation::Buggy, [0.80, 0.90], [1, 2]);
    study.call(&["report"]).expect(&[0]);
    let page = read(&study.path().join("stats/report.html"));
    assert!(page.contains("Table IV beside this study"));
    assert!(page.contains("one for all runs (single)"));
}

#[test]
fn what_cannot_be_reported_is_said() {
    let study = mined();
    let told = study.call(&["report"]).expect(&[2]);
    assert!(told.err.contains("reproduceml run"), "{}", told.err);
    assert!(!study.path().join("stats/report.html").exists());
    let told = study.call(&["report", "--margin=-1"]).expect(&[2]);
    assert!(told.err.contains("margin"), "{}", told.err);

    let opened = Study::open(&study.path()).unwrap();
    fill(&opened, "planted", Evaluation::Artificial, [0.50, 0.90], [8, 9]);
    let told = study.call(&["report", "--out", "/dev/null/report.html"]).expect(&[2]);
    assert!(told.err.contains("/dev/null/report.html"), "{}", told.err);
}

#[test]
fn a_file_that_cannot_be_written_in_full_is_something_missing() {
    let (study, _) = filled();
    study.call(&["report"]).expect(&[0]);
    let page = study.path().join("stats/report.html");
    let before = read(&page);
    // As on a disk with little room left: no file may grow beyond so many blocks of 512 bytes.
    let room = before.len() / 512 / 2;
    let limited = |arguments: &str| {
        let command = format!("trap '' XFSZ; ulimit -f {room}; exec \"$0\" {arguments}");
        let study = study.path();
        let call = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_reproduceml")])
            .env("REPRODUCEML_STUDY", study)
            .output();
        common::Told::of(call.unwrap())
    };
    let told = limited("report").expect(&[3]);
    assert!(told.err.contains("report.html: File too large"), "{}", told.err);
    assert_eq!(read(&page), before, "the old page is whole");
}

#[test]
fn status_says_that_an_analysis_is_out_of_date() {
    let (study, bugs) = filled();
    let analysed = || {
        let told = study.call(&["--format", "json", "status"]).expect(&[0]);
        (told.json()["analysed"].as_u64().unwrap(), told.err.contains("out of date"))
    };
    assert_eq!(analysed(), (0, false), "there is none yet");
    study.call(&["stats", "--profile", "paper"]).expect(&[0]);
    assert_eq!(analysed(), (3, false), "whatever its profile");
    // Other runs.
    let opened = Study::open(&study.path()).unwrap();
    fill(&opened, &bugs[2], Evaluation::Buggy, [0.90, 0.90], [11, 12]);
    assert_eq!(analysed(), (0, true));
    study.call(&["report"]).expect(&[0]);
    assert_eq!(analysed(), (3, false));
    // Other rules.
    let file = study.path().join("study.toml");
    let text = read(&file);
    std::fs::write(&file, text.replace("margin = 0.005", "margin = 0.02")).unwrap();
    assert_eq!(analysed(), (0, true));
}

/// Whether there is a Chromium; if not, says so aloud, and fails where it is required.
fn chromium(test: &str) -> bool {
    let version = Command::new("chromium").arg("--version").output();
    let there = version.is_ok_and(|output| output.status.success());
    if !there {
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_CHROMIUM").is_none(),
            "{test}: REPRODUCEML_REQUIRE_CHROMIUM is set and there is no chromium"
        );
        eprintln!("SKIPPED {test}: there is no chromium on this machine");
    }
    there
}

#[test]
fn a_browser_shows_the_page_and_complains_of_nothing() {
    if !chromium("a_browser_shows_the_page_and_complains_of_nothing") {
        return;
    }
    let (study, _) = filled();
    study.call(&["report"]).expect(&[0]);
    let profile = tempfile::tempdir().unwrap();
    let shown = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-quic", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", study.path().join("stats/report.html").display()))
        .output()
        .unwrap();
    let (dom, log) =
        (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success(), "{log}");
    assert!(!log.contains("CONSOLE"), "{log}");
    // What the browser made of it: all sections, tables and figures are elements.
    let page = read(&study.path().join("stats/report.html"));
    for tag in ["<section", "<table", "<figure", "<svg", "<circle", "<tr>"] {
        assert!(page.matches(tag).count() > 1, "{tag}");
        assert_eq!(dom.matches(tag).count(), page.matches(tag).count(), "{tag}");
    }
    assert!(dom.trim_end().ends_with("</body></html>") || dom.contains("id=\"repeat\""));
}
