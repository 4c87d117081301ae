"""Settings of a configuration: fields of a dataclass with their ranges, choices and help."""

import dataclasses
import inspect
import math
import typing
from typing import Any, TypeVar

from probvae import display
from probvae.config.choices import CHOICES
from probvae.errors import InputError

Class = TypeVar("Class", bound=type)


def setting(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    help: str,
    metavar: str = "",
    unset: str = "",
    of_images: bool = False,
) -> Any:
    """Declare a field of a configuration, from which its check, option and documentation follow.

    Args:
      default: Default value. The choices, if any, are those of the field's name in `CHOICES`.
      low: Least value of a number, or of each number in a tuple; None for no limits.
      high: Greatest value, likewise.
      help: Meaning of the setting; other settings are named in backticks.
      metavar: Name of the value in `--help`, instead of one for the type.
      unset: Value without the option in `probvae-train`, if it depends on other settings.
      of_images: Whether the setting has a meaning for images only.
    """
    metadata = {
        "range": (low, high),
        "help": help,
        "metavar": metavar,
        "unset": unset,
        "of_images": of_images,
    }
    return dataclasses.field(default=default, metadata=metadata)


def with_attributes(cls: Class) -> Class:
    """Add the help of the settings to the docstring of a dataclass, as a section above `Raises`."""
    lines = (f"  {f.name}: {f.metadata['help']}" for f in dataclasses.fields(cls))
    attributes = "\n".join(["Attributes:", *lines, "", "Raises:"])
    cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").replace("Raises:", attributes)
    return cls


class Settings(display.Configuration):
    """A dataclass of settings, which checks their types, ranges and choices."""

    def chosen(self, name: str) -> Any:
        """Return the value of a setting, also of one that others decide unless it is set."""
        return getattr(self, name)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _as_type(f.name, getattr(self, f.name), hints[f.name])
            object.__setattr__(self, f.name, value)
            low, high = f.metadata["range"]
            for number in value if isinstance(value, tuple) else (value,):
                if low is not None and number is not None and not low <= number <= high:
                    raise InputError(f"{f.name} must be from {low:,} to {high:,}; got {value}.")
            if f.name in CHOICES and value not in CHOICES[f.name]:
                names = ", ".join(CHOICES[f.name])
                raise InputError(f"{f.name} must be one of {names}; got {value!r}.")


def kind_of(hint: Any) -> Any:
    """Return the type of a field, without None for one whose value other settings decide.

    >>> kind_of(float | None)
    <class 'float'>
    """
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if type(None) in typing.get_args(hint) else hint


def _as_type(name: str, value: Any, hint: Any) -> Any:
    """Check a value against the type of a field; an int may stand for a float and a list for a tuple."""
    if value is None and kind_of(hint) is not hint:
        return None
    hint = kind_of(hint)
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and all(type(v) is kind for v in value):
            return tuple(value)
        kinds = {int: "integers", str: "strings"}[kind]
        raise InputError(f"{name} must be a list of {kinds}; got {value!r}.")
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not hint:
        raise InputError(f"{name} must be of type {hint.__name__}; got {value!r}.")
    return value
