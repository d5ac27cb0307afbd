"""Run many damaged model files through the loader: `python tests/fuzz/fuzz_weights.py --mutants 100000 --seed 1`.

Prints how each kind of file fared, ends with one JSON line, and stops with the edits of the first mutant that made
anything but an error of ours escape, or that took more memory than allowed.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from mutants import EDITS, TELLING_VALUES, Edit, apply, outcome, write_seeds

MEMORY_LIMIT_KIB = 64 << 10


def random_edits(rng: random.Random) -> list[Edit]:
    edits: list[Edit] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        value = rng.choice(TELLING_VALUES) if rng.random() < 0.6 else rng.getrandbits(64)
        edits.append((rng.choice(EDITS), rng.random() ** rng.choice((1, 3)), value))
    return edits


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    rng = random.Random(arguments.seed)
    counts: dict[str, Counter[str]] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = {name: (*paths, paths[1].read_bytes()) for name, paths in write_seeds(Path(folder)).items()}
        for path, _, _ in seeds.values():
            if outcome(path) != "loaded":
                raise SystemExit(f"{path} should load undamaged")
        baseline_kib = peak_kib()
        for number in range(arguments.mutants):
            name = rng.choice(list(seeds))
            path, damaged, sound = seeds[name]
            edits = random_edits(rng)
            damaged.write_bytes(apply(sound, edits))
            try:
                found = outcome(path)
            except BaseException:
                print(f"mutant {number} of {name}: {edits!r}", file=sys.stderr)
                raise
            if peak_kib() - baseline_kib > MEMORY_LIMIT_KIB:
                raise SystemExit(f"mutant {number} of {name} took {peak_kib() - baseline_kib} KiB: {edits!r}")
            damaged.write_bytes(sound)
            counts.setdefault(name, Counter())[found] += 1
    for name, counter in counts.items():
        print(f"{name:12} " + "  ".join(f"{found} {count}" for found, count in counter.most_common()))
    print(json.dumps({
        "mutants": arguments.mutants, "seed": arguments.seed, "escaped": 0,
        "peak_growth_kib": peak_kib() - baseline_kib, "elapsed_s": round(time.monotonic() - started, 1),
        "outcomes": counts,
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
