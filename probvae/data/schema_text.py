"""Schemas as texts and as notebook tables: name, kind, type, levels or range of each column."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from probvae import display
from probvae.data.coding import Column

MOST = 60  # columns that are listed
WIDTH = 48  # characters of the levels of a column, at most
HEADER = ("name", "kind", "type", "levels or range")


def rows(schema: Any, num_missing: Sequence[int] = (), reasons: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Return the columns of a table as rows of texts, in the order of the data.

    Args:
      schema: Schema of a table.
      num_missing: Numbers of missing cells in the order of x; empty leaves that column out.
      reasons: Reasons of the kinds in the order of x; empty leaves that column out.
    """
    header = (*HEADER, *["missing"] * bool(num_missing), *["why this kind"] * bool(reasons))
    table: list[tuple[str, ...]] = [header]
    for i, c in schema.in_place[:MOST]:
        more = [_count(num_missing, i)] * bool(num_missing) + [*reasons[i : i + 1]]
        table.append((c.name, c.kind, c.type, levels_or_range(c), *more))
    if len(schema.columns) > MOST:
        table.append((f"and {len(schema.columns) - MOST:,} more", *[""] * (len(header) - 1)))
    return table


def _count(num_missing: Sequence[int], index: int) -> str:
    return f"{num_missing[index]:,}" if num_missing and num_missing[index] else ""


def levels_or_range(column: Column) -> str:
    """Return the levels of a column, or its range, in units of the data."""
    if column.levels:
        return _shortened(list(map(str, column.decode(np.arange(len(column.levels))))))
    if column.low is None or column.high is None:
        return ""
    if column.type == "date":
        low, high = np.array([column.low, column.high]).astype(np.int64).astype(f"M8[{column.unit}]")
        return f"{low} to {high}".replace("T", " ")
    if column.type == "integer":
        return f"{int(column.low)} to {int(column.high)}"
    return f"{column.low:g} to {column.high:g}"


def _shortened(names: list[str]) -> str:
    """Return as many names as fit into `WIDTH`, whole ones but for a first that is longer."""
    text = ", ".join(names)
    if len(text) <= WIDTH:
        return text
    head, comma, _ = text[: WIDTH - 3].rpartition(", ")
    return f"{head}, ..." if comma else f"{text[: WIDTH - 4]} ..."


def as_table(schema: Any, num_missing: Sequence[int] = (), reasons: Sequence[str] = ()) -> str:
    """Return the columns of a table as aligned lines; arguments are those of `rows`."""
    table = rows(schema, num_missing, reasons)
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def as_text(schema: Any) -> str:
    """Return what a schema says, on a line for each column of a table."""
    facts = " ".join(f"{name}={value}" for name, value in _facts(schema))
    columns = f"\n{as_table(schema)}" if schema.is_table else ""
    return f"<probvae Schema {facts}>{columns}"


def as_html(schema: Any) -> str:
    """Return what a schema says as HTML."""
    header = display.table("Schema", _facts(schema))
    if not schema.is_table:
        return header
    lines = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows(schema)
    )
    return f"{header}<table><tbody>{lines}</tbody></table>"


def _facts(schema: Any) -> list[tuple[str, Any]]:
    """Return the fields that are not empty, but for those of columns."""
    facts: list[tuple[str, Any]] = [("kind", schema.kind), ("event_shape", list(schema.event_shape))]
    if schema.kind == "image":
        facts.append(("white", schema.white))
    for name in ("crop", "label", "remark"):
        facts += [(name, getattr(schema, name))] if getattr(schema, name) else []
    if schema.classes:
        facts.append(
            ("classes", ", ".join(schema.classes[:8]) + (", ..." if len(schema.classes) > 8 else ""))
        )
    return [*facts, ("missing", schema.missing)]
