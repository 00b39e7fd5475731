"""A fix's own tests against one artifact, measured: `python3 -m reproduceml_client.own_tests`.

The environment says what to do:

    REPRODUCEML_ARTIFACT   the artifact, as for a run
    REPRODUCEML_TESTS      JSON: {"framework": its name, "source": the fix's whole tree,
                           "files": test files in it, "names": test functions that count
                           (none: all), "seed": a number, "out": the file to write}

Before each test the generators of Python, NumPy and the framework are seeded. Each test writes one
line of JSON when it begins and one when it has ended, so that a crash loses nothing: how it ended,
and every value that its assertions were given, with the largest difference between the two numbers
or arrays that an assertion compares. Nothing of the tests is changed.
"""

import contextlib
import hashlib
import importlib
import json
import os
import sys
import unittest

from . import artifact, controls, frameworks

# Assertions kept of one test, and numbers kept of one value; the digest is over all of them.
MOST_CHECKS = 500
MOST_NUMBERS = 16

# Functions that compare arrays, where a framework or NumPy has them.
COMPARING = {
    "torch": ("allclose", "equal"),
    "torch.testing": ("assert_allclose", "assert_close"),
    "numpy": ("allclose", "array_equal"),
    "numpy.testing": ("assert_allclose", "assert_array_equal", "assert_almost_equal",
                      "assert_array_almost_equal", "assert_equal"),
}


class Value:
    """A value as it is recorded: its kind, a digest, and its numbers where it has some."""

    def __init__(self, value):
        self.numbers = []
        self.opaque = False
        text = "".join(self._texts(value))
        self.digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
        self.kind = type(value).__name__

    def _texts(self, value):
        """Texts by which equal values are equal and others are not."""
        if value is None or isinstance(value, (bool, str, bytes)):
            if isinstance(value, bool):
                self.numbers.append(float(value))
            yield "%s %r;" % (type(value).__name__, value)
        elif isinstance(value, (int, float)):
            huge = isinstance(value, int) and abs(value) >= 2 ** 1000
            self.numbers.append(float("inf") if huge else float(value))
            yield "%s;" % (float.hex(float(value)) if isinstance(value, float) else value)
        elif isinstance(value, complex):
            self.numbers += [value.real, value.imag]
            yield "%s %s;" % (float.hex(value.real), float.hex(value.imag))
        elif isinstance(value, dict):
            yield "{"
            for key in sorted(value, key=repr):
                for part in (key, value[key]):
                    for text in self._texts(part):
                        yield text
            yield "}"
        elif isinstance(value, (set, frozenset)):
            for text in self._texts(sorted(value, key=repr)):
                yield text
        elif hasattr(value, "tolist") and hasattr(value, "shape"):
            plain = value.detach() if hasattr(value, "detach") else value
            if getattr(plain, "is_sparse", False):
                plain = plain.to_dense()
            kind = getattr(plain, "dtype", "")
            yield "%s %s;" % (kind, tuple(plain.shape))
            for text in self._texts(plain.tolist()):
                yield text
        elif isinstance(value, (list, tuple, range)) or type(value).__name__ in ("generator", "map"):
            if not isinstance(value, (list, tuple, range)):
                self.opaque = True  # Reading it would take it from the test.
                yield type(value).__name__
                return
            yield "["
            for part in value:
                for text in self._texts(part):
                    yield text
            yield "]"
        else:
            # Objects without a value of their own: what they are, not where they lie.
            self.opaque = True
            yield type(value).__module__ + "." + type(value).__name__ + ";"

    def told(self):
        """What is written."""
        found = {"kind": self.kind, "digest": self.digest,
                 "numbers": [repr(number) for number in self.numbers[:MOST_NUMBERS]],
                 "count": len(self.numbers)}
        if self.opaque:
            found["opaque"] = True
        return found


def recorded(value):
    """A [`Value`], whatever is asked of it."""
    try:
        return Value(value)
    except Exception as error:
        empty = Value(None)
        empty.kind, empty.opaque = "%s (%s)" % (type(value).__name__, type(error).__name__), True
        return empty


def difference(values):
    """The largest absolute difference of the first two values' numbers, as text; None if there is
    none to tell."""
    if len(values) < 2 or not values[0].numbers:
        return None
    one, two = values[0].numbers, values[1].numbers
    if values[1].kind in ("int", "float", "bool"):
        two = two * len(one)
    if len(one) != len(two):
        return None
    apart = [0.0 if a == b or (a != a and b != b) else abs(a - b) for a, b in zip(one, two)]
    odd = [number for number in apart if number != number]
    return repr(odd[0] if odd else max(apart))


class Recorder:
    """What the assertions of the test that runs were given."""

    def __init__(self, source):
        self._source = os.path.join(os.path.abspath(source), "")
        self._inside = 0
        self.clear()

    def clear(self):
        self.checks = []
        self.count = 0
        self._rest = hashlib.sha256()

    def around(self, name, function):
        """The function, with its arguments recorded where no other recorded one called it."""
        def call(*arguments, **options):
            if self._inside == 0:
                self._note(name, arguments)
            self._inside += 1
            try:
                return function(*arguments, **options)
            finally:
                self._inside -= 1

        call.__name__ = getattr(function, "__name__", name)
        call.__wrapped__ = function
        return call

    def _note(self, name, arguments):
        values = [recorded(value) for value in arguments if not callable(value)]
        self.count += 1
        if len(self.checks) >= MOST_CHECKS:
            for value in values:
                self._rest.update(value.digest.encode())
            return
        self.checks.append({"how": name, "where": self._where(), "difference": difference(values),
                            "values": [value.told() for value in values]})

    def _where(self):
        frame = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(self._source):
                return "%s:%d" % (path[len(self._source):], frame.f_lineno)
            frame = frame.f_back
        return ""

    def rest(self):
        """The digest of what was not kept, or None."""
        return self._rest.hexdigest()[:16] if self.count > len(self.checks) else None

    def watch(self, test):
        """Records what a test's own assertions are given."""
        for name in dir(test):
            if not name.startswith("assert") or name in ("assert_",):
                continue
            with contextlib.suppress(Exception):
                method = getattr(test, name)
                if callable(method):
                    setattr(test, name, self.around(name, method))

    def watch_functions(self):
        """Records what the functions of modules that compare are given."""
        for module, names in COMPARING.items():
            with contextlib.suppress(ImportError):
                place = importlib.import_module(module)
                for name in names:
                    if hasattr(place, name):
                        setattr(place, name, self.around("%s.%s" % (module, name),
                                                         getattr(place, name)))


class Result(unittest.TestResult):
    """Writes what became of each test."""

    def __init__(self, out, recorder, seed):
        unittest.TestResult.__init__(self)
        self._out, self._recorder, self._seed = out, recorder, seed
        self._ended = ("passed", "")

    def write(self, **line):
        self._out.write(json.dumps(line, sort_keys=True) + "\n")
        self._out.flush()

    def startTest(self, test):
        unittest.TestResult.startTest(self, test)
        self._ended = ("passed", "")
        self._recorder.clear()
        self.write(began=test.reproduceml_name)
        self._seed()

    def stopTest(self, test):
        unittest.TestResult.stopTest(self, test)
        outcome, message = self._ended
        recorder = self._recorder
        self.write(test=test.reproduceml_name, outcome=outcome, message=message,
                   checks=recorder.checks, count=recorder.count, rest=recorder.rest())

    def _worse(self, outcome, error):
        if self._ended[0] in ("passed", "skipped"):
            lines = str(error[1]).strip().splitlines() or [""]
            self._ended = (outcome, ("%s: %s" % (error[0].__name__, lines[0]))[:500])

    def addFailure(self, test, error):
        self._worse("failed", error)

    def addError(self, test, error):
        self._worse("error", error)

    def addSubTest(self, test, part, error):
        if error is not None:
            self._worse("failed" if issubclass(error[0], test.failureException) else "error", error)

    def addSkip(self, test, reason):
        self._ended = ("skipped", str(reason)[:500])

    def addExpectedFailure(self, test, error):
        self._ended = ("expected-failure", "")

    def addUnexpectedSuccess(self, test):
        self._ended = ("unexpected-success", "")


def flatten(suite):
    """The tests of a suite of suites."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            for part in flatten(test):
                yield part
        else:
            yield test


def counts(test, names):
    """Tests made for several devices carry the device behind the function's name."""
    if type(test).__name__ == "_FailedTest":
        return True  # What stands for tests that could not be loaded.
    method = getattr(test, "_testMethodName", "")
    return not names or any(method == name or method.startswith(name + "_") for name in names)


def share(source):
    """What PyTorch's tests share among themselves goes with the tests: the artifact may have it
    older or newer than the fix."""
    with contextlib.suppress(ImportError):
        shared = importlib.import_module("torch.testing._internal")
        shared.__path__.insert(0, os.path.join(source, "torch", "testing", "_internal"))


def run_file(name, told, result, recorder):
    """Runs one test file's tests."""
    folder, file = os.path.split(os.path.join(told["source"], name))
    sys.path.insert(0, folder)
    sys.argv = [os.path.join(folder, file)]  # PyTorch loads tests of the script that was started.
    stem = os.path.splitext(file)[0]
    try:
        sys.modules.pop(stem, None)
        module = importlib.import_module(stem)
        tests = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
    except BaseException as error:
        message = ("%s: %s" % (type(error).__name__, error)).splitlines()[0][:500]
        result.write(test=name, outcome="import", message=message, checks=[], count=0, rest=None)
        return
    finally:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    for test in tests:
        if counts(test, told["names"]):
            parts = (name, type(test).__name__, getattr(test, "_testMethodName", ""))
            test.reproduceml_name = "%s::%s.%s" % parts
            recorder.watch(test)
            test.run(result)
    sys.path.remove(folder)


def main():
    """The exit status."""
    if controls.restart_needed(os.environ):
        os.execve(sys.executable, [sys.executable, "-B", "-m", "reproduceml_client.own_tests"],
                  controls.prepared_environment(os.environ))
    told = json.loads(os.environ["REPRODUCEML_TESTS"])
    artifact.use_site(os.environ.get("REPRODUCEML_ARTIFACT"))
    framework = frameworks.adapter(told["framework"], {"device": "cpu"})
    framework.load()
    recorder = Recorder(told["source"])
    recorder.watch_functions()
    if told["framework"] == "pytorch":
        share(told["source"])
    os.chdir("/tmp")

    def seed():
        controls.seed_python(told["seed"])
        framework.seed(told["seed"])

    with open(told["out"], "w", encoding="utf-8") as out:
        result = Result(out, recorder, seed)
        for name in told["files"]:
            run_file(name, told, result, recorder)
        result.write(ended=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # As after a trace: PyTorch 1.7 under Python 3.9 aborts at exit.


if __name__ == "__main__":
    main()
