"""Scikit-learn outlier detector: rows of a table that are unlikely under the mean density of a few VAEs."""

import copy
import math
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from probvae.config.architecture import Architecture
from probvae.data.tables.frames import is_frame
from probvae.errors import InputError
from probvae.sklearn.conformal import ALL, Conformal, folds_of, lower_fence, mean_density
from probvae.sklearn.inner import epochs_of_steps, has_kinds, inner_transformer
from probvae.sklearn.rows import RowParts
from probvae.sklearn.transformer import VAETransformer
from probvae.sklearn.validation import plain

STEPS, MOST_EPOCHS = 160, 200  # steps of a training that `epochs=None` asks for, and epochs at most
FEW = 20  # rows of a training below which none are held out for early stopping, and none are left out
TYPICAL = 500  # rows of which `explain` takes the mean parts


class VAEOutlier(OutlierMixin, BaseEstimator):
    """Outlier detector by the log-density of rows under a few small VAEs, by the conventions of scikit-learn.

    The density is the mean of the densities of the VAEs, the members, which are trained on different rows.
    The rows of `fit` may include unknown outliers: members are small and trained for a short time, and each
    is trained a second time without the rows that it finds the least likely.

    Higher scores are more usual and `predict` gives -1 for outliers, as everywhere in scikit-learn. PyOD has
    the opposite sign: its `decision_function` is higher for outliers and its `predict` gives 1 for them.

    Args:
      latent_dim: L, the number of latent dimensions.
      members: M, the number of VAEs.
      max_samples: Largest number of rows that a VAE is trained on, drawn without replacement; so, as in an
        isolation forest, groups of outliers are too small to be learnt.
      columns: Kinds of columns by name, in place of those that are guessed, for DataFrames; a sequence of
        kinds for arrays. Without it, columns of numbers are normal with one standard deviation for all
        rows, with which outliers stand out better than with one that is decoded for each row.
      missing: Whether rows may have missing values; their score is log p(x_seen).
      units: Numbers of units of the hidden layers of the encoder; the decoder has them in reverse order.
      activation: Activation of the hidden layers.
      objective: Bound to maximise, a key of `probvae.objectives.registry.OBJECTIVES`.
      num_samples: Number of draws of z for each row and training step.
      epochs: Number of passes over the rows; None for as many as give 160 steps, at most 200.
      batch_size: Number of rows in a step.
      learning_rate: Learning rate of Adam.
      dropout: Fraction of the units that each hidden layer drops in training.
      weight_decay: Fraction of each kernel that a step takes off, times the learning rate.
      validation: Fraction of the rows of a member to hold out; the weights with the best ELBO on them are
        kept.
      patience: Number of epochs without a better validation ELBO before training stops; 0 for no limit.
      trim: Fraction of the rows of a member that its second training leaves out, the least likely rows after
        the first training; 0 for one training.
      contamination: "auto" for an `offset_` at the lower fence of the held-out scores, the first quartile
        less 1.5 times the distance of the quartiles; or the fraction of the rows of `fit` that `predict`
        calls outliers, above 0 and at most 0.5.
      num_draws: K, the number of draws of z of each member for the score of a row.
      random_state: Seed, an int or a `numpy.random.RandomState`; None gives another result at every `fit`.
      verbose: Whether to print a line for each epoch.

    Attributes:
      members_: Fitted `VAETransformer`s; the `vae_` of each is its model.
      offset_: Score below which rows are outliers, in nats.
      held_out_scores_: Scores of the rows that `p_values` compares with, each by models that have not seen
        it, in nats.
      typical_parts_: Mean part of each column over rows of `fit`, [D], in nats, which `explain` subtracts.
      n_features_in_, feature_names_in_: Number and names of the columns of X.

    >>> x = np.random.default_rng(0).standard_normal([50, 3])
    >>> detector = VAEOutlier(members=2, units=(8,), epochs=1, random_state=0).fit(x)
    >>> detector.predict([[0.0, 0.0, 0.0], [99.0, 0.0, 0.0]])
    array([ 1, -1])
    """

    members_: list[VAETransformer]
    offset_: float
    held_out_scores_: np.ndarray
    typical_parts_: np.ndarray
    _conformal: Conformal

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        members: int = 5,
        max_samples: int = 256,
        columns: Any = (),
        missing: bool = False,
        units: Any = (32,),
        activation: str = "tanh",
        objective: str = "elbo",
        num_samples: int = 1,
        epochs: int | None = None,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        validation: float = 0.2,
        patience: int = 0,
        trim: float = 0.05,
        contamination: Any = "auto",
        num_draws: int = 100,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.members = members
        self.max_samples = max_samples
        self.columns = columns
        self.missing = missing
        self.units = units
        self.activation = activation
        self.objective = objective
        self.num_samples = num_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.validation = validation
        self.patience = patience
        self.trim = trim
        self.contamination = contamination
        self.num_draws = num_draws
        self.random_state = random_state
        self.verbose = verbose

    # ---- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> "VAEOutlier":  # noqa: N803
        """Train the members on the rows X [n, D], an array or a DataFrame; y is not used.

        Below 500 rows each member leaves out other rows, so that each row is left out once. From 500 rows on,
        all members leave out the same fifth of the rows, at most 1,000. `p_values` compares with the rows
        that are left out.

        Raises:
          InputError: A parameter or a column is invalid.
          NonFiniteError: The objective is not finite.
        """
        number, trim, share = self._checked_parameters()
        base = self._base(X)
        x, coding, architecture = base._coded(X)
        self.n_features_in_ = base.n_features_in_
        if hasattr(base, "feature_names_in_"):
            self.feature_names_in_ = base.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        random = check_random_state(self.random_state)
        folds = folds_of(len(x), number, random)
        self.members_ = [
            self._member(base, x[self._drawn(folds, i, random)], coding, architecture, random, trim)
            for i in range(number)
        ]
        scores = self._member_scores(x)
        self._conformal = Conformal.of(scores, folds)
        self.held_out_scores_ = self._conformal.held_out
        chosen = np.sort(random.permutation(len(x))[:TYPICAL])
        self.typical_parts_ = self._parts(x[chosen]).mean(axis=0)
        if share is None:
            self.offset_ = lower_fence(self.held_out_scores_)
        else:
            self.offset_ = float(np.percentile(mean_density(scores), 100 * share))
        return self

    def _checked_parameters(self) -> tuple[int, float, float | None]:
        """Return the number of members, the fraction to trim and the contamination, None for "auto"."""
        number, trim, share = plain(self.members), plain(self.trim), plain(self.contamination)
        for name, low in (("members", 2), ("max_samples", 2), ("num_draws", 1)):
            value = plain(getattr(self, name))
            if type(value) is not int or value < low:
                raise InputError(f"{name} must be an integer of {low} or more; got {value!r}.")
        if not isinstance(trim, int | float) or not 0 <= trim < 0.5:
            raise InputError(f"trim must be a number from 0 to below 0.5; got {trim!r}.")
        if isinstance(share, str) and share == "auto":
            return number, trim, None
        if not isinstance(share, int | float) or not 0 < share <= 0.5:
            raise InputError(f'contamination must be "auto" or above 0 and at most 0.5; got {share!r}.')
        return number, trim, share

    def _drawn(self, folds: np.ndarray, number: int, random: np.random.RandomState) -> np.ndarray:
        """Return the indices of the rows that a member is trained on, in their order."""
        rows = np.flatnonzero((folds != number) & (folds != ALL))
        most = plain(self.max_samples)
        return np.sort(random.permutation(rows)[:most]) if len(rows) > most else rows

    def _base(self, X: Any) -> VAETransformer:  # noqa: N803
        """Return the transformer that members are copies of, without its number of epochs."""
        base = inner_transformer(self, X, score_num_samples=self.num_draws)
        base._kinds_for_guesses = {"normal": "normal_shared"}
        if not has_kinds(self):
            base.likelihood = "auto"
            if not base._takes_schema(X):
                base.likelihood = "normal_shared"
        return base

    def _member(
        self,
        base: VAETransformer,
        x: np.ndarray,
        coding: Any,
        architecture: Architecture,
        random: np.random.RandomState,
        trim: float,
    ) -> VAETransformer:
        """Return a member trained on coded rows, and again without the least likely of them."""
        member, few, epochs = copy.copy(base), len(x) < FEW, self.epochs
        if epochs is None:
            epochs = epochs_of_steps(STEPS, len(x), self.batch_size, most=MOST_EPOCHS)
        member.set_params(random_state=random.randint(2**31 - 1), epochs=epochs)
        if few or not self.validation:
            member.set_params(validation=0.0, patience=0)
        member._learn(x, coding, architecture)
        left_out = 0 if few else math.floor(trim * len(x))
        if left_out:
            order = np.argsort(_terms(member, x)[0], kind="stable")
            member._learn(x[np.sort(order[left_out:])], coding, architecture)
        return member

    # ---- scores ----------------------------------------------------------------------------------

    def score_samples(self, X: Any, *, return_error: bool = False) -> Any:  # noqa: N803
        """Return the log-density of each row of X [n, D], [n] in nats; higher is more usual.

        The score is log (1/M) sum_m p_m(x), a density in the units of X. For log p_m(x) stands the
        importance-weighted bound of member m with K = `num_draws` draws of z, in expectation at most
        log p_m(x). The draws for a row depend on its values and the seed of the fit only.

        Args:
          X: Rows [n, D], an array or a DataFrame.
          return_error: Whether to return the Monte Carlo standard error of each score, too, [n] in nats. It
            is the error of `decision_function`, too. An error that is not small is itself unreliable, as the
            weights of the draws vary too much: raise num_draws.

        Returns:
          [n], or a pair of them.
        """
        x = self._x(X)
        bounds, errors = self._terms(x)
        scores = mean_density(bounds) + self.members_[0].coding_.log_slope(x)
        if not return_error:
            return scores
        return scores, np.sqrt(np.sum(np.square(softmax(bounds, axis=0) * errors), axis=0))

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return `score_samples(X)` less `offset_`, [n] in nats, negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return -1 for outliers and 1 for other rows, [n]."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return p-values [n] of the hypotheses that a row is drawn as the rows of `fit` were.

        The p-value is (1 + number of held-out scores at least as unusual) / (n + 1) of n held-out rows, where
        both scores that are compared are of the same models. If `fit` had 500 rows or more, the p-value of a
        new row of the same distribution is at most a with a probability of at most a (split conformal). With
        fewer rows, each held-out score is that of the member that has left out the row (cross-conformal, Vovk
        2015, doi:10.1007/s10472-013-9368-4): the probability is at most a approximately, and at most 2a by
        proof. Outliers in `fit` make p-values larger.
        """
        return self._conformal.p_values(self._member_scores(self._x(X)))

    def explain(self, X: Any) -> Any:  # noqa: N803
        """Return the part of each column in the score of each row, [n, D] in nats; negative is unusual.

        log p(x) is the mean of log p(x|z) over p(z|x), which is a sum over columns, less the divergence of
        p(z|x) from p(z). The part of column d is the mean of log p(x_d|z) over p(z|x) and over members, by
        their posterior probability, less the mean part of the column over rows of `fit` (`typical_parts_`).
        The parts of a row sum to its mean of log p(x|z) less that of usual rows. A missing value has the part
        0 before `typical_parts_` is subtracted.

        Returns:
          Array; a DataFrame if X is one, with those of its columns that were modelled in `fit`.
        """
        parts = self._parts(self._x(X)) - self.typical_parts_
        if not is_frame(X):
            return parts
        import pandas as pd

        schema = self.members_[0].schema_
        if schema is None:
            return pd.DataFrame(parts, X.index, X.columns)
        frame = pd.DataFrame(parts, X.index, [column.name for column in schema.columns])
        return frame[[name for name in X.columns if name in frame]]

    def _x(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return coded rows."""
        check_is_fitted(self, "offset_")
        return self.members_[0]._x(X)[0]

    def _member_scores(self, x: np.ndarray) -> np.ndarray:
        """Return the scores of coded rows by each member, [M, n]."""
        return self._terms(x)[0] + self.members_[0].coding_.log_slope(x)

    def _terms(self, x: np.ndarray) -> list[np.ndarray]:
        """Return bounds [M, n] and their errors [M, n] of coded rows."""
        terms = [_terms(member, x)[:2] for member in self.members_]
        return [np.stack(part) for part in zip(*terms, strict=True)]

    def _parts(self, x: np.ndarray) -> np.ndarray:
        """Return the parts of columns in log p(x) of coded rows, [n, D], in the units of X."""
        bounds, _, parts = zip(*(_terms(member, x) for member in self.members_), strict=True)
        mean = np.einsum("mn,mnd->nd", softmax(bounds, axis=0), np.stack(parts))
        return mean + self.members_[0].coding_.log_slopes(x)

    # ---- scikit-learn ----------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.missing)
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"allow_nan": bool(self.missing)}


def _terms(member: VAETransformer, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the bound of coded rows by a member, its error and the parts of columns."""
    draws = member._score_draws()
    with member.borrowed((RowParts, draws), lambda vae: RowParts(vae, draws)) as model:
        return model.parts(x, member.training_.seed)
