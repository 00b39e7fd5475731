//! Notes from a folder of Markdown files, one a tag: `v2.7.0.md`.

use std::io;
use std::path::Path;

/// Every `*.md` of the folder with its bytes, by tag. Other files are not notes.
///
/// # Errors
/// If the folder or a file cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let markdown = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("md"));
        let tag = path.file_stem().and_then(|stem| stem.to_str());
        if let (true, true, Some(tag)) = (markdown, path.is_file(), tag) {
            found.push((tag.to_owned(), std::fs::read(&path)?));
        }
    }
    found.sort();
    Ok(found)
}
