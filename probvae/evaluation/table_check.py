"""The check of a model of a table: drawn rows against the data, column by column. No TensorFlow."""

from typing import NamedTuple

import numpy as np

from probvae.data.arrays import Array
from probvae.data.schema import Schema
from probvae.errors import InputError
from probvae.evaluation.bars import Bars, bars_of
from probvae.evaluation.cells import numbers_of
from probvae.evaluation.columns import PAIRED, Associations, Marginal, Pair, marginals, pairs
from probvae.evaluation.copies import Copies, find_copies

ROWS = 10_000  # training rows, and draws, that are compared, at most
NEIGHBOURS = 50_000  # training rows in which nearest rows are sought, at most
CHECKED = 1_000  # held-out rows, and draws, whose nearest training row is sought, at most
SHOWN = 40  # columns with bars, and pairs, at most
VALUES = 2**25  # coordinates of the rows that are compared, at most


class Imputed(NamedTuple):
    """The imputation of cells of a column that were seen and held out.

    Attributes:
      name: Name of the column.
      measure: What `error` is: the mean absolute difference in the units of the column, or of the positions
        of ordered levels, or the share of wrong levels.
      num_cells: Number of cells that were held out.
      error: Error of the medians, or most probable levels.
      constant: Error of the median, or the most frequent level, of the training rows in their place.
      held: Share of the cells that the 90% intervals hold; nan for levels without an order.
    """

    name: str
    measure: str
    num_cells: int
    error: float
    constant: float
    held: float


class TableCheck(NamedTuple):
    """Results of a comparison of drawn rows with the data of a table.

    Attributes:
      num_rows, num_draws: Numbers of the training rows, and of the drawn rows, that are compared.
      seed: Seed of the choice of rows.
      marginals: Columns alone, in the order of the data.
      bars: Bars of the columns, in the order of the data; of `SHOWN` columns, those that differ most.
      num_pairs: Number of pairs that were compared.
      pairs: The `SHOWN` pairs that differ most, the largest excess first.
      associations: Associations of the first columns.
      copies: Check against copies; None if there are too few held-out rows.
      imputation: Imputation of held-out cells by column; empty where it was not measured.
    """

    num_rows: int
    num_draws: int
    seed: int
    marginals: tuple[Marginal, ...]
    bars: tuple[Bars, ...]
    num_pairs: int
    pairs: tuple[Pair, ...]
    associations: Associations
    copies: Copies | None
    imputation: tuple[Imputed, ...] = ()


def check_rows(
    schema: Schema, train: np.ndarray, held_out: Array, draws: np.ndarray, *, seed: int = 0
) -> TableCheck:
    """Compare drawn rows with the data of a table, in the units of the data.

    Columns and pairs are compared with training rows, of which there are more; distances to the nearest
    training row with those of held-out rows. Of many rows a random part is taken.

    Args:
      schema: Schema of the table.
      train: Training rows x, [N, D]; NaN where missing.
      held_out: Rows that were not trained on, [M, D].
      draws: Rows drawn from the model, [R, D].
      seed: Seed of the choice of rows.

    Raises:
      InputError: x is no row of a table, or there are no rows.
    """
    if not schema.is_table:
        raise InputError(f"Columns are compared in tables; the schema is of the kind {schema.kind}.")
    for name, rows in (("train", train), ("draws", draws)):
        if np.ndim(rows) != 2 or not len(rows):
            raise InputError(f"{name} must be rows [N, D], one or more; got {list(np.shape(rows))}.")
    rng = np.random.default_rng([seed, 17])
    size = sum(max(1, len(column.levels)) for column in schema.columns)
    near, few = (max(2, min(most, VALUES // size)) for most in (NEIGHBOURS, CHECKED))
    neighbours = numbers_of(schema, _some(train, near, rng))
    rows, drawn = neighbours[:ROWS], numbers_of(schema, draws)
    alone, (most, together) = marginals(schema, rows, drawn), pairs(schema, rows, drawn, SHOWN)
    others = numbers_of(schema, _some(held_out, few, rng)) if len(held_out) > 1 else None
    copies = None if others is None else find_copies(schema, neighbours, others, drawn[:few], seed=seed)
    number = min(len(schema.columns), PAIRED)
    return TableCheck(
        *(len(rows), len(drawn), seed, alone, _bars(schema, alone, rows, drawn)),
        *(number * (number - 1) // 2, most, together, copies),
    )


def _some(rows: Array, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows in a random order, at most some of them."""
    return rows[rng.permutation(len(rows))[:most]]


def _bars(
    schema: Schema, alone: tuple[Marginal, ...], rows: np.ndarray, drawn: np.ndarray
) -> tuple[Bars, ...]:
    excess = np.array([marginal.distance - marginal.expected for marginal in alone])
    shown = np.sort(np.argsort(-excess, kind="stable")[:SHOWN])
    places = [schema.in_place[i] for i in shown]
    return tuple(bars_of(column, rows[:, i], drawn[:, i]) for i, column in places)
