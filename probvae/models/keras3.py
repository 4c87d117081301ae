"""Recognition of objects of Keras 3, which TensorFlow Probability does not take."""

from typing import Any

from probvae.errors import InputError


def refuse_keras3(what: str, *objects: Any) -> None:
    """Refuse objects of Keras 3, `tf.keras`; `what` is their name at the beginning of a message."""
    for item in objects:
        for kind in type(item).__mro__:
            if kind.__module__.split(".")[0] == "keras":
                raise InputError(
                    f"{what} must be of tf_keras (Keras 2), as the layers of TensorFlow Probability are; got a "
                    f"{type(item).__name__} of Keras 3 (tf.keras). Use `import tf_keras` and tf_keras in place "
                    "of tf.keras."
                )
