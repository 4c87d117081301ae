"""The Keras side of a model: `compile`, `fit`, `evaluate` and `predict`."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tf_keras

from probvae import objectives
from probvae.models.ascent import Objective, ascend
from probvae.seeds import fold_in


class KerasModel(tf_keras.Model):
    """A Keras model that `fit` trains by gradient ascent on a bound; `VAE` adds the distributions."""

    event_shape: tuple[int, ...]
    prior: Any
    encoder: tf_keras.Model
    decoder: tf_keras.Model

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._means = _Means(("loss", "objective", "elbo", "log_likelihood", "kl"))

    def compile(
        self, optimizer: Any = "adam", objective: Objective | str = "elbo", *, seed: int = 0, **kwargs: Any
    ) -> None:
        """Prepare `fit` and `evaluate`; the objective is the bound, so there is no loss to choose.

        Args:
          optimizer: Optimizer, or its Keras name.
          objective: Name in `probvae.objectives.OBJECTIVES`, or a function `(vae, x, *, seed) -> [B]` to be
            maximised, such as `functools.partial(probvae.iwae, num_samples=5)`.
          seed: Seed of the draws of z, from which each step derives its own. The order of the examples in
            `fit` is Keras's, and depends on TensorFlow's global seed.
          **kwargs: Other arguments of `tf_keras.Model.compile`.

        Raises:
          ValueError: The objective is unknown, or a loss is passed.
        """
        if "loss" in kwargs:
            raise ValueError("A VAE takes no loss: it maximises `objective`, by default the ELBO.")
        super().compile(optimizer, **kwargs)
        if isinstance(objective, str):
            if objective not in objectives.OBJECTIVES:
                names = ", ".join(objectives.OBJECTIVES)
                raise ValueError(f"Expected an objective among {names}; got {objective!r}.")
            objective = objectives.OBJECTIVES[objective]
        self.objective: Objective = objective
        self.seed = seed

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The trained variables of the parts, each once: a prior may share the encoder's."""
        parts = self.named_parts().values() if self.trainable else []
        return _once(v for part in parts for v in part.trainable_variables)

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """The other variables of the parts."""
        trainable = {id(v) for v in self.trainable_weights}
        parts = self.named_parts().values()
        return _once(v for part in parts for v in part.variables if id(v) not in trainable)

    def named_parts(self) -> dict[str, tf.Module]:
        """Return the parts that hold the variables, by the names under which `probvae.save` writes them."""
        return {"encoder": self.encoder, "decoder": self.decoder, "prior": self.prior}

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        """The running means, which Keras resets at every epoch."""
        return [*self._means.by_name.values(), *super().metrics]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take one step of gradient ascent on the bound; Keras calls it in `fit`."""
        x, seed = self._batch(data), fold_in(self.seed, self.optimizer.iterations)
        bound = ascend(self, self.optimizer, self.objective, x, seed)
        return self._means.update({"loss": -bound, "objective": bound})

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluate the ELBO and its two parts, in nats; Keras calls it in `evaluate`.

        Every call of `evaluate` uses the same draws, so two calls give the same numbers.
        """
        x, seed = self._batch(data), fold_in(fold_in(self.seed, -1), self._test_counter)
        terms = objectives.log_terms(self, x, seed=seed)
        return self._means.update(
            {
                "loss": -terms.log_weights,
                "elbo": terms.log_weights,
                "log_likelihood": terms.log_likelihood,
                "kl": terms.log_posterior - terms.log_prior,
            }
        )

    def _batch(self, data: Any) -> tf.Tensor:
        x, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
        if not x.shape[1:].is_compatible_with(self.event_shape):
            raise ValueError(
                f"A batch must have the shape [B, {', '.join(map(str, self.event_shape))}]; got {x.shape}. "
                "A `tf.data.Dataset` of single examples needs `.batch(...)`."
            )
        return x

    def predict_step(self, data: Any) -> tf.Tensor:
        """Return the mean of p(x|z); Keras calls it in `predict`."""
        x, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
        return self(x).mean()

    def get_config(self) -> dict[str, Any]:
        """Refuse saving in Keras's format, which would pickle the distribution layers' functions."""
        raise NotImplementedError(
            "Save a VAE with probvae.save(vae, folder) and load it with probvae.load(folder), or "
            "use vae.save_weights(path)."
        )


def _once(variables: Iterable[tf.Variable]) -> list[tf.Variable]:
    return list({id(v): v for v in variables}.values())


class _Means:
    """Running means by name; a plain object, so that Keras counts none of them as weights."""

    def __init__(self, names: Iterable[str]) -> None:
        self.by_name = {name: tf_keras.metrics.Mean(name) for name in names}

    def update(self, values: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for name, value in values.items():
            self.by_name[name].update_state(value)
        return {name: self.by_name[name].result() for name in values}
