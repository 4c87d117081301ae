"""The tables of settings in docs/choices.md; `python tests/tools/settings_table.py` writes them anew."""

import dataclasses
import re
from pathlib import Path

from probvae import Architecture, Training
from probvae.config.choices import CHOICES

PAGE = Path(__file__).parents[2] / "docs" / "choices.md"
MARKED = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- end of settings -->)", re.DOTALL)


def tables():
    """Return the tables in Markdown, from the declarations of the settings."""
    return "\n" + "\n".join(table(cls) + "\n" for cls in (Architecture, Training))


def table(cls):
    rows = [f"| `probvae.{cls.__name__}` | default | values | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        cells = (f"`{field.name}`", default(field), values(field), field.metadata["help"].replace("|", "\\|"))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def default(field):
    value, unset = field.default, field.metadata["unset"]
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return (f"`{shown}`" if shown else "none") + (f" ({unset.removeprefix(f'{shown}; ')})" if unset else "")


def values(field):
    if field.name in CHOICES:
        return ", ".join(f"`{name}`" for name in CHOICES[field.name])
    low, high = field.metadata["range"]
    each = "each " if isinstance(field.default, tuple) else ""
    return "" if low is None else f"{each}{low:,.12g} to {high:,.12g}"


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda match: tables(), PAGE.read_text()))
