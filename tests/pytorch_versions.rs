//! The Python client's own tests beside the oldest and the newest PyTorch that Debian has. Version
//! 1.13 is in `pytorch.rs`; `scripts/test` does the same with 2.11 where libtorch is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;

use common::{docker, root};

/// The client's tests for PyTorch, in the image of a toolchain that holds one.
fn client_tests(test: &str, toolchain: &str) {
    if !docker(test) {
        return;
    }
    let toolchain = builder::Toolchain::read(&root().join("dockerfiles"), toolchain).unwrap();
    let image = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let docker = containers::Docker::connect().await.unwrap();
        builder::prepare(&docker, &toolchain, &|_| {}).await.unwrap().image_id
    });
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:exec"])
        .args(["--volume", &format!("{}:/repository:ro", root().display())])
        .args(["--env", "PYTHONDONTWRITEBYTECODE=1", "--workdir", "/repository", &image])
        .args(["python3", "-m", "unittest", "discover", "-s", "clients/python/tests"])
        .args(["-p", "test_pytorch.py"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    // PyTorch 1.7 under Python 3.9 aborts at exit after a backward pass; all was told by then.
    let ended = matches!(output.status.code(), Some(0 | 134));
    assert!(ended && text.contains("\nOK") && !text.contains("skipped"), "{text}");
}

#[test]
fn the_clients_own_tests_pass_beside_pytorch_1_7() {
    client_tests("the_clients_own_tests_pass_beside_pytorch_1_7", "debian-bullseye-cpu");
}

#[test]
fn the_clients_own_tests_pass_beside_pytorch_2_6() {
    client_tests("the_clients_own_tests_pass_beside_pytorch_2_6", "debian-trixie-cpu");
}
