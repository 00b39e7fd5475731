"""Runs a command and prints its wall and processor time in seconds, as JSON on the last line.

    python3 measure.py COMMAND [ARGUMENT...]
"""

import json
import resource
import subprocess
import sys
import time


def main(command):
    begin = time.perf_counter()
    status = subprocess.call(command, stdout=sys.stderr)
    wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "status": status}))
    # PyTorch 1.7 under Python 3.9 aborts at exit after a backward pass; all was done by then.
    return 0 if status in (0, -6) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
