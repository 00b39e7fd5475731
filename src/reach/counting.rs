//! Compiled code that counts its lines: a commit's tree is built once more with the toolchain's own
//! steps, in which the compiler is told to count for the changed sources alone. All other objects
//! come from the compiler's cache.

use std::path::Path;

use builder::Toolchain;
use containers::ContainerSpec;
use reach::lines::{self, FileCounts};
use study::{ArtifactRecord, Bug, CommitId, Evaluation};

use super::epoch::{Watcher, open_to_all, run_quietly};
use crate::failure::Failure;

/// What is to be counted on one side.
pub struct Counting<'a> {
    /// The side's commit.
    pub commit: &'a CommitId,
    /// The sources whose objects count.
    pub sources: &'a [String],
    /// The side's artifact.
    pub record: &'a ArtifactRecord,
}

/// Stands before the compilers, as `cc` and `c++`: sources named in the environment are compiled with
/// counters, and every link brings what counters need, that of a shared object [`DUMP`] too. One
/// word each, since CMake looks for an assembler by the compiler's first word alone.
const COMPILER: &str = r#"#!/bin/sh
case $0 in *++) real=$REPRODUCEML_CXX ;; *) real=$REPRODUCEML_CC ;; esac
compiles= wanted= shared=
for word in "$@"; do
    case $word in -c) compiles=1 ;; -shared) shared=1 ;; esac
    for source in $REPRODUCEML_COUNT; do
        case $word in "$source" | */"$source") wanted=1 ;; esac
    done
done
if [ -n "$shared" ] && [ -z "$compiles" ]; then
    dump=/tmp/reproduceml-dump.o
    if [ ! -e "$dump" ]; then
        $real -fPIC -c /tool/dump.c -o "$dump.$$" && mv "$dump.$$" "$dump" || exit 1
    fi
    set -- "$@" "$dump"
fi
if [ -z "$compiles" ] || [ -n "$wanted" ]; then
    exec $real "$@" --coverage
fi
exec $real "$@"
"#;

/// Part of every shared object that is linked: has that object write its counts. They would else be
/// written when the process ends, and frameworks are known that abort there.
const DUMP: &str = r#"#ifdef __cplusplus
extern "C" {
#endif
void __gcov_dump(void);
__attribute__((visibility("default"))) void reproduceml_dump_counts(void);
void reproduceml_dump_counts(void) { __gcov_dump(); }
#ifdef __cplusplus
}
#endif
"#;

/// Prints the counts of every object that counted.
const READ: &str = "find /src -name '*.gcda' -print | sort | while read -r counts; do \
    gcov --json-format --stdout \"$counts\" || exit 1; done";

/// Builds, trains one epoch, and reads the counts; none, with a warning, where one of them fails.
pub async fn count(
    watcher: &Watcher<'_>,
    bug: &Bug,
    side: Evaluation,
    counting: &Counting<'_>,
) -> Result<Option<FileCounts>, Failure> {
    let study = watcher.study;
    let scratch = study.cache_dir().join("scratch");
    std::fs::create_dir_all(&scratch).map_err(Failure::missing)?;
    let scratch = tempfile::Builder::new().prefix("count-").tempdir_in(&scratch);
    let scratch = scratch.map_err(Failure::missing)?;
    let at = |name: &str| scratch.path().join(name);
    for name in ["src", "out", "tool"] {
        std::fs::create_dir(at(name)).map_err(Failure::missing)?;
    }
    let Some(clone) = &watcher.clone else { return Ok(None) };
    let toolchain = toolchain(watcher, counting)?;
    builder::lay_out_tree(study, clone, counting.commit, &toolchain.recipe, &at("src"))
        .map_err(Failure::input)?;
    for name in ["tool/cc", "tool/c++"] {
        std::fs::write(at(name), COMPILER).map_err(Failure::missing)?;
        executable(&at(name))?;
    }
    std::fs::write(at("tool/dump.c"), DUMP).map_err(Failure::missing)?;
    builder::give_tree(&at("src"), watcher.docker.sandbox_user()).map_err(Failure::missing)?;
    open_to_all(&at("out"))?;
    let warn = |what: &str, why: &str| {
        eprintln!("warning: {} {side}: {what}: {why}", bug.id);
    };
    if let Err(why) = build(watcher, counting, &toolchain, scratch.path()).await? {
        warn("no build that counts lines", &why);
        return Ok(None);
    }
    let watch = serde_json::json!({"coverage": true});
    let image = &counting.record.image;
    let Some(seen) = watcher.epoch(bug, side, image, &at("out"), &watch).await? else {
        return Ok(None);
    };
    for (path, counts) in &seen.counts {
        let Some(inside) = path.strip_prefix("/src/") else { continue };
        // What a container says is not trusted with a path.
        if Path::new(inside)
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            continue;
        }
        let Some(bytes) = base64(counts) else { continue };
        let file = at("src").join(inside);
        std::fs::write(&file, bytes).map_err(Failure::missing)?;
    }
    let mut spec = step(watcher, counting, scratch.path(), READ);
    spec.workdir = Some("/tmp".into());
    match run_quietly(watcher.docker, &spec).await? {
        Ok(text) => Ok(lines::from_gcov(&text, "/src")),
        Err(why) => {
            warn("the counts cannot be read", &why);
            Ok(None)
        }
    }
}

/// Carries out the toolchain's steps; the inner error is why one failed.
async fn build(
    watcher: &Watcher<'_>,
    counting: &Counting<'_>,
    toolchain: &Toolchain,
    scratch: &Path,
) -> Result<Result<(), String>, Failure> {
    for part in &builder::artifact_steps(&toolchain.recipe) {
        let mut spec = step(watcher, counting, scratch, &part.run);
        spec = spec.read_only(&toolchain.folder, "/toolchain");
        let fixed = toolchain.recipe.environment.iter().chain(&toolchain.recipe.flags);
        for (name, value) in fixed.chain(&watcher.study.config.build.flags) {
            spec = spec.env(name, value);
        }
        for (name, usual) in [("CC", "cc"), ("CXX", "c++")] {
            let compiler = spec.env.get(name).cloned().unwrap_or_else(|| usual.to_owned());
            spec = spec
                .env(&format!("REPRODUCEML_{name}"), &compiler)
                .env(name, &format!("/tool/{usual}"));
        }
        if let Err(why) = run_quietly(watcher.docker, &spec).await? {
            return Ok(Err(format!("{}: {why}", part.name)));
        }
    }
    Ok(Ok(()))
}

fn toolchain(watcher: &Watcher<'_>, counting: &Counting<'_>) -> Result<Toolchain, Failure> {
    Toolchain::read(&watcher.home.toolchains(), &counting.record.toolchain).map_err(Failure::input)
}

/// A container with the tree, the artifact's folder and the compiler's cache, as a build has them.
fn step(
    watcher: &Watcher<'_>,
    counting: &Counting<'_>,
    scratch: &Path,
    run: &str,
) -> ContainerSpec {
    let at = |name: &str| scratch.join(name);
    let image = &counting.record.image;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut spec =
        ContainerSpec::new(image, &["sh", "-eu", "-c", run], watcher.docker.sandbox_user())
            .read_write(&at("src"), "/src")
            .read_write(&at("out"), "/out")
            .read_only(&at("tool"), "/tool")
            .env("HOME", "/tmp")
            .env("JOBS", &jobs.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONHASHSEED", "0")
            .env("CCACHE_TEMPDIR", "/tmp/ccache")
            .env("REPRODUCEML_COUNT", &counting.sources.join(" "))
            .label(containers::STUDY_LABEL, &crate::places::study_label(watcher.study));
    let cache = watcher.study.cache_dir().join("ccache");
    spec = match cache.is_dir() {
        // Read only: objects that count are of no use to builds.
        true => spec
            .read_only(&cache, "/cache")
            .env("CCACHE_DIR", "/cache")
            .env("CCACHE_READONLY", "true")
            .env("CCACHE_NOHASHDIR", "true")
            .env("CCACHE_COMPILERCHECK", "content"),
        false => spec.env("CCACHE_DISABLE", "true"),
    };
    let build = &watcher.study.config.build;
    spec.limits.memory = Some(u64::from(build.memory_mib) << 20);
    spec.limits.time = Some(60 * u64::from(build.timeout_minutes));
    spec
}

fn executable(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(Failure::missing)
}

/// Bytes of base 64; none for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn base_64_is_read_as_everyone_writes_it() {
        assert_eq!(super::base64("aGVsbG8h").as_deref(), Some(b"hello!".as_slice()));
        assert_eq!(super::base64("aGk=").as_deref(), Some(b"hi".as_slice()));
        assert_eq!(super::base64("").as_deref(), Some(b"".as_slice()));
        assert_eq!(super::base64("a*b"), None);
    }
}
