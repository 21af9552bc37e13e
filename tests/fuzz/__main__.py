"""Many damaged files from one seed: ``python -m fuzz --inputs 100000 --seed 1``, in the folder ``tests``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .running import Found, Fuzz

MOST_SHOWN = 5
_BATCH = 2000


def batch(seed: int, numbers: range) -> Found:
    """Run some of the inputs in a separate process and folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return Fuzz(Path(folder), seed).go(numbers)


def main() -> int:
    """Run the inputs, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, metavar="N", help="damaged files (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="what they are drawn from (default: 1)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this input alone, again")
    parser.add_argument("-n", type=int, default=1, metavar="N", dest="processes", help="processes (default: 1)")
    options = parser.parse_args()
    if options.only is not None:
        batches = [range(options.only, options.only + 1)]
    else:
        batches = [range(n, min(n + _BATCH, options.inputs)) for n in range(0, options.inputs, _BATCH)]
    whole = Found()
    codes: Counter[int] = Counter()
    with ProcessPoolExecutor(options.processes) as pool:
        for found in pool.map(batch, [options.seed] * len(batches), batches):
            whole.inputs += found.inputs
            whole.wrong += found.wrong
            codes += found.codes
            for told in found.wrong[:MOST_SHOWN]:
                print(told, flush=True)
            print(f"{whole.inputs:,} damaged files, {len(whole.wrong)} wrong", file=sys.stderr, flush=True)
    ended = ", ".join(f"{count:,} with {code}" for code, count in sorted(codes.items()))
    print(f"{whole.inputs:,} damaged files, seed {options.seed}: {len(whole.wrong)} wrong; commands ended {ended}")
    return 1 if whole.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
