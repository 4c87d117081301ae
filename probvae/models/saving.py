"""Saving and loading: config.json and weights.npz in a folder, no pickle, each written atomically."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from probvae.config import architecture, json_file
from probvae.config.training import Training
from probvae.errors import InputError
from probvae.files import npz
from probvae.files.reading import read_text
from probvae.files.writing import CONFIG, WEIGHTS, write_atomic, write_text
from probvae.models.building import build
from probvae.models.vae import VAE


def save(vae: VAE, folder: str | os.PathLike[str], training: Training | None = None) -> None:
    """Save a model: config.json and weights.npz.

    Args:
      vae: Model. If its networks are the caller's own, config.json holds no architecture, and `load` needs a
        model of the same shape.
      folder: Folder to write to, made if absent; the two files are replaced if present.
      training: Settings of its training, kept in config.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json_file.to_json(vae.architecture, training))
    save_weights(vae, folder / WEIGHTS)


def save_weights(vae: VAE, path: Path) -> None:
    """Write every variable of the model to an .npz file, keyed by its place and name."""
    arrays = {key: variable.numpy() for key, variable in _variables(vae).items()}
    write_atomic(path, lambda file: np.savez(file, **arrays))


def load(folder: str | os.PathLike[str], vae: VAE | None = None) -> VAE:
    """Load a model that `save` or `probvae-train` wrote.

    Args:
      folder: Folder of config.json and weights.npz.
      vae: Model to load the weights into, for networks of your own; by default the model is rebuilt from
        config.json.

    Returns:
      The model; it gives the same numbers as the one that was saved.

    Raises:
      InputError: A file is missing or damaged, or the weights do not fit the model.
    """
    folder = Path(folder)
    if vae is None:
        architecture, _ = read_config(folder)
        if architecture is None:
            raise InputError(
                f"{folder / CONFIG} holds no architecture, because the networks were not built by "
                "probvae: build the same model and call probvae.load(folder, vae)."
            )
        vae = build(architecture)
    load_weights(vae, folder / WEIGHTS)
    return vae


def read_config(folder: Path) -> tuple[architecture.Architecture | None, Training | None]:
    """Read config.json of a run folder; an absent, too large or malformed one is an `InputError`."""
    path = folder / CONFIG
    if not path.exists():
        raise InputError(f"{path} cannot be read: there is no such file. Expected a run folder.")
    return json_file.from_json(read_text(path, "a run's configuration", json_file.MAX_CONFIG))


def load_weights(vae: VAE, path: Path) -> None:
    """Assign weights saved by `save_weights`: all of them or, if some do not fit or are not finite, none."""
    variables = _variables(vae)
    expected = {key: (tuple(v.shape), np.dtype(v.dtype.as_numpy_dtype)) for key, v in variables.items()}
    arrays = npz.read_expected(path, "weights", expected)
    for key, variable in variables.items():
        variable.assign(arrays[key])


def _variables(vae: VAE) -> dict[str, Any]:
    """Return each variable once, by a name that does not depend on the other models of the process."""
    named, seen = {}, set()
    for part, module in vae.named_parts().items():
        for index, variable in enumerate(module.variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                kind = variable.name.rsplit("/", 1)[-1].removesuffix(":0")  # kernel, bias, ...
                named[f"{part}/{index}/{kind}"] = variable
    return named
