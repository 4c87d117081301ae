"""The stages of an evaluation that concern the columns of a table."""

import warnings

import numpy as np

from probvae.data.arrays import Array
from probvae.errors import InputError
from probvae.evaluation.cells import numbers_of
from probvae.evaluation.estimates import MeanEstimate
from probvae.evaluation.state import Evaluation
from probvae.evaluation.table_check import ROWS, VALUES, Imputed, TableCheck, check_rows
from probvae.models.vae import VAE
from probvae.sampling.imputation import FEW, impute
from probvae.seeds import Seed

HELD_OUT = 0.2  # share of the seen cells that are held out
IMPUTED = 500  # test rows whose cells are held out, at most
DRAWS = 1000  # draws of z for each of them
LETTERS = 44  # letters of the name of a line, at most
LINES = 20  # columns with a line for their imputation, at most; the report has all


def draw_rows(vae: VAE, x: np.ndarray, number: int = ROWS, *, seed: Seed) -> np.ndarray:
    """Draw rows of a table, [n, D], without y; fewer than `number` if there are very many columns.

    Args:
      vae: Model of a table.
      x: Training examples, whose y the model draws if it has no p(y).
      number: Number of rows.
      seed: Seed of the draws, an int or an int32 pair.
    """
    number = max(1, min(number, VALUES // vae.value_shape[0]))
    return np.asarray(vae.values(vae.generator(x).sample(number, seed).numpy()))


def check_model(vae: VAE, train: np.ndarray, held_out: Array, *, seed: Seed, choice: int = 0) -> TableCheck:
    """Draw from a model of a table, and compare the rows with the data.

    Args:
      vae: Model with the schema of a table.
      train: Training examples, [N, *E].
      held_out: Examples that were not trained on, [M, *E].
      seed: Seed of the draws.
      choice: Seed of the choice of rows.

    Raises:
      InputError: The model has no schema of a table.
    """
    if vae.schema is None:
        raise InputError("Columns are compared in models with the schema of a table; this one has none.")
    draws = draw_rows(vae, train, seed=seed)
    return check_rows(vae.schema, vae.values(train), vae.values(held_out), draws, seed=choice)


def compare_columns(evaluation: Evaluation) -> None:
    """Compare drawn rows with the data: columns, pairs of them, and nearest training rows."""
    if not evaluation.is_table or not len(evaluation.rows):
        return
    seed, choice = evaluation.seed(22), evaluation.options.seed
    check = check_model(evaluation.vae, evaluation.rows, evaluation.test.x, seed=seed, choice=choice)
    evaluation.table = check
    mean, error, expected = (
        float(np.mean([getattr(marginal, name) for marginal in check.marginals]))
        for name in ("distance", "error", "expected")
    )
    worst = max(check.marginals, key=lambda marginal: marginal.distance - marginal.expected)
    note = (
        f"total variation; {expected:.3f} expected from sampling; most: {worst.distance:.3f} of {worst.name}"
    )
    _add(evaluation, "columns", "model draws: distance of a column, mean", mean, error, note)
    for pair in check.pairs[:1]:
        note = f"{pair.first} and {pair.second}; {pair.expected:.3f} expected from sampling"
        _add(evaluation, "pairs", "model draws: largest distance of a pair", pair.distance, pair.error, note)
    if check.copies is not None:
        near, n = check.copies.near, check.copies.num_draws
        error = float(np.sqrt(near.share * (1 - near.share) / n))
        note = f"{near.expected:.3f} if they were as held-out rows are, p = {near.p_value:.2g}"
        estimate = MeanEstimate(near.share, error, None, near.low, near.high, n)
        evaluation.add_estimate(
            "copies", "model draws very near a training row", estimate, unit="", note=note
        )


def _add(evaluation: Evaluation, key: str, name: str, value: float, error: float, note: str) -> None:
    """Add a distance, whose error is that of the samples."""
    n = evaluation.table.num_draws if evaluation.table else 0
    estimate = MeanEstimate(value, error, None, max(0.0, value - 1.96 * error), value + 1.96 * error, n)
    evaluation.add_estimate(f"draws_{key}", name, estimate, unit="", note=note)


def imputation(evaluation: Evaluation) -> None:
    """Impute cells of test rows that were seen and are held out, column by column."""
    vae, schema = evaluation.vae, evaluation.vae.schema
    has_y = vae.contexts_of(evaluation.test.x[:1]) is not None
    if schema is None or evaluation.table is None or not vae.contract.missing or has_y:
        return
    x = evaluation.test.x[:IMPUTED]
    rng = np.random.default_rng([evaluation.options.seed, 23])
    hidden = ~np.isnan(x) & (rng.random(x.shape) < HELD_OUT) & vae.contract.may_be_missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few effective draws, which a note counts
        seen = np.where(hidden, np.nan, x).astype(np.float32)
        ends = (0.05, 0.5, 0.95)
        imputed = impute(vae, seen, num_samples=DRAWS, quantiles=ends, seed=evaluation.seed(24))
    assert imputed.quantiles is not None
    few = int(np.sum(imputed.effective_sample_size < FEW))
    true, mode, low, median, high = (numbers_of(schema, z) for z in (x, imputed.mean, *imputed.quantiles))
    train, results = numbers_of(schema, evaluation.rows), []
    for i, column in schema.in_place:
        cells, ordered = hidden[:, i], column.is_ordered
        if cells.sum() < 2:
            continue
        guess = (mode if column.levels else median)[cells, i]
        errors, of_constant = (
            np.abs(value - true[cells, i]) if ordered else (value != true[cells, i]).astype(float)
            for value in (guess, _constant(train[:, i], ordered))
        )
        held = np.mean((low[cells, i] <= true[cells, i]) & (true[cells, i] <= high[cells, i]))
        measure = _measure(column.unit, bool(column.levels), ordered)
        sizes = int(cells.sum()), float(errors.mean()), float(of_constant.mean())
        results.append(Imputed(column.name, measure, *sizes, float(held) if ordered else float("nan")))
        if len(results) <= LINES:
            note = f"{sizes[2]:.4g} by {'the median' if ordered else 'the most frequent level'} of training"
            note += f"; 90% intervals hold {held:.0%}" if ordered else ""
            note += (
                f"; {few:,} of {len(x):,} rows have few effective draws" if few and len(results) == 1 else ""
            )
            name = f"imputed {column.name}"[:LETTERS]
            evaluation.add(f"imputed_{i}", name, errors, unit=measure, note=note)
    evaluation.table = evaluation.table._replace(imputation=tuple(results))


def _constant(train: np.ndarray, ordered: bool) -> float:
    """Return what fills a column in without a model: the median, or the most frequent level."""
    seen = train[~np.isnan(train)]
    if not len(seen):
        return float("nan")
    if ordered:
        return float(np.quantile(seen, 0.5, method="lower"))
    values, counts = np.unique(seen, return_counts=True)
    return float(values[np.argmax(counts)])


def _measure(unit: str, levels: bool, ordered: bool) -> str:
    if not ordered:
        return "share of wrong levels"
    if levels:
        return "mean distance in levels"
    return "mean absolute error" + ({"D": " in days", "s": " in seconds"}[unit] if unit else "")
