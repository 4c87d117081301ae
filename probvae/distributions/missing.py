"""Missing values (nan): a likelihood of the observed values and inputs of an encoder.

A model with missing values is trained on log p(x_seen) with the same bounds as any other: its likelihood
leaves out the missing values (`SeenValues`), and its encoder gets zeros there and a mask (`encoder_inputs`).
Values are assumed to be missing at random: the mask may depend on the observed values, not on the missing
ones. `probvae.sampling.imputation` fills them in.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from probvae.distributions.base import Wrapper, at_rows
from probvae.errors import InputError
from probvae.seeds import Seed

IN_SUPPORT = 1.0  # value in the support of every likelihood, in place of a missing value


class SeenValues(Wrapper):
    """Product over independent values whose `log_prob` leaves out the missing values (nan) of x.

    Everything else (`sample`, `mean`, ...) is that of the product. If the factors are whole pixels, a pixel
    is left out if all its values are missing; `log_prob` is nan if only some are. It is nan, too, without the
    size of a row (`columns.SizedColumns`), which no row may lack.

    Args:
      distribution: Product over all values, a `tfd.Independent`.

    Raises:
      InputError: The distribution is not a `tfd.Independent`.
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
        factors = self.distribution.distribution  # batch shape [..., *E] without the event axes of a factor
        within = list(range(-factors.event_shape.rank, 0))  # axes of a factor: none, or channels of a pixel
        missing = tf.reduce_all(tf.math.is_nan(x), axis=within, keepdims=True)
        needed = getattr(factors, "needed", None)  # values that are never missing
        missing = missing if needed is None else missing & tf.logical_not(needed)
        # Outside the support the gradient could be nan.
        log_prob = factors.log_prob(tf.where(missing, IN_SUPPORT, x))
        missing = tf.squeeze(missing, axis=within) if within else missing
        ndims = self.event_shape.rank - factors.event_shape.rank
        return tf.reduce_sum(tf.where(missing, 0.0, log_prob), axis=list(range(-ndims, 0)))

    def at_rows(self, x: tf.Tensor) -> tfd.Distribution:
        """Return the distribution with the rates of rows x, see `base.at_rows`."""
        inner = at_rows(self.distribution, x)
        return self if inner is self.distribution else SeenValues(inner)

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
    """Encode x [..., C] as [..., 2 C]: values with zeros for missing ones (nan), and a mask, 1 for observed.

    >>> encoder_inputs(tf.constant([2.0, float("nan")])).numpy().tolist()
    [2.0, 0.0, 1.0, 0.0]
    """
    missing = tf.math.is_nan(x)
    return tf.concat([tf.where(missing, tf.zeros_like(x), x), 1 - tf.cast(missing, x.dtype)], axis=-1)
