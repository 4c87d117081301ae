"""Peak memory and time of the calls that grow with draws or examples, as the table of docs/reliability.md.

Run it with `python tests/tools/memory.py`; each call has a process of its own.
"""

import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

CALLS = {
    "probvae.iwae(vae, x[:16], num_samples=1000)": lambda p, vae, x: p.iwae(
        vae, x[:16], num_samples=1000, seed=0
    ),
    "probvae.iwae(vae, x[:16], num_samples=5000)": lambda p, vae, x: p.iwae(
        vae, x[:16], num_samples=5000, seed=0
    ),
    "probvae.elbo(vae, x), 60,000 images": lambda p, vae, x: p.elbo(vae, x, seed=0),
    "vae.sample(100000)": lambda p, vae, x: vae.sample(100_000, seed=0),
    "vae.predict(x), 60,000 images": lambda p, vae, x: vae.predict(x, batch_size=60_000, verbose=0),
}


def peak() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str) -> None:
    """Print a row of the table."""
    import probvae

    vae = probvae.conv_vae((28, 28, 1))
    vae.compile("adam")
    x = (np.random.default_rng(0).random([60_000, 28, 28, 1], np.float32) < 0.5).astype(np.float32)
    probvae.elbo(vae, x[:2], seed=0)
    before, start = peak(), time.perf_counter()
    CALLS[name](probvae, vae, x)
    print(f"| `{name}` | {peak() - before:.2f} GiB | {time.perf_counter() - start:.0f} s |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        print("| call | memory above that of TensorFlow and the data | time |\n|---|---:|---:|", flush=True)
        for name in CALLS:
            subprocess.run([sys.executable, __file__, name], check=True)
