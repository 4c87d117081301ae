"""Saving and loading: config.json and weights.npz in a folder, no pickle, each written atomically."""

import os
from pathlib import Path

from probvae.arguments import instance
from probvae.config import json_file
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.schema import Schema
from probvae.data.schema_file import read_schema, write_schema
from probvae.errors import InputError
from probvae.files import npz
from probvae.files.outputs import path_of, usable
from probvae.files.reading import read_text
from probvae.files.writing import CONFIG, WEIGHTS, write_text
from probvae.models.building import build
from probvae.models.vae import VAE
from probvae.models.weight_files import arrays_of, assign_all, refuse_not_finite, write_npz


def save(vae: VAE, folder: str | os.PathLike[str], training: Training | None = None) -> None:
    """Save a model: config.json, weights.npz and, where the model has a schema, schema.json.

    Args:
      vae: Model. If its networks are the caller's own, config.json holds no architecture, and `load` needs a
        model of the same shape.
      folder: Folder to write to, made if absent; the files are replaced if present. That of a run is refused
        without a training.
      training: Settings of its training, kept in config.json.

    A p(y) from `ConditionalVAE.with_contexts` is not saved.

    Raises:
      InputError: The model is no model of its own but made by `ConditionalVAE.given`, its weights are not
        finite, an argument has the wrong type, or the folder cannot be written. Nothing is written.
    """
    instance("vae", vae, VAE, "call probvae.save(vae, folder)")
    folder = path_of("folder", folder)
    if training is not None:
        instance("training", training, Training, "give the Training of the model, or leave it out")
    if training is None and (folder / CONFIG).exists() and read_config(folder).training is not None:
        raise InputError(
            f"{folder} is the folder of a run, which could not be opened with a model that has no training: "
            "save to another folder, or give the training too."
        )
    if vae.unsaved:
        raise InputError(f"This is {vae.unsaved}.")
    arrays = arrays_of(vae)
    refuse_not_finite(arrays)
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_schema(folder, vae.schema)
    write_text(folder / CONFIG, config_text(vae.architecture, training, vae.schema))
    write_npz(folder / WEIGHTS, arrays)


def config_text(architecture: Architecture | None, training: Training | None, schema: Schema | None) -> str:
    """Return the text of config.json."""
    return json_file.to_json(architecture, training, None if schema is None else schema.sha256())


def save_weights(vae: VAE, path: Path) -> None:
    """Write every variable of the model to an .npz file, keyed by its place and name."""
    write_npz(path, arrays_of(vae))


def load(folder: str | os.PathLike[str], vae: VAE | None = None) -> VAE:
    """Load a model that `save` or `probvae-train` wrote.

    Args:
      folder: Folder of config.json and weights.npz.
      vae: Model to load the weights into, for networks of your own; by default the model is rebuilt from
        config.json.

    Returns:
      The model; it gives the same numbers as the one that was saved.

    Raises:
      InputError: A file is missing or damaged, the weights do not fit the model, or an argument has the wrong
        type.
    """
    folder = path_of("folder", folder)
    if vae is not None:
        instance("vae", vae, VAE, "call probvae.load(folder, vae), or probvae.load(folder)")
    config = read_config(folder)
    schema = None if config.schema_sha256 is None else read_schema(folder, config.schema_sha256)
    if vae is None:
        if config.architecture is None:
            raise InputError(
                f"{folder / CONFIG} holds no architecture, because the networks were not built by "
                "probvae: build the same model and call probvae.load(folder, vae)."
            )
        vae = build(config.architecture, schema=schema)
    load_weights(vae, folder / WEIGHTS)
    vae.schema = schema or vae.schema
    return vae


def read_config(folder: Path) -> json_file.Config:
    """Read config.json of a run folder; an absent, too large or malformed one is an `InputError`."""
    path = folder / CONFIG
    if not path.exists():
        raise InputError(f"{path} cannot be read: there is no such file. Expected a run folder.")
    return json_file.from_json(read_text(path, "a run's configuration", json_file.MAX_CONFIG))


def load_weights(vae: VAE, path: Path) -> None:
    """Assign weights saved by `save_weights`: all of them or, if some do not fit or are not finite, none."""
    assign_all(vae, lambda expected: npz.read_expected(path, "weights", expected))
