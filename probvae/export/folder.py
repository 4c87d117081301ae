"""The folder of an export: a model in some formats and its model card, written atomically."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from probvae.arguments import instance
from probvae.data.schema_file import write_schema
from probvae.errors import InputError
from probvae.export.card import CARD, LICENSE, Provenance, provenance, render
from probvae.export.functions import PARTS
from probvae.export.onnx_model import require_packages
from probvae.export.onnx_model import write as write_onnx
from probvae.export.saved_model import write as write_saved_model
from probvae.files.outputs import path_of, refuse_folder_in_use, usable
from probvae.files.writing import SCHEMA, TEMPORARY
from probvae.models import saving
from probvae.models.vae import VAE
from probvae.runs.folder import require_run
from probvae.runs.run import Run

EXPORT = "export"  # folder of a run's export
NAMES = {"saved_model", CARD, SCHEMA, *(f"{part}.onnx" for part in PARTS)}


class Format(NamedTuple):
    """A format of an export."""

    write: Callable[..., list[Path]]  # function from a model, a folder and parts to the paths written
    check: Callable[[], None] = lambda: None  # function that raises an error if a package is absent


FORMATS: dict[str, Format] = {
    "savedmodel": Format(lambda vae, folder, parts: write_saved_model(vae, folder)),
    "onnx": Format(write_onnx, require_packages),
}


def export_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = ("savedmodel",),
    *,
    card_license: str = LICENSE,
    **options: Any,
) -> list[Path]:
    """Write the model of a run for use without probvae, and its model card.

    Args:
      run: Folder that probvae-train or `probvae.save` wrote.
      output: Folder to make; RUN/export unless given.
      formats: Keys of `FORMATS`.
      card_license: License in the card, an SPDX identifier in small letters (mit).
      **options: `label`, `parts` and `overwrite` of `export_model`.

    Returns:
      The paths that were written.

    Raises:
      InputError: There is no run, or `export_model` refuses its arguments.
    """
    run = Path(run)
    require_run(run)
    output = run / EXPORT if output is None else Path(output)
    _check(output, formats, overwrite=options.get("overwrite", False))
    origin = provenance(run, card_license)
    vae = saving.load(run) if origin.training is None else Run(run).model
    return export_model(vae, output, formats, origin=origin, **options)


def export_model(
    vae: VAE,
    output: str | os.PathLike[str],
    formats: Sequence[str] = ("savedmodel",),
    *,
    label: int | str | None = None,
    parts: Sequence[str] = tuple(PARTS),
    overwrite: bool = False,
    origin: Provenance | None = None,
) -> list[Path]:
    """Write a model for use without probvae, its model card and, where it has one, its schema.json.

    Args:
      vae: Model.
      output: Folder to make.
      formats: Keys of `FORMATS`.
      label: Class of a conditional model to fill in, by its name or its number.
      parts: Encoder, decoder or both, for onnx.
      overwrite: Whether an existing export is replaced.
      origin: Training and evaluation of the model, for the card.

    Returns:
      The paths that were written.

    Raises:
      InputError: There is no such format or part; a package is absent; the folder is in use; a class is
        missing or superfluous; a format lacks an operation of the model.
    """
    instance("vae", vae, VAE, "call export_model(vae, output)")
    output = path_of("output", output)
    _check(output, formats, overwrite=overwrite)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise InputError(
            f"parts must be some of {', '.join(PARTS)}; got {unknown[0] if unknown else 'none'!r}."
        )
    one = vae.of_class(label)
    one.architecture = vae.architecture
    staging = output.with_name(f".{output.name}.{os.getpid()}{TEMPORARY}")
    with usable(output):
        staging.mkdir(parents=True)
    try:
        written = [
            path
            for name in dict.fromkeys(formats)
            for path in FORMATS[name].write(one, staging, tuple(parts))
        ]
        write_schema(staging, one.schema)
        written += [staging / SCHEMA] if one.schema is not None else []
        name = None if label is None else _class_name(one, label)
        text = render(one, origin or Provenance(name=output.name), [p.name for p in written], label=name)
        (staging / CARD).write_text(text, encoding="utf-8")
        _replace(output, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [output / path.name for path in written] + [output / CARD]


def _class_name(vae: VAE, label: int | str) -> str:
    return str(label) if vae.schema is None else vae.schema.class_name(vae.schema.class_index(label))


def _check(output: Path, formats: Sequence[str], *, overwrite: bool) -> None:
    """Refuse arguments that cannot succeed, before anything is computed."""
    if output.name in ("", ".."):
        raise InputError(f"The output folder {output} has no name of its own: give one to make.")
    if not formats:
        raise InputError(f"formats must name one at least of {', '.join(FORMATS)}; got none.")
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"A format must be one of {', '.join(FORMATS)}; got {name!r}.")
        FORMATS[name].check()
    refuse_folder_in_use(output, overwrite=overwrite, why_foreign=_why_foreign)


def _why_foreign(names: set[str]) -> str:
    return "" if CARD in names and names <= NAMES else "holds other files than an export's"


def _replace(output: Path, staging: Path) -> None:
    """Replace the output folder, if any, by the finished one."""
    old = output.with_name(f".{output.name}.{os.getpid()}.old{TEMPORARY}")
    if output.exists():
        output.rename(old)
    try:
        staging.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
