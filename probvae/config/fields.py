"""Checks of a configuration's fields: types, ranges, choices."""

import dataclasses
import math
import typing
from dataclasses import field
from typing import Any

from probvae import display
from probvae.config.choices import CHOICES
from probvae.errors import InputError


def _in_range(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"range": (low, high)})


class _Checked(display.Configuration):
    """Checks every field's type, range and choice when the dataclass is made."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _as_type(f.name, getattr(self, f.name), hints[f.name])
            object.__setattr__(self, f.name, value)
            low, high = f.metadata.get("range", (None, None))
            for number in value if isinstance(value, tuple) else (value,):
                if low is not None and not low <= number <= high:
                    raise InputError(f"{f.name} must be from {low:,} to {high:,}; got {value}.")
            if f.name in CHOICES and value not in CHOICES[f.name]:
                names = ", ".join(CHOICES[f.name])
                raise InputError(f"{f.name} must be one of {names}; got {value!r}.")


def _as_type(name: str, value: Any, hint: Any) -> Any:
    """Check `value` against a field's type; an int serves as a float and a list as a tuple."""
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and all(type(v) is kind for v in value):
            return tuple(value)
        what = {int: "integers", str: "strings"}[kind]
        raise InputError(f"{name} must be a list of {what}; got {value!r}.")
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not hint:
        raise InputError(f"{name} must be of type {hint.__name__}; got {value!r}.")
    return value
