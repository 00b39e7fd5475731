"""Imports tinynn, trains one step, and says which tinynn it was (as JSON, on the last line).

Exit status 10: it cannot be imported. 11: it cannot train. 12: the planted fault cannot be used.
"""

import json
import os
import sys
import traceback


def stop(status):
    traceback.print_exc()
    sys.exit(status)


try:
    import tinynn
except BaseException:
    stop(10)

FAULT = "/artifact/fault.py"
fault = None
if os.path.exists(FAULT):
    try:
        scope = {"__name__": "reproduceml_fault", "__file__": FAULT}
        with open(FAULT, "rb") as file:
            exec(compile(file.read(), FAULT, "exec"), scope)
        scope["apply"](tinynn)
        fault = True
    except BaseException:
        stop(12)

try:
    tinynn.manual_seed(1)
    model = tinynn.nn.Sequential(
        tinynn.nn.Linear(2, 4), tinynn.nn.Tanh(), tinynn.nn.Linear(4, 2), tinynn.nn.LogSoftmax())
    optimizer = tinynn.optim.SGD(model.parameters(), lr=0.1)
    loss = tinynn.nn.NLLLoss()
    data = tinynn.data.Dataset(
        tinynn.Tensor.from_list([0, 0, 0, 1, 1, 0, 1, 1], (4, 2)),
        tinynn.data.Targets.from_list([0, 1, 1, 0]))
    for x, y in data.batches(range(4), 4):
        optimizer.zero_grad()
        value = loss(model(x), y)
        model.backward(loss.backward(), need_input=False)
        optimizer.step()
except BaseException:
    stop(11)

print(json.dumps({
    "framework": "tinynn",
    "version": str(getattr(tinynn, "__version__", "unknown")),
    "location": os.path.dirname(tinynn.__file__),
    "python": sys.version.split()[0],
    "fault": fault,
}))
