"""python_client.py ADDRESS SECONDS TICKET TICKET TICKET: the Python client's array path.

Fetches `train/x` again and again in one run for SECONDS; then takes it as a study's clients do,
in two runs that share a cache. Prints as JSON the GB/s, and the seconds and received bytes of each.
"""

import json
import os
import sys
import tempfile
import time

from reproduceml_client import wire
from reproduceml_client.session import Session

received = 0


class Counting(wire.Wire):
    def _fill(self, view):
        global received
        received += len(view)
        super(Counting, self)._fill(view)


def main():
    address, seconds, tickets = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    session = Session.connect(address, tickets[0])
    total, start = 0, time.time()
    while time.time() < start + seconds:
        total += len(session.array("train/x").data)
    told = {"rate": total / (time.time() - start) / 1e9, "runs": []}
    session.close()
    wire.Wire = Counting
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REPRODUCEML_CACHE"] = folder
        for ticket in tickets[1:]:
            before, start = received, time.time()
            session = Session.connect(address, ticket)
            for name in ("train/x", "train/y", "test/x"):
                session.array(name)
            told["runs"].append({"seconds": time.time() - start, "bytes": received - before})
            session.close()
    print(json.dumps(told))


main()
