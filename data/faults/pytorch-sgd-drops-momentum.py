"""A fault that every model trained with momentum feels: SGD drops it."""

FRAMEWORK = "pytorch"
DESCRIPTION = "SGD ignores its momentum"


def apply(torch):
    """Replaces the constructor of `torch.optim.SGD` by one that passes no momentum on."""
    original = torch.optim.SGD.__init__

    def faulty(self, params, lr, momentum=0, *args, **kwargs):
        original(self, params, lr, 0, *args, **kwargs)

    torch.optim.SGD.__init__ = faulty
