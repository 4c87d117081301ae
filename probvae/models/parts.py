"""Checks of the parts of a model: a prior, and networks that return distributions."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from probvae.arguments import class_of
from probvae.distributions.base import unwrap
from probvae.errors import InputError
from probvae.models.keras3 import refuse_keras3

ORDER = "the order is VAE(prior, encoder, decoder)"
KL_LAYERS = (tfpl.KLDivergenceAddLoss,)  # layers that add the KL to the loss
KL_REGULARIZERS = (tfpl.KLDivergenceRegularizer,)


def check_prior(prior: Any) -> int:
    """Check p(z), and return L.

    Raises:
      InputError: It is no distribution, has a batch, or its draws are not vectors.
    """
    if not isinstance(prior, tfd.Distribution):
        raise InputError(
            f"The prior must be a tfd.Distribution; got {class_of(prior)}. Give p(z) first: {ORDER}."
        )
    event, batch = prior.event_shape, prior.batch_shape
    if batch.rank != 0:
        raise InputError(
            f"The prior must be one distribution, of batch shape []; its batch shape is {batch}. Wrap it in "
            "tfd.Independent if its batch axis holds the coordinates of z."
        )
    if event.rank != 1 or not event.is_fully_defined():
        raise InputError(
            f"The prior must have an event shape [L]; its event shape is {event}. Give the number of "
            "coordinates of z, as in tfd.MultivariateNormalDiag(tf.zeros(8))."
        )
    return int(event[0])


def check_contexts(contexts: Any, context_dim: int) -> None:
    """Check p(y), of event shape [C]; None stands for an unknown one.

    Raises:
      InputError: It is no distribution, has a batch, or its draws are of another shape.
    """
    shapes = [getattr(contexts, name, None) for name in ("batch_shape", "event_shape")]
    if contexts is not None and (not isinstance(contexts, tfd.Distribution) or shapes != [[], [context_dim]]):
        raise InputError(
            f"contexts, p(y), must be one tfd.Distribution of event shape [{context_dim}]; got "
            f"{class_of(contexts)}: give tfd.OneHotCategorical(probs=...) or tfd.Empirical(y, event_ndims=1)."
        )


def check_network(what: str, network: Any, variable: str, shape: tuple[int, ...] | None = None) -> None:
    """Check that an encoder, a decoder or a classifier is a Keras model of certain inputs.

    Args:
      what: Name of the network, for messages.
      network: Keras model.
      variable: Name of the inputs, for messages.
      shape: Shape of an input without its batch axis; None if any will do.

    Raises:
      InputError: It is none, takes inputs of another shape, or adds the KL to the loss.
    """
    refuse_keras3(f"The {what}", network)
    if isinstance(network, tfd.Distribution) or not (callable(network) and isinstance(network, tf.Module)):
        raise InputError(
            f"The {what} must be a Keras model of tf_keras that returns a distribution; got "
            f"{class_of(network)}; {ORDER}."
        )
    keras = isinstance(network, tf_keras.layers.Layer)  # whose `submodules` fails on an LSTM with dropout
    for layer in network._flatten_layers() if keras else network.submodules:
        regularizer = getattr(layer, "activity_regularizer", None)
        if isinstance(layer, KL_LAYERS) or isinstance(regularizer, KL_REGULARIZERS):
            raise InputError(
                f"Layer {layer.name!r} has a KLDivergenceRegularizer or is a KLDivergenceAddLoss, so the KL "
                "would count twice: the bound already contains it. Remove it."
            )
        if isinstance(layer, tf_keras.layers.RNN) and layer.stateful:
            raise InputError(
                f"Layer {layer.name!r} is stateful: it would pass the state of the examples in one batch to "
                "those in the next, which do not depend on each other. Set stateful=False."
            )
    inputs = getattr(network, "input_shape", None) if getattr(network, "inputs", None) else None
    if shape is None or inputs is None:
        return
    if not isinstance(inputs, tuple) or not tf.TensorShape(inputs[1:]).is_compatible_with(shape):
        raise InputError(
            f"The {what} must take {variable} of shape {list(shape)}; it takes inputs of shape "
            f"{list(inputs[1:]) if isinstance(inputs, tuple) else inputs}; {ORDER}."
        )


def distribution_of(what: str, call: Callable[[], Any], dtype: Any) -> tfd.Distribution:
    """Return the distribution that a network returns.

    Args:
      what: Name of the network, for messages.
      call: Function that calls it.
      dtype: Type of z; that of 16-bit distributions is refused.

    Raises:
      InputError: The call fails, or returns something else.
    """
    try:
        d = call()
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        if isinstance(error, InputError):
            raise
        reason = _reason(error).rstrip(".")
        raise InputError(
            f"The {what} cannot be called: {reason}. Check the shapes of its layers; {ORDER}."
        ) from error
    if not isinstance(d, tfd.Distribution):
        raise InputError(
            f"The {what} must return a distribution; it returned {class_of(d)}. End it with a layer "
            "of tfp.layers, such as tfpl.MultivariateNormalTriL(8) or tfpl.IndependentBernoulli((28, 28, 1))."
        )
    kind = tf.as_dtype(unwrap(d).dtype)
    if kind.is_floating and kind != dtype:
        raise InputError(
            f"The {what} returns a distribution of {kind.name}, the prior is of {dtype.name}: give its last "
            f"Dense layer and its distribution layer dtype={dtype.name!r}. A global mixed-precision policy "
            "sets the type of all layers."
        )
    return d


def _reason(error: Exception) -> str:
    """Return the first line of an error, without what Keras puts around it."""
    text = str(getattr(error, "message", error)).strip()
    if "Call arguments received by" in text:
        text = text.partition("\n\n")[2].strip()
    return (text or type(error).__name__).splitlines()[0]
