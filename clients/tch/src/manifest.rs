//! The manifest of a run, with the fields of the Python client's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use protocol::Digest;
use serde_json::{Map, Value, json};

use crate::environment::{self, Variables};
use crate::train::Facts;
use crate::{libtorch, loaded};

/// Of a larger library only the first MiB is hashed.
const HASHED_WHOLE: u64 = 16 << 20;

/// Variables that steer numeric libraries: beginnings of their names.
const NUMERIC: &[&str] = &[
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "ATEN_",
    "ONEDNN_",
    "DNNL_",
    "TORCH_",
    "PYTORCH_",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LC_",
    "LANG",
];

/// The manifest of a run that has trained.
pub fn collect(facts: &Facts<'_>) -> Map<String, Value> {
    let job = facts.job;
    let (mine, others) = libraries(facts.artifact);
    let (my_versions, other_versions) = loaded::versions(facts.artifact);
    let seeded: Vec<&Value> = facts
        .controls
        .iter()
        .filter(|entry| entry["name"].as_str().is_some_and(|name| name.starts_with("seed ")))
        .collect();
    let manifest = json!({
        "format": 1,
        "seeds": {"seed": facts.seed, "generators": seeded},
        "model": {
            "name": facts.about.name,
            "class": facts.about.class,
            "source_sha256": Digest::of(facts.about.source.as_bytes()),
            "hyperparameters": {
                "epochs": job.epochs, "batch_size": job.batch_size, "drop_last": job.drop_last,
                "learning_rate": job.learning_rate, "momentum": job.momentum, "order": job.order,
            },
            "optimizer": "sgd",
            "loss": "negative log-likelihood",
        },
        "software": {
            "client": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            "mkl": tch::utils::has_mkl(),
            "mkldnn": tch::utils::has_mkldnn(),
            "openmp": tch::utils::has_openmp(),
            "cpu_capability": libtorch::cpu_capability(),
            "libraries": others,
            "loaded": other_versions,
        },
        "threads": {
            "cpus_allowed": status_field("Cpus_allowed_list"),
            "framework": {
                "intra_op": tch::get_num_threads(),
                "inter_op": tch::get_num_interop_threads(),
                "parallel_info": libtorch::parallel_info(),
            },
        },
        "runtime": runtime(facts.variables),
        "hardware": hardware(&job.device),
        "data": {
            "challenge": job.challenge, "arrays": facts.arrays, "order_of_use": facts.order_of_use,
        },
        "controls": facts.controls,
        "nondeterministic_operations": [],
        "artifact": {
            "digest": facts.variables.get("REPRODUCEML_ARTIFACT_DIGEST"),
            "framework": {
                "name": "libtorch", "version": libtorch::version(), "build": libtorch::build(),
            },
            "libraries": mine,
            "loaded": my_versions,
            "fault": null,
        },
    });
    match manifest {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn read(path: &str) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn status_field(name: &str) -> Option<String> {
    field(&read("/proc/self/status")?, name)
}

/// The value of the first line `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// The shared libraries that are loaded.
pub fn loaded_libraries() -> BTreeSet<PathBuf> {
    let maps = read("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.ends_with(".so") || name.contains(".so.")
        })
        .map(PathBuf::from)
        .collect()
}

/// Loaded libraries with their digests: the artifact's, and all others.
fn libraries(artifact: Option<&Path>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut mine, mut others) = (Map::new(), Map::new());
    let inside = artifact.map(environment::artifact_libraries).and_then(|p| p.canonicalize().ok());
    for path in loaded_libraries() {
        // What was replaced or hidden since it was loaded is left out.
        let Some(entry) = library(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_mine = inside.as_ref().is_some_and(|folder| path.starts_with(folder));
        if is_mine { &mut mine } else { &mut others }.insert(name, entry);
    }
    (mine, others)
}

fn library(path: &Path) -> Option<Value> {
    let size = std::fs::metadata(path).ok()?.len();
    if size <= HASHED_WHOLE {
        return Some(json!({"bytes": size, "sha256": Digest::of(&std::fs::read(path).ok()?)}));
    }
    let mut first = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open(path).ok()?, &mut first).ok()?;
    Some(json!({"bytes": size, "sha256_first_mib": Digest::of(&first)}))
}

fn runtime(variables: &Variables) -> Value {
    let numeric: Map<String, Value> = variables
        .iter()
        .filter(|(name, _)| NUMERIC.iter().any(|start| name.starts_with(start)))
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let release = read("/etc/os-release").unwrap_or_default();
    let distribution = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "system": std::env::consts::OS,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "kernel_build": read("/proc/sys/kernel/version"),
        "distribution": distribution.map(|text| text.trim_matches('"')),
        "image": variables.get("REPRODUCEML_IMAGE"),
        "byte_order": if cfg!(target_endian = "little") { "little" } else { "big" },
        "environment": numeric,
    })
}

fn hardware(device: &str) -> Value {
    let text = read("/proc/cpuinfo").unwrap_or_default();
    let cpu = |name: &str| field(&text, name);
    let flags = cpu("flags").or_else(|| cpu("Features")).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    let memory = field(&read("/proc/meminfo").unwrap_or_default(), "MemTotal");
    let kib = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    json!({
        "machine": std::env::consts::ARCH,
        "cpu": cpu("model name").or_else(|| cpu("CPU part")),
        "cpu_stepping": cpu("stepping"),
        "microcode": cpu("microcode"),
        "cpu_flags": flags,
        "cpus": std::thread::available_parallelism().ok().map(usize::from),
        "memory_kib": kib,
        "device": device,
        "accelerator": {},
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn libtorch_is_among_the_loaded_libraries() {
        // Something of it must be used for it to be linked.
        assert!(tch::get_num_threads() > 0);
        let (mine, others) = libraries(None);
        assert!(mine.is_empty());
        let libtorch = others.get("libtorch_cpu.so").unwrap();
        assert!(libtorch["bytes"].as_u64().unwrap() > HASHED_WHOLE);
        assert_eq!(libtorch["sha256_first_mib"].as_str().unwrap().len(), 64);
        assert!(others.get("libgomp.so.1").unwrap()["sha256"].is_string());
    }

    #[test]
    fn fields_are_found_whatever_surrounds_them() {
        let text = "flags\t\t: b a\nmodel name\t: X: Y\n";
        assert_eq!(field(text, "model name").as_deref(), Some("X: Y"));
        assert_eq!(field(text, "model"), None);
    }

    #[test]
    fn only_variables_that_steer_numbers_are_told() {
        let variables = [("OMP_NUM_THREADS", "1"), ("HOME", "/root"), ("LC_ALL", "C")];
        let variables = variables.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let told = runtime(&variables);
        assert_eq!(told["environment"], json!({"OMP_NUM_THREADS": "1", "LC_ALL": "C"}));
    }
}
