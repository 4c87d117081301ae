"""Representations of models, distributions and configurations: short texts, and tables for notebooks.

They show attributes and compute nothing. All values are escaped in HTML.
"""

import dataclasses
import html
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

LONGEST = 120  # largest number of characters of a value in a text


def table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    """Return an HTML table of names and values under a title, all of them escaped.

    >>> table("a < b", [("x", 1)]).count("&lt;")
    1
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left"><code>{html.escape(str(value))}</code></td></tr>'
        for name, value in rows
    )
    return f"<div><strong>{html.escape(title)}</strong><table><tbody>{cells}</tbody></table></div>"


def example_noun(event_shape: Sequence[int]) -> str:
    """Return what an example of a shape is called: an image [H, W, C] so, and all others example.

    >>> example_noun((28, 28, 1)), example_noun((5,))
    ('image', 'example')
    """
    return "image" if len(event_shape) == 3 else "example"


def shape(value: Any) -> str:
    """Format a shape as TFP does, "?" for a size that is unknown before a run.

    >>> shape((28, None, 1))
    '[28, ?, 1]'
    """
    sizes = getattr(value, "as_list", lambda: list(value))
    if getattr(value, "rank", 0) is None:
        return "?"
    return f"[{', '.join('?' if n is None else str(n) for n in sizes())}]"


def kind(distribution: Any) -> str:
    """Return the class name of a distribution, followed by that of the distribution that it wraps, if any.

    >>> from tensorflow_probability import distributions as tfd
    >>> kind(tfd.Independent(tfd.Normal([0.0], 1.0), 1))
    'Independent Normal'
    """
    name = type(distribution).__name__.strip("_")
    wraps = name in ("Independent", "Sample") or getattr(distribution, "wraps", False)
    return f"{name} {kind(distribution.distribution)}" if wraps else name


class ReprMixin:
    """Representations of the library's distributions: a text of one line, and an HTML table.

    It stands before the TFP class among the bases; `_details` adds further entries. `wraps` is true for a
    distribution that changes some methods of another one, its `distribution`.
    """

    wraps: ClassVar[bool] = False

    def _details(self) -> dict[str, Any]:
        return {}

    def _facts(self) -> dict[str, Any]:
        own: Any = self
        shapes = {"batch_shape": shape(own.batch_shape), "event_shape": shape(own.event_shape)}
        return {**shapes, "dtype": own.dtype.name, **self._details()}

    def __repr__(self) -> str:
        facts = " ".join(f"{name}={_short(value)}" for name, value in self._facts().items())
        return f"<probvae {kind(self)} {facts}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        title = (type(self).__doc__ or "").strip().split("\n")[0].replace("`", "")
        return table(kind(self), [*self._facts().items(), ("what", title)])


# ---- models --------------------------------------------------------------------------------------


def model_text(vae: Any) -> str:
    """Describe the parts of a `VAE` on a few lines."""
    rows = model_rows(vae)
    width = max(len(name) for name, _ in rows)
    lines = [f"<{type(vae).__name__}", *(f"  {name:{width}}  {_short(value)}" for name, value in rows)]
    return "\n".join(lines) + ">"


def model_rows(vae: Any) -> list[tuple[str, Any]]:
    """Return the parts of a `VAE` as rows of a table."""
    architecture = vae.architecture
    posterior, likelihood = vae.kinds
    parts = (("prior", kind(vae.prior)), ("posterior", posterior), ("likelihood", likelihood))
    rows: list[tuple[str, Any]] = [
        (name, f"{family} ({getattr(architecture, name)})" if architecture else family)
        for name, family in parts
    ]
    rows += vae._details().items()
    if architecture:
        sizes = architecture.units if "mlp" in architecture.network else architecture.filters
        rows.append(("network", f"{architecture.network} {list(sizes)}"))
    return [*rows, ("parameters", f"{sum(v.shape.num_elements() for v in vae.trainable_variables):,}")]


# ---- configurations ------------------------------------------------------------------------------


class Configuration:
    """A dataclass represented by its main fields and those that differ from their defaults."""

    MAIN: ClassVar[tuple[str, ...]] = ()

    def _chosen(self) -> list[tuple[str, Any]]:
        config: Any = self
        values = [(f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(config)]
        return [(name, value) for name, value, default in values if name in self.MAIN or value != default]

    def __repr__(self) -> str:
        """Return the call that makes an equal configuration."""
        values = (f"{name}={value!r}" for name, value in self._chosen())
        return f"{type(self).__name__}({', '.join(values)})"

    def _repr_html_(self) -> str:
        return table(type(self).__name__, ((name, _short(value)) for name, value in self._chosen()))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
