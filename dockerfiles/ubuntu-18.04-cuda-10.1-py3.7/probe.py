"""Runs test files of PyTorch below /src against the artifact; status 0 when every test passed.

$TESTS holds the files, $TEST_NAMES the names of the test functions that count; without names, all
of a file's tests count. Status 1: a test failed. 3: nothing was run, which says nothing of the artifact.
"""

import importlib
import os
import sys
import unittest

files = [f for f in os.environ.get("TESTS", "").split() if f.endswith(".py")]
names = set(os.environ.get("TEST_NAMES", "").split())


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def counts(test):
    """Tests made for several devices carry the device behind the function's name."""
    if type(test).__name__ == "_FailedTest":
        return True  # What stands for tests that could not be loaded.
    method = getattr(test, "_testMethodName", "")
    return not names or any(method == n or method.startswith(n + "_") for n in names)


def stop(status):
    sys.stdout.flush()
    sys.stderr.flush()
    # PyTorch of that time aborts at exit with Python 3.9; what counts is decided here.
    os._exit(status)


try:
    # What tests share among themselves goes with the tests: a released package may have it older or
    # newer than the fix.
    import torch.testing._internal as shared
    shared.__path__.insert(0, "/src/torch/testing/_internal")
except ImportError:
    pass  # Before 2020-01 it lay beside the tests.

ran, well = 0, True
for name in files:
    folder, file = os.path.split(os.path.join("/src", name))
    os.chdir("/tmp")
    sys.path.insert(0, folder)
    # PyTorch's own loading of tests wants them to be of the script that was started.
    sys.argv = [os.path.join(folder, file)]
    try:
        module = importlib.import_module(os.path.splitext(file)[0])
        tests = [t for t in flatten(unittest.defaultTestLoader.loadTestsFromModule(module))
                 if counts(t)]
    except BaseException as error:
        print("{} cannot be imported: {!r}".format(name, error))
        stop(1)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(tests))
    ran += result.testsRun - len(result.skipped)
    well = well and result.wasSuccessful()
    sys.path.pop(0)
print("{} tests ran".format(ran))
stop(0 if well and ran else 1 if ran else 3)
