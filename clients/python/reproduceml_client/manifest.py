"""The manifest of a run: the seven factors that can make two runs differ (NDIFs).

A JSON object:

    format     1
    seeds      the run's seed, and how each generator was seeded
    model      name, class, digest of its source, hyperparameters
    software   Python, packages and loaded libraries that are not the artifact's
    threads    what bounds and schedules them
    runtime    kernel, C library, image, variables that steer numeric libraries
    hardware   CPU with flags and microcode, memory, GPU
    data       dtype, shape and digest of each array, and their order of use
    controls   one entry a control, as in `controls`
    nondeterministic_operations
               operations met that have no deterministic implementation
    artifact   the framework under test, its libraries, the planted fault
    process    the Docker host it ran on, where there are several; absent otherwise

Both sides of a bug must agree in all but `artifact` and `process`.
"""

import os
import platform
import re
import sys

from . import digest, loaded

_NUMERIC_VARIABLES = re.compile(
    r"^(OMP_|GOMP_|KMP_|MKL_|OPENBLAS_|BLIS_|NUMEXPR_|ATEN_|CUDA_|CUBLAS_|CUDNN_|NVIDIA_|TORCH_|"
    r"PYTORCH_|PYTHONHASHSEED$|LD_PRELOAD$|LD_LIBRARY_PATH$|MALLOC_|GLIBC_TUNABLES$|LC_|LANG$)")
_HASHED_WHOLE = 16 << 20  # bytes; of a larger library only the first MiB is hashed
_PACKAGE = re.compile(r"^(.+?)-([^-]+?)(?:-py[0-9.]+)?\.(?:dist-info|egg-info)$")


def collect(run, about_model, fault):
    """The manifest of a `train.Run` that has trained."""
    job, framework = run.job, run.framework
    host = os.environ.get("REPRODUCEML_HOST")
    mine, others = libraries(run.site)
    my_versions, other_versions = loaded.versions(run.site)
    seeded = [entry for entry in run.controls if entry["name"].startswith("seed ")]
    hyperparameters = {name: job[name] for name in (
        "epochs", "batch_size", "drop_last", "learning_rate", "momentum", "order")}
    return {
        "format": 1,
        "seeds": {"seed": run.seed, "generators": seeded},
        "model": dict(about_model, hyperparameters=hyperparameters, optimizer="sgd",
                      loss="negative log-likelihood"),
        "software": dict(framework.software(), python=python(), packages=packages(run.site),
                         libraries=others, loaded=other_versions),
        "threads": dict(threads(), framework=framework.threads()),
        "runtime": runtime(),
        "hardware": dict(hardware(), device=job["device"], accelerator=framework.hardware()),
        "data": {"challenge": job["challenge"], "arrays": run.arrays,
                 "order_of_use": list(run.arrays)},
        "controls": run.controls,
        "nondeterministic_operations": framework.nondeterministic_operations(),
        **({"process": {"host": host}} if host else {}),
        "artifact": {"digest": os.environ.get("REPRODUCEML_ARTIFACT_DIGEST"),
                     "framework": framework.version(), "libraries": mine,
                     "loaded": my_versions, "fault": fault},
    }


def read_text(path):
    """A small file of the system, stripped; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def python():
    """The interpreter."""
    return {"version": platform.python_version(), "build": " ".join(platform.python_build()),
            "compiler": platform.python_compiler(),
            "implementation": platform.python_implementation()}


def packages(site):
    """Version and digest of each installed package outside of the artifact's `site`."""
    found = {}
    for folder in sys.path:
        if not os.path.isdir(folder) or (site and os.path.abspath(folder) == site):
            continue
        for entry in sorted(os.listdir(folder)):
            match = _PACKAGE.match(entry)
            if match and match.group(1) not in found:
                found[match.group(1)] = {"version": match.group(2),
                                         "sha256": _package_digest(os.path.join(folder, entry))}
    return found


def _package_digest(path):
    """The digest of the list of a package's files, or of its metadata where there is no list."""
    for candidate in (os.path.join(path, "RECORD"), os.path.join(path, "installed-files.txt"),
                      os.path.join(path, "METADATA"), os.path.join(path, "PKG-INFO"), path):
        if os.path.isfile(candidate):
            return digest.of_file(candidate)
    return None


def libraries(site):
    """Shared libraries loaded by now: those under `site`, and all others."""
    mine, others = {}, {}
    for path in loaded.paths():
        try:
            size = os.path.getsize(path)
            entry = {"bytes": size}
            if size <= _HASHED_WHOLE:
                entry["sha256"] = digest.of_file(path)
            else:
                with open(path, "rb") as file:
                    entry["sha256_first_mib"] = digest.of_bytes(file.read(1 << 20))
        except OSError:
            continue  # replaced or hidden since it was loaded
        inside = site and os.path.abspath(path).startswith(site + os.sep)
        (mine if inside else others)[os.path.basename(path)] = entry
    return mine, others


def threads():
    """The limits and the scheduling of this process."""
    found = {"scheduler": None, "cpus_allowed": None}
    try:
        found["cpus_allowed"] = len(os.sched_getaffinity(0))
        found["scheduler"] = os.sched_getscheduler(0)
    except (AttributeError, OSError):
        pass
    return found


def runtime():
    """The operating system under the process."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        libc = " ".join(platform.libc_ver()) or None
    variables = {name: value for name, value in sorted(os.environ.items())
                 if _NUMERIC_VARIABLES.match(name)}
    return {"system": platform.system(), "kernel": platform.release(),
            "kernel_build": platform.version(), "libc": libc,
            "distribution": _os_release(), "image": os.environ.get("REPRODUCEML_IMAGE"),
            "byte_order": sys.byteorder, "environment": variables}


def _os_release():
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text("/etc/os-release") or "",
                      re.MULTILINE)
    return match.group(1) if match else None


def hardware():
    """The CPU and the memory."""
    text = read_text("/proc/cpuinfo") or ""
    fields = {}
    for line in text.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", fields.get("Features", ""))
    memory = re.search(r"^MemTotal:\s*(\d+)", read_text("/proc/meminfo") or "", re.MULTILINE)
    return {"machine": platform.machine(),
            "cpu": fields.get("model name", fields.get("CPU part")),
            "cpu_stepping": fields.get("stepping"), "microcode": fields.get("microcode"),
            "cpu_flags": sorted(flags.split()), "cpus": os.cpu_count(),
            "memory_kib": int(memory.group(1)) if memory else None}
