"""What probvae-evaluate does once its options are known and TensorFlow is loaded."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

import click
import numpy as np

from probvae import data
from probvae.cli.console import EVALUATION_HEADER, _Console, _print_comparison
from probvae.cli.start import StopOnSignal, renew_report
from probvae.data import from_config
from probvae.errors import InputError
from probvae.evaluation import state
from probvae.evaluation.estimates import refuse_unless_comparable
from probvae.evaluation.outliers import save_scores
from probvae.evaluation.stages import run_stages
from probvae.figures import curves, posterior
from probvae.figures.images import to_png
from probvae.files import npz, strict_json, writing
from probvae.files.reading import read_text
from probvae.models import saving
from probvae.priors import on_sphere
from probvae.runs.metrics import peak_memory_mb
from probvae.seeds import fold_in

MAX_METRICS = 2**24  # bytes
METRICS, PER_EXAMPLE, SCORES = "metrics.json", "per_example.npz", "scores.csv"
PICTURES = ("bound_against_samples.png", "gaps.png", "posterior_contours.png")


def evaluate(
    run: Path,
    strategy: Any,
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
    chosen = state.Options(**options)
    folder = output or run / "evaluation"
    vae, test, train, conditions, note = _load(run, strategy, data, limit, chosen)
    if outliers is not None and len(train.x) < 2:
        raise InputError("--outliers needs training images to compare with: set --train-images to 2 or more.")
    other = None if outliers is None else _outliers(outliers, vae, conditions, limit)
    theirs = None if compare is None else _read(compare)
    if theirs is not None and not force:
        _refuse_unless_comparable(conditions, theirs, vae.latent_dim)
    _prepare(folder, overwrite=overwrite)
    console = _Console(quiet=quiet)
    with StopOnSignal(console.stopping) as stop:
        console.stop = stop
        e = state.Evaluation(vae, test, train, chosen, other, console.progress, strategy)
        click.echo(f"{run}, {len(test.x):,} test images of {conditions['data']}{note}\n\n{EVALUATION_HEADER}")
        unfinished = run_stages(e, on_stage=console.stage, on_lines=console.lines)
        console.close()
    _write(folder, e, conditions, unfinished)
    if output is None:
        renew_report(run)
    for stage, why in e.skipped.items():
        click.echo(f"skipped: {stage}, because {why}", err=True)
    if theirs is not None and "iwae" in e.arrays:
        _print_comparison(e, theirs, compare)
    if unfinished:
        click.echo(f"\nstopped early, without all of: {', '.join(unfinished)}; in {folder}")
        sys.exit(128 + (stop.received or signal.SIGINT))
    click.echo(f"\nwritten to {folder}")


# ---- input ---------------------------------------------------------------------------------------


def _load(run: Path, strategy: Any, source: str | None, limit: int | None, chosen: state.Options) -> Any:
    """Return the model, test and training images, the conditions of the evaluation, and a remark."""
    architecture, training = saving.read_config(run)
    if architecture is None or training is None:
        raise InputError(
            f"{run} is no run of probvae-train: its config.json names no architecture or training."
        )
    with strategy.scope():
        vae = saving.load(run)
    try:
        images = from_config.read(training, missing=architecture.missing, source=source)
    except InputError as error:
        advice = (
            "" if source else f" The run was trained on {training.data!r}; --data says where that is now."
        )
        raise InputError(f"{error}{advice}") from None
    if images.event_shape != architecture.event_shape:
        raise InputError(
            f"The model takes images of shape {list(architecture.event_shape)}; {images.name} holds "
            f"{list(images.event_shape)}."
        )
    all_known = dataclasses.replace(training, labelled=1.0)  # the labels that training did not see, too
    prepared = from_config.prepare(images, all_known, architecture)
    fingerprint = images.fingerprint()
    conditions: dict[str, Any] = {
        "data": images.name,
        "fingerprint_sha256": fingerprint,
        "binarize": training.binarize,
        "split": "test",
        "num_images": len(prepared.test[:limit]),
        "num_samples": chosen.num_samples,
        "seed": chosen.seed,
        "weights_sha256": _sha256(run / writing.WEIGHTS),
    }
    if architecture.context_dim:
        conditions["labels"] = "given"  # p(x|y) does not compare with p(x)
    if conditions["num_images"] < 2:
        raise InputError(f"{images.name} has one test image; an evaluation needs two or more.")
    other = _trained_on(run) not in (None, fingerprint)
    note = " (NOT the data that the run was trained on)" if other else ""
    note += "; p(x) stands for p(x|y)" if architecture.context_dim else ""
    rows = np.sort(np.random.default_rng(0).permutation(len(prepared.train))[: chosen.train_images])
    x = prepared.feed(prepared.train[rows], fold_in(0, 0)).numpy()  # the first ones may be of one class
    labels = None if images.train_labels is None else images.train_labels[rows]
    test = state.Images(prepared.test[:limit].astype(np.float32), _first(images.test_labels, limit))
    return vae, test, state.Images(x, labels), conditions, note


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _first(labels: np.ndarray | None, n: int | None) -> np.ndarray | None:
    return None if labels is None else labels[:n]


def _trained_on(run: Path) -> str | None:
    """Return the fingerprint of the run's data; None where its metrics were not written."""
    try:
        return _metrics(run)["data"]["fingerprint_sha256"]
    except (ValueError, KeyError, TypeError):
        return None


def _metrics(folder: Path) -> Any:
    """Read a metrics.json that a run or an evaluation wrote.

    Raises:
      InputError: absent or damaged.
    """
    path = folder / METRICS
    return strict_json.parse(read_text(path, "metrics", MAX_METRICS), path.name, levels=10)


def _outliers(source: str, vae: Any, conditions: dict[str, Any], limit: int | None) -> np.ndarray:
    if vae.architecture.context_dim:
        raise InputError(
            "--outliers scores x alone, and this run's model is p(x|y): leave --outliers out, or evaluate a "
            "run that was trained without labels."
        )
    images = data.load(source)
    if images.event_shape != vae.event_shape:
        raise InputError(
            f"The model takes images of shape {list(vae.event_shape)}; {images.name} holds "
            f"{list(images.event_shape)}."
        )
    likelihood = vae.architecture.likelihood
    prepared = data.prepare(images, binarize=conditions["binarize"], likelihood=likelihood)
    if len(prepared.test[:limit]) < 2:
        raise InputError(f"{images.name} has one test image; outliers need two or more.")
    return prepared.test[:limit].astype(np.float32)


def _prepare(folder: Path, *, overwrite: bool) -> None:
    try:
        if folder.exists() and any(folder.iterdir()):
            if (folder / writing.CONFIG).exists():
                raise InputError(f"{folder} is a run folder: choose another --output.")
            if not overwrite:
                raise InputError(f"{folder} is in use: add --overwrite, or choose another --output.")
            for name in (METRICS, PER_EXAMPLE, SCORES, *PICTURES):
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be used: {error.strerror}.") from None


def _read(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read another run's evaluation: its conditions and its per-example arrays."""
    folder = run / "evaluation"
    again = f"run probvae-evaluate {run} first"
    try:
        conditions = dict(_metrics(folder)["conditions"])
        arrays = npz.read_arrays(folder / PER_EXAMPLE)
        for name in {"iwae", "exact"} & arrays.keys():
            if arrays[name].ndim != 1 or arrays[name].dtype.kind != "f":
                raise ValueError(f"{name} must have one number for each example")
        stale = conditions["weights_sha256"] != _sha256(run / writing.WEIGHTS)
    except Exception as error:  # json, numpy and zipfile raise many kinds on damaged files
        raise InputError(f"{folder} holds no evaluation to compare with ({error}): {again}.") from None
    if stale or "iwae" not in arrays:
        why = "is of other weights than the run has now" if stale else "was stopped before its first result"
        raise InputError(f"The evaluation in {folder} {why}: {again}, with --overwrite.")
    return conditions, arrays


def _method(latent_dim: int, arrays: dict[str, np.ndarray]) -> str:
    """Name the best estimate that this model and another evaluation have in common."""
    return "exact" if latent_dim <= state.EXACT_DIMENSIONS and "exact" in arrays else "iwae"


def _refuse_unless_comparable(conditions: dict[str, Any], theirs: Any, latent_dim: int) -> None:
    their_conditions, arrays = theirs
    method = _method(latent_dim, arrays)
    shared = {"method": method} if method == "iwae" else {"method": method, "num_samples": None}
    refuse_unless_comparable({**conditions, **shared}, {**their_conditions, **shared})


# ---- output --------------------------------------------------------------------------------------


def _write(folder: Path, e: state.Evaluation, conditions: dict[str, Any], unfinished: list[str]) -> None:
    if "elbo" in e.arrays:
        conditions = {**conditions, "num_images": len(e.arrays["elbo"])}  # fewer where it was stopped
    content = {
        "conditions": conditions,
        "unfinished": unfinished,
        "skipped": e.skipped,
        "seconds": e.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "results": state.metrics(e),
    }
    writing.write_text(folder / METRICS, json.dumps(content, indent=2, allow_nan=False) + "\n")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **e.arrays)  # type: ignore[arg-type]
    writing.write_atomic(folder / PER_EXAMPLE, lambda file: file.write(buffer.getvalue()))
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
        pictures[PICTURES[0]] = curves.bound_against_samples(
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
            pictures[PICTURES[1]] = curves.gap_histogram(known)
    if e.vae.latent_dim == 2 and not on_sphere(e.vae.prior):
        pictures[PICTURES[2]] = posterior.posterior_contours(e.vae, e.test.x[:8])
    for name, figure in pictures.items():
        png = to_png(figure)
        writing.write_atomic(folder / name, functools.partial(_put, png))


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
