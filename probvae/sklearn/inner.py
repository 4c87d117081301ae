"""The transformer within another estimator, which gives it the parameters that both have."""

import math
from typing import Any

from probvae.sklearn.transformer import VAETransformer
from probvae.sklearn.validation import is_named


def inner_transformer(estimator: Any, rows: Any, **options: Any) -> VAETransformer:
    """Return an unfitted transformer with the parameters of an estimator, by columns for named ones.

    Args:
      estimator: Estimator.
      rows: Rows [n, D], an array or a DataFrame.
      **options: Parameters of the transformer in place of those of the estimator.
    """
    shared = VAETransformer().get_params().keys() & estimator.get_params().keys()
    fields = {name: getattr(estimator, name) for name in shared}
    likelihood = "mixed" if is_named(rows) or len(estimator.columns) else "normal"
    return VAETransformer(likelihood=likelihood).set_params(**fields | options)


def epochs_of_steps(steps: int, num_rows: int, batch_size: int, *, most: int) -> int:
    """Return the number of epochs that give a number of steps, at most `most`.

    >>> epochs_of_steps(1500, 640, 64, most=200), epochs_of_steps(1500, 64, 64, most=200)
    (150, 200)
    """
    return min(most, math.ceil(steps / math.ceil(num_rows / max(1, batch_size))))
