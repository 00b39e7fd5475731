//! Where two tables differ, cell by cell.

use std::collections::HashMap;

use serde_json::Value;

/// So many differences of one table are named.
const NAMED: usize = 100;

/// The differences between a table of a pack and the one its runs give: where, and what.
pub fn tables(name: &str, packed: &[u8], computed: &[u8]) -> Vec<(String, String)> {
    if packed == computed {
        return Vec::new();
    }
    let mut found = Found::default();
    let (left, right) = (String::from_utf8_lossy(packed), String::from_utf8_lossy(computed));
    if name.ends_with(".json") {
        if let (Ok(left), Ok(right)) = (serde_json::from_str(&left), serde_json::from_str(&right)) {
            json("", &left, &right, &mut found);
        }
    } else if name.ends_with(".csv") {
        csv(&left, &right, &mut found);
    } else if !name.ends_with(".parquet") {
        lines(&left, &right, &mut found);
    }
    if found.all == 0 {
        found.add(String::new(), "its bytes are not those that the runs give".to_owned());
    }
    let more = found.all.saturating_sub(found.named.len());
    if more > 0 {
        found.named.push((String::new(), format!("and {more} more differences")));
    }
    found.named
}

#[derive(Default)]
struct Found {
    named: Vec<(String, String)>,
    all: usize,
}

impl Found {
    fn add(&mut self, place: String, what: String) {
        self.all += 1;
        if self.named.len() < NAMED {
            self.named.push((place, what));
        }
    }

    fn cell(&mut self, place: &str, packed: &str, computed: &str) {
        self.add(place.to_owned(), format!("packed {packed}, the runs give {computed}"));
    }
}

fn json(place: &str, packed: &Value, computed: &Value, found: &mut Found) {
    match (packed, computed) {
        (Value::Object(left), Value::Object(right)) => {
            // What is concluded is named before what it was concluded from.
            let mut members: Vec<_> = left.iter().collect();
            members.sort_by_key(|(key, _)| *key != "verdicts");
            for (key, value) in members {
                let at = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                json(&at, value, right.get(key).unwrap_or(&Value::Null), found);
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                found.cell(&format!("{place}.{key}"), "nothing", &short(value));
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                let entries = |list: &[Value]| format!("{} entries", list.len());
                found.cell(place, &entries(left), &entries(right));
            }
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                json(&format!("{place}[{}]", label(left, index)), left, right, found);
            }
        }
        // As written: two numbers that are one double have one text.
        _ if written(packed) != written(computed) => {
            found.cell(place, &short(packed), &short(computed));
        }
        _ => {}
    }
}

fn written(value: &Value) -> String {
    value.to_string()
}

/// What an entry of a list is called: by bug, kind and metric, where it has them.
fn label(entry: &Value, index: usize) -> String {
    let words = ["bug", "kind", "metric", "name"].into_iter();
    let words: Vec<&str> = words.filter_map(|key| entry.get(key)?.as_str()).collect();
    if words.is_empty() { index.to_string() } else { words.join(" ") }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn csv(packed: &str, computed: &str, found: &mut Found) {
    let read = |text: &str| -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let rows = reader.records().filter_map(Result::ok);
        rows.map(|row| row.iter().map(str::to_owned).collect()).collect()
    };
    let (left, right) = (read(packed), read(computed));
    let rows = |rows: &[Vec<String>]| format!("{} rows", rows.len().saturating_sub(1));
    if left.len() != right.len() {
        found.cell("", &rows(&left), &rows(&right));
    }
    let head = left.first().cloned().unwrap_or_default();
    let (mut there, order) = keyed(right, &head);
    for (number, (key, left)) in keyed(left, &head).1.into_iter().enumerate() {
        let name = key.0.join(" ");
        let Some(right) = there.remove(&key) else {
            found.cell(&format!("row {number} ({name})"), "a row", "none");
            continue;
        };
        for column in 0..left.len().max(right.len()) {
            let (a, b) = (left.get(column), right.get(column));
            if a == b {
                continue;
            }
            let title = head.get(column).map_or("?", String::as_str);
            let text = |cell: Option<&String>| {
                cell.map_or_else(|| "nothing".to_owned(), |cell| format!("`{cell}`"))
            };
            found.cell(&format!("row {number} ({name}), {title}"), &text(a), &text(b));
        }
    }
    for (key, _) in order.into_iter().filter(|(key, _)| there.contains_key(key)) {
        found.cell(&format!("row ({})", key.0.join(" ")), "none", "a row");
    }
}

/// What a row is called, and which one of that name it is.
type Key = (Vec<String>, usize);

/// Rows in their order, each with what it is called.
type Ordered = Vec<(Key, Vec<String>)>;

/// Rows by what they are about, and in their order.
fn keyed(rows: Vec<Vec<String>>, head: &[String]) -> (HashMap<Key, Vec<String>>, Ordered) {
    let names = ["bug", "id", "kind", "evaluation", "run", "metric"];
    let mut columns: Vec<usize> =
        (0..head.len()).filter(|at| head.get(*at).is_some_and(|n| names.contains(&&**n))).collect();
    if columns.is_empty() {
        columns.push(0);
    }
    let mut met: HashMap<Vec<String>, usize> = HashMap::new();
    let mut order = Vec::with_capacity(rows.len());
    for row in rows {
        let name: Vec<String> = columns.iter().filter_map(|at| row.get(*at).cloned()).collect();
        let times = met.entry(name.clone()).or_default();
        order.push(((name, *times), row));
        *times += 1;
    }
    (order.iter().cloned().collect(), order)
}

fn lines(packed: &str, computed: &str, found: &mut Found) {
    let (mut left, mut right) = (packed.lines(), computed.lines());
    for number in 1_usize.. {
        match (left.next(), right.next()) {
            (None, None) => return,
            (a, b) if a == b => {}
            (a, b) => {
                let text = |line: Option<&str>| {
                    line.map_or_else(|| "nothing".to_owned(), |line| short(&line.into()))
                };
                found.cell(&format!("line {number}"), &text(a), &text(b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named() {
        let places = |name: &str, a: &str, b: &str| -> Vec<String> {
            tables(name, a.as_bytes(), b.as_bytes())
                .into_iter()
                .map(|(place, what)| format!("{place}: {what}"))
                .collect()
        };
        assert_eq!(places("a.json", "{}", "{}"), Vec::<String>::new());
        let verdict = |word: &str| {
            format!("{{\"verdicts\":[{{\"bug\":\"pr1\",\"kind\":\"aa\",\"verdict\":\"{word}\"}}]}}")
        };
        assert_eq!(
            places("a.json", &verdict("different"), &verdict("identical")),
            ["verdicts[pr1 aa].verdict: packed \"different\", the runs give \"identical\""]
        );
        assert_eq!(places("a.json", "{\"a\":0.0}", "{\"a\":-0.0}").len(), 1, "bit for bit");
        assert_eq!(places("a.json", "{ }", "{}").len(), 1, "byte for byte");
        assert_eq!(
            places(
                "a.csv",
                "bug,evaluation,run,f1\npr1,buggy,0,1\n",
                "bug,evaluation,run,f1\npr1,buggy,0,2\n"
            ),
            ["row 1 (pr1 buggy 0), f1: packed `1`, the runs give `2`"]
        );
        assert_eq!(places("a.csv", "a\n1\n", "a\n")[0], ": packed 1 rows, the runs give 0 rows");
        assert_eq!(places("a.md", "a\nb", "a\nc").len(), 1);
        assert_eq!(places("a.parquet", "a", "b").len(), 1);
        let many = |cell: &str| "a\n".to_owned() + &format!("{cell}\n").repeat(300);
        assert_eq!(places("a.csv", &many("1"), &many("2")).len(), NAMED + 1);
    }
}
