"""Missing values, written nan: likelihoods that sum over what was seen, and encoders that know what that is.

A model with missing values is trained on log p(x_seen) with the same bounds as any other: its likelihood
leaves out what is missing (`SeenValues`), and its encoder sees zeros there and which values they are
(`encoder_inputs`). Values are taken to be missing at random: whether one is missing may depend on what was
seen, not on the value itself. `probvae.sampling.imputation` fills them in.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import Wrapper
from probvae.errors import InputError
from probvae.seeds import Seed

IN_SUPPORT = 1.0  # lies in the support of every likelihood; stands for a missing value where one is needed


class SeenValues(Wrapper):
    """A product over independent values whose `log_prob` leaves out the values of x that are missing (nan).

    Everything else (`sample`, `mean`, ...) is that of the product. Where the product's factors are whole
    pixels, a pixel is left out if all of its values are missing; `log_prob` is nan where only some are, as
    their joint probability is no product.

    Args:
      distribution: a `tfd.Independent`.

    Raises:
      InputError: another distribution.
    """

    def __init__(self, distribution: tfd.Distribution, name: str = "seen") -> None:
        parameters = dict(locals())
        if not hasattr(distribution, "reinterpreted_batch_ndims"):
            raise InputError(
                "Missing values need a likelihood that is a product over values: expected a tfd.Independent, "
                f"got {type(distribution).__name__}. Wrap it in tfd.Independent."
            )
        super().__init__(distribution, parameters, name)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        factors = self.distribution.distribution  # of batch [..., *E] less the event of one factor
        within = list(range(-factors.event_shape.rank, 0))  # axes of one factor: none, or a pixel's channels
        missing = tf.reduce_all(tf.math.is_nan(x), axis=within, keepdims=True)
        # What stands in for a missing value must lie in the support, lest its gradient be nan.
        log_prob = factors.log_prob(tf.where(missing, IN_SUPPORT, x))
        missing = tf.squeeze(missing, axis=within) if within else missing
        ndims = self.event_shape.rank - factors.event_shape.rank
        return tf.reduce_sum(tf.where(missing, 0.0, log_prob), axis=list(range(-ndims, 0)))

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return self.distribution.sample(n, seed=seed)

    def _mean(self) -> tf.Tensor:
        return self.distribution.mean()

    def _mode(self) -> tf.Tensor:
        return self.distribution.mode()

    def _variance(self) -> tf.Tensor:
        return self.distribution.variance()

    def _stddev(self) -> tf.Tensor:
        return self.distribution.stddev()


def encoder_inputs(x: tf.Tensor) -> tf.Tensor:
    """Return what an encoder sees of x with missing values: zeros there, and 1 where a value was seen.

    Args:
      x: [..., C], nan where missing.

    Returns:
      [..., 2 C]: the values, then which were seen.

    >>> encoder_inputs(tf.constant([2.0, float("nan")])).numpy().tolist()
    [2.0, 0.0, 1.0, 0.0]
    """
    missing = tf.math.is_nan(x)
    return tf.concat([tf.where(missing, tf.zeros_like(x), x), 1 - tf.cast(missing, x.dtype)], axis=-1)
