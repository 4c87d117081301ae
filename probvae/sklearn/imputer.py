"""Scikit-learn imputer: missing cells of a table from p(x_missing | x_seen) of a VAE."""

import copy
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from probvae.arguments import count
from probvae.errors import InputError
from probvae.sampling.frame_imputation import LOGARITHM_DRAWS, draws_needed, schema_of_frame, to_frames
from probvae.sampling.imputation import Imputation, ends_of_interval, few_in_words
from probvae.sklearn import mixture
from probvae.sklearn.inner import epochs_of_steps, has_kinds, inner_transformer
from probvae.sklearn.transformer import VAETransformer
from probvae.sklearn.validation import is_named, plain, rows_of

STEPS, MOST_EPOCHS = 4_000, 300  # steps of a training that `epochs=None` asks for, and epochs at most


def _has_levels(imputer: Any) -> bool:
    """Return whether an imputer can have columns of levels: those of DataFrames, or named ones."""
    members = getattr(imputer, "members_", [None])
    schema = getattr(members[0], "schema_", None)
    return has_kinds(imputer) or schema is not None


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Imputer of missing cells from p(x_missing | x_seen) of VAEs, by the conventions of scikit-learn.

    The distribution is the mean of the distributions of a few VAEs, the members, which differ in their seeds.
    They are trained on the seen cells by the importance-weighted bound, `objective="iwae"` (MIWAE, Mattei &
    Frellsen 2019, arXiv:1812.02633). Where members disagree, intervals are wider, and so include some of the
    error of a model. Cells are missing where they are NaN, None or `pandas.NA`. A cell is imputed from the
    other cells of its row and the seed of the fit alone; other rows do not matter.

    Args:
      latent_dim: L, the number of latent dimensions.
      members: M, the number of VAEs.
      columns: Kinds of columns by name, in place of those that are guessed, for DataFrames; a sequence of
        kinds for arrays. Without it, columns of numbers are normal with one standard deviation for all rows
        (normal_shared): on small tables, one that is decoded for each row soon becomes too small.
      units: Numbers of units of the hidden layers of the encoder; the decoder has them in reverse order.
      activation: Activation of the hidden layers.
      objective: Bound to maximise, a key of `probvae.objectives.registry.OBJECTIVES`.
      num_samples: Number of draws of z for each row and training step.
      epochs: Number of passes over the rows; None for as many as give 4,000 steps, at most 300, as more
        passes overfit small tables.
      batch_size: Number of rows in a step.
      learning_rate: Learning rate of Adam.
      schedule: Schedule of the learning rate, a key of `probvae.training.optimizer.SCHEDULES`.
      dropout: Fraction of the units that each hidden layer drops in training.
      weight_decay: Fraction of each kernel that a step takes off, times the learning rate.
      validation: Fraction of rows that a member holds out; the weights with the best ELBO on them are kept.
      patience: Number of epochs without a better validation ELBO before training stops; 0 for no limit.
      num_draws: K, the number of draws of z behind each imputed row, of all members together.
      add_indicator: Whether `transform` appends a column for each that had missing cells in `fit`, 1 where a
        cell was missing.
      keep_empty_features: Whether columns without any cell are kept, filled with 0, and not left out.
      random_state: Seed, an int or a `numpy.random.RandomState`; None gives another result at every `fit`.
      verbose: Whether to print a line for each epoch.

    Attributes:
      members_: Fitted `VAETransformer`s of the columns that have cells; the `vae_` of each is its model.
      indicator_: Fitted `sklearn.impute.MissingIndicator`, or None.
      n_features_in_, feature_names_in_: Number and names of the columns of X.

    >>> x = np.random.default_rng(0).standard_normal([50, 3])
    >>> x[::5, 0] = np.nan
    >>> imputer = VAEImputer(latent_dim=1, members=2, units=(8,), epochs=1, random_state=0).fit(x)
    >>> imputer.transform(x).shape, imputer.sample(x, num_draws=2)[1].shape
    ((50, 3), (50, 3))
    """

    members_: list[VAETransformer]
    _kept: np.ndarray  # mask of the columns that have cells
    indicator_: MissingIndicator | None

    def __init__(
        self,
        latent_dim: int = 8,
        *,
        members: int = 5,
        columns: Any = (),
        units: Any = (128, 128),
        activation: str = "tanh",
        objective: str = "iwae",
        num_samples: int = 5,
        epochs: int | None = None,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        validation: float = 0.0,
        patience: int = 0,
        num_draws: int = 1000,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.members = members
        self.columns = columns
        self.units = units
        self.activation = activation
        self.objective = objective
        self.num_samples = num_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.validation = validation
        self.patience = patience
        self.num_draws = num_draws
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state
        self.verbose = verbose

    # ---- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> "VAEImputer":  # noqa: N803
        """Train the model on the seen cells of X [n, D], an array or a DataFrame; y is not used.

        Raises:
          InputError: A parameter or a column is invalid.
          NonFiniteError: The objective is not finite.
        """
        rows = self._rows(X, reset=True)
        missing = _missing(rows)
        self._kept = np.logical_not(np.all(missing, axis=0, keepdims=True))[0]
        if not self._kept.any():
            raise InputError("X must have a column with a value in some row; all cells are missing.")
        self.indicator_ = None
        if plain(self.add_indicator):
            self.indicator_ = MissingIndicator(error_on_new=False).fit(_marked(missing))
        number, epochs = self._number(), self.epochs
        if epochs is None:
            epochs = epochs_of_steps(STEPS, len(rows), self.batch_size, most=MOST_EPOCHS)
        kept = _columns(rows, self._kept)
        base = self._base(kept, epochs)
        x, coding, architecture = base._coded(kept)
        random = check_random_state(self.random_state)
        self.members_ = []
        for _ in range(number):
            member = copy.copy(base).set_params(random_state=random.randint(2**31 - 1))
            self.members_.append(member._learn(x, coding, architecture))
        return self

    def _number(self) -> int:
        """Return the number of members."""
        number = plain(self.members)
        if type(number) is not int or number < 1:
            raise InputError(f"members must be an integer of 1 or more; got {number!r}.")
        return number

    def _base(self, kept: Any, epochs: int) -> VAETransformer:
        """Return the transformer that members are copies of."""
        base = inner_transformer(self, kept, epochs=epochs, missing=True, columns=self._kinds_of_kept(kept))
        base._kinds_for_guesses = {"normal": "normal_shared"}
        if not is_named(kept) and not has_kinds(self):
            base.set_params(likelihood="mixed", columns=("normal_shared",) * kept.shape[1])
        return base

    def _kinds_of_kept(self, kept: Any) -> Any:
        """Return the kinds of the columns that have cells."""
        kinds = plain(self.columns)
        if not kinds:
            return self.columns
        if isinstance(kinds, dict) and is_named(kept):
            empty = {*getattr(self, "_frame_names", kept.columns)} - {*kept.columns}
            return {name: kind for name, kind in kinds.items() if name not in empty}
        if isinstance(kinds, tuple) and len(kinds) == len(self._kept):
            return tuple(kind for kind, seen in zip(kinds, self._kept, strict=True) if seen)
        return self.columns

    def _rows(self, X: Any, *, reset: bool = False) -> Any:  # noqa: N803
        """Return the rows of X as an array of floats, checked by scikit-learn, or a DataFrame with names."""
        if not is_named(X):
            if reset:
                self.__dict__.pop("_frame_names", None)  # the names of an earlier fit
            return rows_of(self, X, missing=True, reset=reset, ensure_min_samples=2 if reset else 1)
        if reset:
            self._frame_names = list(X.columns)
            rows_of(self, _codes(X), missing=True, reset=True, ensure_min_samples=2)
        elif not hasattr(self, "_frame_names"):
            return rows_of(self, X, missing=True, reset=False)
        elif list(X.columns) != self._frame_names:
            lacking = [name for name in self._frame_names if name not in set(X.columns)]
            if lacking:
                raise InputError(f"X must have the columns of fit; it lacks {lacking[0]!r}.")
            return X[self._frame_names]
        return X

    # ---- results ---------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return X with its missing cells filled in; cells that are seen do not change.

        A number is filled in with its mean, rounded in a column of a whole type; a category with its most
        probable level; an ordered level with its median.

        Returns:
          Array [n, D], or a DataFrame where X is one; without columns that had no cell in `fit`, unless
          `keep_empty_features`, and with indicators if `add_indicator`.
        """
        rows, imputed = self._imputed(X)
        return self._finished(rows, imputed.values if is_named(rows) else self._filled(rows, imputed.mean))

    def sample(self, X: Any, num_draws: int = 1) -> list[Any]:  # noqa: N803
        """Return copies of X with missing cells drawn jointly, for multiple imputation.

        Args:
          X: Rows [n, D].
          num_draws: Number of copies.

        Returns:
          List of arrays or DataFrames as `transform` returns them.
        """
        rows, imputed = self._imputed(X, num_draws=plain(num_draws))
        if is_named(rows):
            draws = [imputed.draws.loc[i] for i in range(num_draws)]
        else:
            draws = [self._filled(rows, draw) for draw in imputed.draws]
        return [self._finished(rows, draw) for draw in draws]

    def intervals(self, X: Any, level: float = 0.9) -> tuple[Any, Any]:  # noqa: N803
        """Return the lower and upper ends of intervals for the missing cells, each shaped as X.

        The ends are weighted quantiles of draws, with equal tails. Both results hold the seen cells; levels
        without an order have no interval and are missing. The intervals include the error of a model as far
        as members disagree.

        Args:
          X: Rows [n, D].
          level: Probability of an interval under the model, between 0 and 1.
        """
        rows, imputed = self._imputed(X, quantiles=ends_of_interval(plain(level)))
        if is_named(rows):
            low, high = (imputed.quantiles.xs(q, level=0) for q in imputed.quantiles.index.unique(0))
        else:
            low, high = (self._filled(rows, end) for end in imputed.quantiles)
        return self._completed(rows, low), self._completed(rows, high)

    @available_if(_has_levels)
    def predict_proba(self, X: Any, column: Any) -> Any:  # noqa: N803
        """Return the probabilities of the levels of a column in each row, [n, K].

        Args:
          X: Rows [n, D]; where the column is seen, its level has the probability 1.
          column: Name of a column of levels in a DataFrame, or its index in an array.

        Returns:
          DataFrame with a column for each level; an array where X is one.
        """
        rows, imputed = self._imputed(X)
        places = np.flatnonzero(self._kept).tolist()
        of_levels = {key if is_named(rows) else places[key]: p for key, p in imputed.probabilities.items()}
        if column not in [*of_levels]:
            names = ", ".join(map(repr, of_levels)) or "none"
            raise InputError(f"column must be a column of levels ({names}); got {column!r}.")
        return of_levels[column]

    def effective_sample_size(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the effective number of the draws behind each row, [n], from 1 to `num_draws`.

        Where the number is below 10, do not trust the imputed cells of the row; a warning says so.
        """
        _, imputed = self._imputed(X)
        return np.asarray(imputed.effective_sample_size)

    def _imputed(self, X: Any, **options: Any) -> tuple[Any, Any]:  # noqa: N803
        """Return the kept columns of X, and what is imputed in them."""
        check_is_fitted(self, "members_")
        rows = self._rows(X)
        kept = _columns(rows, self._kept)
        coding = self.members_[0].coding_
        num_draws = count("num_draws", options.pop("num_draws", 0), 0)
        options = {"num_samples": plain(self.num_draws), "quantiles": ()} | options
        if is_named(rows):
            schema = schema_of_frame(self.members_[0].schema_)
            x, drawn = coding.encode(kept), draws_needed(schema, num_draws)
            imputed: Any = mixture.impute(self.members_, x, num_draws=drawn, **options)
            imputed = to_frames(schema, kept, imputed, num_draws, options["quantiles"])
        else:
            drawn = max(num_draws, LOGARITHM_DRAWS if coding.central else 0)  # means of logarithms need draws
            imputed = mixture.impute(self.members_, coding.encode(kept), num_draws=drawn, **options)
            imputed = self._decoded(imputed)
        advice = "Raise num_draws; the rows may lie far from those of fit."
        touched = np.any(_missing(kept), axis=1, keepdims=True)[:, 0]
        if words := few_in_words(imputed.effective_sample_size, touched, "rows", advice):
            warnings.warn(words, stacklevel=3)
        return rows, imputed

    def _decoded(self, imputed: Imputation) -> Imputation:
        """Return an imputation of an array in its units."""
        coding = self.members_[0].coding_

        def decode(x: np.ndarray) -> np.ndarray:
            return np.asarray(coding.decode(x.reshape(-1, x.shape[-1]))).reshape(x.shape)

        draws = None if imputed.draws is None else decode(imputed.draws)
        mean = draws.mean(axis=0) if coding.central and draws is not None else decode(imputed.mean)
        quantiles = None if imputed.quantiles is None else decode(imputed.quantiles)
        return imputed._replace(mean=mean, draws=draws, quantiles=quantiles)

    def _filled(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the kept columns of rows with their missing cells taken from values."""
        kept = rows[:, self._kept]
        return np.where(np.isnan(kept), values, kept).astype(rows.dtype)

    def _finished(self, rows: Any, filled: Any) -> Any:
        """Return filled rows with the columns without cells and the indicators that were asked for."""
        filled = self._completed(rows, filled)
        if self.indicator_ is None:
            return filled
        marks = self.indicator_.transform(_marked(_missing(rows)))
        if not is_named(rows):
            return np.hstack([filled, marks.astype(filled.dtype)])
        names = self.indicator_.get_feature_names_out(super().get_feature_names_out())
        return filled.assign(**dict(zip(names, marks.T.astype(float), strict=True)))

    def _completed(self, rows: Any, filled: Any) -> Any:
        """Return filled rows with the columns without cells, if they are kept."""
        if self._kept.all() or not plain(self.keep_empty_features):
            return filled
        return _with_empty(rows, filled, self._kept)

    # ---- scikit-learn ----------------------------------------------------------------------------

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns that `transform` returns."""
        check_is_fitted(self, "members_")
        names = super().get_feature_names_out(input_features)
        kept = names if plain(self.keep_empty_features) else names[self._kept]
        if self.indicator_ is None:
            return kept
        return np.array([*kept, *self.indicator_.get_feature_names_out(names)], object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"allow_nan": True, "preserves_dtype": [np.float64, np.float32]}


def _missing(rows: Any) -> np.ndarray:
    """Return where cells are missing, bool [n, D]."""
    return rows.isna().to_numpy(bool) if is_named(rows) else np.isnan(rows)


def _marked(missing: np.ndarray) -> np.ndarray:
    return np.where(missing, np.nan, 0.0)


def _columns(rows: Any, kept: np.ndarray) -> Any:
    return rows.loc[:, kept] if is_named(rows) else rows[:, kept]


def _codes(frame: Any) -> Any:
    """Return a frame of the same names and missing cells as numbers, for the checks of scikit-learn."""
    import pandas as pd

    return pd.DataFrame(_marked(_missing(frame)), frame.index, frame.columns)


def _with_empty(rows: Any, filled: Any, kept: np.ndarray) -> Any:
    """Return filled rows with the columns without cells in their places, filled with 0."""
    if is_named(rows):
        return filled.assign(**dict.fromkeys(rows.columns[~kept], 0.0))[list(rows.columns)]
    out = np.zeros(rows.shape, filled.dtype)
    out[:, kept] = filled
    return out
