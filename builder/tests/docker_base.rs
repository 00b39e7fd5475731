//! A base image that no registry has is bootstrapped on this machine. Needs root, debootstrap and
//! Debian's packages, and about half a minute.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;

use reproduceml_builder::{BuildError, Toolchain, prepare};

fn toolchain(base: &str, debootstrap: &str) -> (tempfile::TempDir, Toolchain) {
    let all = tempfile::tempdir().unwrap();
    let folder = all.path().join("base");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), format!("FROM {base}\nRUN test -x /bin/sh\n")).unwrap();
    let recipe = format!(
        "name = \"base\"\ndescription = \"d\"\nbase = \"{base}\"\n{debootstrap}\n\
         [smoke]\nrun = \"true\"\n"
    );
    fs::write(folder.join("toolchain.toml"), recipe).unwrap();
    let toolchain = Toolchain::read(all.path(), "base").unwrap();
    (all, toolchain)
}

#[tokio::test]
async fn a_missing_base_is_bootstrapped_or_explained() {
    let name = "a_missing_base_is_bootstrapped_or_explained";
    let Some(docker) = support::docker(name).await else { return };
    let base = format!("localhost:1/reproduceml-test/base:{}", std::process::id());
    let (_folder, without) = toolchain(&base, "");
    let error = prepare(&docker, &without, &|_| {}).await.unwrap_err();
    assert!(matches!(error, BuildError::BaseImage { .. }), "{error}");
    assert!(error.to_string().contains("docker load"), "{error}");

    let (_folder, with) = toolchain(&base, "debootstrap = \"bookworm\"");
    // SAFETY: the call only reads this process's credentials and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    match prepare(&docker, &with, &|event| eprintln!("{event:?}")).await {
        Ok(ready) => {
            let again = prepare(&docker, &with, &|event| panic!("{event:?}")).await.unwrap();
            assert_eq!(ready.image_id, again.image_id, "made once");
            docker.remove_image(&ready.tag).await.unwrap();
            docker.remove_image(&base).await.unwrap();
        }
        Err(BuildError::BaseImage { what, .. }) => {
            assert!(what.contains("debootstrap --variant=minbase"), "{what}");
            assert!(!root || what.contains("not installed"), "{what}");
            eprintln!("SKIPPED the rest of {name}: {what}");
        }
        Err(error) => panic!("{error}"),
    }
}
