"""What a comparison says: a table, JSON, a picture."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmark.cases import IN_SECONDS, MATRIX, NOT_COMPARED, Case
from benchmark.compare import CONTESTANTS, Timing, ratio

Result = tuple[Case, list[Timing]]


def matmul_rate(timings: Sequence[Timing]) -> float:
    """Return the rate of matrix products, FLOP/s, nan where it was not measured."""
    found = [t for t in timings if t.contestant == "matmul" and t.examples_per_second]
    return 2 * MATRIX**3 * found[0].median if found else math.nan


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table: a line for each case and contestant.

    "probvae is faster by" is the median of the ratios of neighbouring turns, with its quartiles; "of the
    matrix rate" is the arithmetic that the task cannot do without, over time and rate of a matrix product.
    Tasks that are done as a whole are in seconds.
    """
    lines = [
        "| case | contestant | examples/s | probvae is faster by | of the matrix rate |",
        "|---|---|---:|---:|---:|",
    ]
    for case, timings in results:
        ours = next((t for t in timings if t.contestant == "probvae"), None)
        rate = matmul_rate(timings)
        for timing in timings:
            if timing.contestant != "matmul" and timing.absent != NOT_COMPARED:
                lines.append(_line(case, timing, ours, rate))
    return "\n".join(lines) + "\n"


def _line(case: Case, timing: Timing, ours: Timing | None, rate: float) -> str:
    name = CONTESTANTS[timing.contestant]
    if not timing.examples_per_second:
        return f"| {case.name} | {name} | absent: {timing.absent} | | |"
    faster = ""
    if ours is not None and ours is not timing and ours.examples_per_second:
        r = ratio(ours, timing)
        faster = f"{r.median:.2f} ({r.low:.2f} to {r.high:.2f})"
    fraction = case.flops * timing.median / rate
    part = "" if math.isnan(fraction) else f"{fraction:.0%}"
    speed = f"{1 / timing.median:.1f} s" if case.task in IN_SECONDS else f"{timing.median:,.0f}"
    return f"| {case.name} | {name} | {speed} | {faster} | {part} |"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return all that was measured, for a JSON file."""
    return [
        {
            "case": dataclasses.asdict(case) | {"name": case.name, "flops": _or_none(case.flops)},
            "matmul_flops_per_second": _or_none(matmul_rate(timings)),
            "timings": [dataclasses.asdict(timing) for timing in timings],
        }
        for case, timings in results
    ]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def figure(results: Sequence[Result]) -> Figure:
    """Draw examples a second, one group of bars a case, on a logarithmic axis; without tasks in seconds."""
    results = [result for result in results if result[0].task not in IN_SECONDS]
    names = [n for n in CONTESTANTS if n != "matmul" and any(_has(n, timings) for _, timings in results)]
    picture = Figure(figsize=(9, 1.2 + 0.28 * len(results) * len(names)), layout="constrained")
    axes = picture.subplots()
    height = 0.8 / max(1, len(names))
    for i, name in enumerate(names):
        places, values = [], []
        for row, (_, timings) in enumerate(results):
            for timing in timings:
                if timing.contestant == name and timing.examples_per_second:
                    places.append(row + (i - (len(names) - 1) / 2) * height)
                    values.append(timing.median)
        axes.barh(places, values, height * 0.9, label=CONTESTANTS[name])
    axes.set(xscale="log", xlabel="examples a second")
    axes.set_yticks(range(len(results)), [case.name for case, _ in results])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    if names:
        axes.legend(loc="lower right", fontsize="small")
    return picture


def _has(name: str, timings: Sequence[Timing]) -> bool:
    return any(t.contestant == name and t.examples_per_second for t in timings)
