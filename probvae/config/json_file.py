"""The text of config.json, written and read strictly."""

import dataclasses
import json
from typing import Any

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import strict_json

FORMAT = 2  # version of config.json
MAX_CONFIG = 4_000_000  # largest size of config.json in bytes, enough for 100,000 columns of a table


def to_json(architecture: Architecture | None, training: Training | None = None) -> str:
    """Return the text of config.json; the architecture is None if the networks are the caller's."""
    parts = {"architecture": architecture, "training": training}
    config = {k: v and dataclasses.asdict(v) for k, v in parts.items()}
    return json.dumps({"format": FORMAT, **config}, indent=2) + "\n"


def from_json(text: str) -> tuple[Architecture | None, Training | None]:
    """Parse the text of config.json.

    Returns:
      The architecture and the training, each None if it was not saved.

    Raises:
      InputError: The text is not JSON or of another format, or a key or the value of a field is refused.

    >>> from_json(to_json(Architecture(latent_dim=3)))[0].latent_dim
    3
    """
    config = strict_json.parse(text, "config.json", levels=3)
    if not isinstance(config, dict):
        raise InputError(f"config.json must hold an object; it holds {type(config).__name__}.")
    if config.get("format") != FORMAT:
        raise InputError(
            f"config.json must be of format {FORMAT}; it is of format {config.get('format')!r}. "
            "Use the version of probvae that wrote it."
        )
    _refuse_unknown("config.json", config, {"format", "architecture", "training"})
    return _read(Architecture, config, "architecture"), _read(Training, config, "training")


def _read(cls: Any, config: dict[str, Any], name: str) -> Any:
    part = config.get(name)
    if part is None:
        return None
    if not isinstance(part, dict):
        raise InputError(f"{name} in config.json must be an object; got {part!r}.")
    _refuse_unknown(f"{name} in config.json", part, {f.name for f in dataclasses.fields(cls)})
    return cls(**part)


def _refuse_unknown(where: str, part: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(part) - known)
    if unknown:
        raise InputError(
            f"{where} has the unknown key {unknown[0]!r}; the known ones are {', '.join(sorted(known))}."
        )
