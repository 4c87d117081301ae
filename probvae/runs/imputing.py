"""The imputation of the missing cells of a table by a run, and its files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probvae.arguments import count, flag
from probvae.data import from_config
from probvae.data.tables.filling import WholeTable, read_whole, refuse_other_form
from probvae.errors import InputError
from probvae.files import outputs, writing
from probvae.runs.observer import Observer
from probvae.runs.run import Run, as_run
from probvae.sampling.frame_imputation import FrameImputation, draws_needed, to_frames
from probvae.sampling.imputation import FEW, Imputation, Imputer, ends_of_interval, few_in_words

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "imputed"  # folder of a run for imputed tables


class ImputedFiles(NamedTuple):
    """An imputed table with its files.

    Attributes:
      paths: Files that were written, the filled table first.
      imputed: Missing cells in the units of the columns of the model, with their uncertainty.
      missing: Number of missing cells by column.
      rows: Number of rows, N.
      few: Number of rows whose effective sample size is too small to be trusted.
    """

    paths: list[Path]
    imputed: FrameImputation
    missing: dict[str, int]
    rows: int
    few: int


def impute(
    run: Run | str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    num_draws: int = 0,
    level: float | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> ImputedFiles:
    """Fill in the missing cells of a table in a file, as `probvae-impute` does, and write it.

    Cells that are not missing, and columns that the model does not know, are written as they are. A missing
    number is filled in with its conditional mean, or the whole number nearest to the mean; a category with
    its most probable level; an ordered level with its median. See `probvae.impute`.

    Args:
      run: Run on a table, or its folder.
      table: Path of a .csv, .tsv or .parquet file with the columns of the run; None for the run's own.
      output: Path of the file to write; RUN/imputed/NAME unless given.
      num_draws: R. Above 0, a second file, NAME-draws, holds R filled tables one below the other, for
        multiple imputation, in which the missing cells are joint draws. The first column of this file has
        the number of the draw, from 1.
      level: Probability of intervals, such as 0.9. With it, another file, NAME-cells.csv, has a line for each
        missing cell: the row (from 1), the column, the value, the two ends of the interval, the probability
        of the level, and the effective sample size of the row. What a kind of column lacks is left empty.
      num_samples: K, the number of draws of z for each row.
      seed: Seed of the draws.
      overwrite: Whether existing files are replaced.
      observer: Observer of the warning that rows have too small an effective sample size.

    Raises:
      InputError: The run is not on a table or takes no missing cells, the table does not fit it, or a file
        exists.
    """
    run = as_run(run)
    num_draws, overwrite = count("num_draws", num_draws, 0), flag("overwrite", overwrite)
    ends = () if level is None else ends_of_interval(level)
    source = Path(run.training.data if table is None else outputs.path_of("table", table))
    refuse_unless_imputable(run)
    refuse_other_form(source, "The table")
    target = run.folder / FOLDER / source.name if output is None else outputs.path_of("output", output)
    refuse_other_form(target, "output", source)
    paths = {
        "filled": target,
        **({"draws": target.with_stem(f"{target.stem}-draws")} if num_draws else {}),
        **({"cells": target.with_name(f"{target.stem}-cells.csv")} if ends else {}),
    }
    for path in paths.values():
        _refuse_target(path, source, overwrite)
    whole = _read(run, source)
    draws = draws_needed(whole.schema, num_draws)
    options: dict[str, Any] = {"num_samples": num_samples, "quantiles": ends, "seed": seed}
    codes = _impute(run, whole, num_draws=draws, **options)
    imputed = to_frames(whole.schema, whole.typed, codes, num_draws, ends)
    gaps = whole.missing
    touched = gaps.any(axis=1).to_numpy()
    table_filled = whole.filled(imputed.values)
    contents = {"filled": whole.to_bytes(table_filled, target)}
    if num_draws:
        contents["draws"] = whole.to_bytes(_drawn(whole, imputed, num_draws), target, named=True)
    if ends:
        contents["cells"] = writing.csv_text(CELLS, _cells(whole, imputed, table_filled)).encode()
    with outputs.usable(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        writing.write_files({path: contents[name] for name, path in paths.items()})
    if words := few_in_words(
        codes.effective_sample_size, touched, "rows", "Raise num_samples (--num-samples)."
    ):
        (observer or Observer()).warn(words)
    few = int(np.sum(touched & (codes.effective_sample_size < FEW)))
    return ImputedFiles(list(paths.values()), imputed, gaps.sum().to_dict(), len(whole.x), few)


def refuse_unless_imputable(run: Run) -> None:
    """Refuse a run whose model cannot fill in the cells of a table."""
    if run.schema is None or not run.schema.is_table:
        raise InputError(
            f"{run.folder} is not a run on a table, and only cells of tables are filled in: use "
            "probvae.impute in Python for arrays."
        )
    if not run.schema.missing:
        raise InputError(
            f"The model of {run.folder} takes no missing cells: train it with --missing, or without --hide 0."
        )


def _refuse_target(path: Path, source: Path, overwrite: bool) -> None:
    """Refuse to write a file that is the table itself, a folder, or there without `overwrite`."""
    with outputs.usable(path.parent):
        if not path.exists():
            return
        if source.exists() and path.samefile(source):
            raise InputError(f"{path} is the table itself, which is not replaced: choose another --output.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: choose another --output.")
    if not overwrite:
        raise InputError(f"{path} exists: add --overwrite, or choose another --output.")


def _read(run: Run, source: Path) -> WholeTable:
    """Read a table by the schema of a run, with the classes of its rows if the model needs them."""
    assert run.schema is not None
    options = from_config.options_of(
        run.training, missing=True, schema=run.schema, labels=run.architecture.is_conditional
    )
    assert options.schema is not None
    if not os.path.exists(source):  # False for names that are too long
        raise InputError(f"{source} does not exist: name a table, or bring that file back.")
    return read_whole(source, options.schema, options)


def _impute(run: Run, whole: WholeTable, **options: Any) -> Imputation:
    """Impute the codes of all rows, by the model of the class of each for a conditional run."""
    if not run.architecture.is_conditional:
        return Imputer(run.model).impute(whole.x, **options)
    if whole.labels is None:
        raise InputError(
            f"The model is conditional, and {whole.name} has no column {run.training.label!r} with the "
            "classes: add it."
        )
    parts = {}
    for label in np.unique(whole.labels):
        rows = np.flatnonzero(whole.labels == label)
        parts[int(label)] = rows, Imputer(run.model_of(int(label))).impute(whole.x[rows], **options)
    order = np.argsort(np.concatenate([rows for rows, _ in parts.values()]))

    def joined(values: list[Any], axis: int = 0) -> Any:
        return None if values[0] is None else np.take(np.concatenate(values, axis), order, axis)

    every = [part for _, part in parts.values()]
    probabilities = {i: joined([part.probabilities[i] for part in every]) for i in every[0].probabilities}
    axes = {"draws": 1, "quantiles": 1}
    fields = {
        name: joined([getattr(part, name) for part in every], axes.get(name, 0))
        for name in Imputation._fields
        if name != "probabilities"
    }
    return Imputation(probabilities=probabilities, **fields)


def _drawn(whole: WholeTable, imputed: FrameImputation, num_draws: int) -> "pd.DataFrame":
    """Return the filled tables of the draws, one below the other."""
    import pandas as pd

    assert imputed.draws is not None
    tables = [whole.filled(imputed.draws.loc[number]) for number in range(num_draws)]
    name = "draw" if "draw" not in whole.frame else "draw_"
    for number, table in enumerate(tables, 1):
        table.insert(0, name, number)
    return pd.concat(tables, ignore_index=True)


CELLS = ("row", "column", "value", "low", "high", "probability", "effective_sample_size")


def _cells(whole: WholeTable, imputed: FrameImputation, filled: "pd.DataFrame") -> Iterator[list[Any]]:
    """Yield a line for each missing cell, row by row."""
    assert imputed.quantiles is not None
    low, high = (imputed.quantiles.xs(q) for q in imputed.quantiles.index.unique(0))
    missing = whole.missing
    lower, upper = whole.filled(low), whole.filled(high)
    kinds = {column.name: column for column in whole.schema.columns}
    for row, place in np.argwhere(missing.to_numpy()):
        name = missing.columns[place]
        ends: list[Any] = ["", ""]
        if kinds[name].is_ordered:
            ends = [frame[name].iloc[row] for frame in (lower, upper)]
        p = ""
        if name in imputed.probabilities:
            p = f"{imputed.probabilities[name].iloc[row][imputed.values[name].iloc[row]]:.4g}"
        size = f"{imputed.effective_sample_size.iloc[row]:.4g}"
        yield [row + 1, name, filled[name].iloc[row], *ends, p, size]
