//! What a fix touched: the kind of each file, and what follows for building and running it.
//!
//! Folders decide before endings: a C++ file of a test is a test. The folders named here are
//! PyTorch's and those that most frameworks share; a folder that a framework lacks changes
//! nothing.

use serde::{Deserialize, Serialize};
use study::ChangedFile;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $word:literal,)+) => {
        /// The kind of a changed file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)+ }

        impl Kind {
            /// Every kind, in the order in which the corpus names them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the corpus.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

kinds! {
    /// Python of the framework.
    Python => "python",
    /// C and C++ that a build for the CPU compiles.
    CppCpu => "cpp-cpu",
    /// CUDA sources and what is only compiled with them.
    Cuda => "cuda",
    /// Descriptions from which code is generated, and its generators.
    Codegen => "codegen",
    /// What steers the build.
    Build => "build",
    /// Export to ONNX; beside it a file keeps its own kind.
    Onnx => "onnx",
    /// Java, Android and iOS.
    Mobile => "mobile",
    /// Other accelerators: ROCm, Metal, XPU, Vulkan.
    Accelerator => "accelerator",
    /// Libraries of others that are built along.
    ThirdParty => "third-party",
    /// Tests.
    Test => "test",
    /// Benchmarks, examples and scripts for people.
    Tooling => "tooling",
    /// Continuous integration.
    Ci => "ci",
    /// Documentation.
    Docs => "docs",
    /// Anything else.
    Other => "other",
}

/// What follows from the files of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The kinds, each once, in the order of [`Kind::ALL`].
    pub kinds: Vec<String>,
    /// Of the artifact only Python changed.
    pub python_only: bool,
    /// A build for the CPU has something to compile.
    pub needs_compile: bool,
    /// Only a GPU shows the difference, or a GPU shows it too: CUDA changed, or the message of a
    /// change to compiled code speaks of CUDA.
    pub needs_cuda: bool,
    /// Nothing of the artifact changed.
    pub not_in_artifact: bool,
    /// Test files, by path.
    pub tests: Vec<String>,
}

/// A change to judge.
#[derive(Debug, Clone, Copy)]
pub struct Diff<'a> {
    /// Its files with their kinds.
    pub files: &'a [ChangedFile],
    /// The commit's message.
    pub message: &'a str,
}

/// The kind of the file at `path`.
pub fn kind_of(path: &str) -> Kind {
    let lower = path.to_ascii_lowercase();
    let (folder, name) = lower.rsplit_once('/').unwrap_or(("", lower.as_str()));
    let folders: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let has = |names: &[&str]| folders.iter().any(|part| names.contains(part));
    let below = |starts: &[&str]| starts.iter().any(|start| lower.starts_with(start));
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    if has(&["test", "tests", "testing_data", "androidtest", "expect"])
        && !below(&["torch/testing/"])
        || (ending == "py" && (stem.starts_with("test_") || stem.ends_with("_test")))
        || (is_c(ending) && (stem.ends_with("_test") || stem.starts_with("test_")))
    {
        return Kind::Test;
    }
    if below(&[".circleci/", ".github/", ".jenkins/", ".travis", ".ci/", "ci/", ".azure"])
        || matches!(name, ".gitlab-ci.yml" | "azure-pipelines.yml" | "appveyor.yml")
    {
        return Kind::Ci;
    }
    if has(&["docs", "doc"]) || matches!(ending, "md" | "rst" | "tex") || is_notice(name) {
        return Kind::Docs;
    }
    if below(&["android/", "ios/"]) || matches!(ending, "java" | "kt" | "swift" | "gradle") {
        return Kind::Mobile;
    }
    if below(&["third_party/"]) || name == ".gitmodules" {
        return Kind::ThirdParty;
    }
    if has(&["benchmark", "benchmarks", "examples", "tutorials", "binaries"])
        || below(&["scripts/", ".vscode/", "docker/", "dev/"])
    {
        return Kind::Tooling;
    }
    if is_codegen(&lower, ending, &folders) {
        return Kind::Codegen;
    }
    if name == "cmakelists.txt"
        || matches!(ending, "cmake" | "mk" | "bzl" | "bazel" | "ninja")
        || name == "makefile"
        || matches!(name, "build" | "workspace" | "build.rs" | "meson.build" | "configure")
        || (folders.is_empty() && matches!(name, "setup.py" | "setup.cfg" | "pyproject.toml"))
        || (folders.is_empty() && matches!(name, "requirements.txt" | "version.txt"))
        || below(&["cmake/", "tools/setup_helpers/", "tools/build_pytorch_libs"])
    {
        return Kind::Build;
    }
    if matches!(ending, "cu" | "cuh" | "cuda" | "ptx") {
        return Kind::Cuda;
    }
    if has(&["hip", "rocm", "miopen", "mps", "metal", "xpu", "vulkan", "opengl"])
        || matches!(ending, "metal" | "mm" | "hip" | "glsl")
    {
        return Kind::Accelerator;
    }
    if is_c(ending) {
        let cuda = has(&["cuda", "cudnn", "cub", "thc", "thcunn", "thcs", "nccl"])
            || stem.ends_with("_gpu")
            || stem.ends_with("_cudnn");
        return if cuda { Kind::Cuda } else { Kind::CppCpu };
    }
    match ending {
        "py" | "pyi" | "pyx" => Kind::Python,
        "in" if stem.ends_with(".h") || stem.ends_with(".pyi") => Kind::Build,
        _ => Kind::Other,
    }
}

fn is_c(ending: &str) -> bool {
    matches!(ending, "c" | "cc" | "cpp" | "cxx" | "h" | "hh" | "hpp" | "inl" | "s")
}

fn is_notice(name: &str) -> bool {
    matches!(name, "license" | "notice" | "authors" | "codeowners" | ".gitignore" | "citation")
}

/// Descriptions that a generator reads, in places where generators live; and the generators.
/// Templates that are C++ themselves keep their kind.
fn is_codegen(path: &str, ending: &str, folders: &[&str]) -> bool {
    let home = ["tools/autograd/", "tools/jit/", "tools/codegen/", "torchgen/", "tools/pyi/"];
    let near = ["codegen", "autograd", "aten", "torchgen", "native", "gen"];
    match ending {
        "yaml" | "yml" | "cwrap" => folders.iter().any(|part| near.contains(part)),
        "py" => home.iter().any(|start| path.starts_with(start)) || folders.contains(&"codegen"),
        _ => false,
    }
}

/// Whether the file belongs to the export to ONNX.
fn is_onnx(path: &str, kind: Kind) -> bool {
    !matches!(kind, Kind::Test | Kind::Docs | Kind::Ci | Kind::ThirdParty)
        && path.split(['/', '.', '_']).any(|part| part.eq_ignore_ascii_case("onnx"))
}

/// Draws the conclusions from a change.
pub fn of(diff: &Diff<'_>) -> Scope {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut tests = Vec::new();
    for file in diff.files {
        let kind = Kind::ALL.iter().copied().find(|kind| kind.as_str() == file.kind);
        let kind = kind.unwrap_or_else(|| kind_of(&file.path));
        kinds.push(kind);
        if is_onnx(&file.path, kind) {
            kinds.push(Kind::Onnx);
        }
        if kind == Kind::Test {
            tests.push(file.path.clone());
        }
    }
    kinds.sort();
    kinds.dedup();
    let has = |kind| kinds.contains(&kind);
    let in_artifact = |kind: &Kind| match kind {
        Kind::Python | Kind::CppCpu | Kind::Cuda | Kind::Codegen | Kind::Build => true,
        Kind::Accelerator | Kind::ThirdParty | Kind::Other => true,
        // Its files have their own kind beside it.
        Kind::Onnx => false,
        Kind::Mobile | Kind::Test | Kind::Tooling | Kind::Ci | Kind::Docs => false,
    };
    let inside: Vec<Kind> = kinds.iter().copied().filter(in_artifact).collect();
    let compiled = [Kind::CppCpu, Kind::Codegen, Kind::Build, Kind::ThirdParty];
    let needs_compile = inside.iter().any(|kind| compiled.contains(kind));
    Scope {
        python_only: inside == [Kind::Python],
        needs_compile,
        needs_cuda: has(Kind::Cuda) || (needs_compile && speaks_of_cuda(diff.message)),
        not_in_artifact: inside.is_empty(),
        kinds: kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        tests,
    }
}

/// Whether a message says `CUDA` as a word; addresses and paths, which are in small letters, say
/// nothing.
fn speaks_of_cuda(message: &str) -> bool {
    message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "CUDA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_kind() {
        for (path, kind) in [
            ("torch/nn/quantized/dynamic/modules/rnn.py", "python"),
            ("tinynn/ops.py", "python"),
            ("csrc/ops.c", "cpp-cpu"),
            ("csrc/ops.h", "cpp-cpu"),
            ("csrc/ops.cu", "cuda"),
            ("c10/util/TypeCast.h", "cpp-cpu"),
            ("c10/cuda/CUDAStream.cpp", "cuda"),
            ("aten/src/ATen/native/cuda/GridSampler.cuh", "cuda"),
            ("aten/src/ATen/native/native_functions.yaml", "codegen"),
            ("tools/autograd/derivatives.yaml", "codegen"),
            ("tools/autograd/gen_autograd.py", "codegen"),
            ("tools/autograd/templates/Functions.cpp", "cpp-cpu"),
            ("torch/csrc/jit/passes/onnx/fixup.cpp", "cpp-cpu"),
            ("torch/onnx/symbolic_opset9.py", "python"),
            ("android/pytorch_android/src/main/cpp/pytorch_jni_common.cpp", "mobile"),
            ("android/pytorch_android/src/androidTest/java/A.java", "test"),
            ("android/pytorch_android/test_asset.jit", "mobile"),
            ("test/cpp/api/modules.cpp", "test"),
            ("tests/test_ops.py", "test"),
            ("tinynn/test_ops.py", "test"),
            ("docs/source/nn.rst", "docs"),
            ("README.md", "docs"),
            ("Makefile", "build"),
            ("CMakeLists.txt", "build"),
            ("setup.py", "build"),
            ("cmake/Modules/FindMKL.cmake", "build"),
            ("third_party/onnx", "third-party"),
            (".circleci/config.yml", "ci"),
            ("data.bin", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of(path).as_str(), kind, "{path}");
        }
    }

    fn scope(paths: &[&str], message: &str) -> Scope {
        let files: Vec<_> = paths
            .iter()
            .map(|path| ChangedFile {
                path: (*path).into(),
                kind: kind_of(path).as_str().into(),
                added: 1,
                removed: 0,
            })
            .collect();
        of(&Diff { files: &files, message })
    }

    #[test]
    fn the_flags_follow_from_the_kinds() {
        let python = scope(&["torch/a.py", "test/test_a.py"], "");
        assert!(python.python_only && !python.needs_compile && !python.not_in_artifact);
        assert_eq!(python.tests, ["test/test_a.py"]);
        let onnx = scope(&["torch/onnx/a.py", "test/onnx/b.py"], "");
        assert!(onnx.python_only);
        assert_eq!(onnx.kinds, ["python", "onnx", "test"]);
        let cuda = scope(&["a/cuda/b.cu", "test/a.py"], "");
        assert!(cuda.needs_cuda && !cuda.needs_compile && !cuda.python_only);
        let cpp = scope(&["csrc/a.cpp"], "see …/cuda/Reduce.cuh");
        assert!(cpp.needs_compile && !cpp.needs_cuda);
        assert!(scope(&["csrc/a.h"], "Makes CUDA right").needs_cuda);
        let none = scope(&["test/a.py", "docs/b.rst", "android/a.cpp"], "");
        assert!(none.not_in_artifact && !none.python_only && !none.needs_compile);
        assert!(scope(&[], "").not_in_artifact);
    }
}
