"""Checks of what functions take beside data: counts, weights or rates, flags, and names of choices."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from probvae.errors import InputError


def known(value: Any) -> Any:
    """Return the value of a tensor as an array or a number, or None if it is known at run time only."""
    return tf.get_static_value(value) if tf.is_tensor(value) else value


LARGEST = 2**31 - 1  # largest size of an axis in TensorFlow's operations of int32


def count(name: str, value: Any, smallest: int = 1, largest: int = LARGEST) -> Any:
    """Check a whole number, and return it as an int; a tensor of a graph is returned unchanged.

    Args:
      name: Name of the argument, for the message.
      value: Number: an int, or an integer array or tensor without axes.
      smallest: Smallest number that is allowed.
      largest: Largest number that is allowed.

    Raises:
      InputError: The value is of another type, too small, or too large.

    >>> count("num_samples", np.int64(5))
    5
    """
    number = known(value)
    if tf.is_tensor(value) and number is None and value.dtype.is_integer and value.shape.rank in (0, None):
        return value
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if isinstance(number, np.ndarray):
        whole = number.ndim == 0 and number.dtype.kind in "iu"
    if not whole or number < smallest:
        raise InputError(f"{name} must be a whole number of at least {smallest}; got {_shown(value)}.")
    if number > largest:
        raise InputError(f"{name} must be a whole number of at most {largest:,}; got {int(number):,}.")
    return int(number)


def flag(name: str, value: Any) -> bool:
    """Check a choice between True and False, and return it as a bool.

    Args:
      name: Name of the argument, for the message.
      value: True or False, of Python or NumPy.

    Raises:
      InputError: The value is something else.

    >>> flag("missing", np.True_)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False; got {_shown(value)}.")
    return bool(value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Check the name of a choice, and return it.

    Args:
      name: Name of the argument, for the message.
      value: Name of a choice.
      choices: Names that are allowed.

    Raises:
      InputError: There is no such choice.

    >>> choice("method", "iwae", ["iwae", "elbo"])
    'iwae'
    """
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        raise InputError(f"{name} must be one of {', '.join(names)}; got {_shown(value)}.")
    return value


def instance(name: str, value: Any, kind: type, advice: str) -> None:
    """Check the class of an argument.

    Args:
      name: Name of the argument, for the message.
      value: Object.
      kind: Class that it must have.
      advice: What to give instead, the end of the message.

    Raises:
      InputError: The object is of another class.
    """
    if not isinstance(value, kind):
        expected = with_article(kind.__name__)
        raise InputError(f"{name} must be {expected}; got {class_of(value)}: {advice}.")


def class_of(value: Any) -> str:
    """Return the class of an object as text for a message.

    >>> class_of(3), class_of(None)
    ('an int', 'None')
    """
    return "None" if value is None else with_article(type(value).__name__)


def with_article(noun: str) -> str:
    """Return a noun behind "a" or "an", as in an ndarray."""
    return f"{'an' if noun[0] in 'AEIOaeio' or noun.startswith('nd') else 'a'} {noun}"


def sample_shape(value: Any) -> None:
    """Check the number of draws from a distribution, or their shape; a tensor of a graph passes.

    Args:
      value: Whole number of at least 0, or a sequence of them.

    Raises:
      InputError: The value is something else, or a number is too large.
    """
    sizes = known(value)
    if sizes is None and tf.is_tensor(value) and value.dtype.is_integer:
        return
    if isinstance(sizes, np.ndarray) and sizes.dtype.kind in "iu":
        sizes = sizes.ravel()
    several = isinstance(sizes, list | tuple | tf.TensorShape) or np.ndim(sizes) == 1
    for size in sizes if several else [sizes]:
        count("The number of draws", size, 0)


def weight(name: str, value: Any, low: float = 0.0, *, high: float = math.inf, above: bool = False) -> Any:
    """Check a finite number, and return it; a tensor of a graph is returned unchanged.

    Args:
      name: Name of the argument, for the message.
      value: Number: an int, a float, or an array or tensor without axes.
      low: Smallest number that is allowed.
      high: Largest number that is allowed.
      above: Whether the number must be above `low`.

    Raises:
      InputError: The value is of another type, not finite, too small, or too large.

    >>> weight("beta", 0.5)
    0.5
    """
    number = known(value)
    if tf.is_tensor(value) and number is None and value.shape.rank in (0, None):
        return value
    real = isinstance(number, int | float | np.number | np.ndarray) and not isinstance(number, bool)
    real = real and not np.ndim(number) and np.asarray(number).dtype.kind in "iuf"
    if not real or not math.isfinite(number) or not low <= number <= high or (above and number == low):
        bound = "" if low == -math.inf else f" {'above' if above else 'of at least'} {low:g}"
        bound = bound if high == math.inf else f" from {low:g} to {high:g}"
        raise InputError(f"{name} must be a finite number{bound}; got {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    """Return a value as text for a message."""
    if tf.is_tensor(value) or isinstance(value, np.ndarray):
        shape = value.shape.as_list() if tf.is_tensor(value) else list(value.shape)
        number = known(value)
        if number is not None and np.ndim(number) == 0:
            return repr(np.asarray(number).item())
        dtype = value.dtype.name
        return f"{dtype} of shape {shape}"
    return repr(value)
