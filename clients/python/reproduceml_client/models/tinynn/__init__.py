"""Models of tinynn: name, then module and class, in models.json."""

from .. import listed

MODELS = listed(__file__)
