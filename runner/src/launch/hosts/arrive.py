"""Runs in a container on a Docker host, with a volume of the study at /arriving.

    look             prints the names of the pieces that have arrived whole, as JSON
    finish DIGEST    puts the pieces together, unpacks them, and removes them
    open             lets everybody write to the volume, each removing only what is its own
"""

import hashlib
import json
import os
import shutil
import sys
import tarfile

ROOT = "/arriving"
PIECES = os.path.join(ROOT, ".arriving")


def names():
    return sorted(os.listdir(PIECES)) if os.path.isdir(PIECES) else []


class Stream:
    """The pieces one after another, each as it was sent."""

    def __init__(self):
        self.left, self.file = names(), None
        self.whole, self.piece, self.name = hashlib.sha256(), None, None

    def read(self, size):
        while True:
            if self.file is None:
                if not self.left:
                    return b""
                self.name = self.left.pop(0)
                self.file = open(os.path.join(PIECES, self.name), "rb")
                self.piece = hashlib.sha256()
            data = self.file.read(size)
            if data:
                self.whole.update(data)
                self.piece.update(data)
                return data
            self.file.close()
            self.file = None
            if self.piece.hexdigest() != self.name.partition("-")[2]:
                sys.exit("piece %s did not arrive as it was sent" % self.name)


def look():
    whole = []
    for name in names():
        path = os.path.join(PIECES, name)
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for data in iter(lambda: file.read(1 << 20), b""):
                digest.update(data)
        if digest.hexdigest() == name.partition("-")[2]:
            whole.append(name)
        else:
            os.unlink(path)
    print(json.dumps(whole))


def finish(wanted):
    for name in os.listdir(ROOT):
        path = os.path.join(ROOT, name)
        if path == PIECES:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    stream = Stream()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extractall(ROOT, filter="fully_trusted")
        else:
            archive.extractall(ROOT)
    while stream.read(1 << 20):
        pass
    if stream.whole.hexdigest() != wanted:
        sys.exit("what arrived has another digest than what was sent")
    shutil.rmtree(PIECES)
    os.sync()


if sys.argv[1] == "look":
    look()
elif sys.argv[1] == "finish":
    finish(sys.argv[2])
else:
    os.chmod(ROOT, 0o1777)
