"""A fault that every model feels: SGD moves by a tenth of each gradient, without momentum.

It stands for an optimiser that loses most of its step. Learning goes on, more slowly,
and nothing but the numbers tells.
"""

FRAMEWORK = "pytorch"
DESCRIPTION = "SGD drops its momentum and nine tenths of its learning rate"


def apply(torch):
    """Replaces `torch.optim.SGD` by one that takes its hyperparameters less seriously."""
    original = torch.optim.SGD.__init__

    def faulty(self, params, lr, momentum=0, *args, **kwargs):
        original(self, params, lr * 0.1, 0, *args, **kwargs)

    torch.optim.SGD.__init__ = faulty
