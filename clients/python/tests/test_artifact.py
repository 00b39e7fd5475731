"""Artifacts: packages and planted faults."""

import os
import shutil
import sys
import tempfile
import types
import unittest

import tools  # noqa: F401
from reproduceml_client import artifact
from reproduceml_client.errors import JobError


class Artifact(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def fault(self, text):
        with open(os.path.join(self.folder, "fault.py"), "w", encoding="utf-8") as file:
            file.write(text)

    def test_site_goes_first(self):
        self.assertIsNone(artifact.use_site(self.folder))
        os.mkdir(os.path.join(self.folder, "site"))
        site = artifact.use_site(self.folder)
        self.addCleanup(sys.path.remove, site)
        self.assertEqual(sys.path[0], site)

    def test_a_missing_folder_is_named(self):
        with self.assertRaisesRegex(JobError, "nowhere"):
            artifact.use_site(os.path.join(self.folder, "nowhere"))

    def test_a_fault_changes_the_framework(self):
        self.fault("FRAMEWORK = 'toy'\nDESCRIPTION = 'adds one'\n"
                   "def apply(framework):\n    framework.value += 1\n")
        framework = types.SimpleNamespace(value=1)
        about = artifact.apply_fault(self.folder, True, "toy", framework)
        self.assertEqual(framework.value, 2)
        self.assertEqual(about["description"], "adds one")
        self.assertEqual(len(about["sha256"]), 64)

    def test_fault_and_job_must_agree(self):
        self.assertIsNone(artifact.apply_fault(self.folder, False, "toy", None))
        with self.assertRaisesRegex(JobError, "has no fault.py"):
            artifact.apply_fault(self.folder, True, "toy", None)
        self.fault("def apply(framework): pass\n")
        with self.assertRaisesRegex(JobError, "does not ask for"):
            artifact.apply_fault(self.folder, False, "toy", None)

    def test_bad_faults_are_refused(self):
        for text, expected in (("FRAMEWORK = 'other'\ndef apply(f): pass\n", "for other"),
                               ("apply = 1\n", "no function apply"),
                               ("def apply(:\n", "fault.py, line 1")):
            self.fault(text)
            with self.assertRaisesRegex(JobError, expected):
                artifact.apply_fault(self.folder, True, "toy", None)

    def test_the_repository_has_sound_faults(self):
        folder = os.path.join(tools.REPOSITORY, "data", "faults")
        names = [name for name in os.listdir(folder) if name.endswith(".py")]
        self.assertTrue(names)
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                module = artifact.load_source(file.read(), "checked_fault", name)
            self.assertTrue(name.startswith(module.FRAMEWORK + "-"))
            self.assertTrue(module.DESCRIPTION and module.__doc__ and callable(module.apply))


if __name__ == "__main__":
    unittest.main()
