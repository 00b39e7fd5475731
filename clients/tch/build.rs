//! Compiles the shim against libtorch's headers and lets the program find libtorch where it was
//! built against it.

use std::env;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=shim/context.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // torch-sys has found it (LIBTORCH, LIBTORCH_USE_PYTORCH or the system's); it tells where.
    let lib = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB")?);
    let root = lib.parent().ok_or("libtorch's lib folder has no parent")?;
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .file("shim/context.cpp")
        .compile("reproduceml_shim");
    // A RUNPATH, so that LD_LIBRARY_PATH can put an artifact's libtorch before it.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", lib.display());
    Ok(())
}
