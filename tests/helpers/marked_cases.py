"""Parameters of tests with marks on the slow ones."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest


def cases(values: Iterable[Any], *, slow: Iterable[Any] = (), long: Mapping[Any, str] | None = None) -> list:
    """Return parameters for `pytest.mark.parametrize`.

    Args:
      values: Parameters, tuples where a test takes several.
      slow: Values that are slow.
      long: Values that are slow and that CI leaves out, each with the name of a case that CI runs.
    """
    values, slow, long = list(values), list(slow), dict(long or {})
    assert all(value in values for value in (*slow, *long)), "a case is marked that there is not"
    return [_case(value, value in slow, long.get(value)) for value in values]


def _case(value: Any, is_slow: bool, neighbour: str | None) -> Any:
    marks = [pytest.mark.slow] if is_slow or neighbour else []
    marks += [pytest.mark.long(neighbour)] if neighbour else []
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks)
