"""Versions of loaded libraries, asked of libraries made for it."""

import os
import shutil
import subprocess
import tempfile
import unittest

import tools
from reproduceml_client import loaded

SOURCE = """
#include <stddef.h>
size_t cudnnGetVersion(void) { return 91002; }
size_t cublasLtGetVersion(void) { return 120805; }
int cudaRuntimeGetVersion(int *version) { *version = 12080; return 0; }
int cuDriverGetVersion(int *version) { return 100; }
void MKL_Get_Version_String(char *text, int length) { text[0] = '2'; text[1] = 0; }
char *openblas_get_config(void) { return "OpenBLAS 0.3.21 Haswell"; }
"""


class Versions(unittest.TestCase):
    @unittest.skipIf(tools.NO_COMPILER, "needs %s" % ", ".join(tools.NO_COMPILER))
    def test_each_library_says_its_own(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        source = os.path.join(folder, "all.c")
        with open(source, "w") as file:
            file.write(SOURCE)
        paths = []
        for name in ("libcudnn.so.9", "libcublasLt.so.12", "libcudart.so.12", "libcuda.so.1",
                     "libmkl_core.so.2", "libopenblas.so.0", "libother.so"):
            paths.append(os.path.join(folder, name))
            subprocess.check_call(["cc", "-shared", "-fPIC", "-o", paths[-1], source])
        mine, others = loaded.versions(None, paths)
        self.assertEqual(mine, {})
        self.assertEqual({name: entry["version"] for name, entry in others.items()}, {
            "cudnn": "91002", "cublas": "120805", "cuda runtime": "12080", "mkl": "2",
            "openblas": "OpenBLAS 0.3.21 Haswell"})
        self.assertEqual(others["cudnn"]["file"], "libcudnn.so.9")
        self.assertEqual(loaded.versions(folder, paths), (others, {}), "the artifact's own")

    def test_this_process_has_a_c_library(self):
        self.assertTrue(any("libc" in os.path.basename(path) for path in loaded.paths()))


if __name__ == "__main__":
    unittest.main()
