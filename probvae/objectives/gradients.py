"""Gradients through the draws of z alone, for the objectives that need them.

For z = g(noise; x) from q(z|x) the gradient of f(z, log q(z|x)) with respect to the encoder has a path
part, through z, and a score part, through the parameters in log q(z|x). The score part has mean zero in the
ELBO and can be left out (Roeder, Wu & Duvenaud 2017, arXiv:1703.09194), and can be turned into a second
path part in other bounds (Tucker et al. 2019, arXiv:1810.04152).
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.errors import InputError


def path_log_prob(q: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Return log q(z) whose gradient goes through z alone, none to the parameters or variables of q.

    This works for every q: the value is a constant plus a term that is zero but has the gradient of log q at
    z. That gradient is taken at a copy of z, because the cache of a flow would hide it at the flow's own
    draw.

    Args:
      q: Distribution of event shape [L].
      z: [..., L], draws of q that depend on its parameters.

    Returns:
      [...], nats; only first derivatives are correct.

    Raises:
      InputError: The draws of q have no gradient.

    >>> loc, z = tf.constant([2.0]), tf.constant([3.0])
    >>> with tf.GradientTape() as tape:
    ...     tape.watch([loc, z])
    ...     log_q = path_log_prob(tfd.MultivariateNormalDiag(loc), z)
    >>> [g if g is None else g.numpy().tolist() for g in tape.gradient(log_q, [loc, z])]
    [None, [-1.0]]
    """
    if q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise InputError(
            f"Gradients through z need a posterior whose draws are reparameterized; {q.name} is not. "
            "Use the elbo or another posterior."
        )
    copy = tf.stop_gradient(z)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(copy)
        log_prob = q.log_prob(copy)
    slope = tape.gradient(log_prob, copy, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.stop_gradient(log_prob) + tf.reduce_sum(tf.stop_gradient(slope) * (z - copy), axis=-1)


def scale_path(scale: Callable[[], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Build the identity on z [..., L] whose gradient is multiplied by `scale()` [...].

    `scale` is called when the gradient is computed, so it may use quantities that are computed from z later.

    >>> z = tf.constant([[3.0]])
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(z)
    ...     y = scale_path(lambda: later)(z)
    ...     later = y[:, 0]
    >>> tape.gradient(y, z).numpy().tolist()
    [[3.0]]
    """

    @tf.custom_gradient
    def identity(z: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(z), lambda upstream: upstream * scale()[..., tf.newaxis]

    return identity
