"""The Keras side of a model: `compile`, `fit`, `evaluate` and `predict`."""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from probvae import objectives
from probvae.errors import InputError, refuse_unknown
from probvae.models.ascent import Objective, ascend
from probvae.models.callbacks import CheckedCallbacks
from probvae.models.contract import Contract
from probvae.models.keras_data import Batches
from probvae.models.keras_options import COMPILE, as_in_keras, check, check_split
from probvae.models.optimizers import check_shared, optimizer_of
from probvae.models.weight_files import WeightsOfParts, arrays_of, once, refuse_not_finite
from probvae.objectives.memory import refuse_step
from probvae.seeds import as_seed, fold_in

VALUES = ("elbo", "log_likelihood", "kl")  # means that `evaluate` reports beside the loss


class KerasModel(WeightsOfParts, CheckedCallbacks):
    """A Keras model that `fit` trains by gradient ascent on a bound; `VAE` adds the distributions."""

    event_shape: tuple[int, ...]
    prior: Any
    encoder: tf_keras.Model
    decoder: tf_keras.Model
    _training_state: Any = None  # Keras's BackupAndRestore deletes that of the instance

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._means = _Means(("loss", "objective", *VALUES))

    def compile(
        self, optimizer: Any = "adam", objective: Objective | str = "elbo", *, seed: int = 0, **kwargs: Any
    ) -> None:
        """Prepare `fit` and `evaluate`; the objective is the bound, so there is no loss to choose.

        Args:
          optimizer: Optimizer of tf_keras, or its Keras name.
          objective: Name in `probvae.objectives.OBJECTIVES`, or a function `(vae, x, *, seed) -> [B]` to be
            maximised, such as `functools.partial(probvae.iwae, num_samples=5)`.
          seed: Seed of the draws of z, from which each step derives its own. The order of the examples in
            `fit` is Keras's, and depends on TensorFlow's global seed.
          **kwargs: Other arguments of `tf_keras.Model.compile`.

        Raises:
          InputError: The objective or the optimizer is unknown, or a loss or metrics are passed.
        """
        if "loss" in kwargs:
            raise InputError("A VAE takes no loss: it maximises `objective`, by default the ELBO.")
        for name in ("metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(name):
                raise InputError(
                    f"A VAE takes no {name}: it reports objective, elbo, log_likelihood and kl. Compute "
                    "others in a callback."
                )
        refuse_unknown("compile", kwargs, ("optimizer", "objective", "seed", *COMPILE))
        check(kwargs)
        as_seed(seed)
        objective = _objective(self, objective)
        super().compile(optimizer_of(optimizer), **{"weighted_metrics": [], **kwargs})
        self.objective: Objective = objective
        self.seed = seed

    # ---- training and evaluation -------------------------------------------------------------------

    @as_in_keras
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation_data: Any = None,
        **options: Any,
    ) -> Any:
        """Train the model, as `tf_keras.Model.fit` does.

        All values of arrays are checked before the first step, each batch of other data before its own: an
        invalid one raises `InputError`, and the earlier steps remain. On one device, a step whose objective
        or gradient is not finite is not taken; its loss is reported.

        Args:
          x: Array [N, *E], `tf.data.Dataset`, generator or `Sequence` of batches.
          y: The y of x, for a conditional model.
          sample_weight: Weights [N] of the examples in the mean of the objective.
          class_weight: Weights by class, for a conditional model of classes.
          validation_data: Array, tuple (x,), (x, y) or (x, y, weights), or batches, evaluated after each
            epoch.
          **options: Other arguments of `tf_keras.Model.fit`; all may be given in its order, without names.

        Returns:
          The `History` of Keras.

        Raises:
          InputError: The data or an option cannot be used, or a step does not fit into memory.
        """
        self._refuse_uncompiled()
        given = validation_data
        with self._training_batches() as batches:
            x, y, weights = batches.data(
                x, y, sample_weight, class_weight, steps=options.get("steps_per_epoch")
            )
            check_split(options, validation_data, len(x) if hasattr(x, "shape") else None)
            if hasattr(x, "shape"):
                self._check_step(min(len(x), options.get("batch_size") or 32))
            if validation_data is not None:
                given = _validation(batches, validation_data, options.get("validation_steps"))
            self._build_optimizer()
            try:
                return super().fit(x, y, sample_weight=weights, validation_data=given, **options)
            finally:
                self._eval_data_handler = None  # otherwise the next call evaluates the data of a failed one

    @as_in_keras
    def evaluate(self, x: Any = None, y: Any = None, *, sample_weight: Any = None, **options: Any) -> Any:
        """Evaluate the ELBO and its parts, as `tf_keras.Model.evaluate` does, with arguments of `fit`."""
        if options.get("_use_cached_eval_dataset"):  # within `fit`, which has checked the data
            return super().evaluate(x, y, sample_weight=sample_weight, **options)
        self._refuse_uncompiled()
        with Batches(self) as batches:
            x, y, weights = batches.data(x, y, sample_weight, steps=options.get("steps"))
            return super().evaluate(x, y, sample_weight=weights, **options)

    @as_in_keras
    def predict(self, x: Any, **options: Any) -> np.ndarray:
        """Return the means of p(x|z) at the means of q(z|x), as `tf_keras.Model.predict` does.

        A larger `batch_size` than fits into `objectives.memory.BUDGET` is reduced.
        """
        with Batches(self) as batches:
            x, _, _ = batches.data(x, steps=options.get("steps"))
            if options.get("batch_size") and hasattr(x, "shape"):
                options["batch_size"] = self._rows_at_once(min(len(x), options["batch_size"]))
            return super().predict(x, **options)

    @as_in_keras
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, **options: Any
    ) -> Any:
        """Take one step on a batch of arrays; arguments are those of `fit`."""
        self._refuse_uncompiled()
        self._refuse_several_steps()
        with self._training_batches() as batches:
            x, y, weights = batches.one_batch(x, y, sample_weight, class_weight)
            self._check_step(len(x))
            self._build_optimizer()
            return super().train_on_batch(x, y, sample_weight=weights, **options)

    @as_in_keras
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """Evaluate one batch of arrays; arguments are those of `fit`."""
        self._refuse_uncompiled()
        self._refuse_several_steps()
        with Batches(self) as batches:
            x, y, weights = batches.one_batch(x, y, sample_weight)
            return super().test_on_batch(x, y, sample_weight=weights, **options)

    @as_in_keras
    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Return `predict` of one batch, an array."""
        self._refuse_several_steps()
        with Batches(self) as batches:
            return super().predict_on_batch(batches.one_batch(x)[0])

    def _training_batches(self) -> Batches:
        """Return the guard of training data; an objective of the caller's own may take unknown classes."""
        of_registry = getattr(self.objective, "func", self.objective) in objectives.OBJECTIVES.values()
        contract = self.contract if of_registry else self.training_contract
        return Batches(self, contract, check_size=self._check_step)

    @property
    def contract(self) -> Contract:
        """The contract of the examples."""
        raise NotImplementedError

    @property
    def training_contract(self) -> Contract:
        """The contract of the examples of a training: `contract`, unless they may lack their class."""
        return self.contract

    def _rows_at_once(self, rows: int) -> int:
        """Return how many of `rows` examples `predict` takes at once."""
        raise NotImplementedError

    def _check_step(self, batch_size: int) -> None:
        """Refuse a training step on so many examples that does not fit into memory."""
        refuse_step(self, self.objective, batch_size)

    def _refuse_uncompiled(self) -> None:
        """Refuse a model that is not compiled, or whose weights are of no use."""
        if not self._is_compiled:
            raise InputError("The model is not compiled: call vae.compile(), as in vae.compile('adam').")
        refuse_not_finite(arrays_of(self))

    def _refuse_several_steps(self) -> None:
        if self._is_compiled and int(self._steps_per_execution) > 1:
            raise InputError(
                "One batch is one step: compile with steps_per_execution=1, or call fit, evaluate or predict."
            )

    def _build_optimizer(self) -> None:
        """Make the variables of the optimizer, so that no failed step leaves them half made."""
        if hasattr(self.optimizer, "build"):
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        check_shared(self.optimizer, self.trainable_variables)

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The trained variables of the parts, each once: a prior may share the encoder's."""
        parts = self.all_parts().values() if self.trainable else []
        return once(v for part in parts for v in part.trainable_variables)

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """The other variables of the parts."""
        trainable = {id(v) for v in self.trainable_weights}
        parts = self.all_parts().values()
        return once(v for part in parts for v in part.variables if id(v) not in trainable)

    def named_parts(self) -> dict[str, tf.Module]:
        """Return the parts that hold the variables, by the names under which `probvae.save` writes them.

        Variables and layers that a subclass sets as attributes are trained and saved too, as "model".
        """
        return {"encoder": self.encoder, "decoder": self.decoder, "prior": self.prior}

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        """The running means, which Keras resets at every epoch."""
        return [*self._means.by_name.values(), *super().metrics]

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        return ["loss", *VALUES]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take one step of gradient ascent on the bound; Keras calls it in `fit`."""
        x, weights = self._batch(data)
        seed = fold_in(self.seed, self.optimizer.iterations)
        bound = ascend(self, self.optimizer, self.objective, x, seed, weights)
        return self._means.update({"loss": -bound, "objective": bound}, weights)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluate the ELBO and its two parts, in nats; Keras calls it in `evaluate`.

        Every call of `evaluate` uses the same draws, so two calls give the same numbers.
        """
        x, weights = self._batch(data)
        seed = fold_in(fold_in(self.seed, -1), self._test_counter)
        terms = objectives.log_terms(self, x, seed=seed)
        return self._means.update(
            {
                "loss": -terms.log_weights[0],
                "elbo": terms.log_weights[0],
                "log_likelihood": terms.log_likelihood[0],
                "kl": (terms.log_posterior - terms.log_prior)[0],
            },
            weights,
        )

    def _batch(self, data: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the examples of a batch and their weights."""
        x, _, weights = tf_keras.utils.unpack_x_y_sample_weight(data)
        return self.training_contract.check(x, "A batch of x", batch=True), weights

    def predict_step(self, data: Any) -> tf.Tensor:
        """Return the mean of p(x|z); Keras calls it in `predict`."""
        x, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
        return self(x).mean()


def _objective(vae: Any, objective: Any) -> Objective:
    """Return an objective by its name, or a function whose arguments are those of an objective."""
    if not callable(objective) and objective not in objectives.OBJECTIVES:
        names = ", ".join(objectives.OBJECTIVES)
        raise InputError(f"Expected an objective among {names}, or a function; got {objective!r}.")
    function: Objective = objective if callable(objective) else objectives.OBJECTIVES[objective]
    try:
        inspect.signature(function).bind(vae, None, seed=0)
    except TypeError as error:
        raise InputError(
            f"The objective must be a function (vae, x, *, seed) -> [B], such as probvae.iwae: {error}."
        ) from None
    except ValueError:  # a built-in function, whose arguments are not known
        pass
    return function


def _validation(batches: Batches, data: Any, steps: int | None) -> Any:
    """Return checked validation data as Keras takes them."""
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3:
        raise InputError(f"validation_data must be x, (x, y) or (x, y, weights); got {len(parts)} parts.")
    x, y, weights = batches.data(*parts, what="validation_data", steps=steps)
    return (x, y, weights) if hasattr(x, "shape") else x


class _Means:
    """Running means by name; a plain object, so that Keras counts none of them as weights."""

    def __init__(self, names: Iterable[str]) -> None:
        self.by_name = {name: tf_keras.metrics.Mean(name) for name in names}

    def update(self, values: dict[str, tf.Tensor], weights: tf.Tensor | None) -> dict[str, tf.Tensor]:
        for name, value in values.items():
            self.by_name[name].update_state(value, sample_weight=weights)
        return {name: self.by_name[name].result() for name in values}
