//! Versions of numeric libraries that are loaded, as each says itself: MKL and OpenBLAS. The client
//! computes on processors alone, so CUDA's libraries, of which the Python client asks too, have none.

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;

use libloading::os::unix::Library;
use serde_json::{Map, Value, json};

use crate::{environment, manifest};

/// Version and file name of each library that tells: the artifact's, and all others. One that
/// hides its version is left out.
pub fn versions(artifact: Option<&Path>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut mine, mut others) = (Map::new(), Map::new());
    let inside = artifact.map(environment::artifact_libraries).and_then(|p| p.canonicalize().ok());
    for path in manifest::loaded_libraries() {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mkl = ["libmkl_rt.so", "libmkl_core.so", "libtorch_cpu.so"];
        let (name, ask): (&str, fn(&Library) -> Option<String>) =
            if mkl.iter().any(|start| file.starts_with(start)) {
                ("mkl", mkl_version)
            } else if file.contains("openblas") {
                ("openblas", openblas_version)
            } else {
                continue;
            };
        let is_mine = inside.as_ref().is_some_and(|folder| path.starts_with(folder));
        let found = if is_mine { &mut mine } else { &mut others };
        if found.contains_key(name) {
            continue;
        }
        // SAFETY: the library is loaded already, so that nothing of it runs anew.
        let Ok(library) = (unsafe { Library::new(&path) }) else { continue };
        if let Some(version) = ask(&library).filter(|version| !version.is_empty()) {
            found.insert(name.to_owned(), json!({"version": version, "file": file}));
        }
    }
    (mine, others)
}

fn mkl_version(library: &Library) -> Option<String> {
    let mut text = [0_u8; 256];
    // SAFETY: MKL's documented function, which writes at most so many bytes of text.
    unsafe {
        let ask = library
            .get::<unsafe extern "C" fn(*mut c_char, c_int)>(b"MKL_Get_Version_String\0")
            .ok()?;
        ask(text.as_mut_ptr().cast(), 256);
    }
    let text = CStr::from_bytes_until_nul(&text).ok()?;
    Some(text.to_string_lossy().trim().to_owned())
}

fn openblas_version(library: &Library) -> Option<String> {
    // SAFETY: OpenBLAS' documented function, which returns text that is never freed.
    unsafe {
        let ask = library
            .get::<unsafe extern "C" fn() -> *const c_char>(b"openblas_get_config\0")
            .ok()?;
        let text = ask();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().trim().to_owned())
    }
}
