//! Where an artifact comes from, as an in-toto statement with a SLSA provenance predicate.
//!
//! Forms: <https://in-toto.io/Statement/v1> and <https://slsa.dev/provenance/v1>.

use serde_json::{Value, json};

use crate::content::Content;
use crate::record::BuildRecord;

/// Names the meaning of the statement's parameters.
const BUILD_TYPE: &str = "https://github.com/reproduceml/reproduceml/build/v1";
/// Names the program that made the artifact.
const BUILDER: &str = "https://github.com/reproduceml/reproduceml/builder";

/// The statement for one artifact.
#[must_use]
pub fn statement(record: &BuildRecord, content: &Content, inputs: &[(String, String)]) -> Value {
    let subject: Vec<Value> = content
        .files
        .iter()
        .map(|file| json!({ "name": file.path, "digest": { "sha256": file.sha256 } }))
        .collect();
    let identity = &record.identity;
    let mut dependencies = vec![
        json!({
            "name": "image",
            "uri": format!("docker:{}", record.image.tag),
            "digest": { "sha256": bare(&record.image.id) },
        }),
        json!({ "name": "base image", "digest": { "sha256": bare(&record.image.base) } }),
        json!({
            "name": format!("dockerfiles/{}", record.toolchain),
            "digest": { "sha256": identity.toolchain },
        }),
    ];
    if let Some(commit) = &identity.commit {
        let mut digest = json!({ "gitCommit": commit });
        if let (Some(map), Some(tree)) = (digest.as_object_mut(), &record.tree) {
            map.insert("gitTree".into(), json!(tree));
        }
        dependencies.push(json!({
            "name": "source",
            "uri": format!("git+https://github.com/{}@{commit}", identity.repository),
            "digest": digest,
        }));
    }
    for submodule in &record.submodules {
        dependencies.push(json!({
            "name": submodule.path,
            "uri": format!("git+{}@{}", submodule.url, submodule.commit),
            "digest": { "gitCommit": submodule.commit },
        }));
    }
    for (name, sha256) in inputs {
        dependencies.push(json!({ "name": name, "digest": { "sha256": sha256 } }));
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": identity.repository,
                    "commit": identity.commit,
                    "strategy": identity.strategy,
                    "flags": identity.flags,
                    "fault": identity.fault,
                    "toolchain": record.toolchain,
                },
                "internalParameters": {
                    "limits": record.limits,
                    "host": record.host,
                    "patches": record.patches,
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": { "reproduceml": env!("CARGO_PKG_VERSION") },
                },
                "metadata": {
                    "invocationId": record.id,
                    "startedOn": record.started,
                    "finishedOn": record.finished,
                },
                "byproducts": [
                    { "name": "content", "digest": { "sha256": content.digest } },
                ],
            },
        },
    })
}

/// A digest without the name of its algorithm.
fn bare(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}
