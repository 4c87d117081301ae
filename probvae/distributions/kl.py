"""KL divergences in closed form that TFP lacks, registered for `tfd.kl_divergence`."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd


@tfd.RegisterKL(tfd.MultivariateNormalDiagPlusLowRankCovariance, tfd.MultivariateNormalLinearOperator)
def _low_rank_from_normal(
    q: tfd.MultivariateNormalDiagPlusLowRankCovariance,
    p: tfd.MultivariateNormalLinearOperator,
    name: str | None = None,
) -> tf.Tensor:
    """Return KL(q || p) of two normals, of the batch of q and p, in nats.

    With covariances A of q and S S^T of p, and the difference d of the means, twice the KL is
    tr(S^-1 A S^-T) + |S^-1 d|^2 - L + log det(S S^T) - log det A.
    """
    with tf.name_scope(name or "kl_low_rank_from_normal"):
        covariance = q.covariance()
        half = p.scale.solve(covariance)  # S^-1 A
        trace = tf.linalg.trace(p.scale.solve(half, adjoint_arg=True))  # S^-1 (S^-1 A)^T
        difference = p.scale.solve((p.mean() - q.mean())[..., tf.newaxis])[..., 0]
        distance = tf.reduce_sum(difference**2, axis=-1)
        size = tf.cast(tf.shape(covariance)[-1], covariance.dtype)
        log_det = 2 * p.scale.log_abs_determinant() - q.cov_operator.log_abs_determinant()
        return 0.5 * (trace + distance - size + log_det)
