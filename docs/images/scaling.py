"""Measure and draw the cost of training: `python docs/images/scaling.py IMAGES.npz`.

Microseconds an image with 1,000 to 1,000,000 images, read from a file chunk by chunk; with 1 to 50 draws of
z; with 2 to 512 latent dimensions. The points of a line take turns, five rounds. Five minutes on two cores;
--quick takes a moment and measures nothing. FOLDER as a second argument writes there.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from probvae import data, environment
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.models import building
from probvae.training import strategies
from probvae.training.objective import in_parts, make_objective
from probvae.training.optimizer import make_optimizer
from probvae.training.state import EpochSums
from probvae.training.steps import Steps, compile_steps

quick = "--quick" in sys.argv
source, *places = (word for word in sys.argv[1:] if not word.startswith("-"))
folder = Path(next(iter(places), Path(__file__).parent))
ROUNDS, BATCH = (1, 4) if quick else (5, 32)
IMAGES = (50, 100) if quick else (1_000, 10_000, 100_000, 1_000_000)
DRAWS = (1, 2) if quick else (1, 2, 5, 10, 20, 50)
DIMENSIONS = (2, 4) if quick else (2, 32, 128, 256, 512)
strategies.make("none", parts=environment.cores())


def steps_of(x: np.ndarray, *, samples: int = 1, latent: int = 2) -> Steps:
    """Compile training steps of the tutorial's networks over images x [N, 28, 28, 1], uint8."""
    vae = building.build(Architecture(latent_dim=latent))
    name = "iwae" if samples > 1 else "elbo"
    training = Training(batch_size=BATCH, objective=name, num_samples=samples)
    objective = in_parts(make_objective(training, num_examples=len(x)), environment.cores())
    prepared = data.prepare(data.DataSet("scaling", x, x[:100], None, None, 1))
    return compile_steps(vae, make_optimizer(training, len(x)), objective, prepared, seed=0)


def measure(lines: dict[int, tuple[Steps, np.ndarray, int]]) -> dict[int, np.ndarray]:
    """Return microseconds per image [R] of each point, from its steps, its images and its number of steps."""
    measured: dict[int, list[float]] = {key: [] for key in lines}
    rng = np.random.default_rng(0)
    for number in range(ROUNDS + 1):  # the first is not counted
        for key, (steps, x, count) in lines.items():
            rows = rng.integers(0, len(x), [count, BATCH], dtype=np.int32)
            start = time.perf_counter()
            steps(rows, EpochSums())
            if number:
                measured[key].append(1e6 * (time.perf_counter() - start) / (count * BATCH))
    return {key: np.array(values) for key, values in measured.items()}


digits = data.load(source)
binary = (np.asarray(digits.train) > digits.levels / 2).astype(np.uint8)
count = 2 if quick else 100
with tempfile.TemporaryDirectory() as place:
    files = {}
    for n in IMAGES:
        file = np.memmap(Path(place) / str(n), np.uint8, "w+", shape=(n, *binary.shape[1:]))
        for first in range(0, n, len(binary)):
            file[first : first + len(binary)] = binary[: n - first]
        files[n] = file
    by_images = measure({n: (steps_of(x), x, count) for n, x in files.items()})
by_draws = measure({k: (steps_of(binary, samples=k), binary, -(-count // k)) for k in DRAWS})
by_dimensions = measure({n: (steps_of(binary, latent=n), binary, count) for n in DIMENSIONS})

picture = Figure(figsize=(10, 3), layout="constrained")
panels = picture.subplots(1, 3)
titles = ("images, read from a file", "draws of z for each image", "latent dimensions")
for axes, measured, title in zip(panels, (by_images, by_draws, by_dimensions), titles, strict=True):
    works = np.array(list(measured))
    medians = np.array([np.median(times) for times in measured.values()])
    spread = np.array([np.quantile(times, [0.25, 0.75]) for times in measured.values()])
    axes.errorbar(works, medians, np.abs(spread.T - medians), marker="o", ls="", capsize=3)
    axes.set(xlabel=title, ylabel="microseconds an image", ylim=(0, 1.2 * medians.max()))
    if title == titles[0]:
        axes.set_xscale("log")
        print(f"{title}: largest over smallest median {medians.max() / medians.min():.2f}")
    else:
        slope, start = np.polyfit(works, medians, 1)
        off = np.abs(medians - (start + slope * works)).max() / medians.max()
        axes.plot(works, start + slope * works, lw=1, color="0.6", zorder=0)
        print(
            f"{title}: {start:.0f} + {slope:.3g} each; farthest point {off:.1%} of the largest off the line"
        )
    for work, times in measured.items():
        print(f"  {work:>9,}: {np.median(times):8.1f} microseconds an image")
picture.savefig(folder / "scaling.png", dpi=150)
