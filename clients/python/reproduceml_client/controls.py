"""Controls: whatever takes one source of non-determinism away.

Each control is reported as {"name", "value", "status", "detail"}, where status is

    set           it took effect, read back where that is possible
    unavailable   this version of the framework does not have it
    failed        it is there and could not be set; `detail` says why

What must be in place before the interpreter or the framework starts is set in the
environment, and the client is executed anew with it.

An experiment on the sources of variation leaves single controls off. It says so in the
environment: REPRODUCEML_THREADS (a number; else 1), REPRODUCEML_DETERMINISTIC and
REPRODUCEML_DROPOUT (`off`; else on). The report then has what was asked for.
"""

import os
import random
import sys

SET, UNAVAILABLE, FAILED = "set", "unavailable", "failed"

MARK = "REPRODUCEML_CONTROLLED"


def threads(environment):
    """Threads that numeric code may use."""
    text = environment.get("REPRODUCEML_THREADS", "1")
    return int(text) if text.isdigit() and int(text) > 0 else 1


def is_on(name, environment):
    """Whether a control that can be left off is on."""
    return environment.get("REPRODUCEML_" + name) != "off"


THREADS = threads(os.environ)
DETERMINISTIC = is_on("DETERMINISTIC", os.environ)
DROPOUT = is_on("DROPOUT", os.environ)

# Read when Python, OpenMP, a BLAS or cuBLAS starts.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_DYNAMIC": "FALSE",
    "MKL_NUM_THREADS": str(THREADS),
    "MKL_DYNAMIC": "FALSE",
    "OPENBLAS_NUM_THREADS": str(THREADS),
    "BLIS_NUM_THREADS": str(THREADS),
    "NUMEXPR_NUM_THREADS": str(THREADS),
}
if DETERMINISTIC:
    ENVIRONMENT["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def control(name, value, status=SET, detail=""):
    """One entry of the report."""
    return {"name": name, "value": value, "status": status, "detail": detail}


def attempt(name, value, action, check=None):
    """Reports a control set by `action`; `check` then tells whether it took effect.

    AttributeError, ImportError and NotImplementedError mean that this version does not
    have the control.
    """
    try:
        action()
        if check is not None and not check():
            return control(name, value, FAILED, "it reads back differently")
    except (AttributeError, ImportError, NotImplementedError) as error:
        return control(name, value, UNAVAILABLE, str(error))
    except Exception as error:  # a control that fails is a finding, not the end of the run
        return control(name, value, FAILED, "%s: %s" % (type(error).__name__, error))
    return control(name, value)


def prepared_environment(environment):
    """A copy of `environment` with every control in it."""
    return dict(environment, **dict(ENVIRONMENT, **{MARK: "1"}))


def restart_needed(environment):
    """Whether this process began without the controls, and was not restarted for them yet."""
    if environment.get(MARK) == "1":
        return False
    return any(environment.get(name) != value for name, value in ENVIRONMENT.items())


def restart(arguments):
    """Executes the client anew with the controls in its environment; does not return."""
    flags = ["-B"] if sys.dont_write_bytecode else []
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable,
              [sys.executable] + flags + ["-m", __package__] + list(arguments),
              prepared_environment(os.environ))


def report_environment():
    """The controls that the environment carries, as this process sees them."""
    report = []
    for name, value in sorted(ENVIRONMENT.items()):
        found = os.environ.get(name)
        if found != value:
            report.append(control(name, value, FAILED, "the environment has %r" % found))
        elif name == "PYTHONHASHSEED" and sys.flags.hash_randomization:
            report.append(control(name, value, FAILED, "the interpreter ignores its environment"))
        else:
            report.append(control(name, value))
    return report


def seed_python(seed):
    """Seeds Python's own generator, and NumPy's when NumPy can be imported."""
    report = [attempt("seed python", seed, lambda: random.seed(seed))]

    def seed_numpy():
        import numpy
        numpy.random.seed(seed % 2 ** 32)

    report.append(attempt("seed numpy", seed % 2 ** 32, seed_numpy))
    return report
