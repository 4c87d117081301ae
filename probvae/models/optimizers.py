"""Checks of the optimizers of Keras that a model is compiled with."""

import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tf_keras

from probvae.errors import InputError
from probvae.models.keras3 import refuse_keras3

ADVICE = "such as tf_keras.optimizers.Adam(1e-3), or its name, such as 'adam'"
KINDS = (tf_keras.optimizers.Optimizer, tf_keras.optimizers.legacy.Optimizer)


def optimizer_of(optimizer: Any) -> Any:
    """Return an optimizer, made if it is given by its name or by a configuration.

    Raises:
      InputError: It is of Keras 3, unknown, or none, or its learning rate is no number of at least 0.
    """
    refuse_keras3("The optimizer", optimizer)
    try:
        made = tf_keras.optimizers.get(optimizer)
    except (ValueError, TypeError, KeyError):
        made = None
    if not isinstance(made, KINDS):
        raise InputError(f"Expected an optimizer of tf_keras, {ADVICE}; got {optimizer!r}.")
    schedule = callable(made.learning_rate)
    rate = 0.0 if schedule else float(tf.convert_to_tensor(made.learning_rate))  # it may be one of replicas
    if not 0 <= rate < math.inf:
        raise InputError(f"The learning rate must be a finite number of at least 0; it is {rate:g}.")
    return made


def check_shared(optimizer: Any, variables: Iterable[tf.Variable]) -> None:
    """Refuse an optimizer whose state belongs to the variables of another model."""
    index = getattr(optimizer, "_index_dict", None)
    if index is not None and any(optimizer._var_key(variable) not in index for variable in variables):
        raise InputError(
            f"The {type(optimizer).__name__} optimizer has the state of other variables: compile each model "
            "with an optimizer of its own, and compile the model again if it has got more layers."
        )
