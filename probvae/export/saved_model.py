"""TensorFlow's SavedModel: every function as a signature, for use with TensorFlow alone."""

from pathlib import Path

import tensorflow as tf

from probvae.export.functions import FUNCTIONS
from probvae.models.vae import VAE


def write(vae: VAE, folder: Path) -> list[Path]:
    """Write a SavedModel with the signatures `encode`, `decode`, `log_prob` and `sample`; return its path."""
    module = tf.Module(name="probvae_export")
    module.weights = list(vae.variables)  # the graphs refer to these; nothing of Keras or TFP is kept
    signatures = {name: function(vae) for name, function in FUNCTIONS.items()}
    for name, function in signatures.items():
        setattr(module, name, function)
    path = folder / "saved_model"
    tf.saved_model.save(module, str(path), signatures=signatures)
    return [path]
