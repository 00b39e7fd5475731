"""What makes a Docker host one of its class, as the runs' manifests will have it."""

import hashlib
import json
import subprocess

from reproduceml_client import manifest

hardware, runtime = manifest.hardware(), manifest.runtime()
flags = " ".join(hardware.pop("cpu_flags"))
traits = {name: value for name, value in hardware.items() if value is not None}
traits["cpu_flags"] = hashlib.sha256(flags.encode()).hexdigest()[:12]
traits["kernel"] = "%s %s" % (runtime["kernel"], runtime["kernel_build"])
try:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    traits["gpus"] = subprocess.check_output(query).decode().strip().replace("\n", "; ")
except (OSError, subprocess.CalledProcessError):
    pass
print(json.dumps({name: str(value) for name, value in traits.items()}))
