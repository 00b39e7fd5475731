"""The tests' tinynn: its history is the same everywhere, and its bugs are what truth.json says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
FIXTURE = os.path.join(REPOSITORY, "tests", "fixtures", "tinynn")
HEAD = "7d8ff87ff47f9e995de4cb10942b844e3fa07f2b"
MISSING = [tool for tool in ("git", "make", "cc") if shutil.which(tool) is None]


def run(*command, **options):
    """The finished process, with its output as text."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, **options)


def must(*command, **options):
    """The output of a command that succeeds."""
    done = run(*command, **options)
    if done.returncode:
        raise AssertionError("%s failed:\n%s" % (" ".join(command), done.stdout))
    return done.stdout.strip()


@unittest.skipIf(MISSING, "needs %s" % ", ".join(MISSING))
class History(unittest.TestCase):
    """One clone, built at many commits in their order, so that make compiles only the changes."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="tinynn-history-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.head = must(sys.executable, os.path.join(FIXTURE, "make_history.py"), cls.folder)
        cls.clone = os.path.join(cls.folder, "tinynn")
        with open(os.path.join(FIXTURE, "truth.json"), encoding="utf-8") as file:
            cls.truth = json.load(file)

    if not hasattr(unittest.TestCase, "addClassCleanup"):  # before Python 3.8
        @classmethod
        def addClassCleanup(cls, function, *arguments):
            cls.cleanup = (function, arguments)

        @classmethod
        def tearDownClass(cls):
            function, arguments = cls.cleanup
            function(*arguments)

    def git(self, *arguments):
        return must("git", "-C", self.clone, *arguments)

    def fix_of(self, number):
        """The last commit that names this pull request as its own (a re-land wins)."""
        lines = self.git("log", "--format=%H %s%x00%b%x01", "main").split("\x01")
        for line in lines:
            commit, _, message = line.strip().partition(" ")
            subject, _, body = message.partition("\0")
            if subject.startswith("Revert"):
                continue
            if ("(#%d)" % number in subject
                    or "Pull Request resolved: https://github.com/tinynn/tinynn/pull/%d"
                    % number in body.splitlines()):
                return commit
        return None

    def install(self, commit):
        """Builds a commit; returns the finished make and the folder for sys.path."""
        self.git("checkout", "--quiet", "--detach", commit)
        out = os.path.join(self.folder, "stage")
        shutil.rmtree(out, ignore_errors=True)
        done = run("make", "install", "OUT=" + os.path.join(self.folder, "build"),
                   "DESTDIR=" + out, cwd=self.clone)
        return done, os.path.join(out, "site")

    def python(self, site, *arguments):
        environment = dict(os.environ, PYTHONPATH=site, PYTHONDONTWRITEBYTECODE="1")
        return run(sys.executable, *arguments, cwd=self.clone, env=environment)

    def test_the_commits_have_the_same_ids_everywhere(self):
        self.assertEqual(self.head, HEAD)
        self.assertEqual(self.git("rev-list", "--count", "main"), "41")
        self.assertEqual(self.git("status", "--short"), "")
        self.assertEqual(self.git("tag").split(), ["v0.1.0", "v0.2.0"])

    def test_every_truth_is_a_bug_of_the_notes(self):
        with open(os.path.join(self.folder, "notes", "v0.2.0.md"), encoding="utf-8") as file:
            fixes = file.read().split("\n# Bug Fixes\n")[1].split("\n# Documentation")[0]
        for bug in self.truth:
            self.assertRegex(fixes, r"(#|pull/)%s\b" % bug[2:])

    def test_each_fix_turns_its_test_from_red_to_green(self):
        fixes = {bug: self.fix_of(int(bug[2:])) for bug in self.truth}
        order = self.git("rev-list", "--reverse", "main").split()
        self.assertIsNone(fixes.pop("pr35"))
        self.assertNotIn(None, fixes.values())
        for bug in sorted(fixes, key=lambda name: order.index(fixes[name])):
            with self.subTest(bug=bug):
                self.check(bug, fixes[bug])

    def check(self, bug, fix):
        truth = self.truth[bug]
        changed = self.git("diff", "--name-only", fix + "^", fix).split()
        product = [path for path in changed if path.startswith(("src/", "python/"))]
        self.assertEqual(truth["python_only"],
                         bool(product) and all(path.endswith(".py") for path in product))
        before, site = self.install(fix + "^")
        if truth["verdict"] == "build-failure":
            self.assertNotEqual(before.returncode, 0, before.stdout)
            self.assertIn("sum.h", before.stdout)
        else:
            self.assertEqual(before.returncode, 0, before.stdout)
        if truth["test"] is not None:
            file, _, name = truth["test"].partition("::")
            test = "%s.%s" % (file[:-3].replace("/", "."), name.replace("::", "."))
            self.git("checkout", "--quiet", fix, "--", "tests")
            red = self.python(site, "-m", "unittest", test)
            expected = -signal.SIGSEGV if truth["verdict"] == "crash" else 1
            self.assertEqual(red.returncode, expected, red.stdout)
            self.git("checkout", "--quiet", "--force", "HEAD")
            self.git("reset", "--quiet", "--hard")
        after, site = self.install(fix)
        self.assertEqual(after.returncode, 0, after.stdout)
        if truth["test"] is not None:
            green = self.python(site, "-m", "unittest", test)
            self.assertEqual(green.returncode, 0, green.stdout)

    def test_every_other_commit_compiles_without_a_warning(self):
        for commit in self.git("rev-list", "--reverse", "main").split()[1:]:
            done, _ = self.install(commit)
            if commit == self.git("rev-parse", self.fix_of(28) + "^"):
                self.assertNotEqual(done.returncode, 0)
                continue
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertNotIn("warning", done.stdout)


if __name__ == "__main__":
    unittest.main()
