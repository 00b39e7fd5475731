//! Names in a small framework of the kind that registers kernels under stubs: what a change leads
//! to, and where names stop to tell.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use git2::{Repository, Signature};
use reproduceml_reach::{Answer, Clone, Dictionary, Evidence, Namer, Trace, combine};
use study::{Bug, BugId, ChangedFile, CommitId};

const DICTIONARY: &str = r#"
framework = "toy"
sources = ["src/"]
opaque = ["src/legacy/"]
direct = ["src/native/"]
frontends = ["src/api/"]
gpu_only = [".cu"]
operators = ["src/list.yaml"]
derivatives = ["src/derivatives.yaml"]
gpu_keys = ["CUDA"]
declarations = ["DECLARE_STUB"]
registrations = [{ macro = "REGISTER", under = 0 }]
[python]
"toy/" = "toy/"
"#;

const TRACE: &str = r#"{
"format": "reproduceml-trace/1", "framework": "toy", "version": "1", "device": "cpu",
"model": "m", "challenge": "c", "batches": 1, "complete": true,
"operators": ["aten::add", "aten::relu"], "nodes": [], "kernels": [],
"functions": {"toy/nn.py": ["Layer.forward"]}, "builtins": ["seed"],
"modules": ["toy/nn.py"],
"known": {"operators": ["aten::add", "aten::relu", "aten::pow", "aten::sort"],
          "functions": {"toy/nn.py": ["Layer.forward", "Layer.extra"]},
          "builtins": ["seed", "export"]}
}"#;

const FILES: &[(&str, &str)] = &[
    (
        "src/list.yaml",
        "- func: add(Tensor a, Tensor b) -> Tensor\n  dispatch:\n    CPU: add_cpu\n    CUDA: add_gpu\n\
         - func: relu(Tensor a) -> Tensor\n- func: pow(Tensor a, Tensor b) -> Tensor\n  \
         dispatch:\n    CPU: pow\n    CUDA: pow_gpu\n- func: sort(Tensor a) -> Tensor\n- func: fresh(Tensor a) -> Tensor\n",
    ),
    ("src/derivatives.yaml", "- name: pow(Tensor a, Tensor b) -> Tensor\n  a: pow_back(grad, a)\n"),
    (
        "src/native/add.cpp",
        "#include \"stub.h\"\nnamespace toy { namespace native {\nDECLARE_STUB(binary, add_stub);\n\
         DECLARE_STUB(binary, pow_stub);\nTensor add_cpu(Tensor a, Tensor b) {\n  return add_stub(a, b);\n}\n\
         Tensor pow(Tensor a, Tensor b) {\n  return pow_stub(a, b);\n}\n}}\n",
    ),
    (
        "src/native/kernels.cpp",
        "namespace toy { namespace native {\nnamespace {\nvoid add_kernel(int* x) {\n  *x = 1;\n}\n\
         void pow_kernel(int* x) {\n  *x = 2;\n}\nvoid never(int* x) {\n  *x = 3;\n}\n}\n\
         REGISTER(add_stub, &add_kernel);\nREGISTER(pow_stub, &pow_kernel);\n}}\n",
    ),
    (
        "src/native/relu.cpp",
        "namespace toy { namespace native {\nstatic float cut(float x) {\n  return x > 0 ? x : 0;\n}\n\
         Tensor relu(Tensor a) {\n  auto it = Iter::unary(a);\n  return map(a, cut);\n}\n\
         Tensor sort(Tensor a) {\n  return at::relu(a);\n}\n\
         Tensor fresh(Tensor a) {\n  return sort(a);\n}\n}}\n",
    ),
    (
        "src/native/iter.h",
        "class Iter {\n  void build();\n  void idle();\n  static Iter unary(Tensor a);\n};\n\
         DECLARE_STUB(void(*)(Iter&, int), fill_stub);\n",
    ),
    (
        "src/native/iter.cpp",
        "#include \"iter.h\"\nnamespace toy {\nvoid Iter::build() {\n  size = 1;\n}\n\
         void Iter::idle() {\n  size = 2;\n}\nIter Iter::unary(Tensor a) {\n  Iter it;\n  \
         it.build();\n  return it;\n}\n}\n",
    ),
    ("src/auto.cpp", "Tensor pow_back(Tensor g, Tensor a) {\n  return g * a;\n}\n"),
    (
        "src/bind.cpp",
        "void export_it() {\n  save(1);\n}\nvoid seed_it() {\n  save(2);\n}\n\
         void length_it() {\n  save(3);\n}\nvoid init(module m) {\n  m.def(\"export\", &export_it);\n\
         m.def(\"seed\", [] { seed_it(); });\n  m.def(\"__len__\", &length_it);\n}\n",
    ),
    ("src/legacy/old.cpp", "void old(int x) {\n  use(x);\n}\n"),
    ("src/api/pool.h", "#pragma once\ninline int relu(int x) {\n  return x;\n}\n"),
    (
        "src/glue.cpp",
        "#define MAKE(op) void op##_loop() { run_##op(); }\nvoid run_mean() {\n  go(1);\n}\n",
    ),
    ("src/gpu.cu", "void add_gpu(int* x) {\n  kernel<int><<<1, 2>>>(x);\n}\n"),
    (
        "src/native/add.cu",
        "namespace toy { namespace native {\ntemplate <typename T>\nstruct Plus {\n  __device__ T \
         operator()(T x) {\n    return x + 1;\n  }\n};\n__device__ int twice(int x) {\n  return 2 * x;\n}\n\
         template <typename T>\n__global__ void small_kernel(T* x) {\n  *x = twice(1);\n}\n\
         template <typename T>\nC10_LAUNCH_BOUNDS_1(512)\n__global__ void large_kernel(T* x) {\n  *x = 2;\n}\n\
         __global__ void later_kernel(int* x) {\n  *x = 3;\n}\n\
         static void launch(int* x) {\n  small_kernel<int><<<1, 2>>>(x); large_kernel<int><<<1, 2>>>(x); \
         later_kernel<<<1, 2>>>(x);\n}\n\
         Tensor add_gpu(Tensor a) {\n  launch(a); loop(a, Plus<int>());\n  return a;\n}\n\
         __global__ void sort_kernel(int* x) {\n  *x = 4;\n}\n\
         Tensor pow_gpu(Tensor a) {\n  sort_kernel<<<1, 2>>>(a);\n  return a;\n}\n}}\n",
    ),
    (
        "src/legacy/old.cu",
        "__global__ void old_kernel(int* x) {\n  *x = 1;\n}\n__global__ void older(int* x) {\n  *x = 2;\n}\n\
         void old_launch(int* x) {\n  old_kernel<<<1, 2>>>(x);\n}\n",
    ),
    (
        "src/shared.h",
        "#define LIMIT 3\ninline int clamp_it(int x) {\n  return x > LIMIT ? LIMIT : x;\n}\n",
    ),
    (
        "toy/nn.py",
        "class Layer:\n    def forward(self):\n        return 1\n\n    def extra(self):\n        return 2\n\n    def added(self):\n        return 3\n",
    ),
];

struct Toy {
    _folder: tempfile::TempDir,
    clone: Clone,
    bug: Bug,
}

fn commit(repository: &Repository, files: &[(String, String)]) -> git2::Oid {
    let mut index = repository.index().unwrap();
    for (path, text) in files {
        let file = repository.workdir().unwrap().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        index.add_path(Path::new(path)).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let who = Signature::new("t", "t@t.example", &git2::Time::new(0, 0)).unwrap();
    let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("HEAD"), &who, &who, "x", &tree, &parents).unwrap()
}

/// A fix that replaces `from` by `to` in one file.
fn fix(path: &str, from: &str, to: &str) -> Toy {
    fix_among(Vec::new(), path, from, to)
}

/// The same in a framework that has further files.
fn fix_among(further: Vec<(String, String)>, path: &str, from: &str, to: &str) -> Toy {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::init(folder.path()).unwrap();
    let mut files: Vec<(String, String)> =
        FILES.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    files.extend(further);
    let buggy = commit(&repository, &files);
    let file = files.iter_mut().find(|(name, _)| name == path).unwrap();
    assert!(file.1.contains(from), "{path} has no `{from}`");
    file.1 = file.1.replacen(from, to, 1);
    let fixed = commit(&repository, &files);
    let mut bug = Bug::untraced(BugId::of_pull_request(1), "toy");
    bug.buggy = Some(CommitId::new(buggy.to_string()).unwrap());
    bug.fix = Some(CommitId::new(fixed.to_string()).unwrap());
    let kind = if path.ends_with(".py") { "python" } else { "cpp-cpu" };
    bug.files = vec![ChangedFile { path: path.into(), kind: kind.into(), added: 1, removed: 1 }];
    Toy { clone: Clone::open(folder.path()).unwrap(), _folder: folder, bug }
}

fn judge_with(toy: &Toy, trace: &Trace) -> Evidence {
    let dictionary: Dictionary = toml::from_str(DICTIONARY).unwrap();
    let change = toy.clone.change(&toy.bug).unwrap().unwrap();
    let mut namer = Namer::new(&toy.clone, &dictionary, trace);
    let parts = namer.judge(&toy.bug, &change).unwrap();
    combine(&parts).unwrap().clone()
}

fn trace() -> Trace {
    Trace::parse(TRACE, Path::new("trace.json")).unwrap()
}

fn answer(path: &str, from: &str, to: &str) -> (Answer, String) {
    let found = judge_with(&fix(path, from, to), &trace());
    (found.answer, found.reason)
}

#[test]
fn names_lead_to_what_runs_and_to_what_does_not() {
    use Answer::*;
    let kernels = "src/native/kernels.cpp";
    for (path, from, to, expected) in [
        (kernels, "*x = 1", "*x = 4", MayDiffer),
        (kernels, "*x = 2", "*x = 4", NotExecuted),
        // Nothing calls it, and no other file can.
        (kernels, "*x = 3", "*x = 4", NotExecuted),
        ("src/native/relu.cpp", "x > 0", "x >= 0", MayDiffer),
        // What an operator calls through the dispatcher does not make it run; here another one,
        // which the traced version lacks, calls it directly.
        ("src/native/relu.cpp", "at::relu(a)", "at::relu(b)", Unknown),
        ("src/auto.cpp", "g * a", "g + a", NotExecuted),
        ("src/bind.cpp", "save(1)", "save(4)", NotExecuted),
        ("src/bind.cpp", "save(2)", "save(4)", MayDiffer),
        ("src/gpu.cu", "<<<1, 2>>>", "<<<1, 3>>>", NotExecuted),
        ("src/api/pool.h", "return x", "return x + 1", NotExecuted),
        ("src/list.yaml", "- func: pow(Tensor a", "- func: pow(Tensor c", NotExecuted),
        ("src/list.yaml", "CPU: add_cpu", "CPU: add_host", MayDiffer),
        ("src/derivatives.yaml", "pow_back(grad, a)", "pow_back(grad, b)", NotExecuted),
        ("toy/nn.py", "return 1", "return 4", MayDiffer),
        ("toy/nn.py", "return 2", "return 4", NotExecuted),
        ("toy/nn.py", "class Layer:", "class Layer(object):", MayDiffer),
    ] {
        let (found, reason) = answer(path, from, to);
        assert_eq!(found, expected, "{path}: {from} -> {to}: {reason}");
    }
}

#[test]
fn where_names_stop_to_tell_it_says_so() {
    for (path, from, to, why) in [
        ("src/bind.cpp", "save(3)", "save(4)", "no trace shows"),
        ("src/legacy/old.cpp", "use(x)", "use(y)", "how this folder is reached"),
        ("src/shared.h", "#define LIMIT 3", "#include \"a.h\"\n#define LIMIT 3", "includes"),
        ("src/shared.h", "x > LIMIT", "x >= LIMIT", "nothing that was read calls clamp_it"),
        ("src/glue.cpp", "go(1)", "go(2)", "run_mean"),
        ("src/native/relu.cpp", "return sort(a)", "return sort(b)", "does not have"),
        ("toy/nn.py", "return 3", "return 4", "no function of this name"),
        ("src/list.yaml", "- func: relu(Tensor a) -> Tensor", "- [", "cannot be read"),
    ] {
        let (found, reason) = answer(path, from, to);
        assert_eq!(found, Answer::Unknown, "{path}: {from} -> {to}: {reason}");
        assert!(reason.contains(why), "{path}: {reason}");
    }
}

#[test]
fn of_a_class_that_everything_uses_the_called_methods_still_tell() {
    // So many users that names lead everywhere.
    let many: String =
        (0..400).map(|n| format!("int use_{n}(Iter& it) {{\n  return {n};\n}}\n")).collect();
    let many = || vec![("src/native/many.cpp".to_owned(), many.clone())];
    let iter = "src/native/iter.cpp";
    let found = judge_with(&fix_among(many(), iter, "size = 1", "size = 4"), &trace());
    assert_eq!(found.answer, Answer::MayDiffer, "{}", found.reason);
    let way = "relu, which calls it (by way of Iter::build, Iter::unary, relu)";
    assert!(found.reason.contains(way), "{}", found.reason);
    // What nothing calls by name, and what runs nowhere, is not known from that.
    let found = judge_with(&fix_among(many(), iter, "size = 2", "size = 4"), &trace());
    assert_eq!(found.answer, Answer::Unknown, "{}", found.reason);
    let idle = Trace { operators: Default::default(), ..trace() };
    let found = judge_with(&fix_among(many(), iter, "size = 1", "size = 4"), &idle);
    assert_eq!(found.answer, Answer::Unknown, "{}", found.reason);
}

#[test]
fn comments_are_no_change() {
    let (found, reason) = answer("src/native/kernels.cpp", "*x = 1;", "*x = 1; // one");
    assert_eq!(found, Answer::MayDiffer, "code stands on that line: {reason}");
    let (found, _) = answer("src/native/kernels.cpp", "void add_kernel", "// one\nvoid add_kernel");
    assert_eq!(found, Answer::NotInArtifact);
    let (found, _) = answer("toy/nn.py", "class Layer:", "# one\nclass Layer:");
    assert_eq!(found, Answer::NotInArtifact);
}

#[test]
fn a_trace_that_misses_operators_excludes_nothing_compiled() {
    let toy = fix("src/native/kernels.cpp", "*x = 2", "*x = 4");
    let deaf = Trace { complete: false, ..trace() };
    assert_eq!(judge_with(&toy, &deaf).answer, Answer::Unknown);
}

/// The trace of the same workload on a GPU, with the kernels that a profiler told.
fn on_gpu() -> Trace {
    let names = [
        "void toy::native::(anonymous namespace)::small_kernel<int>(int*)",
        "void toy::native::loop<4, toy::native::Plus<int> >(int, toy::native::Plus<int>)",
        "_Z10old_kernelPi",
    ];
    let mut trace = Trace { device: "cuda".into(), ..trace() };
    trace.kernels = names.map(str::to_owned).into();
    trace.known.kernels =
        ["small_kernel", "large_kernel", "sort_kernel", "older"].map(str::to_owned).into();
    trace
}

#[test]
fn kernels_of_a_gpu_are_held_against_those_that_were_dispatched() {
    use Answer::*;
    let (add, legacy) = ("src/native/add.cu", "src/legacy/old.cu");
    let heard = on_gpu();
    // A profiler that does not tell kernels leaves what operators tell.
    let silent = Trace { kernels: Default::default(), ..on_gpu() };
    for (path, from, to, why, told, untold) in [
        (add, "*x = twice(1)", "*x = 4", "the kernel small_kernel", MayDiffer, MayDiffer),
        // The operator is executed; this kernel of it is not.
        (add, "*x = 2", "*x = 4", "toy 1 has the kernel large_kernel", NotExecuted, MayDiffer),
        // Nobody knows under which name the traced version has it.
        (add, "*x = 3", "*x = 4", "no kernel later_kernel", Unknown, MayDiffer),
        (add, "return x + 1", "return x + 2", "loop with Plus", MayDiffer, MayDiffer),
        (
            add,
            "return 2 * x",
            "return 3 * x",
            "by way of twice, small_kernel",
            MayDiffer,
            MayDiffer,
        ),
        (add, "*x = 4", "*x = 5", "has the kernel sort_kernel", NotExecuted, NotExecuted),
        // Where names do not show how a folder is reached, kernels still are named.
        (legacy, "*x = 1", "*x = 4", "the kernel old_kernel", MayDiffer, Unknown),
        (legacy, "*x = 2", "*x = 4", "has the kernel older", NotExecuted, Unknown),
        (legacy, "old_kernel<<<1, 2>>>", "old_kernel<<<1, 4>>>", "this folder", Unknown, Unknown),
    ] {
        let toy = fix(path, from, to);
        let found = judge_with(&toy, &heard);
        assert_eq!(found.answer, told, "{from}: {}", found.reason);
        assert!(found.reason.contains(why), "{from}: {}", found.reason);
        let found = judge_with(&toy, &silent);
        assert_eq!(found.answer, untold, "{from}: {}", found.reason);
        // Without a list of what the version has, what was not dispatched may have another name.
        let mut bare = on_gpu();
        bare.known.kernels.clear();
        let found = judge_with(&toy, &bare);
        assert!(found.answer == told || found.answer == Unknown || found.answer == untold);
        assert!(found.answer != NotExecuted || untold == NotExecuted, "{from}: {}", found.reason);
        // On a CPU none of it is executed.
        assert_eq!(judge_with(&toy, &trace()).answer, NotExecuted, "{from}");
    }
}
