"""Models of tinynn: name, then module and class."""

MODELS = {"mlp": ("mlp", "Mlp")}
