"""The configuration of a model."""

from dataclasses import dataclass

from probvae.config.fields import _Checked, _in_range
from probvae.config.limits import refuse_too_large
from probvae.errors import InputError


@dataclass(frozen=True, repr=False)
class Architecture(_Checked):
    """What rebuilds a model.

    Attributes:
      event_shape: of x: (height, width, channels) of images, (time, channels) of series, (size,) of vectors.
      latent_dim: L, the size of z.
      latent_layers: sizes of the layers of a hierarchy, z_1 (the top) first; they sum to `latent_dim`. Empty
        for a model of one layer.
      posterior: q(z|x), a key of `probvae.posteriors.POSTERIORS`.
      prior: p(z), a key of `probvae.priors.PRIORS`.
      likelihood: p(x|z), a key of `probvae.likelihoods.LIKELIHOODS`.
      network: of encoder and decoder, a key of `probvae.models.networks.registry.NETWORKS`.
      filters: of the encoder's convolutions; the decoder has the same in reverse.
      units: of the hidden layers of a multilayer perceptron; likewise.
      activation: of the hidden layers, a Keras name.
      components: of a mixture prior, or pseudo-inputs of the VampPrior.
      columns: kinds of the columns of a table, for the likelihood mixed: normal, lognormal, bernoulli,
        continuous_bernoulli, poisson, negative_binomial, categorical:K.
      classes: K of the likelihood categorical, whose values are 0 to K - 1.
      missing: whether x may have missing values, NaN; the encoder then also sees which are.
      context_dim: size of y in p(x|z, y) and q(z|x, y); 0 for a model without.
      classifier: whether y is a class that may be unknown, with q(y|x) (the M2 model of Kingma et al. 2014).

    Raises:
      InputError: a field of the wrong type, out of range, or no such choice; choices that do not go together;
        a model larger than `probvae.config.limits` allows.

    >>> Architecture(latent_dim=0)
    Traceback (most recent call last):
    probvae.errors.InputError: latent_dim must be from 1 to 4096; got 0.
    """

    MAIN = ("event_shape", "latent_dim", "posterior", "prior", "likelihood", "network")

    event_shape: tuple[int, ...] = _in_range((28, 28, 1), 1, 1_000_000)
    latent_dim: int = _in_range(2, 1, 4096)
    latent_layers: tuple[int, ...] = _in_range((), 1, 4096)
    posterior: str = "diagonal"
    prior: str = "standard_normal"
    likelihood: str = "bernoulli"
    network: str = "conv"
    filters: tuple[int, ...] = _in_range((32, 64), 1, 4096)
    units: tuple[int, ...] = _in_range((200, 200), 1, 65_536)
    activation: str = "relu"
    components: int = _in_range(100, 1, 100_000)
    columns: tuple[str, ...] = ()
    classes: int = _in_range(256, 2, 65_536)
    missing: bool = False
    context_dim: int = _in_range(0, 0, 4096)
    classifier: bool = False

    @property
    def is_conditional(self) -> bool:
        """Whether the model is p(x|z, y)."""
        return self.context_dim > 0

    @property
    def num_classes(self) -> int:
        """The number of classes y, or the size of another y; 0 for a model without."""
        return self.context_dim

    @property
    def is_hierarchy(self) -> bool:
        """Whether z has several layers."""
        return bool(self.latent_layers)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.event_shape) <= 3:
            raise InputError(f"event_shape must have one to three sizes; got {self.event_shape}.")
        for name in ("filters", "units"):
            if not getattr(self, name):
                raise InputError(f"{name} must be a list of one or more integers; got ().")
        if self.latent_layers and sum(self.latent_layers) != self.latent_dim:
            raise InputError(
                f"latent_layers must sum to latent_dim; got {self.latent_layers} and {self.latent_dim}."
            )
        if len(self.latent_layers) == 1:
            raise InputError("latent_layers must name two or more layers; use latent_dim for one.")
        if self.latent_layers and (self.posterior, self.prior) != ("diagonal", "standard_normal"):
            raise InputError(
                "A hierarchy has the posterior diagonal and the prior standard_normal in each of its layers; "
                f"got {self.posterior} and {self.prior}."
            )
        if self.latent_layers and self.context_dim:
            raise InputError("A hierarchy cannot be conditional: leave latent_layers or the labels out.")
        if self.classifier and not self.context_dim:
            raise InputError("classifier needs classes: context_dim must be 2 or more; got 0.")
        if (self.likelihood == "mixed") != bool(self.columns):
            raise InputError(
                "columns and the likelihood mixed belong together: got likelihood "
                f"{self.likelihood} and {len(self.columns)} columns."
            )
        if self.columns and self.event_shape != (len(self.columns),):
            raise InputError(
                f"columns must be {self.event_shape[0]}, one for each value of x; got {len(self.columns)}."
            )
        if self.context_dim and self.prior == "vamp":
            raise InputError("The prior vamp does not know y: choose another prior for a conditional model.")
        refuse_too_large(self)
