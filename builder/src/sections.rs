//! Two versions of a compiled file, section by section: what of it is really another.

use std::collections::BTreeMap;

use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};

/// A section that two versions of a compiled file do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionDifference {
    /// Its name, like `.text`.
    pub name: String,
    /// Its bytes in the first; none if it has no such section.
    pub first: Option<u64>,
    /// Its bytes in the second.
    pub second: Option<u64>,
}

/// The sections in which two compiled files differ; none if one of them is no such file.
pub(crate) fn compare(first: &[u8], second: &[u8]) -> Option<Vec<SectionDifference>> {
    let (left, right) = (sections(first)?, sections(second)?);
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort();
    names.dedup();
    let size = |side: &BTreeMap<String, (u64, String)>, name: &String| {
        side.get(name).map(|(bytes, _)| *bytes)
    };
    Some(
        names
            .into_iter()
            .filter(|name| left.get(*name) != right.get(*name))
            .map(|name| SectionDifference {
                name: name.clone(),
                first: size(&left, name),
                second: size(&right, name),
            })
            .collect(),
    )
}

/// Size and digest of each section; sections of one name are numbered.
fn sections(bytes: &[u8]) -> Option<BTreeMap<String, (u64, String)>> {
    let file = object::File::parse(bytes).ok()?;
    let mut all = BTreeMap::new();
    for section in file.sections() {
        let name = String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned();
        let data = section.data().unwrap_or_default();
        let entry = (section.size(), study::files::sha256_hex(data));
        let mut key = name.clone();
        let mut number = 1;
        while all.contains_key(&key) {
            number += 1;
            key = format!("{name}#{number}");
        }
        all.insert(key, entry);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_taken_apart_and_a_text_is_not() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(compare(&program, &program), Some(vec![]));
        assert_eq!(compare(b"#!/bin/sh\n", &program), None);
        // One byte of the code is another.
        let file = object::File::parse(program.as_slice()).unwrap();
        let text = file.section_by_name(".text").unwrap();
        let (start, size) = text.file_range().unwrap();
        let mut other = program.clone();
        other[usize::try_from(start + size / 2).unwrap()] ^= 1;
        let found = compare(&program, &other).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].first), (".text", Some(size)));
    }
}
