"""What a model card tells of a run: its configuration, metrics, evaluation and commands, read strictly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import strict_json
from probvae.files.reading import read_text
from probvae.models import saving
from probvae.runs.folder import METRICS

COMMANDS = "commands.json"
EVALUATION = "evaluation"
MAX_BYTES = 20_000_000
RUN_METRICS = {"test_elbo": "ELBO", "test_log_likelihood": "log p(x|z)", "test_kl": "KL"}


class Row(NamedTuple):
    """A line of the evaluation table; errors are None where there is none."""

    key: str
    name: str
    mean: float
    standard_error: float | None
    monte_carlo_error: float | None
    unit: str
    note: str


@dataclass(frozen=True)
class Sources:
    """What is known of a model beside its architecture.

    Attributes:
      name: of the model.
      training: how it was trained.
      data: `data` of the run's metrics.json.
      versions: of what trained it.
      commands: that made it, as they were typed.
      rows: of the evaluation.
      conditions: of the evaluation, such as how many images.
      license: of the model.
    """

    name: str
    training: Training | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    license: str = "unknown"


def sources(run: Path, license: str) -> Sources:
    """Read what a run folder tells of its model.

    Raises:
      InputError: a file that is there cannot be read; a licence that is no identifier.
    """
    if not license or len(license) > 100 or not all(c.isalnum() or c in "-.+" for c in license):
        raise InputError(f"A license must be an identifier such as mit or cc-by-4.0; got {license!r}.")
    _, training = saving.read_config(run)
    metrics = _object(run / METRICS)
    evaluation = _object(run / EVALUATION / METRICS)
    rows = [
        _row(key, {"name": name, "unit": "nats", **_as_dict(metrics.get(key))})
        for key, name in RUN_METRICS.items()
    ]
    found = [_row(str(key), _as_dict(value)) for key, value in _as_dict(evaluation.get("results")).items()]
    rows = found if any(found) else rows
    return Sources(
        name=run.resolve().name,
        training=training,
        data=_as_dict(metrics.get("data")),
        versions=_as_dict(metrics.get("versions")),
        commands=_commands(run / COMMANDS),
        rows=tuple(row for row in rows if row is not None),
        conditions=_as_dict(evaluation.get("conditions")) if any(found) else {},
        license=license,
    )


def _object(path: Path) -> dict[str, Any]:
    return _as_dict(_parse(path))


def _parse(path: Path) -> Any:
    if not path.exists():
        return None
    return strict_json.parse(read_text(path, "metrics", MAX_BYTES), path.name, levels=10)


def _commands(path: Path) -> tuple[str, ...]:
    found = _parse(path)
    entries = [_as_dict(entry).get("command") for entry in found] if isinstance(found, list) else []
    return tuple(entry for entry in entries if isinstance(entry, str))


def _row(key: str, value: dict[str, Any]) -> Row | None:
    mean = _number(value.get("mean"))
    if mean is None:
        return None
    errors = _number(value.get("standard_error")), _number(value.get("monte_carlo_error"))
    texts = {name: str(value.get(name) or "") for name in ("name", "unit", "note")}
    return Row(key, texts["name"] or key, mean, *errors, texts["unit"], texts["note"])


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
