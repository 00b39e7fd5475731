"""Models by name (one folder a framework), and users' own from their source."""

import importlib
import inspect
import json
import os

from .. import artifact, digest
from ..errors import JobError
from ..model import Model


def listed(init_file):
    """The models that the models.json beside an `__init__.py` lists.

    It is a file of its own so that the runner can refuse a wrong name before anything runs.
    """
    path = os.path.join(os.path.dirname(os.path.abspath(init_file)), "models.json")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def from_job(job):
    """The job's model, and what the manifest says about it. The framework is imported by now."""
    if job.get("model_source") is not None:
        model, source = _from_source(job["model_source"], job.get("model_class"))
    else:
        model, source = _by_name(job["framework"], job["model"])
    about = {"name": job["model"], "class": type(model).__name__,
             "source_sha256": digest.of_bytes(source.encode("utf-8"))}
    return model, about


def _by_name(framework, name):
    package = importlib.import_module("%s.%s" % (__name__, framework))
    if name not in package.MODELS:
        raise JobError("no model %r for %s; there are %s"
                       % (name, framework, ", ".join(sorted(package.MODELS))))
    module_name, class_name = package.MODELS[name]
    module = importlib.import_module("%s.%s" % (package.__name__, module_name))
    with open(os.path.splitext(module.__file__)[0] + ".py", encoding="utf-8") as file:
        return getattr(module, class_name)(), file.read()


def _from_source(source, class_name):
    module = artifact.load_source(source, "reproduceml_user_model", "<the study's model>")
    if class_name is None:
        found = [value for value in vars(module).values()
                 if inspect.isclass(value) and issubclass(value, Model)
                 and value.__module__ == module.__name__]
        if len(found) != 1:
            raise JobError("the study's model file has %d classes that inherit from "
                           "reproduceml_client.Model; name the one to use" % len(found))
        chosen = found[0]
    else:
        chosen = getattr(module, class_name, None)
        if not (inspect.isclass(chosen) and issubclass(chosen, Model)):
            raise JobError("the study's model file has no class %s that inherits from "
                           "reproduceml_client.Model" % class_name)
    return chosen(), source
