"""Makes data.json: digests of orders, splits and synthetic samples, in plain Python.

A second implementation of what docs/protocol.md publishes, so that the server's own is held
against something other than itself. Run: python3 data.py > data.json
"""

import hashlib
import json
import struct

MASK = (1 << 64) - 1


class Generator(object):
    def __init__(self, label, parts):
        text = label.encode() + b"\0" + b"".join(struct.pack(">Q", part) for part in parts)
        self.state = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")

    def draw(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, bound):
        while True:
            draw = self.draw()
            if draw < (1 << 64) - (1 << 64) % bound:
                return draw % bound


def permutation(label, parts, count):
    generator = Generator(label, parts)
    places = list(range(count))
    for i in range(count - 1, 0, -1):
        j = generator.below(i + 1)
        places[i], places[j] = places[j], places[i]
    return places


STRIPES = [(26, 0), (21, 15), (8, 25), (-8, 25), (-21, 15)]
STRIPES += [(46, 0), (37, 27), (14, 44), (-14, 44), (-37, 27)]


def toward_zero(value, divisor):
    return value // divisor if value >= 0 else -(-value // divisor)


def triangle(phase):
    phase %= 256
    return phase - 64 if phase < 128 else 192 - phase


def synthetic(seed, part, count, channels, side):
    pixels, labels = bytearray(), bytearray()
    for index in range(count):
        generator = Generator("reproduceml/synthetic/v1", [seed, part, index, channels, side])
        kind, phase = generator.below(10), generator.below(256)
        amplitude = 10 + generator.below(100)
        column = side * (2 * (kind % 5) + 1) // 10 + generator.below(5) - 2
        row = side * (4 * (kind // 5) + 3) // 10 + generator.below(5) - 2
        along_x, along_y = STRIPES[kind]
        labels.append(kind)
        for _ in range(channels):
            for y in range(side):
                for x in range(side):
                    stripes = triangle(x * along_x + y * along_y + phase) * amplitude
                    near = max(abs(x - column), abs(y - row)) <= 2
                    noise = sum(struct.pack("<Q", generator.draw())[:4]) - 510
                    grey = 128 + toward_zero(stripes, 64) + (12 if near else 0)
                    grey += toward_zero(noise * 40, 256)
                    pixels.append(max(0, min(255, grey)))
    return bytes(pixels), bytes(labels)


def share(samples, fraction):
    return samples if fraction == 1 else max(1, int(samples * fraction + 0.5)) if samples else 0


def f4(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def normalised(pixels, mean, deviation):
    # Of two binary32 numbers, binary64 followed by rounding is the binary32 operation.
    table = [f4(f4(f4(v / 255.0) - f4(mean)) / f4(deviation)) for v in range(256)]
    return struct.pack("<%df" % len(pixels), *[table[v] for v in pixels])


def cut(seed, train, validation, test, fraction):
    """The arrays of `synthetic` with its samples cut into splits; counts of 0 are not handled."""
    area, arrays = 28 * 28, {}
    pixels, labels = synthetic(1, 0, train + validation, 1, 28)
    order = permutation("reproduceml/split/train/v1", [seed], train + validation)
    held = share(validation, fraction)
    splits = {"validation": order[:held], "train": order[held : held + share(train, fraction)]}
    tested, _ = synthetic(1, 1, test, 1, 28)
    order = permutation("reproduceml/split/test/v1", [seed], test)
    splits["test"] = order[: share(test, fraction)]
    for split, places in splits.items():
        source = tested if split == "test" else pixels
        chosen = b"".join(source[area * place : area * (place + 1)] for place in places)
        arrays[split + "/x"] = sha256(normalised(chosen, 0.5, 0.25))
    arrays["train/y"] = sha256(struct.pack("<%dq" % len(splits["train"]), *[labels[p] for p in splits["train"]]))
    return arrays


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def u4(values):
    return struct.pack("<%dI" % len(values), *values)


def main():
    golden = {"orders": [], "synthetic": [], "cuts": []}
    for label, parts, count in [
        ("reproduceml/order/v1", [123, 0], 1000),
        ("reproduceml/order/v1", [123, 1], 1000),
        ("reproduceml/order/v1", [4294967295, 30], 50000),
        ("reproduceml/split/train/v1", [0], 60000),
        ("reproduceml/split/test/v1", [1], 7),
    ]:
        digest = sha256(u4(permutation(label, parts, count)))
        golden["orders"].append({"label": label, "parts": parts, "count": count, "sha256": digest})
    for seed, part, count, channels, side in [(1, 0, 30, 1, 28), (1, 1, 20, 1, 28), (1, 0, 10, 3, 32)]:
        pixels, labels = synthetic(seed, part, count, channels, side)
        case = {"seed": seed, "part": part, "count": count, "channels": channels, "side": side}
        case.update(pixels=sha256(pixels), labels=sha256(labels))
        golden["synthetic"].append(case)
    for seed, train, validation, test, fraction in [(5, 40, 10, 20, 1), (5, 40, 10, 20, 0.25), (6, 30, 5, 7, 0.1)]:
        case = {"seed": seed, "train": train, "validation": validation, "test": test, "fraction": fraction}
        case["arrays"] = cut(seed, train, validation, test, fraction)
        golden["cuts"].append(case)
    print(json.dumps(golden, indent=1))


if __name__ == "__main__":
    main()
