"""Versions of numeric libraries that are loaded, as each says itself.

What a framework was built with need not be what it runs with: the loader decides. A
library that is not loaded, or hides its version, is left out.
"""

import ctypes
import os
import re


def paths():
    """The shared libraries that this process has loaded."""
    found = set()
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6:
                    path = fields[5].strip()
                    if re.search(r"\.so(\.|$)", os.path.basename(path)):
                        found.add(path)
    except OSError:
        pass
    return sorted(found)


def _number(name):
    """A function without arguments that returns the version as a number."""
    def ask(library):
        function = getattr(library, name)
        function.restype = ctypes.c_size_t
        return str(function())
    return ask


def _text(name):
    """A function without arguments that returns the version as text."""
    def ask(library):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        return function().decode("ascii", "replace").strip()
    return ask


def _by_address(name):
    """A function that writes the version as an int to an address."""
    def ask(library):
        value = ctypes.c_int()
        if getattr(library, name)(ctypes.byref(value)) != 0:
            return None
        return str(value.value)
    return ask


def _mkl(library):
    buffer = ctypes.create_string_buffer(256)
    library.MKL_Get_Version_String(buffer, len(buffer))
    return buffer.value.decode("ascii", "replace").strip()


# Name in the manifest, pattern of the file, how it is asked.
_LIBRARIES = (
    ("cudnn", r"^libcudnn\.so", _number("cudnnGetVersion")),
    ("cublas", r"^libcublasLt\.so", _number("cublasLtGetVersion")),
    ("cuda runtime", r"^libcudart", _by_address("cudaRuntimeGetVersion")),
    ("cuda driver", r"^libcuda\.so", _by_address("cuDriverGetVersion")),
    ("mkl", r"^libmkl_(rt|core)\.so|^libtorch_cpu\.so", _mkl),
    ("openblas", r"openblas", _text("openblas_get_config")),
)


def versions(site, loaded=None):
    """Version and file name of each library that tells: those under `site`, and all others."""
    mine, others = {}, {}
    for path in paths() if loaded is None else loaded:
        inside = site and os.path.abspath(path).startswith(site + os.sep)
        found = mine if inside else others
        for name, pattern, ask in _LIBRARIES:
            if name in found or not re.search(pattern, os.path.basename(path)):
                continue
            try:
                version = ask(ctypes.CDLL(path))
            except (OSError, AttributeError):
                continue
            if version:
                found[name] = {"version": version, "file": os.path.basename(path)}
    return mine, others
