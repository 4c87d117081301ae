"""Runs of several contestants in turn, each in its own process: A B C, A B C, ...; medians of ratios."""

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cases import IN_SECONDS, Case

CONTESTANTS = {
    "probvae": "probvae",
    "tutorial": "the tutorial's loop",
    "keras": "Keras fit, TFP layers",
    "pytorch": "PyTorch eager",
    "pytorch_compiled": "PyTorch compiled",
    "flax": "JAX with Flax",
    "decoder": "the decoder alone",
    "matmul": "matrix products",
}
TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENT = {  # variables of the contestants' processes, which import from this checkout first
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_WAIT_POLICY": "PASSIVE",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH")])
    ),
}


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one contestant took, round by round.

    Attributes:
      contestant: a key of `CONTESTANTS`.
      examples_per_second: [R].
      absent: why there are none; empty where there are.
    """

    contestant: str
    examples_per_second: tuple[float, ...] = ()
    absent: str = ""

    @property
    def median(self) -> float:
        """Examples a second."""
        return float(np.median(self.examples_per_second))


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as fast one is as another: quartiles over pairs of turns that are neighbours."""

    low: float
    median: float
    high: float


def ratio(a: Timing, b: Timing) -> Ratio:
    """Return speed of a over speed of b.

    >>> ratio(Timing("a", (2.0, 4.0, 9.0)), Timing("b", (1.0, 2.0, 3.0))).median
    2.0
    """
    pairs = np.divide(a.examples_per_second, b.examples_per_second)
    return Ratio(*(float(q) for q in np.quantile(pairs, [0.25, 0.5, 0.75])))


class _Worker:
    """A contestant's process."""

    def __init__(self, name: str, images: Path, case: Case) -> None:
        command = [sys.executable, "-m", "benchmark.worker", name, str(images)]
        self.process = subprocess.Popen(
            [*command, json.dumps(dataclasses.asdict(case))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        self.name = name
        self.absent = self._read().get("absent", "")

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        return json.loads(line) if line else {"absent": f"it ended with code {self.process.wait()}"}

    def seconds(self, examples: int) -> float:
        """Let it work; return the seconds that it took: nan, and `absent` says why, where it failed."""
        assert self.process.stdin is not None
        if not self.absent:
            print(examples, file=self.process.stdin, flush=True)
            found = self._read()
            self.absent = found.get("absent", "")
            if not self.absent and math.isnan(found["seconds"]):
                self.absent = "it did not get there"
        return math.nan if self.absent else float(found["seconds"])

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self.process.wait()


def compare(
    case: Case,
    images: Path,
    contestants: Sequence[str],
    *,
    rounds: int = 7,
    seconds: float = 1.0,
    on_round: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Time a case with several contestants in turn.

    Args:
      case: what to do.
      images: an .npy file of binary images [N, 28, 28, 1], uint8.
      contestants: keys of `CONTESTANTS`.
      rounds: how often each takes its turn.
      seconds: that a turn shall take, about; one batch at least.
      on_round: called with a line of text before each turn.
    """
    workers, sizes = {}, {}
    for name in contestants:
        on_round(f"{case.name}: preparing {CONTESTANTS[name]}")
        workers[name] = _Worker(name, images, case)
        if not workers[name].absent:
            sizes[name] = _size(workers[name], case, images, seconds)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, worker in workers.items():
            if not worker.absent:
                on_round(f"{case.name}: round {number + 1} of {rounds}, {CONTESTANTS[name]}")
                speeds[name].append(sizes[name] / worker.seconds(sizes[name]))
    for worker in workers.values():
        worker.close()
    return [
        Timing(name, () if workers[name].absent else tuple(speeds[name]), workers[name].absent)
        for name in contestants
    ]


def _size(worker: _Worker, case: Case, images: Path, seconds: float) -> int:
    """Return how many examples take a turn, after a run or more that are not counted."""
    if worker.name != "matmul" and case.task in ("exact", *IN_SECONDS):
        number = case.batch if case.task == "exact" else 1
        if case.task != "reach":  # where compiling counts
            worker.seconds(number)
        return number
    batch = 1 if worker.name == "matmul" else case.batch
    worker.seconds(batch)
    number = batch
    while (taken := worker.seconds(number)) < seconds / 4 and not worker.absent:
        number *= 4
    if worker.absent:
        return 0
    most = len(np.load(images, mmap_mode="r")) if case.task == "iwae" else 10**9
    return min(most, max(1, round(number * seconds / taken / batch)) * batch)
