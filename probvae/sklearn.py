"""Scikit-learn transformer with a VAE of the rows of a table, for pipelines, grid searches and pickles."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from probvae import objectives
from probvae.config.architecture import Architecture
from probvae.config.training import Training
from probvae.data.binarization import Prepared
from probvae.data.splits import split_off
from probvae.errors import InputError
from probvae.inference.blocks import in_blocks, padded
from probvae.likelihoods import check_support, likelihood_of
from probvae.models.building import build
from probvae.models.vae import VAE
from probvae.training.state import Row, assign
from probvae.training.trainer import Trainer

try:
    from sklearn.utils.validation import validate_data

    FINITE = "ensure_all_finite"  # name of the option that allows missing values
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, X: Any, **options: Any) -> Any:  # noqa: N803
        """Validate X as in newer versions of scikit-learn."""
        return estimator._validate_data(X, **options)

    FINITE = "force_all_finite"


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A VAE as a scikit-learn transformer: rows of a table to means of q(z|x), and back.

    The parameters are the fields of `probvae.Architecture` and `probvae.Training` that apply to tables. Like
    any estimator it can be cloned, searched over and pickled; a pickle holds arrays and no TensorFlow object.

    Args:
      latent_dim: L, the number of output features of `transform`.
      likelihood: p(x|z), "normal" for real numbers, "bernoulli" for 0 and 1, "continuous_bernoulli" for
        numbers from 0 to 1, "poisson" for counts, "mixed" for columns of several kinds, or another key of
        `probvae.likelihoods.LIKELIHOODS`.
      posterior: q(z|x), a key of `probvae.posteriors.POSTERIORS`.
      prior: p(z), a key of `probvae.priors.PRIORS`.
      network: Network, "mlp" or "gated_mlp".
      units: Numbers of units of the hidden layers of the encoder; the decoder has them in reverse order.
      activation: Activation of the hidden layers.
      components: Number of components of a mixture prior, or of pseudo-inputs of the VampPrior.
      columns: Kinds of the columns, for the likelihood mixed.
      classes: K, the number of classes, for the likelihood categorical.
      missing: Whether x may have missing values, NaN.
      standardize: Whether to standardize columns of normal likelihoods to mean 0 and standard deviation 1;
        results are in the units of X.
      objective: Bound to maximise, a key of `probvae.objectives.registry.OBJECTIVES`.
      num_samples: Number of draws of z for each row and training step.
      beta: Weight of the KL.
      epochs: Number of passes over the rows.
      batch_size: Number of rows in a step.
      learning_rate: Learning rate of Adam.
      schedule: Schedule of the learning rate, a key of `probvae.training.optimizer.SCHEDULES`.
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
      loc_, scale_: Location and scale of each column, [D], in standardization.
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
    history_: dict[str, np.ndarray]

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        likelihood: str = "normal",
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
        beta: float = 1.0,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        schedule: str = "constant",
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
        self.validation = validation
        self.patience = patience
        self.score_num_samples = score_num_samples
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # ---- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> "VAETransformer":  # noqa: N803
        """Train the model on the rows of X [n, D]; y is not used.

        Raises:
          InputError: A parameter is invalid, or a value lies outside the support of the likelihood.
          NonFiniteError: The objective is not finite.
        """
        resumes = self.warm_start and hasattr(self, "weights_")
        values = self._checked(X, reset=not resumes, ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        architecture = Architecture(event_shape=(values.shape[1],), **self._fields_of(Architecture))
        training = Training(binarize="none", seed=seed, **self._fields_of(Training))
        if resumes and architecture != self.architecture_:
            raise InputError(
                "warm_start goes on with the model that is there, and the parameters ask for another: set "
                "warm_start to False, or the parameters of the model back."
            )
        loc, scale = (self.loc_, self.scale_) if resumes else self._scaling(values, architecture)
        x = _standardized(values, loc, scale)
        check_support(
            architecture.likelihood,
            x,
            what="X",
            advice="Choose another likelihood, or change the values.",
            columns=architecture.columns,
            classes=architecture.classes,
        )
        vae = build(architecture, seed=seed)
        if resumes:
            assign(vae.variables, self.weights_)
        history = Trainer(vae, _prepared(x, training), training).fit(on_epoch=self._print)
        self.architecture_, self.training_, self.loc_, self.scale_ = architecture, training, loc, scale
        self.weights_ = [v.numpy() for v in vae.variables]
        self.history_ = {
            "epoch": np.array([row.epoch for row in history]),
            "objective": np.array([row.train_elbo for row in history]),
        }
        if training.validation:
            self.history_["validation_elbo"] = np.array([row.validation_elbo for row in history])
        self._live = RowModel(vae, self._score_draws())
        return self

    def _fields_of(self, configuration: type) -> dict[str, Any]:
        """Return the parameters that are fields of a dataclass, as Python numbers and tuples."""
        names = {field.name for field in dataclasses.fields(configuration)}
        fields = {k: _plain(v) for k, v in self.get_params(deep=False).items() if k in names}
        return {k: (v,) if k == "units" and isinstance(v, int) else v for k, v in fields.items()}

    def _score_draws(self) -> int:
        draws = _plain(self.score_num_samples)
        if type(draws) is not int or draws < 1:
            raise InputError(f"score_num_samples must be an integer of 1 or more; got {draws!r}.")
        return draws

    def _scaling(self, values: np.ndarray, architecture: Architecture) -> tuple[np.ndarray, np.ndarray]:
        """Return location and scale of each column; 0 and 1 for columns that are not standardized."""
        size = values.shape[1]
        real = likelihood_of(architecture).standardizes()
        loc, scale = np.zeros(size), np.ones(size)
        if not self.standardize or not real.any():
            return loc, scale
        values = values[:, real].astype(np.float64)
        empty = np.flatnonzero(np.all(np.isnan(values), axis=0))
        if len(empty):
            raise InputError(
                f"Column {np.flatnonzero(real)[empty[0]]} of X has no value: leave the column out."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            loc[real], deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        if not np.all(np.isfinite(deviation)):
            raise InputError("The values of X are too large to be standardized: divide them by a number.")
        varies = deviation > 1e-12 * np.abs(loc[real])  # larger than the rounding error of a constant column
        scale[real] = np.where(varies, deviation, 1.0)
        return loc, scale

    def _print(self, row: Row) -> None:
        """Print a row of the history if verbose."""
        held_out = "" if row.validation_elbo is None else f"  validation ELBO {row.validation_elbo:.3f}"
        if self.verbose:
            print(f"epoch {row.epoch:.4g}  {self.objective} {row.train_elbo:.3f}{held_out}  nats")

    # ---- results ---------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the means of q(z|x), [n, L], for rows X [n, D]."""
        check_is_fitted(self)
        values = self._checked(X)
        x = _standardized(values, self.loc_, self.scale_)
        means = _in_whole_blocks(lambda rows: self.vae_.posterior(rows).mean(), x)
        return means.astype(values.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the means of p(x|z), [n, D] in the units of X, for rows of z, X [n, L]."""
        check_is_fitted(self)
        z = check_array(X, dtype=[np.float64, np.float32])
        if z.shape[1] != self._n_features_out:
            raise InputError(
                f"inverse_transform takes rows of z with {self._n_features_out} values; got {z.shape[1]}."
            )
        means = _in_whole_blocks(lambda rows: self.vae_.likelihood(rows).mean(), z.astype(np.float32))
        return (means * self.scale_ + self.loc_).astype(z.dtype)

    def score_samples(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return a lower bound on log p(x) of each row of X [n, D], [n] in nats; higher is likelier.

        This is the importance-weighted bound with K = `score_num_samples` draws of z (the ELBO for K = 1), as
        a density in the units of X: log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x). In expectation it is at most
        log p(x). The draws for a row depend on its values and the seed of the fit only, so that the bound is
        reproducible and independent of the other rows. With missing values it is a bound on log p(x_seen).
        """
        check_is_fitted(self)
        values = self._checked(X)
        x = _standardized(values, self.loc_, self.scale_)
        jacobian = np.where(np.isnan(x), 0.0, np.log(self.scale_)).sum(axis=1)
        return self._model().bounds(x, self.training_.seed) - jacobian

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Return the mean of `score_samples(X)`, nats per row; y is not used."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw rows from the model, z ~ p(z) and x ~ p(x|z), [n_samples, D] in the units of X.

        Args:
          n_samples: Number of rows.
          random_state: Seed of the draws; None takes that of the estimator.
        """
        check_is_fitted(self)
        n_samples = _plain(n_samples)
        if type(n_samples) is not int or n_samples < 1:
            raise InputError(f"n_samples must be an integer of 1 or more; got {n_samples!r}.")
        state = self.random_state if random_state is None else random_state
        seed = int(check_random_state(state).randint(2**31 - 1))
        return self.vae_.sample(n_samples, seed=seed).numpy() * self.scale_ + self.loc_

    @property
    def vae_(self) -> VAE:
        """Fitted `probvae.VAE` of standardized rows x = (X - loc_) / scale_."""
        check_is_fitted(self)
        return self._model().vae

    def _model(self) -> "RowModel":
        """Return the model in TensorFlow, built from `weights_` after unpickling."""
        if getattr(self, "_live", None) is None or self._live.draws != self._score_draws():
            vae = build(self.architecture_)
            assign(vae.variables, self.weights_)
            self._live = RowModel(vae, self._score_draws())
        return self._live

    # ---- scikit-learn ----------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.architecture_.latent_dim

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the model in TensorFlow, for pickles."""
        return {name: value for name, value in super().__getstate__().items() if name != "_live"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.missing)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"allow_nan": bool(self.missing), "preserves_dtype": [np.float64, np.float32]}

    def _checked(self, X: Any, *, reset: bool = False, **options: Any) -> np.ndarray:  # noqa: N803
        options[FINITE] = "allow-nan" if self.missing else True
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=reset, **options)


def _plain(value: Any) -> Any:
    """Return NumPy numbers and arrays as Python numbers and tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(_plain(v) for v in value)
    return value


def _standardized(values: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (values - loc) / scale as float32, without negative zeros and with NaN of one bit pattern."""
    with np.errstate(over="ignore"):
        x = ((values.astype(np.float64) - loc) / scale).astype(np.float32) + np.float32(0)
    if np.any(np.isinf(x)):
        raise InputError("X has values beyond the range of float32: divide its columns by numbers.")
    return np.where(np.isnan(x), np.float32(np.nan), x)


def _prepared(x: np.ndarray, training: Training) -> Prepared:
    """Return training data with rows held out for validation, in an order determined by the seed."""
    if not training.validation:
        return Prepared(x, x[:1], _identity, None)
    rest, held = split_off(len(x), training.validation, [training.seed, 4])
    if not len(rest):
        raise InputError(f"validation of {training.validation} leaves no row of {len(x)} to train on.")
    return Prepared(x[np.sort(rest)], x[held], _identity, x[held])


def _identity(batch: tf.Tensor, seed: Any) -> tf.Tensor:
    return batch


BLOCK = 256  # number of rows in a block, a constant because the rounding of sums depends on the batch shape


class RowModel:
    """A model in TensorFlow, and its compiled bound from `draws` draws of z for each row."""

    def __init__(self, vae: VAE, draws: int) -> None:
        self.vae, self.draws = vae, draws

        def bound(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return objectives.iwae(vae, row[0][None], num_samples=draws, seed=row[1])[0]

        self._bounds = tf.function(
            lambda x, seeds: tf.map_fn(bound, (x, seeds), fn_output_signature=tf.float32),
            input_signature=[tf.TensorSpec([None, *vae.event_shape]), tf.TensorSpec([None, 2], tf.int32)],
            autograph=False,
        )

    def bounds(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Return the bound of each row [n, D], [n] float64, with draws that depend on its values."""
        hashes = [zlib.crc32(row.tobytes()) for row in x]
        seeds = np.stack([np.full(len(x), seed), np.array(hashes, np.uint32).view(np.int32)], axis=1)
        return self._bounds(tf.constant(x), tf.constant(seeds, tf.int32)).numpy().astype(np.float64)


def _in_whole_blocks(function: Callable[[tf.Tensor], tf.Tensor], x: np.ndarray) -> np.ndarray:
    """Apply a function of rows to blocks of `BLOCK` rows, the last one padded with its last row."""
    return in_blocks(
        lambda rows: function(tf.constant(padded(x[rows], BLOCK)))[: rows.stop - rows.start], len(x), BLOCK
    )
