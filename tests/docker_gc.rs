//! `gc` on a real Docker daemon: images that nothing rests on go, and nobody else's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use builder::{HELD_LABEL, TOOLCHAIN_LABEL};
use common::{TestStudy, docker};
use containers::Docker;
use serde_json::Value;
use study::Study;

/// An image as a toolchain's, of a content that no other test has.
async fn image(docker: &Docker, mark: &str, labels: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let identity = study::files::sha256_hex(folder.path().to_str().unwrap().as_bytes());
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY mark /mark\n").unwrap();
    std::fs::write(folder.path().join("mark"), format!("{mark} {identity}")).unwrap();
    let context = containers::build_context(folder.path()).unwrap();
    let name = format!("reproduceml/test-gc-{mark}:{}", &identity[..12]);
    let labels: BTreeMap<String, String> =
        labels.iter().map(|label| ((*label).to_owned(), identity.clone())).collect();
    let id =
        docker.build_image(context, &name, &labels, &BTreeMap::new(), &mut |_| {}).await.unwrap();
    (name, id)
}

fn collected(study: &TestStudy, arguments: &[&str]) -> Vec<(Vec<String>, bool)> {
    let all = [&["--format", "json", "gc"], arguments].concat();
    let told = study.call(&all).expect(&[0]).json();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let images = told["images"].as_array().unwrap();
    images.iter().map(|one| (texts(&one["names"]), one["whole"].as_bool().unwrap())).collect()
}

#[tokio::test]
async fn images_go_when_no_study_rests_on_them() {
    if !docker("images_go_when_no_study_rests_on_them") {
        return;
    }
    let daemon = Docker::connect().await.unwrap();
    let (mine, other) = (
        TestStudy::from_definition("quick-tinynn", &[]),
        TestStudy::from_definition("quick-tinynn", &[]),
    );
    let open = |study: &TestStudy| Study::open(&study.path()).unwrap();
    let both = [TOOLCHAIN_LABEL, HELD_LABEL];
    let (shared, shared_id) = image(&daemon, "shared", &both).await;
    let (locked, locked_id) = image(&daemon, "locked", &both).await;
    let (named, named_id) = image(&daemon, "named", &both).await;
    let (old, old_id) = image(&daemon, "old", &[TOOLCHAIN_LABEL]).await;
    let (foreign, foreign_id) = image(&daemon, "foreign", &both).await;
    let there = async |name: &str| daemon.image_id(name).await.unwrap().is_some();

    for id in [&shared_id, &locked_id, &named_id, &old_id] {
        builder::hold_image(&daemon, &open(&mine), id).await.unwrap();
    }
    builder::hold_image(&daemon, &open(&other), &shared_id).await.unwrap();
    let own_name = "reproduceml-test/gc-named-by-a-person:1";
    daemon.tag_image(&named_id, own_name).await.unwrap();
    std::fs::write(
        mine.path().join("toolchains.lock"),
        format!(
            "version = 1\n[[toolchain]]\nname = \"x\"\nidentity = \"x\"\nfiles = \"x\"\n\
             base = \"x\"\nbase_id = \"x\"\nimage_id = \"{locked_id}\"\n\
             locked_at = \"2026-01-01T00:00:00Z\"\n[toolchain.packages]\n"
        ),
    )
    .unwrap();

    assert_eq!(collected(&mine, &["--dry-run"]), [], "all of it is new");
    // The other study keeps the image; so does the name that a person gave.
    let listed = collected(&mine, &["--keep-days", "0", "--dry-run"]);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.iter().all(|(names, whole)| names.len() == 1 && !whole), "{listed:?}");
    assert_eq!(collected(&mine, &["--keep-days", "0"]), listed);
    assert_eq!(collected(&mine, &["--keep-days", "0"]), []);
    for name in [&shared, &locked, &named, &old, &foreign] {
        assert!(there(name).await, "{name}");
    }
    // The last that holds it lets it go, and nothing of it is left.
    let gone = collected(&other, &["--keep-days", "0"]);
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(gone[0].1 && gone[0].0.contains(&shared), "{gone:?}");
    assert!(!there(&shared_id).await);
    // Once nothing names it, the locked one goes too.
    std::fs::remove_file(mine.path().join("toolchains.lock")).unwrap();
    assert!(collected(&mine, &["--keep-days", "0"]).iter().any(|(_, whole)| *whole));
    assert!(!there(&locked_id).await);

    for (name, id) in [(&named, &named_id), (&old, &old_id), (&foreign, &foreign_id)] {
        for tag in daemon.image(id).await.unwrap().unwrap().tags {
            daemon.remove_image(&tag).await.unwrap();
        }
        assert!(!there(name).await);
    }
}
