"""The evaluation of a run: its input, its stages and its files."""

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from probvae.arguments import choice, flag
from probvae.data import from_config
from probvae.data.binarization import random_rows
from probvae.errors import InputError, with_fields
from probvae.evaluation import state
from probvae.evaluation.outliers import save_scores
from probvae.evaluation.stages import STAGES, run_stages
from probvae.evaluation.table_check import NEIGHBOURS
from probvae.figures import calibration, curves, posterior
from probvae.figures.images import to_png
from probvae.files import outputs, strict_json, writing
from probvae.inference.blocks import Stopped
from probvae.inference.calibration import MIN_EXAMPLES
from probvae.models import saving
from probvae.models.vae import VAE
from probvae.priors import on_sphere
from probvae.runs.comparison import read_comparable, refuse_other_conditions
from probvae.runs.files import EvaluationResults
from probvae.runs.folder import EVALUATION, METRICS, PER_EXAMPLE, TABLE
from probvae.runs.known_data import differences
from probvae.runs.metrics import peak_memory_mb
from probvae.runs.observer import Observer, never
from probvae.runs.reports.page import renew_report
from probvae.runs.run import Run, as_run
from probvae.runs.table_files import write_table

SCORES = "scores.csv"
BOUND, GAPS, CONTOURS = "bound_against_samples.png", "gaps.png", "posterior_contours.png"
# Pictures of the certificates, by their keys.
COVERAGE = {"certificate": "certificate_coverage.png", "certificate_test": "certificate_test_coverage.png"}
RANKS = {"certificate": "certificate_ranks.png", "certificate_test": "certificate_test_ranks.png"}
WRITTEN = (METRICS, PER_EXAMPLE, TABLE, SCORES, BOUND, GAPS, CONTOURS, *COVERAGE.values(), *RANKS.values())


def evaluate(
    run: Run | str | os.PathLike[str],
    *,
    data: str | None = None,
    limit: int | None = None,
    outliers: str | None = None,
    compare: str | os.PathLike[str] | None = None,
    force: bool = False,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strategy: Any = None,
    observer: Observer | None = None,
    should_stop: Callable[[], bool] = never,
    **options: Any,
) -> EvaluationResults:
    """Evaluate the model of a run, and write the results.

    Args:
      run: Run, or its folder.
      data: Name or path of other data than the run was trained on.
      limit: Number of test images to use, the first ones.
      outliers: Name or path of another data set, whose images are scored as outliers.
      compare: Folder of another evaluated run, whose conditions must be the same.
      force: Whether the conditions may differ from those of `compare`.
      output: Folder to write; RUN/evaluation unless given, which the report of the run shows.
      overwrite: Whether an existing evaluation is replaced.
      strategy: `tf.distribute` strategy, whose replicas share the importance sampling.
      observer: Observer of the stages, their progress and their lines.
      should_stop: Function that is called often. If it returns True, the evaluation ends with the results so
        far, and `unfinished` names the other stages.
      **options: Fields of `probvae.evaluation.state.Options`.

    Raises:
      InputError: The folder holds no run, its data cannot be read or do not fit, or `output` is in use.
    """
    flag("force", force)
    chosen, observer = with_fields(state.Options, options, "evaluate"), observer or Observer()
    for stage in chosen.stages:
        choice("Each of stages", stage, STAGES)
    strategy = strategy or tf.distribute.get_strategy()
    run = as_run(run, data)
    folder = run.folder / EVALUATION if output is None else Path(output)
    subject = _subject(run, strategy, limit, chosen)
    if outliers is not None and len(subject.train.x) < 2:
        raise InputError(
            "--outliers needs training examples to compare with: set --train-images to 2 or more."
        )
    others = None if outliers is None else _outliers(outliers, run, limit)
    if compare is not None and not force:
        other = read_comparable(compare)
        exact = subject.vae.latent_dim <= state.EXACT_DIMENSIONS and "exact" in other.arrays
        refuse_other_conditions(subject.conditions, other.conditions, "exact" if exact else "iwae")
    if 0 < chosen.calibrate_images < MIN_EXAMPLES:
        raise InputError(
            f"--calibrate-images must be 0 or at least {MIN_EXAMPLES}; got {chosen.calibrate_images}."
        )
    outputs.refuse_folder_in_use(folder, overwrite=overwrite)
    outputs.clear_folder(folder, WRITTEN)

    def on_progress(fraction: float) -> None:
        if should_stop():
            raise Stopped
        observer.progress(fraction)

    evaluation = state.Evaluation(
        subject.vae, subject.test, subject.train, chosen, others, on_progress, strategy, rows=subject.rows
    )
    observer.begin(
        f"{len(subject.test.x):,} test {evaluation.noun}s of {subject.conditions['data']}{subject.note}"
    )
    unfinished = run_stages(evaluation, on_stage=observer.stage, on_lines=observer.lines)
    observer.close()
    results = _results(evaluation, subject.conditions, unfinished)
    _write(folder, evaluation, results)
    if output is None:
        renew_report(run.folder, observer.warn)
    return results


# ---- input ---------------------------------------------------------------------------------------


class _Subject(NamedTuple):
    """The model, test and training examples of an evaluation, its conditions, and a remark on them.

    `rows` are the training examples of a table that drawn rows are compared with; there are none if the data
    are not those of the training.
    """

    vae: VAE
    test: state.Images
    train: state.Images
    conditions: dict[str, Any]
    note: str
    rows: np.ndarray


def _subject(run: Run, strategy: Any, limit: int | None, options: state.Options) -> _Subject:
    """Load a model and the images that it is evaluated on."""
    architecture, training = run.architecture, run.training
    with strategy.scope():
        vae = saving.load(run.folder)
    vae.schema = run.schema
    images = run.examples
    all_known = dataclasses.replace(training, labelled=1.0)  # including the labels that training did not see
    prepared = from_config.prepare(images, all_known, architecture)
    fingerprint = images.fingerprint()
    conditions: dict[str, Any] = {
        "data": images.name,
        "fingerprint_sha256": fingerprint,
        "binarize": training.binarize,
        "split": "test",
        "num_images": len(prepared.test[:limit]),
        "num_samples": options.num_samples,
        "seed": options.seed,
        "weights_sha256": run.weights_sha256,
    }
    if architecture.is_conditional:
        conditions["labels"] = "given"  # p(x|y) does not compare with p(x)
    if conditions["num_images"] < 2:
        raise InputError(f"{images.name} has one test example; an evaluation needs two or more.")
    others = differences(run, images)
    note = f" (NOT the data that the run was trained on: {others})" if others else ""
    note += "; densities are per unit of the data" if vae.schema is not None and vae.schema.has_units else ""
    note += "; p(x) stands for p(x|y)" if architecture.is_conditional else ""
    # random rows, because the first ones may all be of one class
    x, chosen = random_rows(prepared, options.train_images)
    labels = None if images.train_labels is None else images.train_labels[chosen]
    test_labels = None if images.test_labels is None else images.test_labels[:limit]
    test = state.Images(prepared.test[:limit].astype(np.float32), test_labels)
    is_table = vae.schema is not None and vae.schema.is_table
    rows = random_rows(prepared, NEIGHBOURS)[0] if is_table and not others else np.empty(0)
    return _Subject(vae, test, state.Images(x, labels), conditions, note, rows)


def _outliers(source: str, run: Run, limit: int | None) -> np.ndarray:
    architecture = run.architecture
    if architecture.is_conditional:
        raise InputError(
            "--outliers scores x alone, and this run's model is p(x|y): leave --outliers out, or evaluate a "
            "run that was trained without labels."
        )
    images = run.read(source, labels=False)  # outliers may be of classes of their own
    prepared = from_config.prepare(images, run.training, architecture)
    if len(prepared.test[:limit]) < 2:
        raise InputError(f"{images.name} has one test example; outliers need two or more.")
    return prepared.test[:limit].astype(np.float32)


# ---- output --------------------------------------------------------------------------------------


def _results(
    evaluation: state.Evaluation, conditions: dict[str, Any], unfinished: list[str]
) -> EvaluationResults:
    if "elbo" in evaluation.arrays:
        # fewer images in an evaluation that was stopped
        conditions = {**conditions, "num_images": len(evaluation.arrays["elbo"])}
    metrics = {
        "conditions": conditions,
        "unfinished": unfinished,
        "skipped": evaluation.skipped,
        "seconds": evaluation.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "results": state.metrics(evaluation),
    }
    return EvaluationResults(metrics, evaluation.arrays)


def _write(folder: Path, evaluation: state.Evaluation, results: EvaluationResults) -> None:
    writing.write_text(folder / METRICS, strict_json.text(results.metrics))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **results.per_example)  # type: ignore[arg-type]
    writing.write_bytes(folder / PER_EXAMPLE, buffer.getvalue())
    arrays = results.per_example
    scores = {name: arrays[name] for name in arrays if name == "log_marginal" or name.startswith("score_")}
    if scores:
        save_scores(folder / SCORES, scores)
    if evaluation.table is not None:
        write_table(folder / TABLE, evaluation.table)
    for name, figure in _figures(evaluation).items():
        writing.write_bytes(folder / name, to_png(figure))


def _figures(evaluation: state.Evaluation) -> dict[str, Any]:
    """Return the figures of the results, by the names of their files."""
    figures = {}
    if evaluation.importance is not None:
        n = evaluation.importance.curve.shape[1]
        exact = evaluation.arrays.get("exact")
        curve = evaluation.importance.curve
        known = np.isfinite(curve).all(axis=0)
        mean = None if exact is None else float(exact[:n][known].mean())
        if known.any():
            figures[BOUND] = curves.bound_against_samples(
                evaluation.importance.num_samples, curve[:, known].mean(axis=1), mean
            )
        gaps = {
            "approximation gap": evaluation.arrays.get("test_approximation_gap"),
            "amortization gap": evaluation.arrays.get("test_amortization_gap"),
        }
        if exact is not None:
            known = np.isfinite(exact[:n])
            gaps["log p(x) - ELBO"] = exact[:n][known] - evaluation.arrays["elbo"][known]
        finite = {name: values[np.isfinite(values)] for name, values in gaps.items() if values is not None}
        finite = {name: values for name, values in finite.items() if len(values)}
        if finite:
            figures[GAPS] = curves.gap_histogram(finite)
    for key, certificate in evaluation.certificates.items():
        figures[COVERAGE[key]] = calibration.coverage_curves(certificate)
        figures[RANKS[key]] = calibration.rank_histograms(certificate)
    if evaluation.vae.latent_dim == 2 and not on_sphere(evaluation.vae.prior):
        x = evaluation.test.x
        if "elbo" in evaluation.arrays:
            elbo = evaluation.arrays["elbo"]
            x = x[: len(elbo)][np.isfinite(elbo)]
        if len(x):
            figures[CONTOURS] = posterior.posterior_contours(evaluation.vae, x[:8])
    return figures
