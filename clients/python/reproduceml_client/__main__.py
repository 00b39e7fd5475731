"""Runs one training: `python3 -m reproduceml_client`.

The environment says what to do:

    REPRODUCEML_SERVER        unix:/path, tcp:host:port or tls:host:port
    REPRODUCEML_TLS_FINGERPRINT, REPRODUCEML_TLS_CA
                              for tls: how the server is known (see `tls`)
    REPRODUCEML_TICKET        the ticket of the run, or
    REPRODUCEML_TICKET_FILE   a file with the ticket, which keeps it out of process lists
    REPRODUCEML_ARTIFACT      optional folder: `site/` goes first on sys.path, `fault.py`
                              is a planted fault
    REPRODUCEML_TIMEOUT       optional: seconds to wait for one answer of the server
    REPRODUCEML_PATIENCE      optional: seconds to try a lost server again
    REPRODUCEML_TRACE, REPRODUCEML_TRACE_AT
                              optional: a folder for the tensors of one moment (see `trace`)
    REPRODUCEML_IMAGE, REPRODUCEML_ARTIFACT_DIGEST
                              optional digests, for the manifest

Exit status: 0 the results were accepted, 1 the training failed (the server was told
why), 2 the environment is wrong, 3 the server was lost or refused.
"""

import os
import sys
import time
import traceback

from . import artifact, controls
from .errors import JobError

DONE, TRAINING_FAILED, WRONG_USE, SERVER_LOST = 0, 1, 2, 3


def complain(message):
    """One line on standard error."""
    sys.stderr.write("reproduceml: %s\n" % message)


def read_ticket(environment):
    """The run's ticket."""
    path = environment.get("REPRODUCEML_TICKET_FILE")
    if environment.get("REPRODUCEML_TICKET"):
        return environment["REPRODUCEML_TICKET"]
    if not path:
        raise JobError("neither REPRODUCEML_TICKET nor REPRODUCEML_TICKET_FILE is set")
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError) as error:
        raise JobError("REPRODUCEML_TICKET_FILE cannot be read: %s" % error)


def read_seconds(environment):
    """The keyword arguments of `Session.connect` that the environment sets."""
    found = {}
    for name in ("timeout", "patience"):
        text = environment.get("REPRODUCEML_" + name.upper())
        if text:
            try:
                found[name] = float(text)
            except ValueError:
                raise JobError("REPRODUCEML_%s is %r, no number of seconds"
                               % (name.upper(), text))
    return found


def failure_kind(error):
    """What the server is told the failure was: `job`, or the exception's class."""
    return "job" if isinstance(error, JobError) else type(error).__name__


def train(session, artifact_folder, site, started, lost):
    """One run, ended either way; the exit status. `lost` are the session's own exceptions."""
    from . import trace
    from . import train as loop
    try:
        loop.Run(session, artifact_folder, site, started).execute()
        return DONE
    except trace.Done:
        session.close()
        return DONE
    except lost as error:
        complain("the server was lost: %s" % error)
        return SERVER_LOST
    except (Exception, SystemExit) as error:
        text = traceback.format_exc()
        sys.stderr.write(text)
        try:
            session.fail(failure_kind(error), str(error), text)
        except lost as also:
            complain("the server was lost, and was not told: %s" % also)
            return SERVER_LOST
        return TRAINING_FAILED


def main(arguments):
    """The exit status."""
    started = time.perf_counter()
    if arguments:
        sys.stdout.write(__doc__)
        return DONE if arguments[0] in ("-h", "--help") else WRONG_USE
    if controls.restart_needed(os.environ):
        controls.restart(arguments)
    from .session import Lost, Session
    from .wire import ProtocolError, Refused
    lost = (Lost, Refused, ProtocolError)
    folder = os.environ.get("REPRODUCEML_ARTIFACT")
    try:
        address = os.environ.get("REPRODUCEML_SERVER")
        if not address:
            raise JobError("REPRODUCEML_SERVER is not set")
        ticket = read_ticket(os.environ)
        limits = read_seconds(os.environ)
        site = artifact.use_site(folder)
    except JobError as error:
        complain(error)
        return WRONG_USE
    try:
        session = Session.connect(address, ticket, **limits)
    except lost + (OSError,) as error:
        complain("no session with %s: %s" % (address, error))
        return SERVER_LOST
    return train(session, folder, site, started, lost)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
