"""The text of config.json, written and read strictly."""

import dataclasses
import json
import re
from typing import Any, NamedTuple

from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import strict_json

FORMAT = 3  # version of config.json
READ = (2, FORMAT)  # versions that are read; the former has no schema.json beside it
MAX_CONFIG = 4_000_000  # largest size of config.json in bytes, enough for 100,000 columns of a table


class Config(NamedTuple):
    """The content of config.json.

    Attributes:
      architecture: Configuration of the model; None for networks of the caller's own.
      training: Configuration of its training, or None.
      schema_sha256: SHA-256 of the schema in schema.json; None where there is none.
    """

    architecture: Architecture | None
    training: Training | None = None
    schema_sha256: str | None = None


def to_json(
    architecture: Architecture | None, training: Training | None = None, schema_sha256: str | None = None
) -> str:
    """Return the text of config.json, of the fields of `Config`."""
    parts = {"architecture": architecture, "training": training}
    content = {name: part and dataclasses.asdict(part) for name, part in parts.items()}
    return json.dumps({"format": FORMAT, **content, "schema_sha256": schema_sha256}, indent=2) + "\n"


def from_json(text: str) -> Config:
    """Parse the text of config.json, of this version or the one before.

    Raises:
      InputError: The text is not JSON or of another format, or a key or the value of a field is refused.

    >>> from_json(to_json(Architecture(latent_dim=3))).architecture.latent_dim
    3
    """
    config = strict_json.parse(text, "config.json", levels=3)
    if not isinstance(config, dict):
        raise InputError(f"config.json must hold an object; it holds {type(config).__name__}.")
    if config.get("format") not in READ:
        raise InputError(
            f"config.json must be of format {FORMAT} or {READ[0]}; it is of format {config.get('format')!r}. "
            "Use the version of probvae that wrote it."
        )
    _refuse_unknown("config.json", config, {"format", *Config._fields})
    schema = config.get("schema_sha256")
    if schema is not None and not (isinstance(schema, str) and re.fullmatch("[0-9a-f]{64}", schema)):
        raise InputError(f"schema_sha256 in config.json must be a SHA-256; got {schema!r}.")
    return Config(_read(Architecture, config, "architecture"), _read(Training, config, "training"), schema)


def _read(cls: Any, config: dict[str, Any], name: str) -> Any:
    part = config.get(name)
    if part is None:
        return None
    if not isinstance(part, dict):
        raise InputError(f"{name} in config.json must be an object; got {part!r}.")
    _refuse_unknown(f"{name} in config.json", part, {f.name for f in dataclasses.fields(cls)})
    if "beta" in part and "groups" not in part:  # written before beta depended on the objective
        part = {**part, "beta": None if part["beta"] == 1 else part["beta"]}
    return cls(**part)


def _refuse_unknown(where: str, part: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(part) - known)
    if unknown:
        raise InputError(
            f"{where} has the unknown key {unknown[0]!r}; the known ones are {', '.join(sorted(known))}."
        )
