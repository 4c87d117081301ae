"""The configuration of a model."""

from dataclasses import dataclass

from probvae.config.choices import FROM_EXAMPLES, OF_TABLES, refuse_sizes
from probvae.config.fields import Settings, setting, with_attributes
from probvae.config.limits import refuse_too_large
from probvae.errors import InputError

# Fields that follow from the training data and are not options of probvae-train.
DECIDED_BY_DATA = ("event_shape", "columns", "context_dim", "classifier")


@with_attributes
@dataclass(frozen=True, repr=False)
class Architecture(Settings):
    """The settings that rebuild a model.

    Raises:
      InputError: A field has the wrong type, is out of range or an unknown choice; choices do not agree;
        the model is larger than `probvae.config.limits` allows.

    >>> Architecture(latent_dim=0)
    Traceback (most recent call last):
    probvae.errors.InputError: latent_dim must be from 1 to 4096; got 0.
    """

    MAIN = ("event_shape", "latent_dim", "posterior", "prior", "likelihood", "network")

    event_shape: tuple[int, ...] = setting(
        (28, 28, 1), 1, 1_000_000, help="Shape of x: (height, width, channels), (time, channels) or (size,)."
    )
    latent_dim: int = setting(2, 1, 4096, help="Size of z.")
    latent_layers: tuple[int, ...] = setting(
        (), 1, 4096, help="Sizes of the layers of a hierarchy, top layer first; their sum is `latent_dim`."
    )
    posterior: str = setting("diagonal", help="Distribution q(z|x).")
    prior: str = setting("standard_normal", help="Distribution p(z).")
    likelihood: str = setting(
        "bernoulli",
        help="Distribution p(x|z).",
        unset="bernoulli; mixed for tables, normal for series and vectors",
    )
    network: str = setting(
        "conv",
        help="Network of encoder and decoder.",
        unset="conv; conv1d for series, mlp for vectors and tables",
    )
    filters: tuple[int, ...] = setting(
        (32, 64), 1, 4096, help="Widths of the encoder's convolutions; the decoder has them in reverse."
    )
    units: tuple[int, ...] = setting(
        (200, 200), 1, 65_536, help="Widths of the encoder's dense layers; the decoder has them in reverse."
    )
    activation: str = setting("relu", help="Activation of the hidden layers.")
    components: int = setting(
        100, 1, 100_000, help="Number of components of the prior mixture, or of pseudo-inputs of vamp."
    )
    columns: tuple[str, ...] = setting(
        (),
        help="Kinds of the columns of a table: normal, normal_shared, student_t, lognormal, bernoulli, "
        "continuous_bernoulli, poisson, negative_binomial, zero_inflated_negative_binomial, categorical:K, "
        "ordinal:K, size:SCALE.",
    )
    classes: int = setting(
        256, 2, 65_536, help="Number K of values, 0 to K - 1, for the likelihood categorical."
    )
    missing: bool = setting(
        False, help="Allow missing values (NaN) in x; the encoder sees which are missing."
    )
    context_dim: int = setting(0, 0, 4096, help="Size of y in p(x|z, y) and q(z|x, y); 0 for no y.")
    classifier: bool = setting(
        False, help="True if y is a class that may be unknown, with q(y|x) (M2, Kingma et al. 2014)."
    )

    @property
    def is_conditional(self) -> bool:
        """True for a model p(x|z, y)."""
        return self.context_dim > 0

    @property
    def num_classes(self) -> int:
        """The number of classes y, or the size of another y; 0 for a model without y."""
        return self.context_dim

    @property
    def is_hierarchy(self) -> bool:
        """True if z has several layers."""
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
        if (self.likelihood in OF_TABLES) != bool(self.columns):
            raise InputError(
                "columns and the likelihood mixed belong together: got likelihood "
                f"{self.likelihood} and {len(self.columns)} columns."
            )
        if self.columns and self.event_shape != (len(self.columns),):
            raise InputError(
                f"columns must be {self.event_shape[0]}, one for each value of x; got {len(self.columns)}."
            )
        refuse_sizes(dict(enumerate(self.columns)))
        if self.context_dim and self.prior in FROM_EXAMPLES:
            raise InputError("The prior vamp does not know y: choose another prior for a conditional model.")
        refuse_too_large(self)
