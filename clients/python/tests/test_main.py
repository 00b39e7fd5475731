"""The command: its environment and its exit statuses."""

import contextlib
import io
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

import fake
import tools
from reproduceml_client import __main__ as command
from reproduceml_client import controls


class Lost(Exception):
    """The session's own."""


class Refused(Exception):
    """The session's own."""


@unittest.skipIf(tools.NO_COMPILER, "needs %s" % ", ".join(tools.NO_COMPILER))
class Command(unittest.TestCase):
    def run_command(self, session=None, connect=None, **environment):
        """The exit status and what went to standard error."""
        connect = connect or (lambda address, ticket, **limits: session)
        modules = {
            "reproduceml_client.session": types.SimpleNamespace(
                Lost=Lost, Session=types.SimpleNamespace(connect=connect)),
            "reproduceml_client.wire": types.SimpleNamespace(
                ProtocolError=Lost, Refused=Refused)}
        asked = dict({"REPRODUCEML_SERVER": "unix:/nowhere", "REPRODUCEML_TICKET": "t"},
                     **environment)
        prepared = controls.prepared_environment(
            {name: value for name, value in asked.items() if value is not None})
        errors = io.StringIO()
        path = list(sys.path)
        with mock.patch.dict(sys.modules, modules), contextlib.redirect_stderr(errors), \
                mock.patch.dict(os.environ, prepared, clear=True):
            try:
                return command.main([]), errors.getvalue()
            finally:
                sys.path[:] = path

    def artifact(self):
        return os.path.dirname(tools.tinynn_site())

    def test_a_training_that_works(self):
        session = fake.Session(epochs=1)
        status, _ = self.run_command(session, REPRODUCEML_ARTIFACT=self.artifact())
        self.assertEqual(status, 0)
        self.assertIsNotNone(session.timings)
        self.assertIn("libtinynn.so", session.told_manifest["artifact"]["libraries"])

    def test_a_training_that_fails_tells_the_server(self):
        session = fake.Session(
            model_source="from reproduceml_client import Model\nclass M(Model):\n"
                         "    def build(self, shape, classes):\n        return 1 / 0\n")
        status, errors = self.run_command(session, REPRODUCEML_ARTIFACT=self.artifact())
        self.assertEqual(status, 1)
        self.assertEqual(session.failure[0], "ZeroDivisionError")
        self.assertIn("in build", session.failure[2])
        self.assertIn("Traceback", errors)

    def test_a_job_that_does_not_fit_is_called_so(self):
        session = fake.Session(model="nothing")
        status, _ = self.run_command(session, REPRODUCEML_ARTIFACT=self.artifact())
        self.assertEqual((status, session.failure[0]), (1, "job"))

    def test_a_lost_server(self):
        session = fake.Session()
        session.epoch = mock.Mock(side_effect=Lost("gone"))
        status, errors = self.run_command(session, REPRODUCEML_ARTIFACT=self.artifact())
        self.assertEqual(status, 3)
        self.assertIn("gone", errors)
        status, _ = self.run_command(connect=mock.Mock(side_effect=Refused("no")))
        self.assertEqual(status, 3)

    def test_a_wrong_environment(self):
        for environment, expected in (
                ({"REPRODUCEML_SERVER": None}, "REPRODUCEML_SERVER is not set"),
                ({"REPRODUCEML_TICKET": None}, "REPRODUCEML_TICKET_FILE"),
                ({"REPRODUCEML_TIMEOUT": "soon"}, "'soon'"),
                ({"REPRODUCEML_ARTIFACT": "/no/such/folder"}, "/no/such/folder")):
            status, errors = self.run_command(fake.Session(), **environment)
            self.assertEqual(status, 2, environment)
            self.assertIn(expected, errors)

    def test_the_ticket_may_lie_in_a_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("secret\n")
            file.flush()
            self.assertEqual(command.read_ticket({"REPRODUCEML_TICKET_FILE": file.name}),
                             "secret")


if __name__ == "__main__":
    unittest.main()
