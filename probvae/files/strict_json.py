"""Strict JSON: text that is ambiguous to readers is refused, and none is written."""

import json
import math
from typing import Any

from probvae.errors import InputError

LONGEST_NUMBER = 25  # largest number of characters in an integer; int64 has 20


def parse(text: str, what: str, levels: int) -> Any:
    """Read JSON text of at most `levels` nested objects and lists; `what` names it in messages.

    It is refused if it is no JSON, or has a key twice in an object, NaN or infinity (which JSON lacks), an
    integer of more than `LONGEST_NUMBER` characters, or text that UTF-8 cannot encode.

    >>> parse('{"a": [1, 2.5]}', "a.json", levels=2)
    {'a': [1, 2.5]}
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant, parse_int=_integer
        )
        text_ = json.dumps(value, ensure_ascii=False)
        text_.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{what} must hold text; it holds half of a surrogate pair, which is none."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} must hold JSON; reading it failed: {str(error).rstrip('.')}.") from None
    _refuse_deep(value, what, levels)
    return value


def text(content: Any, indent: int | None = 2) -> str:
    r"""Return content as JSON text, with null for numbers that are infinite or NaN, which JSON lacks.

    >>> text({"a": [1.0, float("inf")]}, indent=None)
    '{"a": [1.0, null]}\n'
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"an integer has {len(digits):,} digits, more than {LONGEST_NUMBER}")
    return int(digits)


def _refuse_deep(value: Any, what: str, levels: int) -> None:
    if not isinstance(value, dict | list):
        return
    if not levels:
        raise InputError(
            f"{what} must hold JSON of fewer levels: its objects and lists lie too deep in each other."
        )
    for inner in value.values() if isinstance(value, dict) else value:
        _refuse_deep(inner, what, levels - 1)
