"""What the tables and pictures of a report hold: plain rows of text, which the templates escape."""

import base64
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.evaluation.estimates import paired_difference, refuse_unless_comparable
from probvae.runs.files import Evaluation, Frame, RunFiles, number
from probvae.runs.reports import charts

LONGEST = 300  # characters of a value
ROWS = 200  # of the history's table, at most
MINUS = "\N{MINUS SIGN}"
TERMS = {  # title of a chart -> column of the history and its name in the legend
    "Evidence lower bound (nats)": {
        "test_elbo": "test ELBO",
        "train_elbo": "training objective",
        "validation_elbo": "validation ELBO",
    },
    "Reconstruction E[log p(x|z)] (nats)": {"test_log_likelihood": "test"},
    "KL(q(z|x) || p(z)) (nats)": {"test_kl": "test"},
    "Learning rate": {"learning_rate": "at the end of each epoch"},
    "Examples a second": {"images_per_second": "training"},
}
KINDS = {"image": "Reconstructions of the test images", "prior": "Prior draws, decoded"}
CAPTIONS = {
    "latent_manifold": "Mean of p(x|z) over the latent plane",
    "latent_means": "Means of q(z|x) of the test images, coloured by label where labels are known",
    "latent_projection": "Means of q(z|x) of test images on their first two principal components",
    "traversals": "One latent dimension a row moves while the others stay; means of p(x|z)",
    "bound_against_samples": "Importance-weighted bound against the number of draws",
    "gaps": "What the ELBO loses, over the images",
    "posterior_contours": "True and approximate posterior of a few test images",
}


class Picture(NamedTuple):
    """A picture with its caption, which is also what a reader hears who does not see it."""

    source: str
    caption: str


class Chart(NamedTuple):
    """A drawing, its title, a legend of colour number, name and last value, and what it shows in words."""

    title: str
    drawing: Any
    legend: list[tuple[int, str, str]]
    description: str


class Reel(NamedTuple):
    """Pictures of one kind, each with the first position of the slider at which it is shown."""

    title: str
    frames: list[tuple[int, Picture]]


class Slider(NamedTuple):
    """Reels that one slider moves, and the words for its positions."""

    positions: list[str]
    reels: list[Reel]


def shown(value: Any, digits: int = 4) -> str:
    """Write a value for people.

    >>> shown(-12.3456), shown(True), shown((3, 4)), shown(None)
    ('−12.35', 'yes', '3, 4', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:,.2f}" if 1 <= abs(value) < 1e9 else f"{value:.{digits}g}"
        return text.replace("-", MINUS)
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = text or "none"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def with_error(mean: float | None, error: float | None) -> str:
    """Write a mean with its standard error."""
    if error is None or mean is None:
        return shown(mean)
    return (
        f"{shown(mean)} ± {error:.2f}"
        if abs(mean) >= 1 and error >= 0.005
        else f"{shown(mean)} ± {error:.2g}"
    )


def headline(run: RunFiles) -> list[tuple[str, str, str]]:
    """Return the numbers at the top: a name, a value, a remark."""
    last = {name: float(column[-1]) for name, column in run.history.items()}

    def test(name: str) -> str:
        mean = run.metric(name, "mean")
        return with_error(last.get(name) if mean is None else mean, run.metric(name, "standard_error"))

    epochs, seconds = last.get("epoch", 0.0), run.history.get("seconds")
    rows = [
        ("Test ELBO", test("test_elbo"), "nats ± standard error"),
        ("Reconstruction", test("test_log_likelihood"), "E[log p(x|z)], nats"),
        ("KL", test("test_kl"), "q(z|x) from p(z), nats"),
        ("Epochs", f"{epochs:.4g}", f"of {run.training.epochs:,}"),
    ]
    exact = run.evaluation and not run.evaluation.stale and run.evaluation.results.get("exact")
    if exact:
        value = with_error(number(exact, "mean"), number(exact, "standard_error"))
        rows.insert(1, ("log p(x), exact", value, "nats ± standard error"))
    if seconds is not None:
        rows.append(("Training time", _duration(float(np.nansum(seconds))), _speed(run)))
    if (weights := run.metric("num_weights")) is not None:
        rows.append(("Weights", f"{weights:,.0f}", "trained values"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _speed(run: RunFiles) -> str:
    speed = run.metric("images_per_second")
    return "" if speed is None else f"{speed:,.0f} examples a second"


# ---- configuration -----------------------------------------------------------------------------------


def settings(part: Architecture | Training) -> list[tuple[str, str, bool]]:
    """Return the fields of a configuration: name, value, whether it differs from the default."""
    return [
        (f.name, shown(getattr(part, f.name)), getattr(part, f.name) != f.default)
        for f in dataclasses.fields(part)
    ]


def differences(runs: Sequence[RunFiles]) -> list[tuple[str, list[str]]]:
    """Return the fields that are not the same in all runs, with each run's value."""
    rows = []
    for part in ("architecture", "training"):
        for f in dataclasses.fields(getattr(runs[0], part)):
            values = [getattr(getattr(run, part), f.name) for run in runs]
            if any(value != values[0] for value in values):
                rows.append((f.name, [shown(value) for value in values]))
    return rows


# ---- history and evaluation ----------------------------------------------------------------------------


def history(run: RunFiles) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the history, at equal steps where there are many."""
    names = list(run.history)
    n = len(run.history[names[0]]) if names else 0
    chosen = range(n) if n <= ROWS else [round(i * (n - 1) / (ROWS - 1)) for i in range(ROWS)]
    return names, [[shown(float(run.history[name][i])) for name in names] for i in chosen]


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """Return the table: name, mean, error over examples, of draws, interval, examples, unit, note."""
    rows = []
    for key, line in evaluation.results.items():
        mean, error, drawn, low, high, n = (
            number(line, name)
            for name in ("mean", "standard_error", "monte_carlo_error", "low", "high", "num_examples")
        )
        interval = "" if low is None or high is None else f"{shown(low)} to {shown(high)}"
        texts = [shown(line.get(name, "")) if line.get(name) else "" for name in ("unit", "note")]
        numbers = ["" if v is None else shown(v, 3) for v in (error, drawn)]
        count = "" if n is None else f"{n:,.0f}"
        rows.append([shown(line.get("name") or key), shown(mean), *numbers, interval, count, *texts])
    return rows


# ---- charts ------------------------------------------------------------------------------------------


def learning_curves(runs: Sequence[RunFiles]) -> list[Chart]:
    """Draw every term of the history: one run's curves, or each term of several runs over each other."""
    found = []
    for title, columns in TERMS.items():
        for column, name in columns.items() if len(runs) > 1 else [("", "")]:
            chosen = {column: name} if column else columns
            lines, legend = [], []
            for run_number, run in enumerate(runs):
                for colour, (key, label) in enumerate(chosen.items()):
                    y, x = run.history.get(key), run.history.get("epoch")
                    if y is None or x is None or not np.any(np.isfinite(y)):
                        continue
                    colour = run_number if len(runs) > 1 else colour
                    lines.append(charts.Line(x, y, colour, dashed=key == "train_elbo" and len(runs) == 1))
                    legend.append(
                        (
                            colour % len(charts.SERIES),
                            run.name if len(runs) > 1 else label,
                            shown(float(y[-1])),
                        )
                    )
            if lines:
                head = f"{title}: {name}" if column and len(columns) > 1 else title
                ends = "; ".join(f"{label} ends at {value}" for _, label, value in legend)
                found.append(Chart(head, charts.curves(lines), legend, f"{head} by epoch. {ends}."))
    return found


def dimensions(variance: np.ndarray | None, active: float) -> Chart | None:
    """Draw how much of each latent dimension is used."""
    if variance is None:
        return None
    n, used = len(variance), int(np.sum(variance > active))
    first = f", the first {charts.BARS} of {n:,}" if n > charts.BARS else ""
    title = "Variance of E[z|x] over the test set, by latent dimension" + first
    legend = [(0, f"{used:,} of {n:,} dimensions are used", "")]
    description = f"{title}. {used} of {n} are above {active:g}, dashed, and so in use."
    return Chart(title, charts.bars(variance, active), legend, description)


# ---- pictures ----------------------------------------------------------------------------------------


def picture(png: bytes, caption: str) -> Picture:
    """Put a PNG into the page itself."""
    return Picture("data:image/png;base64," + base64.b64encode(png).decode(), caption)


def pictures(found: dict[str, bytes]) -> list[Picture]:
    """Return the pictures that have a caption here, in the order of the captions."""
    return [picture(found[name], caption) for name, caption in CAPTIONS.items() if name in found]


def slider(runs: Sequence[RunFiles]) -> Slider | None:
    """Return the pictures through the epochs of one run, or of several on one axis of epochs."""
    epochs = sorted({frame.epoch for run in runs for frames in run.frames.values() for frame in frames})
    if not epochs:
        return None
    reels = []
    for run in runs:
        for kind, what in KINDS.items():
            if frames := run.frames.get(kind):
                title = f"{run.name}: {what}" if len(runs) > 1 else what
                reels.append(Reel(title, [_placed(frame, title, epochs) for frame in frames]))
    return Slider([_when(epoch) for epoch in epochs], reels)


def _placed(frame: Frame, title: str, epochs: list[float]) -> tuple[int, Picture]:
    return epochs.index(frame.epoch), picture(frame.png, f"{title}, {_when(frame.epoch)}")


def _when(epoch: float) -> str:
    return f"epoch {epoch:.4g}" if epoch else "before training"


# ---- paired comparison -------------------------------------------------------------------------------


class Pair(NamedTuple):
    """First minus second over the same examples, or why they cannot be compared."""

    first: str
    second: str
    what: str = ""
    difference: str = ""
    interval: str = ""
    better: str = ""
    num_examples: str = ""
    clear: bool = False  # whether the interval leaves zero out
    refused: str = ""


def pairs(runs: Sequence[RunFiles]) -> list[Pair]:
    """Compare every two runs by their evaluations, example by example."""
    return [_pair(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]


def _pair(a: RunFiles, b: RunFiles) -> Pair:
    for run in (a, b):
        if run.evaluation is None:
            return Pair(a.name, b.name, refused=f"{run.name} has no evaluation: run probvae-evaluate on it.")
        if run.evaluation.stale:
            why = f"the evaluation of {run.name} is of other weights: evaluate it again, with --overwrite."
            return Pair(a.name, b.name, refused=why)
    if a.evaluation is None or b.evaluation is None:
        raise AssertionError
    ours, theirs = a.evaluation, b.evaluation
    common = ours.arrays.keys() & theirs.arrays.keys()
    method = "exact" if "exact" in common else "iwae"
    shared = {"method": method, **({"num_samples": None} if method == "exact" else {})}
    try:
        if method not in common:
            raise InputError("Both evaluations must hold a bound for each example.")
        refuse_unless_comparable({**ours.conditions, **shared}, {**theirs.conditions, **shared})
        d = paired_difference(ours.arrays[method], theirs.arrays[method])
    except InputError as error:
        return Pair(a.name, b.name, refused=str(error).removesuffix(", or add --force."))
    if not math.isfinite(d.mean):
        return Pair(a.name, b.name, refused="a value is not finite.")
    what = "log p(x), exact" if method == "exact" else "importance-weighted bound"
    return Pair(
        *(a.name, b.name, what, _signed(d.mean), f"{_signed(d.low)} to {_signed(d.high)}"),
        better=f"{d.first_better:.0%}",
        num_examples=f"{len(ours.arrays[method]):,}",
        clear=d.low > 0 or d.high < 0,
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)
