"""Recognition of objects of Keras 3, which TensorFlow Probability does not take."""

from typing import Any

from probvae.errors import InputError


def refuse_keras3(what: str, *objects: Any) -> None:
    """Refuse objects of Keras 3; `what` is their name in the message."""
    for item in objects:
        for kind in type(item).__mro__:
            if kind.__module__.split(".")[0] == "keras":
                name = type(item).__name__
                raise InputError(
                    f"{what} must be of tf_keras (Keras 2), as TensorFlow Probability is; got a "
                    f"{name} of Keras 3, TensorFlow's own. Use `import tf_keras` and its {name}."
                )
