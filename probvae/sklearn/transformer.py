"""Scikit-learn transformer with a VAE of the rows of a table, for pipelines, grid searches and pickles."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from probvae.arguments import flag
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.coding import Column
from probvae.data.kinds import distribution_of
from probvae.data.schema import Schema
from probvae.data.tables.frames import is_frame
from probvae.data.tables.table_files import whole_frame
from probvae.errors import InputError
from probvae.likelihoods import check_support, likelihood_of
from probvae.models.vae import VAE
from probvae.sklearn.codings import ArrayCoding, Coding, Moments, SchemaCoding
from probvae.sklearn.fitted import FittedModel
from probvae.sklearn.rows import in_whole_blocks, prepared
from probvae.sklearn.validation import plain, rows_of
from probvae.training import shared
from probvae.training.state import Row


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, FittedModel):
    """A VAE as a scikit-learn transformer: rows of a table to means of q(z|x), and back.

    The parameters are the fields of `probvae.Architecture` and `probvae.Training` that apply to tables. Like
    any estimator it can be cloned, searched over and pickled; a pickle holds arrays and no TensorFlow object.

    Args:
      latent_dim: L, the number of output features of `transform`.
      likelihood: p(x|z), "auto" for "mixed" with a DataFrame that has columns of other types than numbers, or
        kinds in `columns`, and "normal" otherwise; "normal" for real numbers, "bernoulli" for 0 and 1,
        "continuous_bernoulli" for numbers from 0 to 1, "poisson" for counts, "mixed" for columns of several
        kinds, or another key of `probvae.likelihoods.LIKELIHOODS`.
      posterior: q(z|x), a key of `probvae.posteriors.POSTERIORS`.
      prior: p(z), a key of `probvae.priors.PRIORS`.
      network: Network, "mlp" or "gated_mlp".
      units: Numbers of units of the hidden layers of the encoder; the decoder has them in reverse order.
      activation: Activation of the hidden layers.
      components: Number of components of a mixture prior, or of pseudo-inputs of the VampPrior.
      columns: Kinds of the columns, for the likelihood mixed: a sequence for arrays; for DataFrames a mapping
        from names to kinds, in place of those that `probvae.data.load` would guess.
      classes: K, the number of classes, for the likelihood categorical.
      missing: Whether x may have missing values, NaN.
      standardize: Whether to standardize columns of normal likelihoods to mean 0 and standard deviation 1;
        results are in the units of X. The columns of a mixed DataFrame always are, see `schema_`.
      objective: Bound to maximise, a key of `probvae.objectives.registry.OBJECTIVES`.
      num_samples: Number of draws of z for each row and training step.
      beta: Weight of the KL, or with the objective iwae of the ELBO; None: 1, or 0.
      epochs: Number of passes over the rows.
      batch_size: Number of rows in a step.
      learning_rate: Learning rate of Adam.
      schedule: Schedule of the learning rate, a key of `probvae.training.optimizer.SCHEDULES`.
      dropout: Fraction of the units that each hidden layer drops in training.
      weight_decay: Fraction of each kernel that a step takes off, times the learning rate.
      average: Momentum of a moving average of the weights, which the estimator then has; 0 for none.
      validation: Fraction of rows to hold out; the weights with the best ELBO on them are kept.
      patience: Number of epochs without a better validation ELBO before training stops; 0 for no limit.
      score_num_samples: K, the number of draws of z for each row in `score_samples`.
      warm_start: Whether `fit` starts from the weights, locations and scales of an earlier `fit`.
      random_state: Seed, an int or a `numpy.random.RandomState`; None gives another result at every `fit`.
      verbose: Whether to print a line for each epoch.

    Attributes:
      architecture_: `probvae.Architecture` of the model.
      training_: `probvae.Training` of the fit.
      weights_: Variables of the model, a list of arrays.
      loc_, scale_: Location and scale of each column, [D], in standardization; for arrays.
      schema_: Schema of the columns of a mixed DataFrame; None otherwise.
      history_: Dictionary of arrays [epochs]: epoch, objective (mean over the rows, in standardized units)
        and, with held-out rows, validation_elbo.

    >>> x = np.random.default_rng(0).standard_normal([50, 3])
    >>> vae = VAETransformer(latent_dim=2, units=(8,), epochs=1, random_state=0).fit(x)
    >>> vae.transform(x).shape, vae.inverse_transform(vae.transform(x)).shape, vae.score_samples(x).shape
    ((50, 2), (50, 3), (50,))
    """

    architecture_: Architecture
    training_: Training
    weights_: list[np.ndarray]
    loc_: np.ndarray
    scale_: np.ndarray
    schema_: Schema | None
    coding_: Coding
    history_: dict[str, np.ndarray]
    _kinds_for_guesses: Mapping[str, str] = MappingProxyType({})  # kinds in place of those that are guessed

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        likelihood: str = "auto",
        posterior: str = "diagonal",
        prior: str = "standard_normal",
        network: str = "mlp",
        units: Any = (200, 200),
        activation: str = "relu",
        components: int = 100,
        columns: Any = (),
        classes: int = 256,
        missing: bool = False,
        standardize: bool = True,
        objective: str = "elbo",
        num_samples: int = 1,
        beta: float | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        average: float = 0.0,
        validation: float = 0.0,
        patience: int = 0,
        score_num_samples: int = 100,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.network = network
        self.units = units
        self.activation = activation
        self.components = components
        self.columns = columns
        self.classes = classes
        self.missing = missing
        self.standardize = standardize
        self.objective = objective
        self.num_samples = num_samples
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.average = average
        self.validation = validation
        self.patience = patience
        self.score_num_samples = score_num_samples
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # ---- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> "VAETransformer":  # noqa: N803
        """Train the model on the rows of X [n, D], an array or a DataFrame; y is not used.

        Raises:
          InputError: A parameter is invalid, or a value lies outside the support of the likelihood.
          NonFiniteError: The objective is not finite.
        """
        for name in ("standardize", "warm_start"):
            flag(name, plain(getattr(self, name)))
        resumes = self.warm_start and hasattr(self, "weights_")
        x, coding, architecture = self._coded(X, resumes)
        if resumes and architecture != self.architecture_:
            raise InputError(
                "warm_start goes on with the model that is there, and the parameters ask for another: set "
                "warm_start to False, or the parameters of the model back."
            )
        return self._learn(x, coding, architecture, self.weights_ if resumes else None)

    def _coded(self, X: Any, resumes: bool = False) -> tuple[np.ndarray, Any, Architecture]:  # noqa: N803
        """Return x of the rows X of `fit`, their coding, and the architecture of the model."""
        fields = self._fields_of(Architecture)
        coding: Any
        if self._takes_schema(X):
            x, coding, fields["columns"] = self._rows_of_frame(X, resumes)
            fields["likelihood"] = "mixed"
        else:
            values = self._checked(X, reset=not resumes, ensure_min_samples=2)
            fields["event_shape"] = (values.shape[1],)
            fields["likelihood"] = "normal" if self.likelihood == "auto" else self.likelihood
            x, coding, fields["columns"] = self._rows_of_array(values, fields, X, resumes)
        architecture = Architecture(**{**fields, "event_shape": (x.shape[1],)})
        self._check_support(architecture, x)
        return x, coding, architecture

    def _learn(
        self, x: np.ndarray, coding: Any, architecture: Architecture, weights: list[np.ndarray] | None = None
    ) -> "VAETransformer":
        """Train the model on coded rows x [n, D], from weights or from those of the seed."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        training = Training(binarize="none", seed=seed, **self._fields_of(Training))
        self._score_draws()
        weights, history = shared.fit(
            architecture, prepared(x, training), training, weights=weights, on_epoch=self._print
        )
        self.architecture_, self.training_, self.coding_ = architecture, training, coding
        self.schema_ = getattr(coding, "schema", None)
        if self.schema_ is None:
            self.loc_, self.scale_ = coding.loc, coding.scale
        self.weights_, self._live = weights, None
        self.history_ = {
            "epoch": np.array([row.epoch for row in history]),
            "objective": np.array([row.train_elbo for row in history]),
        }
        if training.validation:
            self.history_["validation_elbo"] = np.array([row.validation_elbo for row in history])
        return self

    def _fields_of(self, configuration: type) -> dict[str, Any]:
        """Return the parameters that are fields of a dataclass, as Python numbers and tuples."""
        names = {field.name for field in dataclasses.fields(configuration)}
        fields = {k: plain(v) for k, v in self.get_params(deep=False).items() if k in names}
        return {k: (v,) if k == "units" and isinstance(v, int) else v for k, v in fields.items()}

    def _takes_schema(self, X: Any) -> bool:  # noqa: N803
        """Return whether X is a DataFrame of columns of several kinds."""
        if not is_frame(X) or self.likelihood not in ("auto", "mixed"):
            return False
        numeric = all(dtype.kind in "iuf" for dtype in X.dtypes)
        named = isinstance(self.columns, Mapping) and bool(self.columns)
        return not numeric or named or (self.likelihood == "mixed" and not plain(self.columns))

    def _rows_of_frame(self, frame: Any, resumes: bool) -> tuple[np.ndarray, SchemaCoding, tuple[str, ...]]:
        """Return x of a DataFrame, its coding and the kinds of the columns of x."""
        if resumes and self.schema_ is not None:
            x, schema = self.schema_.encode(frame), self.schema_
        else:
            kinds = self.columns if isinstance(self.columns, Mapping) else {}
            x, schema = whole_frame(frame, kinds=kinds, missing=bool(self.missing))
            columns = [c if c.name in kinds else self._instead_of_guess(c) for c in schema.columns]
            schema = dataclasses.replace(schema, columns=tuple(columns))
            self.feature_names_in_ = np.array(frame.columns, object)
            self.n_features_in_ = frame.shape[1]
        if len(x) < 2:
            raise InputError(f"X must have 2 rows or more; it has {len(x)}.")
        return x, SchemaCoding(schema), schema.likelihoods

    def _instead_of_guess(self, column: Column) -> Column:
        return dataclasses.replace(column, kind=self._kinds_for_guesses.get(column.kind, column.kind))

    def _rows_of_array(
        self, values: np.ndarray, fields: dict[str, Any], rows: Any, resumes: bool
    ) -> tuple[np.ndarray, ArrayCoding, tuple[str, ...]]:
        """Return x of an array, its coding and the kinds of the columns of x, if the likelihood is mixed."""
        kinds = fields["columns"] or ()
        if isinstance(kinds, Mapping):
            raise InputError("columns must be a sequence of kinds, one for each column of an array.")
        columns = tuple(map(distribution_of, kinds))
        logs = [own != kind for own, kind in zip(columns, kinds, strict=True)]
        likelihood = likelihood_of(Architecture(**{**fields, "columns": columns}))
        logarithms = np.array(logs or [False] * values.shape[1])
        scaled = likelihood.standardizes() if self.standardize else np.zeros(values.shape[1], bool)
        names = list(rows.columns) if is_frame(rows) else None
        coding: Any = self.coding_ if resumes else ArrayCoding.fitted(values, scaled, logarithms, names)
        columns = tuple(distribution_of(kind, scale=s) for kind, s in zip(kinds, coding.scale, strict=False))
        return coding.encode(values), coding, columns

    @staticmethod
    def _check_support(architecture: Architecture, x: np.ndarray) -> None:
        check_support(
            architecture.likelihood,
            x,
            what="X",
            advice="Choose another likelihood, or change the values.",
            columns=architecture.columns,
            classes=architecture.classes,
        )

    def _x(self, X: Any) -> tuple[np.ndarray, np.dtype]:  # noqa: N803
        """Return x of rows X, and the type of the results."""
        if self.schema_ is not None:
            x = self.coding_.encode(X)
            if not len(x):
                raise InputError("X must have one row or more; it has none.")
            return x, np.dtype(np.float32)
        values = self._checked(X)
        x = self.coding_.encode(values)
        self._check_support(self.architecture_, x)
        return x, values.dtype

    def _print(self, row: Row) -> None:
        """Print a row of the history if verbose."""
        held_out = "" if row.validation_elbo is None else f"  validation ELBO {row.validation_elbo:.3f}"
        if self.verbose:
            print(f"epoch {row.epoch:.4g}  {self.objective} {row.train_elbo:.3f}{held_out}  nats")

    # ---- results ---------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the means of q(z|x), [n, L], for rows X [n, D]."""
        check_is_fitted(self, "architecture_")
        x, dtype = self._x(X)
        with self._model() as model:
            means = in_whole_blocks(lambda rows: model.vae.posterior(rows).mean(), x)
        return means.astype(dtype)

    def inverse_transform(self, X: Any) -> Any:  # noqa: N803
        """Return the means of p(x|z) in the units of the rows, for rows of z, X [n, L].

        Returns:
          [n, D]; a DataFrame if the rows of `fit` were one, with the most probable level of a category.
        """
        check_is_fitted(self, "architecture_")
        z = check_array(X, dtype=[np.float64, np.float32])
        if z.shape[1] != self._n_features_out:
            raise InputError(
                f"inverse_transform takes rows of z with {self._n_features_out} values; got {z.shape[1]}."
            )

        def moments(vae: VAE, rows: Any) -> list[Any]:
            p = vae.likelihood(rows)  # p(x|z)
            return [p.mean(), p.stddev(), p.mode()] if self.coding_.central else [p.mean()]

        with self._model() as model:
            mean, *rest = in_whole_blocks(lambda rows: moments(model.vae, rows), z.astype(np.float32))
        center = self.coding_.center(Moments(mean, *(rest or (None, None))))
        return center if is_frame(center) else center.astype(z.dtype)

    def score_samples(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return a lower bound on log p(x) of each row of X [n, D], [n] in nats; higher is likelier.

        This is the importance-weighted bound with K = `score_num_samples` draws of z (the ELBO for K = 1), as
        a density in the units of X: log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x). In expectation it is at most
        log p(x). The draws for a row depend on its values and the seed of the fit only, so that the bound is
        reproducible and independent of the other rows. With missing values it is a bound on log p(x_seen).
        """
        check_is_fitted(self, "architecture_")
        x, _ = self._x(X)
        with self._model() as model:
            return model.bounds(x, self.training_.seed) + self.coding_.log_slope(x)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Return the mean of `score_samples(X)`, nats per row; y is not used."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows from the model, z ~ p(z) and x ~ p(x|z), [n_samples, D] in the units of X.

        They are a DataFrame if the rows of `fit` were one.

        Args:
          n_samples: Number of rows.
          random_state: Seed of the draws; None takes that of the estimator.
        """
        check_is_fitted(self, "architecture_")
        n_samples = plain(n_samples)
        if type(n_samples) is not int or n_samples < 1:
            raise InputError(f"n_samples must be an integer of 1 or more; got {n_samples!r}.")
        state = self.random_state if random_state is None else random_state
        seed = int(check_random_state(state).randint(2**31 - 1))
        with self._model() as model:
            return self.coding_.decode(model.vae.sample(n_samples, seed=seed).numpy())

    # ---- scikit-learn ----------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.architecture_.latent_dim

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle; an older one lacks newer parameters, and one before codings has a location."""
        super().__setstate__(state)
        for name, default in type(self)().get_params(deep=False).items():
            self.__dict__.setdefault(name, default)
        if hasattr(self, "loc_") and not hasattr(self, "coding_"):
            self.schema_ = None
            self.coding_ = ArrayCoding(self.loc_, self.scale_, np.zeros(len(self.loc_), bool))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.missing)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"allow_nan": bool(self.missing), "preserves_dtype": [np.float64, np.float32]}

    def _checked(self, X: Any, *, reset: bool = False, **options: Any) -> np.ndarray:  # noqa: N803
        return rows_of(self, X, missing=bool(self.missing), reset=reset, **options)
