"""Contents of the tables, charts and pictures of a report, as plain text that the templates escape."""

import base64
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data import schema_text
from probvae.data.schema import Schema
from probvae.display import example_noun
from probvae.errors import InputError
from probvae.evaluation.activity import ACTIVE, used_dimensions
from probvae.runs.comparison import compare_evaluations
from probvae.runs.files import EvaluationResults, epoch_pictures, number
from probvae.runs.folder import EVALUATION, IMAGES
from probvae.runs.reports import charts
from probvae.runs.run import Run

LONGEST = 300  # largest number of characters of a value
ROWS = 200  # largest number of rows in the table of the history
FRAMES = 24  # largest number of pictures of a kind over the epochs
ORIGINALS = "originals.png"
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
KINDS = {"image": "Reconstructions of the test examples", "prior": "Prior draws, decoded"}
CAPTIONS = {
    "latent_manifold.png": "Mean of p(x|z) over the latent plane",
    "latent_means.png": "Means of q(z|x) of the test examples, coloured by label where labels are known",
    "latent_projection.png": "Means of q(z|x) of test examples on their first two principal components",
    "traversals.png": "One latent dimension a row moves while the others stay; means of p(x|z)",
}
EVALUATION_CAPTIONS = {
    f"{EVALUATION}/bound_against_samples.png": "Importance-weighted bound against the number of draws",
    f"{EVALUATION}/certificate_coverage.png": "What regions of q(z|x) hold of the true z, simulated data",
    f"{EVALUATION}/certificate_ranks.png": "Ranks of the true z among draws of q(z|x), simulated data",
    f"{EVALUATION}/certificate_test_coverage.png": "What regions of q(z|x) hold of p(z|x), test data",
    f"{EVALUATION}/certificate_test_ranks.png": "Ranks of draws of p(z|x) among draws of q(z|x), test data",
    f"{EVALUATION}/gaps.png": "What the ELBO loses, over the examples",
    f"{EVALUATION}/posterior_contours.png": "True and approximate posterior of a few test examples",
}


class Picture(NamedTuple):
    """A picture with its caption, which is also its alternative text."""

    source: str
    caption: str


class Chart(NamedTuple):
    """A drawing, its title, a legend of colour index, if any, name and last value, and its description."""

    title: str
    drawing: Any
    legend: Sequence[tuple[int | None, str, str]]
    description: str


class Reel(NamedTuple):
    """Pictures of one kind, each with the first position of the slider at which it is shown."""

    title: str
    frames: list[tuple[int, Picture]]


class Slider(NamedTuple):
    """Reels that one slider moves, and the titles of its positions."""

    positions: list[str]
    reels: list[Reel]


def shown(value: Any, digits: int = 4) -> str:
    """Format a value for readers.

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
    """Format a mean with its standard error."""
    if error is None or mean is None:
        return shown(mean)
    return (
        f"{shown(mean)} ± {error:.2f}"
        if abs(mean) >= 1 and error >= 0.005
        else f"{shown(mean)} ± {error:.2g}"
    )


def headline(run: Run) -> list[tuple[str, str, str]]:
    """Return the results at the top of a report: name, value and remark."""
    last = {name: float(column[-1]) for name, column in run.history.items()}

    def test(name: str) -> str:
        mean = run.metric(name, "mean")
        return with_error(last.get(name) if mean is None else mean, run.metric(name, "standard_error"))

    has_units = run.saved_schema is not None and run.saved_schema.has_units
    coded, of_data = (", in the units of x", ", in the units of the data") if has_units else ("", "")
    epochs, seconds = last.get("epoch", 0.0), run.history.get("seconds")
    rows = [
        ("Test ELBO", test("test_elbo"), f"nats ± standard error{coded}"),
        ("Reconstruction", test("test_log_likelihood"), f"E[log p(x|z)], nats{coded}"),
        ("KL", test("test_kl"), "q(z|x) from p(z), nats"),
        ("Epochs", f"{epochs:.4g}", f"of {run.training.epochs:,}"),
    ]
    if run.evaluation and not run.is_evaluation_stale and (exact := run.evaluation.results.get("exact")):
        value = with_error(number(exact, "mean"), number(exact, "standard_error"))
        rows.insert(1, ("log p(x), exact", value, f"nats ± standard error{of_data}"))
    if seconds is not None:
        speed = run.metric("images_per_second")
        remark = "" if speed is None else f"{speed:,.0f} examples a second"
        rows.append(("Training time", _duration(float(np.nansum(seconds))), remark))
    if (weights := run.metric("num_weights")) is not None:
        rows.append(("Weights", f"{weights:,.0f}", "trained values"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---- configuration -----------------------------------------------------------------------------------


def settings(config: Architecture | Training, *, has_images: bool) -> list[tuple[str, str, bool]]:
    """Return the fields of a configuration: name, value, and True if it differs from the default.

    Fields that only images have are left out unless `has_images`.
    """
    return [
        (field.name, shown(config.chosen(field.name)), getattr(config, field.name) != field.default)
        for field in dataclasses.fields(config)
        if has_images or not field.metadata["of_images"]
    ]


def columns(schema: Schema) -> list[tuple[str, str, bool]]:
    """Return the columns of a table: name, kind with levels or range, and False."""
    return [(c.name, f"{c.kind}, {schema_text.levels_or_range(c)}", False) for _, c in schema.in_place]


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the fields that differ between runs, each with its values in all runs."""
    rows = []
    for part in ("architecture", "training"):
        for f in dataclasses.fields(getattr(runs[0], part)):
            values = [getattr(run, part).chosen(f.name) for run in runs]
            if any(value != values[0] for value in values):
                rows.append((f.name, [shown(value) for value in values]))
    return rows


# ---- history and evaluation ----------------------------------------------------------------------------


def history(run: Run) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the history, evenly thinned to at most `ROWS`."""
    names = list(run.history)
    chosen = _evenly(range(len(run.history[names[0]]) if names else 0), ROWS)
    rows = [[shown(float(run.history[name][i])) for name in names] for i in chosen]
    noun = example_noun(run.architecture.event_shape)
    return [name.replace("images_", f"{noun}s_") for name in names], rows


def evaluation_rows(evaluation: EvaluationResults) -> list[list[str]]:
    """Return the rows: name, mean, error over examples, error of draws, interval, examples, unit, note."""
    rows = []
    for key, line in evaluation.results.items():
        mean, error, drawn, low, high, n = (
            number(line, name)
            for name in ("mean", "standard_error", "monte_carlo_error", "low", "high", "num_examples")
        )
        interval = "" if low is None or high is None else f"{shown(low)} to {shown(high)}"
        texts = [shown(line.get(name, "")) if line.get(name) else "" for name in ("unit", "note")]
        numbers = ["" if value is None else shown(value, 3) for value in (error, drawn)]
        count = "" if n is None else f"{n:,.0f}"
        rows.append([shown(line.get("name") or key), shown(mean), *numbers, interval, count, *texts])
    return rows


# ---- charts ------------------------------------------------------------------------------------------


def learning_curves(runs: Sequence[Run]) -> list[Chart]:
    """Draw the curves of the history of one run, or each term of several runs in one chart."""
    drawn = []
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
                drawn.append(Chart(head, charts.curves(lines), legend, f"{head} by epoch. {ends}."))
    return drawn


def dimensions(variance: np.ndarray | None) -> Chart | None:
    """Draw the variance of E[z|x] of each latent dimension."""
    if variance is None:
        return None
    n, used = len(variance), int(np.sum(used_dimensions(variance)))
    first = f", the first {charts.BARS} of {n:,}" if n > charts.BARS else ""
    title = "Variance of E[z|x] over the test set, by latent dimension" + first
    legend = [(0, f"{used:,} of {n:,} dimensions are used", "")]
    description = f"{title}. {used} of {n} are above {ACTIVE:g}, dashed, and so in use."
    return Chart(title, charts.bars(variance, ACTIVE), legend, description)


# ---- pictures ----------------------------------------------------------------------------------------


def picture(png: bytes, caption: str) -> Picture:
    """Return a PNG as a picture that is embedded in the page."""
    return Picture("data:image/png;base64," + base64.b64encode(png).decode(), caption)


def pictures(run: Run, captions: dict[str, str]) -> list[Picture]:
    """Return the existing pictures of a run, in the order of the captions."""
    return [picture(png, caption) for name, caption in captions.items() if (png := run.picture(name))]


def picture_names(run: Run) -> list[str]:
    """Return the names of the pictures that a report of the run shows if they exist."""
    by_epoch = [name for kind in KINDS for _, name in _frame_names(run, kind)]
    return [ORIGINALS, *CAPTIONS, *by_epoch, *EVALUATION_CAPTIONS]


def slider(runs: Sequence[Run]) -> Slider | None:
    """Return the pictures of one or several runs over the epochs, on one axis of epochs."""
    frames = {(run, kind): _frames(run, kind) for run in runs for kind in KINDS}
    epochs = sorted({epoch for of_kind in frames.values() for epoch, _ in of_kind})
    if not epochs:
        return None
    reels = []
    for (run, kind), of_kind in frames.items():
        if of_kind:
            title = f"{run.name}: {KINDS[kind]}" if len(runs) > 1 else KINDS[kind]
            placed = [(epochs.index(e), picture(png, f"{title}, {_when(e)}")) for e, png in of_kind]
            reels.append(Reel(title, placed))
    return Slider([_when(epoch) for epoch in epochs], reels)


def _frames(run: Run, kind: str) -> list[tuple[float, bytes]]:
    """Return the pictures of a kind of a run, each after its epoch."""
    named = _frame_names(run, kind)
    return [(_epoch(run, number), png) for number, name in named if (png := run.picture(name))]


def _frame_names(run: Run, kind: str) -> list[tuple[int, str]]:
    """Return the epochs and names of at most `FRAMES` pictures of a kind."""
    chosen = _evenly(epoch_pictures(run.folder, kind), FRAMES)
    return [(picture.epochs, f"{IMAGES}/{picture.path.name}") for picture in chosen]


def _evenly(items: Sequence[Any], most: int) -> Sequence[Any]:
    """Return at most `most` items at equal steps, including the first and the last.

    >>> _evenly(list(range(10)), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _epoch(run: Run, n: int) -> float:
    """Return the epoch of the n-th row of the history, less than n if the run was stopped."""
    epochs = run.history.get("epoch", np.empty(0))
    known = 0 < n <= len(epochs) and math.isfinite(epochs[n - 1])
    return float(epochs[n - 1]) if known else float(n)


def _when(epoch: float) -> str:
    return f"epoch {epoch:.4g}" if epoch else "before training"


# ---- paired comparison -------------------------------------------------------------------------------


class Pair(NamedTuple):
    """The difference of two runs over the same examples, or the reason why there is none."""

    first: str
    second: str
    what: str = ""
    difference: str = ""
    interval: str = ""
    better: str = ""
    num_examples: str = ""
    clear: bool = False  # True if the interval excludes zero
    refused: str = ""


def pairs(runs: Sequence[Run]) -> list[Pair]:
    """Compare each pair of runs by their evaluations, example by example."""
    return [_pair(first, second) for first, second in itertools.combinations(runs, 2)]


def _pair(first: Run, second: Run) -> Pair:
    try:
        method, difference, n = compare_evaluations(_fresh_evaluation(first), _fresh_evaluation(second))
        if not math.isfinite(difference.mean):
            raise InputError("a value is not finite.")
    except InputError as error:
        return Pair(first.name, second.name, refused=str(error).removesuffix(", or add --force."))
    return Pair(
        *(first.name, second.name),
        what="log p(x), exact" if method == "exact" else "importance-weighted bound",
        difference=_signed(difference.mean),
        interval=f"{_signed(difference.low)} to {_signed(difference.high)}",
        better=f"{difference.first_better:.0%}",
        num_examples=f"{n:,}",
        clear=difference.low > 0 or difference.high < 0,
    )


def _fresh_evaluation(run: Run) -> EvaluationResults:
    if run.evaluation is None:
        raise InputError(f"{run.name} has no evaluation: run probvae-evaluate on it.")
    if run.is_evaluation_stale:
        raise InputError(
            f"the evaluation of {run.name} is of other weights: evaluate it again, with --overwrite."
        )
    return run.evaluation


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)
