"""The tables of docs/results.md and of README, written from the record between their marks.

A table stands between `<!-- results: NAME -->` and `<!-- end of results -->`. With
`<!-- results: NAME, MEASURE -->` it has the rows of one measure alone, and no commands.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import record
from entries import ENTRIES, kin
from measures import SHARES

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/results.md", "README.md", "docs/ko/README.md")
MARKED = re.compile(r"(<!-- results: ([a-z-]+)(?:, (.+?))? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def write(recorded: record.Record, root: Path = ROOT) -> None:
    """Write the tables into the pages."""
    for name in PAGES:
        path = root / name
        path.write_text(MARKED.sub(lambda match: filled(recorded, match), path.read_text()))


def filled(recorded: record.Record, match: re.Match[str]) -> str:
    """Return the text between two marks, and the marks."""
    return match[1] + "\n".join(table(recorded, match[2], match[3])) + "\n" + match[4]


def table(recorded: record.Record, title: str, only: str | None = None) -> Iterator[str]:
    """Yield the lines of a table: the results of its rows, of one measure or of all, then their commands."""
    rows = {name: entry for name, entry in ENTRIES.items() if entry.table == title}
    yield "| model | measure | mean | ± seeds | ± images | ± draws | published |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for name, entry in rows.items():
        measures = list(
            dict.fromkeys(key for run in recorded.get(name, {}).values() for key in run["measures"])
        )
        for i, key in enumerate(key for key in measures if only in (None, key)):
            expected = record.expected(recorded, name, key, kin(name))
            assert expected is not None
            cells = [entry.row if i == 0 else "", key, _number(key, expected.value)]
            cells += [_error(error) for error in (expected.seeds, expected.images, expected.draws)]
            yield f"| {' | '.join([*cells, entry.published if i == 0 else ''])} |"
        if not measures:
            yield f"| {entry.row} | not run yet | | | | | {entry.published} |"
    if only is not None:
        return
    yield ""
    yield "| model | name, seeds | minutes, machine |"
    yield "|---|---|---|"
    for name, entry in rows.items():
        runs = recorded.get(name, {})
        minutes = ", ".join(f"{run['minutes']:.0f}" for run in runs.values())
        machines = "; ".join(dict.fromkeys(run["machine"] for run in runs.values()))
        seeds = ", ".join(runs) or "none"
        yield f"| {entry.row} | `{name}`, {seeds} | {minutes and f'{minutes}; {machines}'} |"


def _number(key: str, value: float) -> str:
    return f"{value:.4f}" if key in SHARES else f"{value:.2f}"


def _error(error: float) -> str:
    return "" if not np.isfinite(error) or error == 0 else f"{error:.2g}"
