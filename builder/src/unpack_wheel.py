"""Lays out a wheel as an installer would: unpack_wheel.py WHEEL FOLDER (Python 3.5 or newer)."""

import os
import shutil
import stat
import sys
import zipfile

wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        parts = entry.filename.split("/")
        if len(parts) > 2 and parts[0].endswith(".data") and parts[1] in ("purelib", "platlib"):
            parts = parts[2:]
        mode = entry.external_attr >> 16
        if ".." in parts or parts[0] == "" or stat.S_ISLNK(mode):
            sys.exit("the wheel holds {!r}, which leads out of the folder".format(entry.filename))
        target = os.path.join(folder, *parts)
        if entry.filename.endswith("/"):
            os.makedirs(target, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        os.chmod(target, 0o755 if mode & 0o111 else 0o644)
