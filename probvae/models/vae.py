"""The VAE: a prior p(z), an encoder that returns q(z|x), a decoder that returns p(x|z)."""

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from probvae import display
from probvae.arguments import count
from probvae.config.architecture import Architecture
from probvae.data.arrays import Array
from probvae.data.schema import Schema
from probvae.display import kind
from probvae.distributions.base import at_rows, unwrap
from probvae.distributions.support import support_of
from probvae.errors import InputError
from probvae.inference.marginal import Marginal
from probvae.models.contract import Contract, check_latents, contract_of
from probvae.models.folding import FoldedModel, Split
from probvae.models.keras_model import KerasModel
from probvae.models.parts import check_network, check_prior, distribution_of
from probvae.objectives import memory
from probvae.seeds import Seed, as_seed, split


class VAE(KerasModel):
    """A variational autoencoder made of three distributions.

    Args:
      prior: p(z), a `tfd.Distribution` of event shape [L]; its variables are trained too.
      encoder: Keras model from x [B, *E] to q(z|x): its last layer is a `tfp.layers` distribution
        layer of event shape [L].
      decoder: Keras model from z [B, L] to p(x|z), of event shape E, likewise.
      **kwargs: Keyword arguments of `tf_keras.Model`.

    Raises:
      InputError: A part is none, the parts do not fit together, or a layer adds the KL to the loss (the bound
        includes it already).

    >>> from probvae import conv_vae
    >>> vae = conv_vae((28, 28, 1), latent_dim=2)
    >>> x = tf.zeros([5, 28, 28, 1])
    >>> vae.posterior(x).sample(3, seed=(0, 1)).shape.as_list()
    [3, 5, 2]
    >>> vae.likelihood(tf.zeros([3, 5, 2])).log_prob(x).shape.as_list()
    [3, 5]
    """

    architecture: Architecture | None = None  # set by `probvae.models.building`
    unsaved = ""  # what this model is, and what to save, where `probvae.save` refuses it
    schema: Schema | None = None  # what is known of the data; None for arrays of the caller's own
    density_name = "log p(x)"  # the density that bounds and estimates refer to
    has_log_terms = True  # whether `objectives.log_terms` is defined for every example
    context_dim = 0  # C, the size of y

    def __init__(
        self, prior: tfd.Distribution, encoder: tf_keras.Model, decoder: tf_keras.Model, **kwargs: Any
    ) -> None:
        self.latent_dim = check_prior(prior)
        dtype, inputs = tf.as_dtype(prior.dtype), self.latent_dim + self.context_dim
        check_network("encoder", encoder, "x")
        check_network("decoder", decoder, "z", (inputs,))
        super().__init__(**{"dtype": dtype.name, **kwargs})  # whatever the global policy of Keras
        self.prior, self.encoder, self.decoder = prior, encoder, decoder
        self._folded_encoder, self._folded_decoder = FoldedModel(encoder), FoldedModel(decoder)
        z = tf.zeros([1, inputs], dtype)
        p = distribution_of("decoder", lambda: self._folded_decoder(z, False, event_ndims=1), dtype)
        self.value_shape = tuple(p.event_shape.as_list())
        self.event_shape = self._shape_of_examples()
        check_network("encoder", encoder, "x", self.event_shape)
        x, ndims = tf.zeros([1, *self.event_shape], dtype), len(self.event_shape)
        q = distribution_of("encoder", lambda: self._folded_encoder(x, False, event_ndims=ndims), dtype)
        if q.event_shape.as_list() != [self.latent_dim]:
            raise InputError(
                f"The encoder must return q(z|x) of event shape [{self.latent_dim}], that of the "
                f"prior; it returned event shape {q.event_shape.as_list()}."
            )
        support = support_of(p)
        self._new_contract = lambda: contract_of(self.architecture, self.value_shape, dtype, support)
        p = self.likelihood(tf.zeros([self.latent_dim], dtype))
        self.kinds = kind(unwrap(q)), kind(unwrap(p))  # the families of q(z|x) and p(x|z), as text
        self.built = True

    def __repr__(self) -> str:
        return display.model_text(self) if hasattr(self, "kinds") else super().__repr__()

    def _repr_html_(self) -> str:
        return display.table(type(self).__name__, display.model_rows(self))

    def _details(self) -> dict[str, Any]:
        return {"latent_dim": self.latent_dim, "event_shape": self.event_shape}

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return q(z|x), batch [..., B] and event [L], for x of shape [..., B, *E].

        Raises:
          InputError: x is not what the model takes, see `contract`.
        """
        x = self.contract.check(x)
        return self._folded_encoder(x, training, event_ndims=len(self.event_shape))

    def likelihood(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return p(x|z), batch [..., B] and event E, for z of shape [..., B, L].

        Raises:
          InputError: z has another shape or type.
        """
        z = check_latents(z, self.latent_dim, self.prior.dtype)
        return self._folded_decoder(z, training, event_ndims=1)

    @property
    def encoder_parts(self) -> Split | None:
        """The encoder's network and its distribution layer; None if it is not a Keras graph."""
        return self._folded_encoder.split

    def _rows_at_once(self, rows: int) -> int:
        return min(part.rows_at_once(rows) for part in (self._folded_encoder, self._folded_decoder))

    @property
    def params_size(self) -> int:
        """Number of parameters of one p(x|z), or of values of x where the decoder is not a Keras graph."""
        return self._folded_decoder.params_size or math.prod(self.value_shape)

    @property
    def is_conditional(self) -> bool:
        """True for a model p(x|z, y)."""
        return self.context_dim > 0

    @property
    def dropouts(self) -> set[float]:
        """The fractions of units that layers of the networks drop in training; empty without such layers."""
        layers = self._flatten_layers()
        return {float(layer.rate) for layer in layers if isinstance(layer, tf_keras.layers.Dropout)}

    @property
    def precisions(self) -> set[str]:
        """The precisions of the layers of the networks, as names of Keras policies."""
        return {layer.dtype_policy.name for layer in self._flatten_layers()}

    def joint(self) -> tfd.JointDistribution:
        """Return p(z, x) = p(z) p(x|z) as a joint distribution of `z` and `x`.

        `vae.joint().experimental_pin(x=x)` is the unnormalized p(z|x) that `tfp.mcmc` and `tfp.vi`
        work on: its `unnormalized_log_prob(z)`, or `(z=z)`, takes z [..., B, L] and returns [..., B], nats.
        """
        # In order, because TFP takes z by its place from an ordered model only.
        parts = OrderedDict(z=self.prior, x=lambda z: self.likelihood(z))
        return tfd.JointDistributionNamed(parts)

    # ---- examples: x, and y where a model has one ------------------------------------------------

    def _shape_of_examples(self) -> tuple[int, ...]:
        """Return the shape of an example: that of x, with y where a model has one."""
        return self.value_shape

    @property
    def value_contract(self) -> Contract:
        """The contract of x alone."""
        return self._new_contract()._replace(has_schema=self.schema is not None)

    @property
    def contract(self) -> Contract:
        """The contract of the examples: their shape, type and values."""
        return self.value_contract

    def join(self, x: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """Return the examples of x [..., *E] and their y, float32; this model ignores y."""
        return tf.cast(self.contract.numbers(x, "x"), tf.float32)

    def values(self, x: Any) -> Any:
        """Return the x [N, *E] of examples; those of an array are an array."""
        return x

    def contexts_of(self, x: Any) -> Any:
        """Return the y [N, C] of examples, an array for an array; None where the model has no y."""
        return None

    def likelihood_at(self, z: tf.Tensor, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return p(x|z) of the examples x: at their y, and their size, where the model has one."""
        return at_rows(self.likelihood(z, training=training), x)

    def of_class(self, label: int | str | None) -> "VAE":
        """Return the model of one class, or this model if it has no classes.

        Raises:
          InputError: A class is missing, unknown to the model, or given to a model without classes.
        """
        if label is not None:
            raise InputError(
                "A class is for conditional models, trained with --labels condition or semi; this one has no "
                "classes: leave it out."
            )
        return self

    def unconditional(self, x: np.ndarray) -> "VAE":
        """Return a model of x alone: at the first class or the first example's y, for a conditional one."""
        return self

    def generator(self, x: np.ndarray) -> "VAE":
        """Return a model that draws y too, from p(y) or, if it has none, as observed in the examples x."""
        return self

    def by_context(self, x: np.ndarray) -> list[tuple["VAE", np.ndarray]]:
        """Return a model of x alone for each different y of examples, and the rows with that y.

        Raises:
          InputError: There are too many different y.
        """
        return [(self, np.arange(len(x)))]

    def fixed_draws(self, z: np.ndarray, x: np.ndarray) -> tuple[tuple[Any, ...], int, str]:
        """Return the prior draws of a picture.

        Args:
          z: Draws of p(z), [N, L].
          x: Examples whose y are used if y is not a class.

        Returns:
          The arguments of `likelihood`, the number of columns and the title.
        """
        return (z,), 4, "Prior draws"

    def test_metrics(self, x: Array) -> dict[str, np.ndarray]:
        """Return further measures of test examples, [N] each, by the names of their means in metrics.json."""
        return {}

    def class_probabilities(self, x: Array) -> np.ndarray | None:
        """Return q(y|x) of joined examples, [N, C]; None for a model without a classifier."""
        return None

    # ---- distributions of x ------------------------------------------------------------------------

    def marginal(self, num_samples: int = 100, method: str = "iwae", *, seed: Seed = 0) -> tfd.Distribution:
        """Return p(x), this model as a distribution over x of event shape E.

        Args:
          num_samples: Number of draws of z in `log_prob`, for the methods that draw.
          method: Estimator: iwae or elbo (lower bounds in expectation), or exact (up to three latent
            dimensions).
          seed: Seed of the draws.
        """
        return Marginal(self, num_samples=num_samples, method=method, seed=seed)

    def sample(self, num_samples: int, seed: Seed = None) -> tf.Tensor:
        """Draw x [num_samples, *E] from the model: z ~ p(z), x ~ p(x|z)."""
        num_samples = self._number_of_draws(num_samples)
        seed_z, seed_x = split(seed, 2)
        return self.decoded_draws(self.prior.sample(num_samples, seed=seed_z), seed_x)

    def _number_of_draws(self, num_samples: Any) -> Any:
        """Return a checked number of draws of z and x."""
        num_samples = count("num_samples", num_samples)
        memory.refuse_values("num_samples", num_samples, self.latent_dim + math.prod(self.event_shape))
        return num_samples

    def decoded_draws(
        self,
        z: tf.Tensor,
        seed: Seed,
        y: tf.Tensor | None = None,
        *,
        rows: tf.Tensor | None = None,
        loop: bool = False,
    ) -> tf.Tensor:
        """Draw x [N, *E] from p(x|z) at z [N, L], and y [N, C] where that is given.

        Draws of distributions with more than `memory.PARAMETERS_PER_SEED` parameters take blocks of rows;
        the first has the seed itself, and the others have seeds of their own.

        Args:
          z: Latent variables [N, L].
          seed: Seed of the draws.
          y: The y of z, for a conditional model.
          rows: Examples [N, *E] whose size the counts of the draws have, where the model has one; None for
            sizes that are drawn, too.
          loop: Whether a graph draws in blocks too, in a loop, which has no gradient; without y only.
        """
        given = () if y is None else (y,)

        def draw(start: int, stop: int, seed: tf.Tensor) -> tf.Tensor:
            if loop:
                p = self._folded_decoder.in_loop(z[start:stop])
            else:
                p = self.likelihood(z[start:stop], *(y[start:stop] for y in given))
            return (p if rows is None else at_rows(p, rows[start:stop])).sample(seed=seed)

        number = tf.shape(z)[0] if z.shape[0] is None else z.shape[0]
        return memory.draw_in_blocks(draw, number, self.params_size, as_seed(seed), loop=loop)

    def reconstruct(self, x: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Return the mean of p(x|z) at one draw z ~ q(z|x), of the shape of x."""
        z = self.posterior(x).sample(seed=as_seed(seed))
        return self.likelihood_at(z, x).mean()

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> tfd.Distribution:
        """Return `call(x)`; x is checked first, because Keras would add text to the error."""
        return super().__call__(self.contract.check(x), *args, **kwargs)

    def call(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Return p(x|z) at z = E[z] under q(z|x): a reconstruction without noise."""
        return self.likelihood_at(self.posterior(x, training).mean(), x, training)
