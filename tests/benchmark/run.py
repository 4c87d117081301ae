"""A run of the benchmark: the cases one after another, and the files that it writes."""

import json
import math
import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmark import table
from benchmark.cases import HEIGHT, TEST, WIDTH, Case
from benchmark.compare import CONTESTANTS, compare
from probvae import data
from probvae.errors import InputError
from probvae.figures.images import to_png
from probvae.files import writing

PACKAGES = ("probvae", "tensorflow", "tensorflow-probability", "tf-keras", "torch", "jax", "flax", "numpy")


def run(source: str, cases: list[Case], peers: list[str], rounds: int, seconds: float, output: Path) -> None:
    """Time the cases; write the table, the JSON and the picture after each of them; print the table."""
    unknown = [name for name in peers if name not in CONTESTANTS]
    if unknown:
        raise InputError(f"peers must be of {', '.join(CONTESTANTS)}; got {unknown[0]!r}.")
    if not math.isfinite(seconds):
        raise InputError(f"seconds must be a finite number; got {seconds}.")
    names = [name for name in CONTESTANTS if not peers or name in (*peers, "probvae", "matmul")]
    x = _images(source)
    output.mkdir(parents=True, exist_ok=True)
    about = {"machine": _machine(), "rounds": rounds, "data": source}
    results: list[table.Result] = []
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "images.npy"
        np.save(images, x)
        for case in cases:
            timings = compare(case, images, names, rounds=rounds, seconds=seconds, on_round=_show)
            results.append((case, timings))
            _write(output, results, about)
            _show("")
    click.echo(table.table(results))
    click.echo(f"in {output}")


def _write(output: Path, results: list[table.Result], about: dict[str, Any]) -> None:
    """Write what is known so far, so that a run that is stopped loses its last case only."""
    writing.write_text(output / "benchmark.md", table.table(results))
    content = {**about, "results": table.as_json(results)}
    writing.write_text(output / "benchmark.json", json.dumps(content, indent=2) + "\n")
    png = to_png(table.figure(results))
    writing.write_atomic(output / "benchmark.png", lambda file: file.write(png))


def _images(source: str) -> np.ndarray:
    """Return binary images [N, 28, 28, 1]: training images, 10,000 or more, and `TEST` test images.

    Where there are fewer, they are repeated.
    """
    examples = data.load(source)
    if examples.event_shape != (HEIGHT, WIDTH, 1):
        raise InputError(
            f"The benchmark's networks take images of {HEIGHT}x{WIDTH}x1; {examples.name} holds examples of "
            f"shape {list(examples.event_shape)}."
        )
    train = np.asarray(examples.train[: min(60_000, len(examples.train))])
    train = np.concatenate([train] * -(-10_000 // len(train)))
    test = np.asarray(examples.test[: min(TEST, len(examples.test))])
    test = np.resize(test, [TEST, *test.shape[1:]])  # repeated, likewise
    return (np.concatenate([train, test]) > examples.levels / 2).astype(np.uint8)


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version_of(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _show(text: str) -> None:
    """Show what is going on, where standard error is a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", err=True, nl=False)
