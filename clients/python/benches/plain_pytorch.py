"""The same training as a client's, as a plain PyTorch script: what a run's time is compared with.

    python3 plain_pytorch.py MODEL SAMPLES TEST_SAMPLES EPOCHS BATCH DEVICE [CHANNELS SIZE]

Made-up data, no server, no digests, one thread, default switches. Prints one JSON object with the
seconds of the whole process after Python's start and of each epoch.
"""

import json
import os
import sys
import time

START = time.perf_counter()
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


def main(model_name, samples, test_samples, epochs, batch, device, channels=3, size=32):
    import torch
    from reproduceml_client import models
    torch.set_num_threads(1)
    torch.manual_seed(1)
    shape = (int(channels), int(size), int(size))
    train_x = torch.randn(int(samples), *shape)
    train_y = torch.randint(0, 10, (int(samples),))
    test_x = torch.randn(int(test_samples), *shape)
    known, _ = models.from_job({"framework": "pytorch", "model": model_name})
    model = known.build(shape, 10)
    with torch.no_grad():
        known.initialise(model)
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    loss_of = torch.nn.NLLLoss()
    seconds = []
    for _ in range(int(epochs)):
        begin = time.perf_counter()
        model.train()
        total = 0.0
        order = torch.randperm(len(train_x))
        for indices in order.split(int(batch)):
            x, y = train_x[indices].to(device), train_y[indices].to(device)
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(indices)
        seconds.append(time.perf_counter() - begin)
    model.eval()
    with torch.no_grad():
        scores = [model(x.to(device)).cpu() for x in test_x.split(256)]
    assert sum(len(s) for s in scores) == len(test_x)
    print(json.dumps({"seconds": time.perf_counter() - START, "epochs": seconds,
                      "torch": torch.__version__, "device": device}))


if __name__ == "__main__":
    main(*sys.argv[1:])
