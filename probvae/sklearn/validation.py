"""Validation of rows and parameters, for the versions of scikit-learn that are supported."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from probvae.data.tables.frames import is_frame
from probvae.data.tables.table import refuse_duplicates

try:
    from sklearn.utils.validation import validate_data

    FINITE = "ensure_all_finite"  # name of the option that allows missing values
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, X: Any, **options: Any) -> Any:  # noqa: N803
        """Validate X as in newer versions of scikit-learn."""
        return estimator._validate_data(X, **options)

    FINITE = "force_all_finite"


_is_na = np.frompyfunc(lambda cell: type(cell).__name__ == "NAType", 1, 1)  # pandas.NA, which is no number


def rows_of(estimator: Any, X: Any, *, missing: bool, **options: Any) -> np.ndarray:  # noqa: N803
    """Return rows X as an array of floats, checked by scikit-learn; `missing` allows NaN."""
    if is_frame(X):
        refuse_duplicates("X", tuple(X.columns))
    elif isinstance(X, np.ndarray) and X.dtype == object:
        X = np.where(_is_na(X).astype(bool), np.nan, X)  # noqa: N806
    options[FINITE] = "allow-nan" if missing else True
    return validate_data(estimator, X, dtype=[np.float64, np.float32], **options)


def plain(value: Any) -> Any:
    """Return NumPy numbers and arrays as Python numbers and tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(plain(v) for v in value)
    return value


def is_named(rows: Any) -> bool:
    """Return whether rows are a DataFrame by names; numbers without names count as an array, as elsewhere."""
    if not is_frame(rows):
        return False
    return any(isinstance(name, str) for name in rows.columns) or any(
        t.kind not in "iuf" for t in rows.dtypes
    )
