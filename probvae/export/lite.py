"""TFLite (LiteRT): encoder and decoder as files for phones and small devices."""

from pathlib import Path

import tensorflow as tf

from probvae.errors import InputError
from probvae.export.functions import PARTS
from probvae.model import VAE


def write(vae: VAE, folder: Path, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    """Write `encoder.tflite` (x -> loc, scale) and `decoder.tflite` (z -> mean), float32, of any batch size.

    Both have a signature, `serving_default`, with the names of inputs and outputs.

    Args:
      vae: the model, not conditional.
      folder: where to write.
      parts: which of encoder and decoder.

    Returns:
      What was written.

    Raises:
      InputError: the model uses an operation that TFLite's own set does not have.
    """
    paths = []
    for name in parts:
        path = folder / f"{name}.tflite"
        path.write_bytes(_convert(vae, name, PARTS[name](vae)))
        paths.append(path)
    return paths


def _convert(vae: VAE, name: str, function: tf.types.experimental.GenericFunction) -> bytes:
    module = tf.Module()
    module.weights, module.function = list(vae.variables), function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    try:
        content: bytes = converter.convert()
    except Exception as error:  # the converter raises many kinds
        missing = sorted(
            {line.split("'")[1] for line in str(error).splitlines() if "is neither a custom op" in line}
        )
        raise InputError(
            f"The {name} cannot be written as TFLite, which lacks what it computes"
            f"{' (' + ', '.join(missing) + ')' if missing else ''}: "
            "export the other part alone, or as SavedModel."
        ) from error
    return content
