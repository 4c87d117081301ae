"""Contents of the sections on the columns of a table: drawn rows against the data, for the templates."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from probvae.config.architecture import Architecture
from probvae.evaluation.bars import Bars
from probvae.evaluation.columns import Part
from probvae.evaluation.copies import Copies, Nearness
from probvae.evaluation.table_check import Imputed, TableCheck
from probvae.runs.reports import charts
from probvae.runs.reports.tables import MINUS, Chart, shown

PAIRS = 12  # pairs that are shown
LETTERS = 18  # letters of a name beside a matrix


class Levels(NamedTuple):
    """Bars of levels: the title, and for each level its name, two widths in percent and two shares."""

    title: str
    rows: list[tuple[str, float, float, str, str]]


class Cell(NamedTuple):
    """A cell of a matrix: place, colour index, opacity from 0 to 1, and its text."""

    x: int
    y: int
    colour: int
    opacity: float
    text: str


class Matrix(NamedTuple):
    """A matrix of associations: title, names of its rows and columns, cells, and a description in words."""

    title: str
    names: list[str]
    cells: list[Cell]
    description: str


class Rows(NamedTuple):
    """A table: header, rows of texts, the first of which is the name, and its number of columns of words."""

    header: list[str]
    rows: list[list[str]]
    words: int


class Columns(NamedTuple):
    """The sections on columns: a lead, the tables and pictures, and remarks."""

    lead: str
    marginals: Rows
    bars: list[Chart | Levels]
    some: str
    pairs: Rows
    num_pairs: str
    matrices: list[Matrix]
    copies: Rows | None
    verdict: str
    imputation: Rows | None


def columns_of(check: TableCheck | None) -> Columns | None:
    """Return the contents of the sections on columns; None without a comparison."""
    if check is None:
        return None
    some = (
        f"The {len(check.bars)} columns that differ most." if len(check.bars) < len(check.marginals) else ""
    )
    return Columns(
        lead=f"{check.num_rows:,} training rows, a random part if there are more, against "
        f"{check.num_draws:,} rows drawn from the model. The bars at the ends of a histogram hold what "
        "lies beyond, too.",
        marginals=_marginals(check),
        bars=[_levels(bars) if bars.names else _histogram(bars) for bars in check.bars],
        some=some,
        pairs=_pairs(check),
        num_pairs=f"{check.num_pairs:,}",
        matrices=_matrices(check),
        copies=None if check.copies is None else _copies(check.copies),
        verdict="" if check.copies is None else check.copies.verdict(),
        imputation=_imputation(check.imputation) if check.imputation else None,
    )


def _percent(share: float) -> str:
    """Format a share.

    >>> _percent(0.123), _percent(0.0123), _percent(0.0), _percent(1e-5)
    ('12%', '1.2%', '0%', '<0.1%')
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def _distance(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"


def _part(part: Part) -> str:
    return f"{part.name}: {_percent(part.data)} of the data, {_percent(part.model)} of the draws"


def _marginals(check: TableCheck) -> Rows:
    ranked = sorted(check.marginals, key=lambda marginal: marginal.expected - marginal.distance)
    rows = [
        [
            *(m.name, _distance(m.distance, m.error), f"{m.expected:.3f}"),
            *("" if not m.missing else _percent(m.missing), m.kind, _part(m.largest)),
        ]
        for m in ranked
    ]
    return Rows(["column", "distance", "by chance", "missing", "kind", "where they differ most"], rows, 2)


def _pairs(check: TableCheck) -> Rows:
    rows = [
        [
            *(f"{p.first} and {p.second}", _distance(p.distance, p.error), f"{p.expected:.3f}"),
            *(_signed(p.data), _signed(p.model), _part(p.largest)),
        ]
        for p in check.pairs[:PAIRS]
    ]
    header = ["columns", "distance", "by chance", "association, data", "draws", "where they differ most"]
    return Rows(header, rows, 1)


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", MINUS)


# ---- bars ------------------------------------------------------------------------------------------


def _levels(bars: Bars) -> Levels:
    most = max(*bars.data, *bars.model, 1e-9)
    rows = [
        (name, 100 * data / most, 100 * model / most, _percent(data), _percent(model))
        for name, data, model in zip(bars.names, bars.data, bars.model, strict=False)
    ]
    return Levels(bars.name, rows)


def _histogram(bars: Bars) -> Chart:
    drawing = charts.histogram(bars.edges, bars.data, bars.model, bars.scale, bars.linear_width)
    axis = {"log": "logarithmic axis", "asinh": "axis logarithmic far from 0"}.get(bars.scale)
    remarks: list[tuple[int | None, str, str]] = [(None, axis, "")] if axis else []
    if bars.left_out:
        remarks.append((None, f"without {_part(bars.left_out)}", ""))
    return Chart(bars.name, drawing, remarks, f"Histogram of {bars.name}: data and drawn rows.")


# ---- matrices --------------------------------------------------------------------------------------


def _matrices(check: TableCheck) -> list[Matrix]:
    names = [_short(name) for name in check.associations.names]
    first = f", the first {len(names)} columns" if len(check.marginals) > len(names) else ""
    if len(names) < 2:
        return []
    sides = (("Data", check.associations.data), ("Drawn rows", check.associations.model))
    return [
        Matrix(side + first, names, _cells(names, matrix), f"Associations of columns, {side.lower()}.")
        for side, matrix in sides
    ]


def _cells(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> list[Cell]:
    cells = []
    for y, (name, row) in enumerate(zip(names, matrix, strict=False)):
        for x, (other, value) in enumerate(zip(names, row, strict=False)):
            known = not math.isnan(value)
            strength = round(min(1.0, abs(value)), 3) if known else 0.0
            text = f"{name}, {other}: {_signed(value)}"
            cells.append(Cell(x, y, 1 if known and value < 0 else 0, strength, text))
    return cells


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"


# ---- copies and imputation -------------------------------------------------------------------------


def _copies(copies: Copies) -> Rows:
    def nearness(what: str, near: Nearness) -> list[str]:
        interval = f"{near.low:.1%} to {near.high:.1%}"
        return [what, f"{near.expected:.1%}", f"{near.share:.1%}", interval, f"{near.p_value:.2g}"]

    rows = [
        nearness("nearer than the nearest 1% of the held-out rows", copies.near),
        nearness("nearer than the nearest half of the held-out rows", copies.middle),
        ["equal to a training row", f"{copies.held_out_equal:.1%}", f"{copies.draws_equal:.1%}", "", ""],
        ["median distance", f"{copies.held_out_median:.3g}", f"{copies.draws_median:.3g}", "", ""],
    ]
    header = [
        f"nearest of {copies.num_train:,} training rows",
        f"{copies.num_held_out:,} held-out rows",
        f"{copies.num_draws:,} drawn rows",
        "95% interval",
        "p-value",
    ]
    return Rows(header, rows, 0)


def _imputation(imputed: Sequence[Imputed]) -> Rows:
    rows = []
    for column in imputed:
        less = f"{1 - column.error / column.constant:.0%}".replace("-", MINUS) if column.constant > 0 else "–"
        held = _percent(column.held)
        errors = [shown(column.error), shown(column.constant)]
        rows.append([column.name, f"{column.num_cells:,}", *errors, less, held, column.measure])
    header = ["column", "cells", "error", "of a constant", "less by", "in 90% intervals", "measure"]
    return Rows(header, rows, 1)


def note_of_imputation(architecture: Architecture, check: TableCheck | None) -> str:
    """Say why there is no imputation by column; empty if there is."""
    if check is not None and check.imputation:
        return ""
    if not architecture.missing:
        return "The model takes no missing cells: one that is trained with --hide or --missing fills them in."
    if architecture.is_conditional:
        return "Not measured: cells are filled in by models without labels."
    return "Not measured yet: probvae-evaluate holds out cells of test rows, and measures what fills them in."
