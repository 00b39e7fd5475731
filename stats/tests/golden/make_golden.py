"""Writes the golden values that SciPy gives; run with SciPy 1.11 or later, pandas and pyarrow.

    python make_golden.py

Samples are not stored but made by a generator that this script, make_golden.R and the Rust tests
share: x_{k+1} = 16807 x_k mod (2^31 - 1) from `seed`, values x_k mod `levels`, the second sample
moved by `shift`. Few levels give ties, a large shift separates the samples.
"""

import csv
import warnings

import numpy as np
import scipy
from scipy import stats

PRIME = 2**31 - 1


def samples(case):
    state = case["seed"]

    def draw(count, shift):
        nonlocal state
        values = []
        for _ in range(count):
            state = 16807 * state % PRIME
            values.append(float(state % case["levels"] + shift))
        return np.array(values)

    return draw(case["n"], 0), draw(case["m"], case["shift"])


def cases():
    rng = np.random.default_rng(20200728)
    sizes = [1, 2, 3, 4, 5, 7, 8, 10, 15, 20, 25, 30, 43, 47, 49, 50, 64, 100, 150, 200]
    made = []
    for index in range(2400):
        n = int(rng.choice(sizes)) if index % 3 else int(rng.integers(1, 201))
        m = n if index % 5 == 0 else int(rng.integers(1, 201)) if index % 3 else int(rng.choice(sizes))
        if index % 2 == 0:
            n, m = min(n, 60), min(m, 60)
        levels = [2**31, 2**31, 2, 5, 30, 200][index % 6]
        scale = [0.0, 0.1, 0.25, 0.5, 1.0, 2.0, -0.3][index % 7]
        spread = PRIME if levels == 2**31 else levels
        made.append(dict(seed=1 + index * 7919, n=n, m=m, levels=levels, shift=int(scale * spread)))
    # Far tails: p down to 1e-300 needs about a thousand values a side.
    for index, size in enumerate([300, 400, 500, 600, 700, 800, 850, 900, 910, 914, 918, 924]):
        for levels in (2**31, 50):
            made.append(dict(seed=77 + index, n=size, m=size, levels=levels, shift=levels))
    return made


def text(value):
    return "" if value is None or not np.isfinite(value) else repr(float(value))


def foreign():
    """A Parquet file as pandas and pyarrow write it: snappy, categories, a missing value."""
    import pandas

    pandas.DataFrame(
        {
            "bug": pandas.Categorical(["pr1"] * 4),
            "evaluation": ["buggy", "buggy", "corrected", "corrected"],
            "run": [0, 1, 0, 1],
            "accuracy": [0.5, 0.25, 0.75, None],
        }
    ).to_parquet("pandas.parquet")


def main():
    warnings.simplefilter("ignore")
    rows = []
    for case in cases():
        x, y = samples(case)
        n, m = len(x), len(y)
        distinct = len(set(x) | set(y)) == n + m
        row = dict(case)
        constant = len(set(x) | set(y)) == 1

        def u(**options):
            if constant:
                return None
            return stats.mannwhitneyu(x, y, **options).pvalue

        row["u"] = text(stats.mannwhitneyu(x, y, method="asymptotic").statistic)
        row["p"] = text(u(method="asymptotic"))
        row["p_uncorrected"] = text(u(method="asymptotic", use_continuity=False))
        row["p_less"] = text(u(method="asymptotic", alternative="less"))
        row["p_exact"] = row["p_exact_less"] = ""
        if distinct and n + m <= 400:
            row["p_exact"] = text(u(method="exact"))
            row["p_exact_less"] = text(u(method="exact", alternative="less"))
        row["bm_statistic"] = row["bm_p"] = row["fligner_statistic"] = row["fligner_p"] = ""
        if min(n, m) >= 2:
            bm = stats.brunnermunzel(x, y)
            row["bm_statistic"], row["bm_p"] = text(bm.statistic), text(bm.pvalue)
            fk = stats.fligner(x, y, center="median")
            row["fligner_statistic"], row["fligner_p"] = text(fk.statistic), text(fk.pvalue)
        rows.append(row)
    with open("scipy.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    foreign()
    print(f"{len(rows)} cases with SciPy {scipy.__version__}")


if __name__ == "__main__":
    main()
