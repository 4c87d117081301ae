"""The file schema.json beside the config.json of a run or a saved model."""

from pathlib import Path

from probvae.data.schema import MAX_SCHEMA, Schema
from probvae.errors import InputError
from probvae.files.reading import read_text
from probvae.files.writing import SCHEMA, write_text


def write_schema(folder: Path, schema: Schema | None) -> None:
    """Write schema.json into a folder; remove an earlier one where there is no schema."""
    path = folder / SCHEMA
    if schema is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, schema.to_json())


def read_schema(folder: Path, sha256: str) -> Schema:
    """Read schema.json of a folder.

    Args:
      folder: Folder of a run or a saved model.
      sha256: SHA-256 of the schema, as its config.json has it.

    Raises:
      InputError: The file is absent, damaged, or belongs to another model.
    """
    path = folder / SCHEMA
    if not path.exists():
        raise InputError(
            f"{path} is missing, without which the values of x have no meaning: bring it back, or train anew."
        )
    schema = Schema.from_json(read_text(path, "the schema of a model", MAX_SCHEMA))
    if schema.sha256() != sha256:
        raise InputError(
            f"{path} belongs to another model than {folder}: its SHA-256 is not that in config.json."
        )
    return schema
