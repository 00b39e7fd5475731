//! Puts the program's own data into the program: toolchains, the training client, faults, traces,
//! study definitions. `src/embedded.rs` takes the list written here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const FOLDERS: [&str; 6] = [
    "dockerfiles",
    "clients/python",
    "data/faults",
    "data/operators",
    "data/traces",
    "data/studies",
];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    for folder in FOLDERS {
        list(&root.join(folder), &mut files)?;
        // A folder with Python in it changes whenever Python runs there, so its files are watched
        // one by one; `embedded.rs` has a test that misses none.
        if folder != "clients/python" {
            println!("cargo:rerun-if-changed={folder}");
        }
    }
    files.sort();
    let mut text = String::from("&[\n");
    // FNV-1a: tells versions apart, no more.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in &files {
        let name = file.strip_prefix(&root).unwrap_or(file).display().to_string();
        println!("cargo:rerun-if-changed={name}");
        take(name.as_bytes());
        take(&fs::read(file)?);
        // By where the clone is when this is compiled: it may be moved with what was built.
        let place = format!("/{name}");
        let _ = writeln!(
            text,
            "    ({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {place:?}))),"
        );
    }
    text += "]\n";
    println!("cargo:rustc-env=REPRODUCEML_DATA={hash:016x}");
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("embedded.rs"), text)
}

/// The files below a folder, but for tests and what Python leaves.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "__pycache__" && name != "tests" {
                list(&path, files)?;
            }
        } else if !name.ends_with(".pyc") && !name.starts_with('.') {
            files.push(path);
        }
    }
    Ok(())
}
