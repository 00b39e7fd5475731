//! Results as files: what comes back, and what is refused, with which words.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::{Evaluation, Options, Results, analyse, render};
use std::path::PathBuf;

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.csv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn read(text: &str) -> Result<Results, String> {
    let (folder, path) = written(text);
    let outcome = Results::read(&path);
    outcome
        .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "FOLDER"))
}

fn refused(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn csv_and_parquet_give_back_what_was_written() {
    let mut random = Random(5);
    let mut rows = side(&mut random, "pr2", Evaluation::Buggy, 5, 0.7);
    rows.extend(side(&mut random, "pr1", Evaluation::Corrected, 4, 0.7));
    rows[1].metrics.remove("f1");
    rows[2].seed = None;
    rows[3].fingerprints = vec!["a".into(), "b".into()];
    let results = Results::from_rows(rows).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (csv, parquet) = (folder.path().join("r.csv"), folder.path().join("r.parquet"));
    results.write_csv(&csv).unwrap();
    results.write_parquet(&parquet).unwrap();
    let rows = |results: &Results| results.rows().collect::<Vec<_>>();
    assert_eq!(rows(&Results::read(&csv).unwrap()), rows(&results));
    assert_eq!(rows(&Results::read(&parquet).unwrap()), rows(&results));
    // Nothing but the two files is left behind, and the bytes are stable.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let bytes = std::fs::read(&csv).unwrap();
    results.write_csv(&csv).unwrap();
    assert_eq!(std::fs::read(&csv).unwrap(), bytes);
}

#[test]
fn parquet_of_other_tools_is_read() {
    // Written by pyarrow: snappy, dictionary-encoded text, 64-bit counts, an empty cell.
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pandas.parquet"));
    let results = Results::read(&path).unwrap();
    assert_eq!(results.values("pr1", Evaluation::Buggy, "accuracy"), [0.5, 0.25]);
    assert_eq!(results.values("pr1", Evaluation::Corrected, "accuracy"), [0.75]);
}

#[test]
fn empty_cells_are_missing_and_text_columns_are_no_metrics() {
    let results = read(
        "bug,evaluation,run,seed,accuracy,host,loss\n\
         pr1,buggy,0,5,0.5,alpha,1.5\n\
         pr1,corrected,0,5,,beta,NaN\n\
         pr1,corrected,1,,0.25,beta,inf\n",
    )
    .unwrap();
    assert_eq!(results.metrics(), ["accuracy", "loss"]);
    assert_eq!(results.values("pr1", Evaluation::Corrected, "accuracy"), [0.25]);
    assert!(results.values("pr1", Evaluation::Corrected, "loss").is_empty());
    insta::assert_snapshot!(results.warnings().join("\n"));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let results = read("\u{feff}bug,evaluation,run,accuracy\r\npr1,buggy,0,0.5\r\n").unwrap();
    assert_eq!(results.values("pr1", Evaluation::Buggy, "accuracy"), [0.5]);
}

#[test]
fn what_is_refused_and_why() {
    let head = "bug,evaluation,run,accuracy\n";
    let cases = [
        ("no file content", String::new()),
        ("header only", head.to_owned()),
        ("text in a number", format!("{head}pr1,buggy,0,0.5\npr1,buggy,1,high\n")),
        ("unknown evaluation", format!("{head}pr1,bugy,0,0.5\n")),
        ("no evaluation", format!("{head}pr1,,0,0.5\n")),
        ("no bug", format!("{head},buggy,0,0.5\n")),
        ("no run", format!("{head}pr1,buggy,,0.5\n")),
        ("negative run", format!("{head}pr1,buggy,-1,0.5\n")),
        ("half a run", format!("{head}pr1,buggy,0.5,0.5\n")),
        ("huge run", format!("{head}pr1,buggy,4294967296,0.5\n")),
        ("twice", format!("{head}pr1,buggy,0,0.5\npr1,corrected,0,0.5\npr1,buggy,0,0.6\n")),
        ("no column", "bug,run,accuracy\npr1,0,0.5\n".to_owned()),
        ("no metric", "bug,evaluation,run\npr1,buggy,0\n".to_owned()),
        ("seed", "bug,evaluation,run,seed,accuracy\npr1,buggy,0,x,0.5\n".to_owned()),
        ("too long", format!("{head}pr1,buggy,0,0.5,7,8\n")),
        ("cut off", format!("{head}pr1,buggy,0,0.5\npr1,corrected,0")),
        ("cut off in quotes", format!("{head}pr1,buggy,0,0.5\n\"pr1,corrected,0,0.5\n")),
        ("twice the column", "bug,evaluation,run,accuracy,accuracy\n".to_owned()),
        ("semicolons", head.replace(',', ";") + "pr1;buggy;0;0,5\n"),
        ("endless cell", format!("{head}pr1,buggy,0,{}\n", "x".repeat(100_000))),
        ("text later on", format!("{head}pr1,buggy,0,\npr1,buggy,1,?\npr1,buggy,2,0.5\n")),
        ("not parquet", "PAR1 and then nothing".to_owned()),
    ];
    let list: Vec<String> =
        cases.iter().map(|(name, text)| format!("{name}: {}", refused(text))).collect();
    insta::assert_snapshot!(list.join("\n"));
    let gone = Results::read(&PathBuf::from("no/such/file.csv")).unwrap_err().to_string();
    assert!(gone.starts_with("no/such/file.csv: "), "{gone}");
}

#[test]
fn encodings_compressed_files_and_folders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.csv");
    let head = "bug,evaluation,run,accuracy\n";
    let utf16: Vec<u8> =
        format!("\u{feff}{head}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = [head.as_bytes(), b"pr\xe9,buggy,0,0.5\n"].concat();
    let latin1_head = b"bug,evaluation,run,accuracy,dur\xe9e\n".to_vec();
    for (bytes, words) in [
        (utf16, "its text is UTF-16; save it as UTF-8"),
        (latin1, "row 1, column `bug`: found \"pr\u{fffd}\", expected text in UTF-8"),
        (latin1_head, "the header is not text in UTF-8"),
        (b"\x1f\x8b\x08\x00whatever".to_vec(), "it is compressed; unpack it first"),
        (b"PK\x03\x04whatever".to_vec(), "it is compressed; unpack it first"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Results::read(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = Results::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
}

#[test]
fn whole_rows_are_read_however_they_end() {
    // No line end after the last row, empty lines, a line break inside quotes, quoted numbers.
    let results = read(
        "bug,evaluation,run,accuracy,note\npr1,buggy,0,\"0.5\",\"two\nlines\"\n\n\
         pr1,buggy,1, 0.25 ,\"a \"\"word\"\"\"\n\npr1,corrected,0,0.75,",
    )
    .unwrap();
    assert_eq!(results.values("pr1", Evaluation::Buggy, "accuracy"), [0.5, 0.25]);
    assert_eq!(results.values("pr1", Evaluation::Corrected, "accuracy"), [0.75]);
    // A row that is too short is named by where it begins, also behind a line break in quotes.
    let error = refused("bug,evaluation,run,accuracy\n\"pr\n1\",buggy,0,0.5\npr1,buggy,1\n");
    assert!(error.contains("row 2 (line 4) has 3 cell(s)"), "{error}");
}

#[test]
fn rows_in_any_order_and_gaps_of_all_kinds_come_out_sorted() {
    let text = "bug,evaluation,run,seed,accuracy,,fingerprints\n\
                pr1,buggy,2,7,0.3,x,\npr1,buggy,0,,0.1,y,a;b\npr1,buggy,1,6,,z,\n";
    let results = read(text).unwrap();
    let rows: Vec<_> = results.rows().collect();
    let seeds: Vec<_> = rows.iter().map(|row| (row.run, row.seed)).collect();
    assert_eq!(seeds, [(0, None), (1, Some(6)), (2, Some(7))]);
    let digests: Vec<usize> = rows.iter().map(|row| row.fingerprints.len()).collect();
    assert_eq!(digests, [2, 0, 0]);
    assert_eq!(results.values("pr1", Evaluation::Buggy, "accuracy"), [0.1, 0.3]);
    let warnings = results.warnings().join("\n");
    assert!(warnings.contains("1 column(s) without a name were left out"), "{warnings}");
    assert!(warnings.contains("accuracy: missing in 1 of 3 runs"), "{warnings}");
}

#[test]
fn any_bytes_are_read_or_refused_without_a_panic() {
    let mut random = Random(99);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.csv");
    let pieces =
        ["bug", "evaluation", "run", "accuracy", ",", "\n", "\"", "buggy", "0", "é", "\0", ";"];
    for _ in 0..300 {
        let length = random.next() % 40;
        let mut text =
            if random.next().is_multiple_of(2) { "bug,evaluation,run,accuracy\n" } else { "" }
                .to_owned();
        for _ in 0..length {
            text += pieces[(random.next() % pieces.len() as u64) as usize];
        }
        let mut bytes = text.into_bytes();
        if random.next().is_multiple_of(8) {
            bytes.push(0xff);
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(results) = Results::read(&path) {
            render::json(&analyse(&results, &Options::default()));
        }
    }
}
