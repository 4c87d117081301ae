"""TensorFlow's SavedModel: every function as a signature, for use with TensorFlow alone."""

from pathlib import Path

import tensorflow as tf

from probvae.export.units import signatures, values_of
from probvae.models.vae import VAE


def write(vae: VAE, folder: Path) -> list[Path]:
    """Write a SavedModel with the signatures `encode`, `decode`, `log_prob` and `sample`; return its path.

    Where the schema of the model says what x stands for, these take and give values in the units of the data,
    and `encode_x`, `decode_x`, `log_prob_x` and `sample_x` take and give x.
    """
    module = tf.Module(name="probvae_export")
    module.weights = list(vae.variables)  # the graphs refer to these; nothing of Keras or TFP is kept
    values = values_of(vae)
    module.resources = [] if values is None else values.resources
    functions = signatures(vae, values)
    for name, function in functions.items():
        setattr(module, name, function)
    path = folder / "saved_model"
    tf.saved_model.save(module, str(path), signatures=functions)
    return [path]
