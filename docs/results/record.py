"""The record of the results, docs/results/record.json, and the comparison of new results with it."""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measures import Measure

from probvae.environment import cores

PATH = Path(__file__).with_name("record.json")
QUICK = Path(__file__).with_name("quick.json")  # record of the small versions
SIGMAS = 4  # largest difference, in errors, that passes as the same result

Record = dict[str, dict[str, dict[str, Any]]]  # by entry and seed: measures, minutes, machine


def read(path: Path = PATH) -> Record:
    """Read a record; an empty one if there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def add(path: Path, name: str, seed: int, run: Mapping[str, Any]) -> None:
    """Write the result of an entry and a seed into a record."""
    record = read(path)
    record.setdefault(name, {})[str(seed)] = dict(run)
    ordered = {
        key: dict(sorted(record[key].items(), key=lambda item: int(item[0]))) for key in sorted(record)
    }
    path.write_text(json.dumps(ordered, indent=1) + "\n")


def machine() -> str:
    """Return the processor, its number of cores, and the version of TensorFlow."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    pairs = (line.partition(":") for line in reversed(lines))  # so that the first processor is the last
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    processor = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        processor += f" (family {facts['cpu family']}, model {facts['model']})"
    number = f"{cores()} core{'s' if cores() > 1 else ''}"
    return f"{processor}, {number}, TensorFlow {version('tensorflow')}"


class Expected(NamedTuple):
    """The recorded value of a measure, with its three errors.

    Attributes:
      value: Mean over the recorded seeds.
      seeds: Standard deviation over seeds, pooled over the rows of the kind; NaN if no row has two seeds.
      images: Standard error over images, the mean over seeds.
      draws: Monte Carlo error, the mean over seeds.
      number: Number of recorded seeds.
    """

    value: float
    seeds: float
    images: float
    draws: float
    number: int

    @property
    def tolerance(self) -> float:
        """Largest difference of a new result; not of the error over images, as these are the same."""
        return SIGMAS * float(np.hypot(self.seeds, self.draws))


def measures_of(runs: Mapping[str, Mapping[str, Any]], measure: str) -> list[Measure]:
    """Return a measure of all recorded seeds."""
    return [Measure(*run["measures"][measure]) for run in runs.values() if measure in run["measures"]]


def expected(record: Record, name: str, measure: str, kind: Iterable[str]) -> Expected | None:
    """Return the recorded value of a measure, or None if there is none; `kind` are the entries to pool."""
    measures = measures_of(record.get(name, {}), measure)
    if not measures:
        return None
    value, images, draws = np.mean(measures, axis=0)
    return Expected(float(value), pooled(record, kind, measure), float(images), float(draws), len(measures))


def pooled(record: Record, names: Iterable[str], measure: str) -> float:
    """Return the standard deviation over seeds, pooled over entries; NaN if none has two seeds."""
    squares, freedom = 0.0, 0
    for name in names:
        values = [found.value for found in measures_of(record.get(name, {}), measure)]
        if len(values) > 1:
            squares += float(np.sum((np.array(values) - np.mean(values)) ** 2))
            freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


class Verdict(NamedTuple):
    """The comparison of a measure with the record, in words, and whether it fails."""

    text: str
    fails: bool = False


def compare(found: Measure, before: Measure | None, usual: Expected | None) -> Verdict:
    """Compare a new result with the record.

    Args:
      found: New result.
      before: Recorded result of the same seed on the same machine, if there is one.
      usual: Recorded results of all seeds, if there are any.
    """
    if before is not None:
        same = found.value == before.value
        words = (
            "the recorded digits" if same else f"NOT the digits recorded on this machine, {before.value!r}"
        )
        return Verdict(words, fails=not same)
    if usual is None:
        return Verdict("not recorded")
    off = abs(found.value - usual.value)
    if not np.isfinite(usual.tolerance):
        return Verdict(f"{off:.4g} from the record of one seed, whose deviation is not known")
    words = f"{off:.4g} from the record, within {usual.tolerance:.4g}"
    if off > usual.tolerance or not np.isfinite(found.value):
        return Verdict(words.replace("within", "BEYOND"), fails=True)
    return Verdict(words)
