"""Conditional models p(x|z, y) with q(z|x, y): y is a class, one-hot, or any real covariates.

An example of such a model is the pair (x, y). It is one joined vector [D + C], the flattened x followed by y,
so that objectives, training and evaluation handle it like any other x; their p(x) is then p(x|y).
"""

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae.arguments import count
from probvae.data.labels import is_one_hot
from probvae.distributions.base import LibraryDistribution, at_rows
from probvae.distributions.support import FINITE
from probvae.errors import InputError
from probvae.models.contexts import context
from probvae.models.contract import Contract, check_latents, contract_of, joined_contract
from probvae.models.networks.contexts import filled
from probvae.models.networks.layers import float32_layers
from probvae.models.parts import check_contexts
from probvae.models.vae import VAE
from probvae.seeds import Seed, split

Shape = tuple[int, ...]
MAX_CONTEXTS = 100  # largest number of different y for which quadrature runs one after the other
COLUMNS, CLASSES = 8, 15  # limits of a picture of prior draws: draws of a class, and classes


class ConditionalVAE(VAE):
    """A VAE of x given y: p(z), p(x|z, y), q(z|x, y).

    Args:
      prior: p(z), of event shape [L]; it does not depend on y.
      encoder: Keras graph from joined examples [B, D + C] to q(z|x, y).
      decoder: Keras graph from z and y, side by side [B, L + C], to p(x|z, y) of event shape E with D values.
      context_dim: C, the size of y.
      contexts: p(y) of event shape [C], for drawing y too: `tfd.OneHotCategorical(probs=...)`, or
        `tfd.Empirical(y, event_ndims=1)` of observed ones. No bound on log p(x|y) needs it.
      **kwargs: Keyword arguments of `tf_keras.Model`.

    `value_shape` is E, the shape of x; `event_shape` is (D + C,), that of a joined example.

    >>> from probvae.config.architecture import Architecture
    >>> from probvae.models.building import build
    >>> vae = build(Architecture(event_shape=(6,), network="mlp", units=(4,), context_dim=3))
    >>> example = vae.join(tf.ones([5, 6]), [0, 1, 2, 0, 1])
    >>> vae.likelihood(tf.zeros([5, 2])).log_prob(example).shape.as_list()
    [5]
    >>> vae.sample(4, y=2, seed=0).shape.as_list()
    [4, 6]

    References:
      Kingma et al. 2014, arXiv:1406.5298, section 2 (M2 where all labels are known). Sohn, Lee & Yan 2015,
      Learning structured output representation using deep conditional generative models.
    """

    contexts: tfd.Distribution | None = None  # p(y)
    density_name = "log p(x|y)"
    lowest_class = 0

    def __init__(
        self,
        prior: tfd.Distribution,
        encoder: tf_keras.Model,
        decoder: tf_keras.Model,
        *,
        context_dim: int,
        contexts: tfd.Distribution | None = None,
        **kwargs: Any,
    ) -> None:
        self.context_dim = count("context_dim", context_dim)
        check_contexts(contexts, self.context_dim)
        super().__init__(prior, encoder, decoder, **kwargs)
        self.contexts = contexts

    def _details(self) -> dict[str, Any]:
        return {**super()._details(), "value_shape": self.value_shape, "context_dim": self.context_dim}

    # ---- pairs -----------------------------------------------------------------------------------

    def _shape_of_examples(self) -> Shape:
        return (math.prod(self.value_shape) + self.context_dim,)

    @property
    def contract(self) -> Contract:
        """The contract of joined examples."""
        return joined_contract(self.value_contract, self._context_contract())

    def _context_contract(self) -> Contract:
        """Return the contract of y."""
        return contract_of(None, (self.context_dim,), self.value_contract.dtype, FINITE)

    def join(self, x: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """Return examples [..., D + C] from x [..., *E] and y.

        Args:
          x: Data [..., *E].
          y: Floats [..., C], or classes [...], broadcast to x: integers from 0 to C - 1 or, where the model
            has a schema with their names, names.

        Raises:
          InputError: There is no y, or it does not fit x or C.
        """
        if y is None:
            raise InputError("The model is conditional, and there are no labels.")
        x, y = tf.cast(self.value_contract.numbers(x, "x"), tf.float32), self.as_context(y)
        leading = x.shape[: x.shape.rank - len(self.value_shape)]
        if x.shape[leading.rank :] != self.value_shape or not _fits(y, leading):
            raise InputError(
                f"Expected x of shape [..., {', '.join(map(str, self.value_shape))}] and for each a y of "
                f"shape [{self.context_dim}]; got x of shape {x.shape.as_list()} and y of "
                f"{y.shape.as_list()}."
            )
        return self._joined(x, y)

    def _joined(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        leading = tf.shape(x)[: x.shape.rank - len(self.value_shape)]
        x = tf.reshape(x, tf.concat([leading, [math.prod(self.value_shape)]], 0))
        return tf.concat([x, y + tf.zeros_like(x[..., :1])], axis=-1)

    def split(self, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return x [..., *E] and y [..., C] of joined examples [..., D + C].

        Raises:
          InputError: The examples have another shape.
        """
        example, size = self.contract.numbers(example, "x"), math.prod(self.value_shape)
        self.contract.refuse_shape(example.shape, "x", batch=False, empty=True)
        example = tf.convert_to_tensor(example)
        x = tf.reshape(example[..., :size], tf.concat([tf.shape(example)[:-1], self.value_shape], 0))
        return x, example[..., size:]

    def values(self, x: Any) -> Any:
        """Return the x [..., *E] of joined examples; those of an array are an array."""
        return _like(x, self.split(x)[0])

    def contexts_of(self, x: Any) -> Any:
        """Return the y [..., C] of joined examples; those of an array are an array."""
        return _like(x, self.split(x)[1])

    def as_context(self, y: Any) -> tf.Tensor:
        """Return y as floats [..., C]: integers and names are classes and become one-hot, floats stay.

        Raises:
          InputError: y is none of these, there is no such class, or a value is not finite.
        """
        names = None if self.schema is None else self.schema.class_index
        return context(y, self.context_dim, lowest=self.lowest_class, class_index=names)

    # ---- distributions -----------------------------------------------------------------------------

    def likelihood(  # type: ignore[override]
        self, z: tf.Tensor, y: tf.Tensor | None = None, training: bool = False
    ) -> tfd.Distribution:
        """Return p(x|z, y), batch [..., B] and event E, for z [..., B, L] and y [..., B, C] or classes.

        Without y, return `JoinedLikelihood`, which takes y from the examples.
        """
        if y is None:
            return JoinedLikelihood(self, z, training, contexts=self.contexts)
        z, y = check_latents(z, self.latent_dim, self.prior.dtype), self.as_context(y)
        if not _fits(y, z.shape[:-1], either=True):
            raise InputError(
                f"The axes of z and y before the last must broadcast; got z of shape {z.shape.as_list()} and "
                f"y of {y.shape.as_list()}."
            )
        return self._likelihood_at(z, y, training)

    def _likelihood_at(self, z: tf.Tensor, y: tf.Tensor, training: bool = False) -> tfd.Distribution:
        inputs = tf.concat([z + tf.zeros_like(y[..., :1]), y + tf.zeros_like(z[..., :1])], axis=-1)
        return self._folded_decoder(inputs, training, event_ndims=1)

    def log_likelihood(self, z: tf.Tensor, example: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return log p(x|z, y) of joined examples [..., D + C]; their batch and that of z broadcast."""
        x, y = self.split(example)
        return self.likelihood(z, y, training).log_prob(x)

    def likelihood_at(self, z: tf.Tensor, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return p(x|z, y) at the y of joined examples, and at their size, where the model has one."""
        values, y = self.split(x)
        return at_rows(self.likelihood(z, y, training), values)

    def joint(self) -> tfd.JointDistribution:
        """Return p(z) p(x|z, y) as a joint distribution of `z` and the joined example `x`, to be pinned at x.

        If the model has no p(y), the y of its draws are nan.
        """
        unknown = tfd.Independent(tfd.Deterministic(tf.fill([self.context_dim], np.nan)), 1)
        contexts = unknown if self.contexts is None else self.contexts
        parts = OrderedDict(z=self.prior, x=lambda z: JoinedLikelihood(self, z, contexts=contexts))
        return tfd.JointDistributionNamed(parts)

    def given(self, y: tf.Tensor) -> VAE:
        """Return the model of x at one y, [C] or a class by number or name: a `VAE` of the same weights.

        `probvae.save` refuses it: save the conditional model, and call `given` after loading.

        Raises:
          InputError: There are several y, a class is unknown, or the networks are not Keras graphs that end
            in a distribution layer.
        """
        y = self.as_context(y)
        if y.shape.rank != 1:
            number = f"{y.shape[0]} of them" if y.shape.rank == 2 else f"a y of shape {y.shape.as_list()}"
            raise InputError(
                f"given takes one y: a class (an integer), or floats of shape [{self.context_dim}]; got "
                f"{number}."
            )
        encoder, decoder = self.encoder_parts, self._folded_decoder.split
        if encoder is None or decoder is None:
            raise InputError(
                "given needs an encoder and a decoder that are Sequential or functional Keras models and end "
                "in a distribution layer. Build them with an Input."
            )
        with float32_layers():
            networks = filled(encoder, self.value_shape, y), filled(decoder, (self.latent_dim,), y)
        given = VAE(self.prior, *networks)
        given.unsaved = "the model of one y: save the conditional model, and call given(y) after loading"
        given.schema, given._new_contract = self.schema, lambda: self.value_contract
        return given

    def of_class(self, label: int | str | None) -> VAE:
        """Return the model of one class, `given(label)`; a missing or unknown class is refused."""
        if isinstance(label, str) and self.schema is not None:
            label = self.schema.class_index(label)
        elif isinstance(label, str) and label.isdecimal():
            label = int(label)
        whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
        if not (whole and 0 <= int(label) < self.context_dim):  # type: ignore[arg-type]
            problem = "none was given: add --class C" if label is None else f"got {label}"
            raise InputError(
                "The model is conditional, and the model of one class is needed: expected a class from 0 to "
                f"{self.context_dim - 1}; {problem}."
            )
        return self.given(label)

    def unconditional(self, x: np.ndarray) -> VAE:
        """Return the model of the first class or, if y is not a class, of the first example's y."""
        y = self.contexts_of(x)
        return self.given(np.eye(self.context_dim)[0] if is_one_hot(y) else y[0])

    def by_context(self, x: np.ndarray) -> list[tuple[VAE, np.ndarray]]:
        """Return the model given each of at most `MAX_CONTEXTS` different y, and the rows with that y."""
        y, which = np.unique(self.contexts_of(x), axis=0, return_inverse=True)
        if len(y) > MAX_CONTEXTS:
            raise InputError(
                "Quadrature takes the different y of a conditional model one after the other, "
                f"{MAX_CONTEXTS} at most; there are {len(y):,}. Use the bound of importance sampling."
            )
        return [(self.given(y_k), np.flatnonzero(which.ravel() == k)) for k, y_k in enumerate(y)]

    def generator(self, x: np.ndarray) -> VAE:
        """Return a model that draws y too, from p(y) or, if it has none, as observed in the examples x."""
        if self.contexts is not None or not len(x):
            return self
        return self.with_contexts(observed_contexts(self.contexts_of(x)))

    def with_contexts(self, contexts: tfd.Distribution) -> "ConditionalVAE":
        """Return a model with the same weights and a p(y), from which it draws y."""
        other = ConditionalVAE(
            self.prior, self.encoder, self.decoder, context_dim=self.context_dim, contexts=contexts
        )
        other.architecture, other.schema = self.architecture, self.schema
        other._new_contract = self._new_contract
        return other

    # ---- draws -------------------------------------------------------------------------------------

    def sample(self, num_samples: int, seed: Seed = None, *, y: tf.Tensor | None = None) -> tf.Tensor:
        """Draw z ~ p(z) and x ~ p(x|z, y).

        Args:
          num_samples: N, the number of draws.
          seed: Seed of the draws, an int or an int32 pair.
          y: The y of all draws, [C] or a class, or one for each, [N, C] or classes [N]. None draws y ~ p(y).

        Returns:
          x [N, *E]; joined examples [N, D + C] where y was drawn.

        Raises:
          InputError: There is no y, and the model has no p(y).
        """
        if y is None:
            return super().sample(num_samples, seed)
        num_samples = self._number_of_draws(num_samples)
        seed_z, seed_x = split(seed, 2)
        z, y = self.prior.sample(num_samples, seed=seed_z), self.as_context(y)
        if y.shape.rank > 2 or y.shape[:-1].as_list() not in ([], [1], [None], [num_samples]):
            raise InputError(
                f"y must be one for all draws, or one for each of {num_samples:,}; its shape is "
                f"{y.shape.as_list()}."
            )
        return self.decoded_draws(z, seed_x, tf.broadcast_to(y, [num_samples, self.context_dim]))

    def fixed_draws(self, z: np.ndarray, x: np.ndarray) -> tuple[tuple[Any, ...], int, str]:
        """Return the prior draws of a picture: the same z for every class, one class a row.

        If y is not a class, each z has the y of one example. Args and Returns are those of `VAE.fixed_draws`.
        """
        y = self.contexts_of(x)
        if not is_one_hot(y):
            return (z, y[np.arange(len(z)) % len(y)]), 4, "Prior draws at the y of test examples"
        y = np.eye(self.context_dim, dtype=np.float32)[:CLASSES]
        z_of_every_class = np.tile(z[:COLUMNS], [len(y), 1])
        return (z_of_every_class, np.repeat(y, COLUMNS, axis=0)), COLUMNS, "Prior draws, a class a row"


class JoinedLikelihood(LibraryDistribution):
    """p(x|z, y) as a distribution of joined examples (x, y).

    `log_prob` is log p(x|z, y) at the y of the example, without log p(y). `sample` draws y ~ p(y) first, if
    that is given. There is no mean: `vae.likelihood(z, y)` has one.

    Args:
      vae: Model.
      z: Latent variables [..., L].
      training: Whether the decoder is in training mode.
      contexts: p(y), of event shape [C], or None.
    """

    def __init__(
        self,
        vae: ConditionalVAE,
        z: tf.Tensor,
        training: bool = False,
        *,
        contexts: tfd.Distribution | None = None,
        name: str = "joined",
    ) -> None:
        parameters = dict(locals())
        self._vae, self._z, self._training = vae, tf.convert_to_tensor(z), training
        self._contexts = contexts
        super().__init__(parameters, name)

    def _shapes(self) -> tuple[Any, Any]:
        return self._z.shape[:-1], [math.prod(self._vae.value_shape) + self._vae.context_dim]

    def _shape_tensors(self) -> tuple[Any, Any]:
        return tf.shape(self._z)[:-1], self._shapes()[1]

    def _log_prob(self, example: tf.Tensor) -> tf.Tensor:
        return self._vae.log_likelihood(self._z, example, self._training)

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        if self._contexts is None:
            raise InputError(
                "This model is p(x|z, y) without a p(y): give y, as in vae.sample(n, y=...) or "
                "vae.likelihood(z, y), or a p(y) by vae.with_contexts."
            )
        seed_y, seed_x = split(seed, 2)
        y = self._contexts.sample(tf.concat([[n], self.batch_shape_tensor()], 0), seed=seed_y)  # p(y)
        y = tf.cast(y, tf.float32)  # nan where it is not known, see `ConditionalVAE.joint`
        x = self._vae._likelihood_at(self._z, y, self._training).sample(seed=seed_x)
        return self._vae._joined(x, y)

    def _mean(self) -> tf.Tensor:
        raise InputError("A mean needs y: use vae.likelihood(z, y).mean(), or vae.given(y).")


def observed_contexts(y: np.ndarray) -> tfd.Distribution:
    """Return p(y) as observed in y [N, C]: the frequencies of the classes, or of the rows themselves.

    >>> observed_contexts(np.uint8([[1, 0], [1, 0], [0, 1], [1, 0]])).probs.numpy().tolist()
    [0.75, 0.25]
    """
    y = np.asarray(y, np.float32)
    if is_one_hot(y):
        return tfd.OneHotCategorical(probs=y.mean(axis=0), dtype=tf.float32)
    return tfd.Empirical(y, event_ndims=1)


def _fits(y: tf.Tensor, batch: tf.TensorShape, *, either: bool = False) -> bool:
    """Return whether y [..., C] broadcasts to a batch, or the two to each other, as far as is known."""
    try:
        both = tf.broadcast_static_shape(y.shape[:-1], batch)
    except ValueError:
        return False
    return either or both.rank is None or (both.rank == batch.rank and both.is_compatible_with(batch))


def _like(x: Any, part: tf.Tensor) -> Any:
    """Return `part` as an array where x is one."""
    return part if tf.is_tensor(x) else part.numpy()
