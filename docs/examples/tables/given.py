"""Time of 1,000 rows given a rare condition, from a loaded run: docs/tables.md.

    python docs/examples/tables/given.py RUN --given sex=Female --given age=60..70 --given occupation=Sales

The first draw includes the loading of TensorFlow's kernels; every draw compiles its condition anew.
"""

import argparse
import math
import statistics
import time

import probvae
from probvae.data.conditions import parse

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", help="folder of a run of a table")
parser.add_argument("--given", action="append", required=True, help="condition, as of probvae-sample")
parser.add_argument("--num", type=int, default=1000, help="number of rows")
parser.add_argument("--seeds", type=int, default=5, help="number of draws")


def main() -> None:
    """Print the seconds of draws, and how well they are drawn."""
    options = parser.parse_args()
    vae = probvae.open_run(options.run).model
    given = parse(vae.schema, options.given)
    seconds, busy = [], []
    for seed in range(options.seeds):
        started, processor = time.monotonic(), time.process_time()
        drawn = probvae.sampling.sample_given(vae, given, options.num, seed=seed)
        probvae.data.to_frame(vae.schema, drawn.x)
        seconds.append(time.monotonic() - started)
        busy.append(time.process_time() - processor)
        size, probability = drawn.effective_sample_size, math.exp(drawn.log_probability)
        print(f"{seconds[-1]:.2f} s, {busy[-1]:.2f} s of the processor, {size:,.0f} effective draws of z")
        print(f"probability of the condition {probability:.2e} ± {drawn.standard_error:.0%}")
    print(f"median {statistics.median(seconds):.2f} s, {statistics.median(busy):.2f} s of the processor")


if __name__ == "__main__":
    main()
