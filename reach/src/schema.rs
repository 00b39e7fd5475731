//! Files that list operators and derivatives: YAML sequences of entries, compared entry by entry.

use std::collections::BTreeMap;

use saphyr::{Scalar, Yaml, YamlLoader};
use saphyr_parser::Parser;
use serde_json::Value;

/// An entry of an operator or derivative list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it is keyed by, up to the parenthesis: `add.out`.
    pub name: String,
    /// The whole key: the operator's signature.
    pub signature: String,
    /// All that it says.
    pub content: Value,
}

impl Entry {
    /// The operator's name without its overload.
    pub fn base(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// The functions that carry it out, with the dispatch key under which each is used.
    pub fn functions(&self) -> Vec<(String, Option<String>)> {
        match self.content.get("dispatch") {
            Some(Value::Object(keys)) => keys
                .iter()
                .flat_map(|(keys, name)| {
                    let name = name.as_str().unwrap_or("").rsplit("::").next().unwrap_or("");
                    keys.split(',').map(|key| (name.to_owned(), Some(key.trim().to_owned())))
                })
                .collect(),
            Some(Value::String(name)) => vec![(name.clone(), None)],
            _ => vec![(self.default_function(), None)],
        }
    }

    /// The name of a function without a dispatch table: the operator's, marked when it writes to
    /// arguments that it was given for its results.
    fn default_function(&self) -> String {
        let overload = self.name.split('.').nth(1).unwrap_or("");
        let arguments = self.signature.split("->").next().unwrap_or("");
        let keyword = arguments.split("*,").nth(1).unwrap_or("");
        if overload.contains("out") || keyword.contains("!)") {
            format!("{}_out", self.base())
        } else {
            self.base().to_owned()
        }
    }

    /// All texts of the entry but its key: formulas, names of functions.
    pub fn texts(&self) -> Vec<&str> {
        fn collect<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::String(text) => found.push(text),
                Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
                Value::Object(fields) => fields.values().for_each(|item| collect(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        if let Value::Object(fields) = &self.content {
            fields
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "func" | "name"))
                .for_each(|(_, value)| collect(value, &mut found));
        }
        found
    }
}

/// Reads a list; none where the file is no list of entries with a `func` or `name`.
pub fn read(text: &[u8]) -> Option<Vec<Entry>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut loader: YamlLoader<'_, Yaml<'_>> = YamlLoader::default();
    // Real lists have keys twice; the program that reads them takes the last one.
    loader.allow_duplicate_keys(true);
    Parser::new_from_str(text).load(&mut loader, true).ok()?;
    if loader.error().is_some() {
        return None;
    }
    let documents = loader.into_documents();
    let Value::Array(items) = json(documents.first()?) else { return None };
    items
        .into_iter()
        .map(|content| {
            let key = content.get("func").or_else(|| content.get("name"))?;
            let signature = key.as_str()?.to_owned();
            let name = signature.split('(').next()?.trim();
            let name = name.rsplit("::").next()?.to_owned();
            Some(Entry { name, signature, content })
        })
        .collect()
}

/// The entries that two versions of a list do not share, each once, by name.
pub fn changed<'e>(buggy: &'e [Entry], corrected: &'e [Entry]) -> Vec<&'e Entry> {
    let only_in = |these: &'e [Entry], those: &'e [Entry]| {
        these.iter().filter(|entry| !those.contains(entry)).collect::<Vec<_>>()
    };
    let mut found: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in only_in(corrected, buggy).into_iter().chain(only_in(buggy, corrected)) {
        found.entry(&entry.signature).or_insert(entry);
    }
    found.into_values().collect()
}

fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::String(value.to_string()),
            Scalar::FloatingPoint(value) => Value::String(value.to_string()),
            Scalar::String(text) => Value::String(text.to_string()),
        },
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect()),
        Yaml::Mapping(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| (json(key).as_str().unwrap_or("").to_owned(), json(value)))
                .collect(),
        ),
        Yaml::Tagged(_, inner) => json(inner),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# a list
- func: scale(Tensor self, float by=2) -> Tensor
  variants: function, method

- func: scale.out(Tensor self, float by=2, *, Tensor(a!) out) -> Tensor(a!)
  dispatch:
    CPU: scale_out_cpu
    CUDA, HIP: native::scale_out_gpu
";

    #[test]
    fn entries_name_their_functions() {
        let entries = read(LIST.as_bytes()).unwrap();
        assert_eq!(entries[0].base(), "scale");
        assert_eq!(entries[0].functions(), [("scale".to_owned(), None)]);
        let mut functions = entries[1].functions();
        functions.sort();
        let of = |name: &str, key: &str| (name.to_owned(), Some(key.to_owned()));
        assert_eq!(
            functions,
            [of("scale_out_cpu", "CPU"), of("scale_out_gpu", "CUDA"), of("scale_out_gpu", "HIP")]
        );
        let bare = LIST.split("  dispatch").next().unwrap();
        assert_eq!(read(bare.as_bytes()).unwrap()[1].functions()[0].0, "scale_out");
        let twice = LIST.replace("  variants", "  variants: method\n  variants");
        assert_eq!(read(twice.as_bytes()).unwrap()[0].content["variants"], "function, method");
    }

    #[test]
    fn only_changed_entries_are_found_and_comments_are_not() {
        let buggy = read(LIST.as_bytes()).unwrap();
        let corrected = read(LIST.replace("# a list", "# the list").as_bytes()).unwrap();
        assert!(changed(&buggy, &corrected).is_empty());
        let corrected = read(LIST.replace("function, method", "function").as_bytes()).unwrap();
        let found = changed(&buggy, &corrected);
        assert_eq!(found.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["scale"]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        assert!(read(b"a: 1").is_none());
        assert!(read(b"- just text").is_none());
        assert!(read(b"\xff").is_none());
        assert!(read(b"- func: [").is_none());
    }
}
