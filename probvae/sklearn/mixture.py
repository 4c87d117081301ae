"""Imputation by a mixture of models with equal weights."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probvae.config.choices import column_sizes
from probvae.data.kinds import central_levels
from probvae.sampling.imputation import HELD, Imputation, Imputer, imputed_in_blocks
from probvae.seeds import of_rows
from probvae.sklearn.transformer import VAETransformer


def impute(
    members: Sequence[VAETransformer],
    x: np.ndarray,
    *,
    num_samples: int,
    num_draws: int = 0,
    quantiles: Sequence[float] = (),
) -> Imputation:
    """Impute missing values from the mean of p_m(x_missing | x_seen) of M models.

    The members have equal weights, and not the weights p_m(x_seen), which would be largest for the member
    that has overfitted a row most, and so would hide the error of a model that the differences of members
    show. Quantiles are those of draws. The draws of a row depend only on its values and the seeds of the
    members.

    Args:
      members: Fitted transformers of one architecture, M of them.
      x: Coded rows [N, D], nan where missing.
      num_samples: Number of draws of z for each row, of all members together.
      num_draws: R, the number of draws of the missing values.
      quantiles: Probabilities of the Q quantiles.
    """
    number = len(members)
    if number == 1:
        return _of_member(members[0], x, num_samples, num_draws, quantiles)
    drawn = max(num_draws, num_samples if quantiles else 0)
    each = math.ceil(drawn / number)

    def block(rows: slice) -> list[np.ndarray]:
        parts = [_of_member(m, x[rows], math.ceil(num_samples / number), each) for m in members]
        mean, square = (
            np.mean([part.mean.astype(np.float64) ** power for part in parts], axis=0) for power in (1, 2)
        )
        variance = square - mean**2 + np.mean([part.sd.astype(np.float64) ** 2 for part in parts], axis=0)
        probabilities = {
            i: np.mean([p.probabilities[i] for p in parts], axis=0) for i in parts[0].probabilities
        }
        for i, p in probabilities.items():
            if p.shape[1] > 2:  # indices of levels have no mean
                mean[:, i] = central_levels(p, members[0].architecture_.columns[i])
        effective = number**2 / np.sum([1 / part.effective_sample_size for part in parts], axis=0)
        draws, ends = np.empty([0, *mean.shape], np.float32), np.empty([0, *mean.shape], np.float32)
        if drawn:
            every = np.stack([np.asarray(part.draws) for part in parts])
            draws = _alternating(every, of_rows(members[0].training_.seed, x[rows])[:, 0], num_draws)
        if quantiles:
            pooled = every.reshape(-1, *mean.shape)
            ends = np.quantile(pooled, quantiles, axis=0, method="inverted_cdf")
        moments = [mean.astype(np.float32), np.sqrt(np.maximum(variance, 0)).astype(np.float32)]
        return [*moments, draws, effective, ends, *probabilities.values()]

    size = int(np.clip(HELD // (max(drawn, 1) * x.shape[1]), 1, len(x)))
    levels = [i for i, kind in enumerate(members[0].architecture_.columns) if column_sizes(kind).levels]
    has = {"has_draws": bool(num_draws), "has_quantiles": bool(quantiles)}
    return imputed_in_blocks(block, len(x), size, levels, **has)


def _of_member(
    member: VAETransformer, x: np.ndarray, num_samples: int, num_draws: int, quantiles: Sequence[float] = ()
) -> Imputation:
    seed = member.training_.seed
    with member.borrowed(Imputer, Imputer) as imputer:
        imputed: Imputation = imputer.impute(
            x, num_samples=num_samples, num_draws=num_draws, quantiles=quantiles, seed=seed
        )
    return imputed


def _alternating(draws: np.ndarray, keys: np.ndarray, number: int) -> np.ndarray:
    """Return draws of the members in turn, in each row from a random member on.

    Args:
      draws: Draws of M members, [M, R', N, *E].
      keys: Random integers of the rows, [N].
      number: R, the number of draws, at most M R'.

    Returns:
      [R, N, *E].
    """
    turn = np.arange(number)[:, np.newaxis]
    member = (turn + keys.astype(np.int64)) % len(draws)
    drawn: Any = draws[member, turn // len(draws), np.arange(len(keys))]
    return drawn
