"""The transformer within another estimator, which gives it the parameters that both have."""

import math
from typing import Any

from probvae.errors import InputError
from probvae.sklearn.transformer import VAETransformer
from probvae.sklearn.validation import is_named, plain


def inner_transformer(estimator: Any, rows: Any, **options: Any) -> VAETransformer:
    """Return an unfitted transformer with the parameters of an estimator, by columns for named ones.

    Args:
      estimator: Estimator.
      rows: Rows [n, D], an array or a DataFrame.
      **options: Parameters of the transformer in place of those of the estimator.
    """
    shared = VAETransformer().get_params().keys() & estimator.get_params().keys()
    fields = {name: getattr(estimator, name) for name in shared}
    likelihood = "mixed" if is_named(rows) or has_kinds(estimator) else "normal"
    return VAETransformer(likelihood=likelihood).set_params(**fields | options)


def epochs_of_steps(steps: int, num_rows: int, batch_size: Any, *, most: int) -> int:
    """Return the number of epochs that give a number of steps, at most `most`.

    >>> epochs_of_steps(1500, 640, 64, most=200), epochs_of_steps(1500, 64, 64, most=200)
    (150, 200)
    """
    size = plain(batch_size)
    if type(size) is not int or size < 1:
        return 1  # the training refuses the size
    return min(most, math.ceil(steps / math.ceil(num_rows / size)))


def has_kinds(estimator: Any) -> bool:
    """Return whether an estimator names kinds of columns.

    Raises:
      InputError: Its `columns` are neither a mapping nor a sequence.
    """
    kinds = plain(estimator.columns)
    if kinds is not None and not isinstance(kinds, dict | tuple):
        raise InputError(f"columns must be a sequence of kinds, or a mapping from names; got {kinds!r}.")
    return bool(kinds)
