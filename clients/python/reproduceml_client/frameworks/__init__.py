"""The framework layer: one module a framework, imported by its name in the job.

A third framework is a module here with a class `Adapter` that inherits from
`base.Framework`, and a folder of models under `models/`.
"""

import importlib
import pkgutil

from ..errors import JobError


def names():
    """The frameworks that this client has a module for."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "base")


def adapter(name, job):
    """The adapter of this framework; importing the framework itself is its `load`'s work."""
    if name not in names():
        raise JobError("no framework %r; this client has %s" % (name, ", ".join(names())))
    return importlib.import_module("%s.%s" % (__name__, name)).Adapter(job)
