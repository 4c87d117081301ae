"""Trust in annealed chains, by their weights and the places where they end. No TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probvae.inference.estimates import log_mean_exp

ENOUGH = 0.25  # effective chains, as a part of all, from which an estimate is trusted
FEWEST = 2.0  # effective chains, the same, and in a mode that those from q(z|x) have not found
ALIKE = 0.5  # effective chains in that mode, as a part of the chains there, from which its mass is known
SHARE = 0.2  # share of the weights in that mode; a smaller one shows that chains lost them on the way
# Standard deviations of the distances among chains from q(z|x), beyond which another chain is elsewhere.
APART = 6.0
MARGIN = 3.0  # nats of log p(x, z) below the range of those chains, within which another has arrived


class Weights(NamedTuple):
    """The mean of weights [N, C] of chains in groups, with its error, [N] each.

    Attributes:
      log_mean: Log of the mean.
      standard_error: Standard error of `log_mean`, by the delta method within the groups. The variance of a
        group's weights is the larger one of theirs and that of a lognormal with the spread of their
        logarithms (Cox's method): a few skewed weights mostly lack the largest, and so look too much alike.
      effective_number: (sum w)^2 / sum w^2.
      degrees_of_freedom: Those of the standard error (Welch-Satterthwaite).
      enough: Whether a quarter of the chains or more is effective, and at least two are.
    """

    log_mean: np.ndarray
    standard_error: np.ndarray
    effective_number: np.ndarray
    degrees_of_freedom: np.ndarray
    enough: np.ndarray


def weigh(log_w: np.ndarray, counts: Sequence[int]) -> Weights:
    """Average weights exp(log_w), [N, C], whose first `counts[0]` chains are one group, and so on."""
    log_mean, chains = log_mean_exp(log_w.T), log_w.shape[1]
    groups = [group for group in np.split(log_w, np.cumsum(counts)[:-1], axis=1) if group.shape[1]]
    if min(group.shape[1] for group in groups) < 2:
        groups = [log_w]
    relative = [np.exp(group - log_mean[:, np.newaxis]) for group in groups]  # weights divided by their mean
    free = np.array([[group.shape[1] - 1] for group in groups])
    parts = np.array([_variance(*pair) for pair in zip(groups, relative, strict=True)]) / chains**2
    variance = parts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # weights that are all equal
        freedom = np.where(variance > 0, variance**2 / np.sum(parts**2 / free, axis=0), free.sum())
    number = chains**2 / np.sum(np.concatenate(relative, axis=1) ** 2, axis=1)
    return Weights(log_mean, np.sqrt(variance), number, freedom, number >= max(ENOUGH * chains, FEWEST))


def _variance(log_w: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the variance [N] of a sum of n independent weights w [N, n], from them and their logarithms."""
    n = w.shape[1]
    with np.errstate(invalid="ignore"):  # weights of 0
        spread = log_w.var(axis=1, ddof=1)
    lognormal = np.fmin(spread + spread**2 / 2 * n / (n - 1), n)  # relative to the square of the mean
    return n * np.maximum(w.var(axis=1, ddof=1), w.mean(axis=1) ** 2 * lognormal)


def reliable(
    weights: Weights, log_w: np.ndarray, u: np.ndarray, log_joint: np.ndarray, counts: Sequence[int]
) -> np.ndarray:
    """Tell where the mean of weights is to be trusted, bool [N].

    Chains from p(z) that end far from all those from q(z|x), at no lower log p(x, z), have found another
    mode. Its mass is not known if fewer than two of them are effective, or fewer than half, or if they hold
    less than a fifth of the weights, which they can have lost on the way.

    Args:
      weights: Mean of the weights.
      log_w: Log-weights [N, C].
      u: Ends of the chains, [N, C, L], on the scale of q(z|x).
      log_joint: log p(x, z) there, [N, C].
      counts: Numbers of the first chains, which began at q(z|x), and of the others.
    """
    ours, others = counts
    if ours < 3 or not others:
        return weights.enough
    apart = elsewhere(u[:, :ours], log_joint[:, :ours], u[:, ours:], log_joint[:, ours:])
    found = np.where(apart, np.exp(log_w - weights.log_mean[:, np.newaxis])[:, ours:], 0)
    share = found.sum(axis=1) / log_w.shape[1]
    with np.errstate(invalid="ignore"):  # none is apart
        number = found.sum(axis=1) ** 2 / np.sum(found**2, axis=1)
    several = number >= np.maximum(FEWEST, ALIKE * apart.sum(axis=1))
    return weights.enough & (~apart.any(axis=1) | (several & (share >= SHARE)))


def elsewhere(
    u: np.ndarray, log_joint: np.ndarray, other_u: np.ndarray, other_log_joint: np.ndarray
) -> np.ndarray:
    """Tell which other chains end far from all of the chains, at no lower log p(x, z): bool [N, D].

    Args:
      u: Ends of the chains, [N, C, L], on the scale of q(z|x).
      log_joint: log p(x, z) there, [N, C].
      other_u: Ends of the other chains, [N, D, L].
      other_log_joint: log p(x, z) there, [N, D].
    """
    near = _squares(other_u, u).min(axis=2)  # [N, D]
    i, j = np.triu_indices(u.shape[1], 1)
    pairs = _squares(u, u)[:, i, j]
    limit = pairs.mean(axis=1) + APART * pairs.std(axis=1)
    lowest = log_joint.min(axis=1) - np.ptp(log_joint, axis=1) - MARGIN
    return (near > limit[:, np.newaxis]) & (other_log_joint > lowest[:, np.newaxis])


def _squares(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return squared distances [N, C, D] of u [N, C, L] from v [N, D, L]."""
    u, v = u.astype(np.float64), v.astype(np.float64)
    lengths = np.sum(u**2, axis=2)[:, :, np.newaxis] + np.sum(v**2, axis=2)[:, np.newaxis]
    return lengths - 2 * np.einsum("ncl,ndl->ncd", u, v)
