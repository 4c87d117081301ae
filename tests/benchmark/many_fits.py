"""Time and memory of many fits of `VAETransformer` in one process.

    python tests/benchmark/many_fits.py                        # 200 fits of one architecture
    python tests/benchmark/many_fits.py --architectures 10     # of ten in turn

Prints the seconds of the first fit of each architecture and of the later ones (one epoch on 200 rows of 10
columns, 7 steps, so that nearly all is overhead), and the resident memory at intervals; the growth is that
from the end of the warm-up on.
"""

import argparse
import statistics
import time

import numpy as np

from probvae.sklearn import VAETransformer


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def main() -> None:
    """Fit, and print a line for every tenth of the fits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--architectures", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=20, help="fits before the growth is counted")
    parser.add_argument("--scores", action="store_true", help="score the rows after each fit, too")
    options = parser.parse_args()
    x = np.random.default_rng(0).standard_normal([200, 10])
    first, later, start = [], [], 0.0
    for i in range(options.fits):
        which = i % options.architectures
        vae = VAETransformer(units=(20 + which,), epochs=1, random_state=i, score_num_samples=5)
        before = time.perf_counter()
        vae.fit(x)
        seconds = time.perf_counter() - before
        (first if i < options.architectures else later).append(seconds)
        if options.scores:
            vae.score_samples(x)
        if i + 1 == max(options.warm_up, options.architectures):
            start = resident()
        if (i + 1) % max(1, options.fits // 10) == 0:
            print(f"{i + 1:4d} fits  {resident():7.1f} MB", flush=True)
    print(f"first fit of an architecture: {statistics.median(first):.3f} s")
    if later:
        print(f"later fits: median {statistics.median(later):.3f} s, longest {max(later):.3f} s")
    print(f"grown by {resident() - start:.1f} MB after the warm-up")


if __name__ == "__main__":
    main()
