"""What probvae-evaluate does once its options are known and TensorFlow is loaded."""

import functools
import io
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
from tqdm import tqdm

from probvae import checkpoints, data
from probvae.cli.common import StopOnSignal
from probvae.errors import InputError
from probvae.evaluation import figures, report
from probvae.evaluation.comparison import paired_difference, refuse_unless_comparable
from probvae.evaluation.importance import Stopped
from probvae.evaluation.outliers import save_scores
from probvae.evaluation.stages import run_stages
from probvae.figures import to_png
from probvae.seeds import fold_in

METRICS, PER_EXAMPLE, SCORES = "metrics.json", "per_example.npz", "scores.csv"
PICTURES = ("bound_against_samples.png", "gaps.png", "posterior_contours.png")
HEADER = f"{'':44}{'mean':>12}{'± images':>10}{'± draws':>10}{'images':>9}"


def evaluate(
    run: Path,
    *,
    data: str | None,
    limit: int | None,
    outliers: str | None,
    compare: Path | None,
    force: bool,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Load a run and its data, evaluate, print the table and write the files."""
    chosen = report.Options(**options)
    vae, test, train, conditions, note = _load(run, data, limit, chosen)
    other = None if outliers is None else _outliers(outliers, vae, conditions, limit)
    folder = output or run / "evaluation"
    _prepare(folder, overwrite=overwrite)
    theirs = None if compare is None else _read(compare)
    console = _Console(quiet=quiet)
    with StopOnSignal(console.stopping) as stop:
        console.stop = stop
        e = report.Evaluation(vae, test, train, chosen, other, console.progress)
        click.echo(f"{run}, {len(test.x):,} test images of {conditions['data']}{note}\n\n{HEADER}")
        unfinished = run_stages(e, on_stage=console.stage, on_lines=console.lines)
        console.close()
        _write(folder, e, {**conditions, "num_samples": chosen.num_samples}, unfinished)
        if theirs is not None and "iwae" in e.arrays:
            _print_comparison(e, conditions, theirs, compare, force=force)
    if unfinished:
        click.echo(f"\nstopped early, without: {', '.join(unfinished)}; in {folder}")
        sys.exit(128 + (stop.received or 2))
    click.echo(f"\nwritten to {folder}")


# ---- input ---------------------------------------------------------------------------------------


def _load(run: Path, source: str | None, limit: int | None, chosen: report.Options) -> Any:
    """Return the model, test and training images, the conditions of the evaluation, and a remark."""
    architecture, training = checkpoints.read_config(run)
    if architecture is None or training is None:
        raise InputError(
            f"{run} is no run of probvae-train: its config.json names no architecture or training."
        )
    vae = checkpoints.load(run)
    images = data.load(source or training.data)
    if images.image_shape != architecture.image_shape:
        raise InputError(
            f"The model takes images of shape {list(architecture.image_shape)}; {images.name} holds "
            f"{list(images.image_shape)}."
        )
    prepared = data.prepare(images, binarize=training.binarize, likelihood=architecture.likelihood)
    fingerprint = images.fingerprint()
    conditions = {
        "data": images.name,
        "fingerprint_sha256": fingerprint,
        "binarize": training.binarize,
        "split": "test",
        "num_images": len(prepared.test[:limit]),
        "seed": chosen.seed,
    }
    note = "" if fingerprint == _trained_on(run) else " (NOT the data that the run was trained on)"
    x = prepared.feed(prepared.train[: chosen.train_images], fold_in(0, 0)).numpy()
    test = report.Images(prepared.test[:limit].astype(np.float32), _first(images.test_labels, limit))
    return vae, test, report.Images(x, _first(images.train_labels, len(x))), conditions, note


def _first(labels: np.ndarray | None, n: int | None) -> np.ndarray | None:
    return None if labels is None else labels[:n]


def _trained_on(run: Path) -> str | None:
    """Return the fingerprint of the run's data; None where its metrics were not written."""
    try:
        return json.loads((run / METRICS).read_text())["data"]["fingerprint_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _outliers(source: str, vae: Any, conditions: dict[str, Any], limit: int | None) -> np.ndarray:
    images = data.load(source)
    if images.image_shape != vae.event_shape:
        raise InputError(
            f"The model takes images of shape {list(vae.event_shape)}; {images.name} holds "
            f"{list(images.image_shape)}."
        )
    likelihood = vae.architecture.likelihood
    prepared = data.prepare(images, binarize=conditions["binarize"], likelihood=likelihood)
    return prepared.test[:limit].astype(np.float32)


def _prepare(folder: Path, *, overwrite: bool) -> None:
    files = [folder / name for name in (METRICS, PER_EXAMPLE, SCORES, *PICTURES)]
    try:
        if folder.exists() and any(folder.iterdir()):
            if not overwrite:
                raise InputError(f"{folder} is in use: add --overwrite, or choose another --output.")
            for path in files:
                path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None


def _read(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read another run's evaluation: its conditions and its per-example arrays."""
    folder = run / "evaluation" if (run / "evaluation").is_dir() else run
    try:
        conditions = json.loads((folder / METRICS).read_text())["conditions"]
        with (folder / PER_EXAMPLE).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return conditions, {name: file[name] for name in file.files}
    except Exception as error:
        raise InputError(
            f"{folder} holds no evaluation to compare with ({error}): run probvae-evaluate {run} first."
        ) from None


# ---- output --------------------------------------------------------------------------------------


def _write(folder: Path, e: report.Evaluation, conditions: dict[str, Any], unfinished: list[str]) -> None:
    content = {"conditions": conditions, "unfinished": unfinished, "results": report.metrics(e)}
    checkpoints.write_text(folder / METRICS, json.dumps(content, indent=2) + "\n")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **e.arrays)  # type: ignore[arg-type]
    checkpoints.write_atomic(folder / PER_EXAMPLE, lambda file: file.write(buffer.getvalue()))
    scores = {
        name: e.arrays[name] for name in e.arrays if name == "log_marginal" or name.startswith("score_")
    }
    if scores:
        save_scores(folder / SCORES, scores)
    pictures = {}
    if e.importance is not None:
        n = e.importance.curve.shape[1]
        exact = e.arrays.get("exact")
        mean = None if exact is None else float(exact[:n].mean())
        pictures[PICTURES[0]] = figures.bound_against_samples(
            e.importance.num_samples, e.importance.curve.mean(axis=1), mean
        )
        gaps = {
            "approximation gap": e.arrays.get("test_approximation_gap"),
            "amortization gap": e.arrays.get("test_amortization_gap"),
        }
        if exact is not None:
            gaps["log p(x) - ELBO"] = exact[:n] - e.arrays["elbo"]
        known = {name: values for name, values in gaps.items() if values is not None}
        if known:
            pictures[PICTURES[1]] = figures.gap_histogram(known)
    if e.vae.latent_dim == 2:
        pictures[PICTURES[2]] = figures.posterior_contours(e.vae, e.test.x[:8])
    for name, figure in pictures.items():
        png = to_png(figure)
        checkpoints.write_atomic(folder / name, functools.partial(_put, png))


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _print_comparison(
    e: report.Evaluation, conditions: dict[str, Any], theirs: Any, other: Path | None, *, force: bool
) -> None:
    """Print the paired difference of the best estimate that both evaluations have."""
    their_conditions, arrays = theirs
    method = "exact" if "exact" in e.arrays and "exact" in arrays else "iwae"
    if not force:
        drawn = {"method": method}
        ours = {**conditions, **drawn, "num_samples": e.options.num_samples if method == "iwae" else None}
        them = {**their_conditions, **drawn}
        them["num_samples"] = their_conditions.get("num_samples") if method == "iwae" else None
        refuse_unless_comparable(ours, them)
    d = paired_difference(e.arrays[method], arrays[method])
    click.echo(
        f"\nlog p(x) ({method}) minus that of {other}, paired over {len(arrays[method]):,} images:"
        f" {d.mean:+.3f} nats, 95% interval {d.low:+.3f} to {d.high:+.3f}; "
        f"higher on {d.first_better:.0%} of them"
    )


class _Console:
    """A progress bar for each stage on a terminal, and the table's lines as they come."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.stop: Any = lambda: False
        self.bar: tqdm[Any] | None = None
        self.name = ""

    def stage(self, name: str) -> None:
        self.close()
        self.name = name

    def progress(self, fraction: float) -> None:
        """Move the bar; the estimators end where a signal has come."""
        if self.stop():
            raise Stopped
        if self.quiet:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=100, desc=self.name, unit="%", disable=None, leave=False, dynamic_ncols=True
            )
        self.bar.update(max(0.0, round(100 * fraction, 1) - self.bar.n))

    def lines(self, lines: list[report.Line]) -> None:
        self.close()
        for line in lines:
            click.echo(_as_text(line))

    def stopping(self) -> None:
        self.close()
        click.echo("stopping: giving what is known (Ctrl-C again to abandon it)", err=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _as_text(line: report.Line) -> str:
    value = line.estimate
    unit = "" if line.unit == "nats" else f" {line.unit}"
    drawn = "" if value.monte_carlo_error is None else f"{value.monte_carlo_error:.3f}"
    digits = 4 if abs(value.mean) < 10 else 2
    numbers = f"{value.mean:12.{digits}f}{value.standard_error:10.3f}{drawn:>10}{value.num_examples:9,}"
    return f"{line.name:44}{numbers}{unit}" + (f"\n      {line.note}" if line.note else "")
