"""table.json: drawn rows against the data of a table, in the folders of a run and of its evaluation."""

import math
from pathlib import Path

import numpy as np

from probvae.errors import InputError
from probvae.evaluation.bars import Bars
from probvae.evaluation.table_check import SHOWN, TableCheck
from probvae.files import records
from probvae.files.reading import read_text
from probvae.files.writing import write_text
from probvae.runs.folder import EVALUATION, TABLE
from probvae.runs.run import Run

MAX_TABLE = 2**24  # bytes of table.json
MOST_BARS = 1000  # bars of a column
WIDEST = 1e200  # size of the end of a bar


def read_table(path: Path) -> TableCheck:
    """Read table.json."""
    check = records.from_text(TableCheck, read_text(path, "a comparison of columns", MAX_TABLE), path.name)
    number = len(check.associations.names)
    lists = (check.bars, check.pairs, check.associations.names)
    matrices = check.associations.data, check.associations.model
    square = all(len(row) == number for matrix in matrices for row in (matrix, *matrix))
    if any(len(items) > SHOWN for items in lists) or not square or not all(map(_are_sound, check.bars)):
        raise InputError(f"{path.name} is damaged (its bars, pairs or associations): make it again.")
    return check


def _are_sound(bars: Bars) -> bool:
    """Return whether bars can be drawn."""
    shares = np.array([*bars.data, *bars.model])
    number = len(bars.data)
    sound = 0 < number == len(bars.model) <= MOST_BARS and bool(np.all((shares >= 0) & (shares <= 1.001)))
    if bars.names:
        return sound and len(bars.names) == number
    edges = np.array(bars.edges)
    increasing = len(edges) == number + 1 and bool(
        np.all(np.diff(edges) > 0) and np.all(np.abs(edges) < WIDEST)
    )
    return sound and increasing and math.isfinite(bars.linear_width)


def write_table(path: Path, check: TableCheck) -> None:
    """Write table.json."""
    write_text(path, records.to_text(check))


def table_of(run: Run) -> TableCheck | None:
    """Return the comparison of a run: that of its evaluation, unless this is of other weights, or its own."""
    evaluated = None
    if run.evaluation is not None and not run.is_evaluation_stale:
        evaluated = run.read_file(f"{EVALUATION}/{TABLE}", read_table, None)
    return run.read_file(TABLE, read_table, None) if evaluated is None else evaluated
