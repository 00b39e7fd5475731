"""The training client: one run of one experiment, inside an artifact.

Started as `python3 -m reproduceml_client`; see `__main__`. Needs the standard library
of Python 3.6 or newer and the framework under test. A user's own model inherits from
`Model`.
"""

from .model import Model

__version__ = "0.1.0"
__all__ = ["Model", "__version__"]
