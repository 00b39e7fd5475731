"""The artifact under test: a folder with `site/` (packages) and maybe `fault.py`."""

import os
import sys
import types

from . import digest
from .errors import JobError


def use_site(folder):
    """Puts the artifact's packages before all others; returns their folder, or None."""
    if not folder:
        return None
    if not os.path.isdir(folder):
        raise JobError("REPRODUCEML_ARTIFACT names %s, which is no folder" % folder)
    site = os.path.join(os.path.abspath(folder), "site")
    if not os.path.isdir(site):
        return None
    sys.path.insert(0, site)
    return site


def load_source(source, name, shown_as):
    """A module made of Python source; errors in it are shown as of the file `shown_as`."""
    module = types.ModuleType(name)
    module.__file__ = shown_as
    try:
        code = compile(source, shown_as, "exec")
    except SyntaxError as error:
        raise JobError("%s, line %s: %s" % (shown_as, error.lineno, error.msg))
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def apply_fault(folder, wanted, framework_name, framework_module):
    """Plants the artifact's fault, if the job says that it has one.

    `fault.py` has a function `apply(framework)`, which replaces one behaviour of the
    imported framework, and may state FRAMEWORK (the only one it is for) and
    DESCRIPTION. Returns what the manifest says about it, or None.
    """
    path = os.path.join(folder, "fault.py") if folder else None
    there = path is not None and os.path.isfile(path)
    if there and not wanted:
        raise JobError("the artifact has a fault.py that the job does not ask for")
    if not wanted:
        return None
    if not there:
        raise JobError("the job asks for a planted fault, and the artifact has no fault.py")
    with open(path, encoding="utf-8") as file:
        source = file.read()
    module = load_source(source, "reproduceml_fault", path)
    only_for = getattr(module, "FRAMEWORK", framework_name)
    if only_for != framework_name:
        raise JobError("fault.py is for %s, the job is for %s" % (only_for, framework_name))
    if not callable(getattr(module, "apply", None)):
        raise JobError("fault.py has no function apply(framework)")
    module.apply(framework_module)
    return {"sha256": digest.of_bytes(source.encode("utf-8")),
            "description": getattr(module, "DESCRIPTION", "")}
